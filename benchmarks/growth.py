"""How the cost of painting and of recording grows with layers, tokens, steps and prompts.

    python -m benchmarks.growth --repeats 9

One thing grows at a time, on a transformer of FLUX's depth with random weights.
"""

from collections.abc import Callable
from statistics import median
from typing import Annotated, Any

import torch

from painters_utils.engine.recorder import record_activations

from .originals import ORIGINALS, denoising, with_random_weights
from .recorder import SIDE, TEXT
from .timing import Found, Work, command, ratio, take_turns, within

FLUX = ORIGINALS["flux"]
GROWING: dict[str, dict[int, dict[str, Any]]] = {  # what grows: its number and the settings that give it
    "layers": {14: {"layers": (5, 9)}, 28: {"layers": (9, 19)}, 57: {"layers": (19, 38)}},
    "image tokens": {side * side: {"side": side} for side in (4, 8, 16)},
    "steps": {steps: {"steps": steps} for steps in (2, 4, 8)},
    "prompts": {batch: {"batch": batch} for batch in (1, 2, 4, 8, 16)},
}


def measure(
    width: Annotated[int, "channels, a multiple of 32"] = 96,
    batch: Annotated[int, "pictures a call"] = 8,
    steps: Annotated[int, "denoising steps a call"] = 4,
    repeats: Annotated[int, "repetitions of each"] = 7,
) -> Found:
    rows, points = [], []
    for what, settings in GROWING.items():
        works: dict[str, Work] = {}
        for number, changes in settings.items():
            denoise, transformer = loop(**{"width": width, "batch": batch, "steps": steps} | changes)
            works[f"untouched {number}"] = denoise
            works[f"recording {number}"] = within(recording(transformer), denoise)
        seconds = take_turns(works, repeats)
        points += [
            dict(panel=f"seconds by {what}", line=line, x=number, y=median(seconds[f"{line} {number}"]))
            for line in ("untouched", "recording")
            for number in settings
        ]
        *_, half, whole = settings
        for line in ("untouched", "recording"):
            growth = [b / a for a, b in zip(seconds[f"{line} {half}"], seconds[f"{line} {whole}"], strict=True)]
            rows.append(ratio(f"{what}, {line}", f"time of {whole} {what}, {line}, relative to {half}", growth))
    return rows, points


def loop(
    width: int, batch: int, steps: int, layers: tuple[int, int] = (19, 38), side: int = SIDE
) -> tuple[Work, torch.nn.Module]:
    shallow = FLUX.build(width, torch.float32, num_layers=layers[0], num_single_layers=layers[1])
    transformer = with_random_weights(shallow)
    return denoising(FLUX, transformer, steps, batch, (side, side), TEXT), transformer


def recording(transformer: torch.nn.Module) -> Callable:
    return lambda: record_activations(transformer)


if __name__ == "__main__":
    command(measure, __doc__)
