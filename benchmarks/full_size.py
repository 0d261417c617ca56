"""The originals at full size, with random weights made on the device: what every way to run their layers costs.

    python -m benchmarks.full_size flux              on a GPU of 80 GB, less than ten minutes; also sd3, auraflow
    python -m benchmarks.full_size sd3 --pixels 256  on a processor, in 7 GiB of free memory; auraflow in 18
    python -m benchmarks.full_size flux --width 96   at toy width, on any machine
    python -m benchmarks.full_size --check           the article's orders against the real configurations; no weights

One denoising step and a short sampling at the article's picture size or a smaller one: untouched, under the identity
order, with the middle half of every stack run in each other way, and while recording; on a GPU again with compiled
blocks. benchmarks/results/ keeps what ran with real width.
"""

import argparse
from collections.abc import Callable
from itertools import chain

import numpy as np
import psutil
import torch
from torch import nn

from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.recorder import record_activations
from painters_utils.engine.stacks import find_stacks
from painters_utils.engine.strategies import build_order
from painters_utils.errors import InputError
from painters_utils.models.model import Model
from painters_utils.study.variants import article_variants
from workflow.page.costs import save_costs

from .originals import ORIGINALS, Original, denoising, flop_of_step, with_random_weights
from .speed import FLOP_OF_PRODUCTS, products
from .timing import DEVICE, Work, machine, ratio, show, take_turns

STRATEGIES = ("skip", "middle_repeat", "reverse", "random_order", "parallel", "looped_parallel")
TOY = dict(tokens=(8, 8), text=24)  # with --width
GPU = 989e12  # operations a second, bf16, as NVIDIA gives them for an H100
SPARE = 2 * 2**30  # bytes for what is in flight inside one block, and for the libraries
Way = Callable[[Work], Work]  # to run the layers: it lays an order or a recorder over a piece of work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(ORIGINALS), help=", ".join(ORIGINALS))
    parser.add_argument("--width", type=int, help="channels of a toy, a multiple of 32 (default: the real width)")
    parser.add_argument("--pixels", type=int, help="side of the picture, a multiple of 16 (default: the article's)")
    parser.add_argument("--steps", type=int, default=4 if DEVICE == "cuda" else 0,
                        help="denoising steps of the sampling, 0: none (default %(default)s)")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of each (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=1.5 if DEVICE == "cuda" else 4,
                        help="begin no repetition after (default %(default)s)")  # fmt: skip
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=DEVICE == "cuda",
                        help="compiled blocks too (default: on a GPU)")  # fmt: skip
    parser.add_argument("--check", action="store_true", help="only check the article's orders")
    options = parser.parse_args()
    try:
        for name in options.models:
            if name not in ORIGINALS:
                raise InputError(f"model {name!r} is none of {', '.join(ORIGINALS)}")
            if options.pixels is not None and (options.pixels < 16 or options.pixels % 16):
                raise InputError(f"a side of {options.pixels} px does not fit the patches: give a multiple of 16")
            count = check_orders(ORIGINALS[name])
            print(f"{ORIGINALS[name].title}: {count} orders of the article fit the real configuration", flush=True)
        if not options.check:
            for name in options.models:
                measure(name, options)
    except InputError as error:
        parser.exit(1, f"error: {error}\n")


def check_orders(original: Original) -> int:
    """Lay every order of the article over the real configuration, which has no weights; returns how many fit."""
    transformer, variants = original.build(), article_variants(Model.named(original.mini))
    for variant in variants:
        with layer_order(transformer, {variant.stack: variant.order}):
            pass
    return len(variants)


