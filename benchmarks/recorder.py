"""The recorder beside what one would write first: keep every activation on the CPU, then compare layers two by two.

    python -m benchmarks.recorder --steps 50

Both give the same matrices, which is checked. Times are of the matrices alone: blocks give back copies of what they
once returned, and the time of such a loop unwatched is taken off. Memory is the peak beyond that of denoising alone.
"""

import re
import resource
import sys
from itertools import chain, combinations_with_replacement
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from painters_utils.engine.recorder import record_activations
from painters_utils.engine.recording import Recording
from painters_utils.engine.stacks import find_stacks

from .originals import narrow_flux
from .timing import PROCESSOR, Found, Work, command, ratio, row, take_turns

WAYS = ("recorder", "by hand")


def measure(
    steps: Annotated[int, "denoising steps of the longest call"] = 50,
    fewest: Annotated[int, "denoising steps of the shortest"] = 4,
    batch: Annotated[int, "pictures a call"] = 4,
    width: Annotated[int, "channels, a multiple of 32"] = 96,
    repeats: Annotated[int, "repetitions of each"] = 7,
) -> Found:
    note = f"FLUX's depth, {width} channels, {batch} pictures"
    rows, points, memory, threads = [], [], {}, torch.get_num_threads()
    torch.set_num_threads(1)  # as the study runs; two wait for each other
    for count in sorted({fewest, round((fewest * steps) ** 0.5), steps}):
        if count == fewest:
            check_equal(ways(count, batch, width))  # also warms up
        works = ways(count, batch, width, replayed=True)
        seconds = take_turns(works, repeats, warm=True, clock=PROCESSOR)
        own = {way: np.subtract(seconds[way], seconds["untouched"]) for way in WAYS}
        with get_context("spawn").Pool(1, maxtasksperchild=1) as alone:
            peaks = {way: alone.apply(peak_mib, (way, count, batch, width)) for way in works}
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
    torch.set_num_threads(threads)
    return rows, points


def ways(steps: int, batch: int, width: int, compare: bool = True, replayed: bool = False) -> dict[str, Work]:
    """A denoising loop of FLUX's depth untouched, recorded, and with every activation kept and (if so) compared; if
    `replayed`, its blocks compute nothing and give back what they returned in one step."""
    transformer, denoise = narrow_flux(width, batch, steps)
    kept = keep_all(*narrow_flux(width, batch, steps=1)) if replayed else []
    for block, parts in zip(chain(*find_stacks(transformer).values()), kept, strict=False):
        parts = [part.to(transformer.device) for part in parts]
        block.forward = lambda *_, parts=parts, **__: tuple(part.clone() for part in parts)

    def recorder() -> Recording:
        with record_activations(transformer) as recording:
            denoise()
        return recording

    def by_hand() -> dict[tuple[str, str], np.ndarray]:
        kept = keep_all(transformer, denoise)
        return compare_by_hand(kept) if compare else {}

    return {"untouched": denoise, "recorder": recorder, "by hand": by_hand}


def keep_all(transformer: nn.Module, denoise: Work) -> list[list[Tensor]]:
    """Every activation on the CPU: for each block that runs, step after step, its output (text, image)."""
    kept: list[list[Tensor]] = []
    hooks = [
        block.register_forward_hook(lambda _, __, output: kept.append([part.cpu() for part in output]))
        for block in chain(*find_stacks(transformer).values())
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
                for i, j in combinations_with_replacement(range(layers), 2):
                    matrix[i, j] += cosine_similarity(group[i], group[j], dim=-1).mean().item() / len(groups)
            found[stream, average] = matrix + np.triu(matrix, 1).T
    return found


def check_equal(works: dict[str, Work]) -> None:
    """Refuse to compare the times of two things that do not do the same."""
    recording = works["recorder"]()
    for (stream, average), matrix in works["by hand"]().items():
        np.testing.assert_allclose(recording.similarity(stream, average), matrix, atol=1e-5)


def peak_mib(way: str, steps: int, batch: int, width: int) -> float:
    """The peak memory of a process that does nothing else, in MiB; the accelerator's memory is added."""
    found = ways(steps, batch, width, compare=False)[way]()
    rows = found.sums.values() if way == "recorder" else []
    matrices = sum(total.nbytes for row in rows for total, _ in row.values())
    on_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return (peak_resident() + on_device - matrices) / 2**20


def peak_resident() -> int:
    """The most memory that this process has held, in bytes; on Linux from /proc, as getrusage begins at what the
    process that started this one held."""
    about = Path("/proc/self/status")
    if about.exists():
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", about.read_text()).group(1))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    command(measure, __doc__)
