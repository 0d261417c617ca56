"""How fast the minis paint: pictures per second, and the share of the machine's matrix-product rate they reach.

    python -m benchmarks.speed
    python -m benchmarks.speed --model sd3-mini --pictures 32

A call of the whole pipeline at the model's own number of steps, in fp32 and bf16, beside the best rate that plain
square matrix products of the same number type reach in the same run.
"""

import argparse
import os
from statistics import median
from time import perf_counter

import torch
from torch.utils.flop_counter import FlopCounterMode

from painters_utils import call_settings, load_pipeline
from painters_utils.catalog import ROOT, model_table

PROMPT = "a red dog wearing a blue hat and a yellow cat wearing pink sunglasses on a white background"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="a row of data/models.yaml (default: every mini)")
    parser.add_argument("--pictures", type=int, default=16, help="pictures a call (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="calls that are timed (default %(default)s)")
    options = parser.parse_args()
    names = options.model or [
        name for name, row in model_table().items() if (ROOT / row["path"] / "scores.json").exists()
    ]
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads, {options.pictures} pictures a call")
    print(f"{'':16}{'':6}{'steps':>6}{'pictures/s':>12}{'GFLOP/s':>10}{'ceiling':>10}{'share':>8}")
    for dtype, label in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        ceiling = product_rate(dtype)
        for name in names:
            pipe, call = load_pipeline(name, dtype=dtype), call_settings(name)
            paint = lambda: pipe([PROMPT] * options.pictures, generator=torch.Generator().manual_seed(0), **call)  # noqa: B023, E731
            with FlopCounterMode(display=False) as counter:  # also warms up
                paint()
            seconds = median(timed(paint) for _ in range(options.repeats))
            rate = counter.get_total_flops() / seconds
            print(
                f"{name:16}{label:6}{call['num_inference_steps']:6}{options.pictures / seconds:12.2f}"
                f"{rate / 1e9:10.0f}{ceiling / 1e9:10.0f}{rate / ceiling:8.0%}"
            )


def timed(work: object) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def product_rate(dtype: torch.dtype, side: int = 1536) -> float:
    """Floating-point operations a second of the best of several square matrix products."""
    a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    return 2 * side**3 / min(timed(lambda: a @ b) for _ in range(12))


if __name__ == "__main__":
    main()
