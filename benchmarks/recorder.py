"""The recorder beside what one would write first: keep every activation on the CPU, then compare layers two by two.

    python -m benchmarks.recorder --steps 50

Both give the same matrices in all four averages, which is checked. Times are of the matrices alone: the time of the
untouched denoising loop in the same repetition is taken off. Memory is what a process needs at its peak beyond one
that only denoises.
"""

import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from painters_utils.recorder import record_activations
from painters_utils.stacks import find_stacks

from .originals import ORIGINALS, denoising, with_random_weights
from .timing import Found, Work, command, ratio, row, take_turns

FLUX = ORIGINALS["flux"]
SIDE, TEXT = 8, 24  # image tokens along one side, text tokens
WAYS = ("recorder", "by hand")


def measure(
    steps: Annotated[int, "denoising steps of the longest call"] = 50,
    fewest: Annotated[int, "denoising steps of the shortest"] = 4,
    batch: Annotated[int, "pictures a call"] = 4,
    width: Annotated[int, "channels, a multiple of 32"] = 96,
    repeats: Annotated[int, "repetitions of each"] = 3,
) -> Found:
    note = f"FLUX's depth, {width} channels, {batch} pictures"
    rows, points, memory = [], [], {}
    for count in sorted({fewest, round((fewest * steps) ** 0.5), steps}):
        works = ways(count, batch, width)
        if count == fewest:
            check_equal(works)  # also warms up
        seconds = take_turns(works, repeats, warm=True)
        own = {way: np.subtract(seconds[way], seconds["untouched"]) for way in WAYS}
        peaks = {way: peak_mib(way, count, batch, width) for way in works}
        for way in WAYS:
            memory[way, count] = peaks[way] - peaks["untouched"]
            line = "recording" if way == "recorder" else way
            points += [
                dict(panel="seconds for the matrices by steps", line=line, x=count, y=float(np.median(own[way]))),
                dict(panel="MiB for the matrices by steps", line=line, x=count, y=memory[way, count]),
            ]
        what = f"time for the matrices of {count} steps by hand, relative to the recorder"
        rows.append(ratio("by hand", what, own["by hand"] / own["recorder"], ("≥", 20), note))
    for way, goal in zip(WAYS, (("≤", 1.1), None), strict=True):
        what = f"memory of {'the recorder' if goal else 'keeping all'} at {steps} steps, relative to {fewest}"
        mib = f"{memory[way, fewest]:.0f} and {memory[way, steps]:.0f} MiB"
        grown = memory[way, steps] / memory[way, fewest]
        rows.append(row("flat" if goal else "kept", what, grown, "×", goal, f"{note}; {mib}"))
    return rows, points


def ways(steps: int, batch: int, width: int, compare: bool = True) -> dict[str, Work]:
    """A denoising loop of FLUX's depth untouched, recorded, and with every activation kept and (if so) compared."""
    transformer = with_random_weights(FLUX.build(width, torch.float32))
    denoise = denoising(FLUX, transformer, steps, batch, (SIDE, SIDE), TEXT)

    def recorder() -> Callable[[str, str], np.ndarray]:
        with record_activations(transformer) as recording:
            denoise()
        return recording.similarity

    def by_hand() -> Callable[[str, str], np.ndarray]:
        kept = keep_all(transformer, denoise)
        matrices = compare_by_hand(kept) if compare else {}
        return lambda stream, average: matrices[stream, average]

    return {"untouched": denoise, "recorder": recorder, "by hand": by_hand}


def keep_all(transformer: nn.Module, denoise: Work) -> list[list[Tensor]]:
    """Every activation on the CPU: for each block that runs, step after step, its output (text, image)."""
    kept: list[list[Tensor]] = []
    hooks = [
        block.register_forward_hook(lambda _, __, output: kept.append([part.cpu() for part in output]))
        for blocks in find_stacks(transformer).values()
        for block in blocks
    ]
    denoise()
    for hook in hooks:
        hook.remove()
    return kept


def compare_by_hand(kept: list[list[Tensor]], layers: int = 57) -> dict[tuple[str, str], np.ndarray]:
    """The mean cosine of every two layers, by stream and by what is averaged first (see `record_activations`)."""
    found = {}
    for element, stream in enumerate(("text", "image")):
        outputs = [output[element] for output in kept]
        steps = [outputs[start : start + layers] for start in range(0, len(outputs), layers)]
        over_steps = [sum(step[layer] for step in steps) for layer in range(layers)]
        averaged = {
            "after": steps,
            "inputs": [[output.sum(0) for output in step] for step in steps],
            "timesteps": [over_steps],
            "both": [[output.sum(0) for output in over_steps]],
        }
        for average, groups in averaged.items():
            matrix = np.zeros((layers, layers))
            for group in groups:
                for i in range(layers):
                    for j in range(i, layers):
                        matrix[i, j] += cosine_similarity(group[i], group[j], dim=-1).mean().item() / len(groups)
            found[stream, average] = matrix + np.triu(matrix, 1).T
    return found


def check_equal(works: dict[str, Work]) -> None:
    """Refuse to compare the times of two things that do not do the same."""
    ours, theirs = works["recorder"](), works["by hand"]()
    for stream in ("image", "text"):
        for average in ("after", "inputs", "timesteps", "both"):
            np.testing.assert_allclose(ours(stream, average), theirs(stream, average), atol=1e-5)


def peak_mib(way: str, steps: int, batch: int, width: int) -> float:
    """The peak memory of a process that does nothing else, in MiB; the accelerator's memory is added."""
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        return alone.submit(_peak_mib, way, steps, batch, width).result()


def _peak_mib(way: str, steps: int, batch: int, width: int) -> float:
    ways(steps, batch, width, compare=False)[way]()
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return (resident + (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)) / 2**20


if __name__ == "__main__":
    command(measure, __doc__)
