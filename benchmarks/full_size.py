"""The originals at full size, with random weights made on the device: what every way to run their layers costs.

    python -m benchmarks.full_size flux              on a GPU of 80 GB, less than ten minutes; also sd3, auraflow
    python -m benchmarks.full_size flux --width 96   the same script at toy width, on any machine
    python -m benchmarks.full_size --check           the article's orders against the real configurations; no weights

One denoising step and a short sampling at the article's picture size: untouched, under the identity order, with the
middle half of every stack run in each other way, and while recording; then again with compiled blocks.
benchmarks/results/ keeps what ran with real width.
"""

import argparse
from collections.abc import Callable
from itertools import chain

import numpy as np
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

from .originals import ORIGINALS, Original, denoising, with_random_weights
from .timing import DEVICE, Work, machine, ratio, show, take_turns

STRATEGIES = ("skip", "middle_repeat", "reverse", "random_order", "parallel", "looped_parallel")
TOY = dict(tokens=(8, 8), text=24)  # with --width
SPARE = 2 * 2**30  # bytes for what is in flight inside one block, and for the libraries
Way = Callable[[Work], Work]  # to run the layers: it lays an order or a recorder over a piece of work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(ORIGINALS), help=", ".join(ORIGINALS))
    parser.add_argument("--width", type=int, help="channels of a toy, a multiple of 32 (default: the real width)")
    parser.add_argument("--steps", type=int, default=4, help="denoising steps of the sampling (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of each (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=1.5, help="begin no repetition after (default %(default)s)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="compiled blocks too")
    parser.add_argument("--check", action="store_true", help="only check the article's orders")
    options = parser.parse_args()
    try:
        for name in options.models:
            if name not in ORIGINALS:
                raise InputError(f"model {name!r} is none of {', '.join(ORIGINALS)}")
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
    original, toy = ORIGINALS[name], TOY if options.width else {}
    transformer = original.build(options.width)
    need = bytes_needed(original, transformer, **toy)
    if DEVICE == "cuda" and need > (free := torch.cuda.mem_get_info()[0]):
        raise InputError(f"{original.title} needs {need / 2**30:.0f} GiB, {free / 2**30:.0f} are free on the GPU")
    if DEVICE == "cpu" and not options.width:
        raise InputError("there is no GPU here: give --width 96 for a toy of the same depth")
    with_random_weights(transformer)
    rows = part(original, transformer, options, toy)
    if options.compile:
        for block in chain(*find_stacks(transformer).values()):
            block.compile()  # as `compile_repeated_blocks()` does, which knows FLUX's blocks but not the others'
        rows += part(original, transformer, options, toy, " (compiled blocks)")
    print(f"\n{original.title}, about {need / 2**30:.1f} GiB, by each way's step to the untouched model's:")
    show(rows)
    if not options.width:
        about = machine()
        save_costs({"machine": about, "rows": rows, "points": []}, f"full-size-{name}-{about['name']}")


def part(
    original: Original, transformer: nn.Module, options: argparse.Namespace, toy: dict, suffix: str = ""
) -> list[dict]:
    """A row for each way to run the layers: the time of a step by the untouched model's, seconds, memory."""
    step, sampling = (denoising(original, transformer, steps, **toy) for steps in (1, options.steps))
    ways, limits, rows = ways_of(original, transformer), (options.repeats, options.minutes), []
    steps, samplings = ({way: over(work) for way, (over, _) in ways.items()} for work in (step, sampling))
    equal, peaks = torch.equal(step(), steps["identity"]()), {way: peak_gib(work) for way, work in samplings.items()}
    one, whole = take_turns(steps, *limits), take_turns(samplings, *limits)
    for way, (_, layers) in ways.items():
        note = f"{layers} layers; {np.median(one[way]):.3f} s a step, "
        note += f"{np.median(whole[way]):.2f} s {options.steps} steps"
        note += f", {peaks[way]:.1f} GiB" if peaks[way] else ""
        if way == "identity":
            note += ", the same latents bit for bit" if equal else ", OTHER LATENTS"
        goal = ("≤", 1.01) if way == "identity" else None
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
