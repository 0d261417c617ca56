"""How the cost of painting and of recording grows with layers, tokens, steps and prompts.

python -m benchmarks.growth --repeats 9        on a transformer of FLUX's depth with random weights
"""

from typing import Annotated, Any

import numpy as np

from painters_utils.engine.recorder import record_activations

from .recorder import narrow_flux
from .timing import Found, Work, command, ratio, take_turns

GROWING: dict[str, dict[int, dict[str, Any]]] = {  # what grows: its number and the settings that give it
    "layers": {sum(depths): {"layers": depths} for depths in ((5, 9), (9, 19), (19, 38))},
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
            transformer, denoise = narrow_flux(**{"width": width, "batch": batch, "steps": steps} | changes)
            works[f"untouched {number}"] = denoise
            works[f"recording {number}"] = record_activations(transformer)(denoise)
        seconds = take_turns(works, repeats)
        *_, half, whole = settings
        for line in ("untouched", "recording"):
            points += [
                dict(panel=f"seconds by {what}", line=line, x=number, y=float(np.median(seconds[f"{line} {number}"])))
                for number in settings
            ]
            growth = seconds[f"{line} {whole}"] / seconds[f"{line} {half}"]
            rows.append(ratio(f"{what}, {line}", f"time of {whole} {what}, {line}, relative to {half}", growth))
    return rows, points


if __name__ == "__main__":
    command(measure, __doc__)
