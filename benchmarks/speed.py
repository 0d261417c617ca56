"""How fast the minis paint: pictures a second, and the share of the machine's matrix-product rate they reach.

    python -m benchmarks.speed --model sd3-mini --pictures 32

Whole pipeline calls on one thread, as the study makes them, in fp32 and bf16, beside plain square matrix products of
that number type, as fast as PyTorch can multiply here.
"""

from typing import Annotated

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from miniworld.metrics import mini_rows
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.quick import FLOP, quicken

from .timing import DEVICE, Found, Work, command, ratio, take_turns

PROMPT = "a red dog wearing a blue hat and a yellow cat wearing pink sunglasses on a white background"
SIDE, PRODUCTS = 1536, 12  # of the square matrices, and how many of them are multiplied on end
FLOP_OF_PRODUCTS = 2 * SIDE**3 * PRODUCTS


def measure(
    model: Annotated[str, "a row of data/models.yaml (all: every mini)"] = "all",
    pictures: Annotated[int, "pictures a call"] = 15,
    steps: Annotated[int, "denoising steps (0: the model's own)"] = 0,
    repeats: Annotated[int, "repetitions of each"] = 5,
) -> Found:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    minis, rows = list(mini_rows()), []
    for name in minis if model == "all" else [model]:
        for dtype, label in (("float32", "fp32"), ("bfloat16", "bf16")):
            named = Model.named(name, steps=steps or None, dtype=dtype)
            pipe, call = load_pipeline(named), named.call
            paint = lambda: pipe([PROMPT] * pictures, generator=torch.Generator().manual_seed(0), **call)  # noqa: B023, E731
            with FlopCounterMode(display=False, custom_mapping=FLOP) as counter:
                paint()
            seconds = take_turns({"paint": paint, "multiply": products(getattr(torch, dtype))}, repeats)
            rate, ceiling = counter.get_total_flops() / seconds["paint"], FLOP_OF_PRODUCTS / seconds["multiply"]
            note = f"{pictures / np.median(seconds['paint']):.1f} pictures a second, {named.steps} steps"
            note += f"; matrix products {np.median(ceiling) / 1e9:.0f} GFLOP/s"
            what = f"{name}, {label}: share of the rate of plain matrix products"
            rows.append(ratio(f"{name} {label}", what, 100 * rate / ceiling, None, note, "%"))
    torch.set_num_threads(threads)
    return rows, []


def products(dtype: torch.dtype) -> Work:
    """Plain matrix products, as fast as PyTorch can multiply here: FLOP_OF_PRODUCTS operations."""
    plain = quicken(nn.Linear(SIDE, SIDE, bias=False, device=DEVICE, dtype=dtype))
    given = torch.randn(SIDE, SIDE, device=DEVICE, dtype=dtype)
    return torch.no_grad()(lambda: [plain(given) for _ in range(PRODUCTS)])


if __name__ == "__main__":
    command(measure, __doc__)