def measure(name: str, options: argparse.Namespace) -> None:
    """Time one model, print its table, and keep it if it has its real width."""
    original, size = ORIGINALS[name], TOY if options.width else {}
    if options.pixels and not options.width:
        size = dict(tokens=(options.pixels // 16, options.pixels // 16))
    transformer = original.build(options.width)
    need, free = bytes_needed(original, transformer, **size), free_bytes()
    if need > free:
        raise InputError(f"{original.title} needs {need / 2**30:.0f} GiB, {free / 2**30:.0f} are free here: give "
                         "--pixels 256 for smaller pictures, or --width 96 for a toy of that depth")  # fmt: skip
    with_random_weights(transformer)
    rows = part(original, transformer, options, size)
    if options.compile:
        for block in chain(*find_stacks(transformer).values()):
            block.compile()  # as `compile_repeated_blocks()` does, which knows FLUX's blocks but not the others'
        rows += part(original, transformer, options, size, " (compiled blocks)")
    if not options.width:
        rows += rates(original, transformer, size)
    print(f"\n{original.title}, about {need / 2**30:.1f} GiB, by each way's step to the untouched model's:")
    show(rows)
    if not options.width:
        about = machine()
        found = {"of": f"{original.title} at full size", "machine": about, "rows": rows, "points": []}
        save_costs(found, f"full-size-{name}-{about['name']}")


def free_bytes() -> int:
    """Of the GPU's memory, or of the machine's where there is none."""
    if DEVICE == "cuda":
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available


def rates(original: Original, transformer: nn.Module, size: dict) -> list[dict]:
    """What share of the rate of plain matrix products a step reaches, and what FLUX.1 would then take on a GPU."""
    flop, step = flop_of_step(original, **size), denoising(original, transformer, 1, **size)
    seconds = take_turns({"step": step, "multiply": products(transformer.dtype)}, 5, minutes=1)
    share = (flop / seconds["step"]) / (FLOP_OF_PRODUCTS / seconds["multiply"])
    what = f"{original.title}: share of the rate of plain matrix products"
    rate = FLOP_OF_PRODUCTS / np.median(seconds["multiply"])
    note = f"{flop / 1e12:.2f} TFLOP a step, counted; products {rate / 1e9:.0f} GFLOP/s"
    flux = flop_of_step(ORIGINALS["flux"], tokens=(64, 64))
    estimates = flux / (share * GPU)
    return [
        ratio(f"{original.mini} share", what, 100 * share, None, note, "%"),
        ratio(
            "estimate",
            "FLUX.1 at 1024 px: a step on a GPU that reaches that share, estimated",
            estimates,
            None,
            f"{flux / 1e12:.0f} TFLOP a step, counted; an H100 multiplies {GPU / 1e12:.0f} TFLOP/s in bf16 at most",
            "s",
        ),
    ]


def part(
    original: Original, transformer: nn.Module, options: argparse.Namespace, size: dict, suffix: str = ""
) -> list[dict]:
    """A row for each way to run the layers: the time of a step by the untouched model's, seconds, memory."""
    ways, limits, rows = ways_of(original, transformer), (options.repeats, options.minutes), []
    step = denoising(original, transformer, 1, **size)
    steps = {way: over(step) for way, (over, _) in ways.items()}
    equal, one = torch.equal(step(), steps["identity"]()), take_turns(steps, *limits)
    whole, peaks = {}, {}
    if options.steps:
        sampling = denoising(original, transformer, options.steps, **size)
        samplings = {way: over(sampling) for way, (over, _) in ways.items()}
        peaks, whole = {way: peak_gib(work) for way, work in samplings.items()}, take_turns(samplings, *limits)
    for way, (_, layers) in ways.items():
        note = f"{layers} layers; {np.median(one[way]):.3f} s a step"
        note += f", {np.median(whole[way]):.2f} s {options.steps} steps" if whole else ""
        note += f", {peaks[way]:.1f} GiB" if peaks.get(way) else ""
        if way == "identity":
            note += ", the same latents bit for bit" if equal else ", OTHER LATENTS"
        goal = {"identity": ("≤", 1.01), "recording": ("≤", 1.03)}.get(way)
        what = f"{original.title}{suffix}: {way.replace('_', ' ')}"
        rows.append(ratio(f"{original.mini} {way}{suffix}", what, one[way] / one["untouched"], goal, note))
    return rows


def ways_of(original: Original, transformer: nn.Module) -> dict[str, tuple[Way, int]]:
    """The ways to run the layers, and how many run in a step; strategies change the middle half of every stack."""
    depths = {stack: len(blocks) for stack, blocks in find_stacks(transformer).items()}
    ways: dict[str, tuple[Way, int]] = {"untouched": (lambda work: work, sum(depths.values()))}
    for strategy in ("identity", *STRATEGIES):
        orders, runs = {}, 0
        for stack, depth in depths.items():
            band = None if strategy == "identity" else [depth // 4, depth - depth // 4 - 1]
            orders[stack] = build_order(strategy, depth, band)
            runs += sum(len(step) if isinstance(step, list) else 1 for step in orders[stack])
        ways[strategy] = layer_order(transformer, orders), runs
    recording = record_activations(transformer, guided=original.guidance > 1)
    return ways | {"recording": (recording, sum(depths.values()))}


def bytes_needed(original: Original, transformer: nn.Module, tokens: tuple = (), text: int = 0) -> int:
    """A bound on what the device must hold: the weights, and while recording twelve times a step's activations, of
    which the recorder keeps 1 in the model's type, 3 sums and a copy in float32, and 1 of the first step."""
    weights = sum(values.numel() * values.element_size() for values in transformer.parameters())
    (rows, columns), words = tokens or original.tokens, text or original.text
    layers = sum(map(len, find_stacks(transformer).values()))
    output = (rows * columns + words) * transformer.inner_dim * (1 + (original.guidance > 1)) * 2
    return weights + 12 * layers * output + SPARE


def peak_gib(work: Callable[[], object]) -> float | None:
    """The device's peak memory during the work, weights included; None where there is no device."""
    if DEVICE != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30


if __name__ == "__main__":
    main()
