"""Run a transformer's layers in another order, and put everything back afterwards.

with layer_order(pipe.transformer, {"transformer_blocks": [0, 2, 1, 3]}):
    picture = pipe("a red dog").images[0]
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from math import isfinite

from torch import nn

from painters_utils.errors import InputError

from .blocks import MeanResidual, OneStream, Parallel, Scaled, Skipped, Summed
from .means import Means, check_means
from .orders import (
    Order,
    check_index,
    check_order,
    check_pairs,
    check_places,
    find_loops,
    shown,
    steps_window,
    unchanged_ends,
)
from .stacks import get_stack, in_place_of, keeps_places


@contextmanager
def layer_order(
    transformer: nn.Module, orders: Mapping[str, Order], combine: str = "mean", affected: str = "both",
    steps: Sequence[int] | None = None, of: int | None = None, damping: float = 1, means: Means | None = None,
    scales: Mapping[str, Mapping[int, float]] | None = None,
) -> Iterator[None]:  # fmt: skip
    """Let the transformer run each named stack in the given order; undone on exit, also on error.

    `orders` maps a stack's attribute name to its order; stacks not named stay as they are. Indices always mean
    the model's own layers, so in nested contexts the inner order replaces the outer one of the same stack; inside an
    order of some steps only, nothing can be opened.
    To record the layers of an order, enter `layer_order` first and the recorder inside it.

    These controls tell what an effect comes from:
    - `combine`: "mean" averages the layers of a group; "sum" adds up their updates (`blocks.Summed`).
    - `affected`: "both" streams, or only the "image" or the "text" stream (`blocks.OneStream`).
    - `steps`: the denoising steps, [first, last] counted from 0, in which the order holds, and `of` how many steps
      a call of the pipeline has; in the others the model is as it was. For pipelines that call the transformer once
      a step.
    - `damping`: K, 1 or more. What an order runs several times in a row, g (a layer, a group, a band of them), goes
      1/K of its way each time: x ← (1 - 1/K) x + (1/K) g(x). After training-free loops (arXiv 2605.23872).
    - `means`: layers that the order leaves out add their mean update (`means.record_means`); needs `of`.
    - `scales`: {stack: {layer: s}}, a layer adds s times its update: x + s (block(x) - x). Stacks without an order
      run in their own.

    Every argument is checked before anything is changed: `InputError` names the bad value and the remedy.
    """
    if not isinstance(orders, Mapping):
        raise InputError(f"orders {shown(orders)} name no stack: write {{stack: order}}")
    if combine not in ("mean", "sum"):
        raise InputError(f"combine {shown(combine)} is unknown: choose mean or sum")
    if affected not in ("both", "image", "text"):
        raise InputError(f"affected {shown(affected)} is unknown: choose both, image or text")
    if not is_number(damping) or damping < 1:
        raise InputError(f"damping {shown(damping)} is no number from 1 upwards: 1 damps nothing, 2 goes half the way")
    if means is not None and not isinstance(means, Means):
        raise InputError(f"means is {shown(means)}: give what `record_means` yields")
    scales = {} if scales is None else scales
    if not isinstance(scales, Mapping) or not all(isinstance(of, Mapping) for of in scales.values()):
        raise InputError(f"scales {shown(scales)} name no layer: write {{stack: {{layer: scale}}}}")
    window = steps_window(steps, of)
    group = Parallel if combine == "mean" else Summed
    arranged = {}
    for stack in dict.fromkeys([*orders, *scales]):
        layers = list(get_stack(transformer, stack))
        order = orders.get(stack, list(range(len(layers))))
        check_order(order, len(layers), stack, only_last=without_text(layers))
        check_pairs(order, takes_skip(layers), stack)
        scaled = scale_layers(layers, scales.get(stack, {}), stack)
        blocks: list[nn.Module] = []
        for piece, times in find_loops(order):
            run = [group([scaled[i] for i in step]) if isinstance(step, list) else scaled[step] for step in piece]
            damped = times > 1 and damping != 1
            blocks += ([Scaled(run, 1 / damping)] if damped else run) * times
        if keeps_places(transformer):
            check_places(order, affected, type(transformer).__name__, stack)
            blocks = [scaled[index] if index in order else Skipped([layer]) for index, layer in enumerate(layers)]
        if means is not None:
            check_means(means, transformer, stack, order, of)
            blocks = [
                scaled[index]
                if index in order
                else MeanResidual(layer, means.vectors[stack][index], cycle(window or range(means.steps)))
                for index, layer in enumerate(layers)
            ]
        if affected != "both":
            places = {id(layer): index for index, layer in enumerate(layers)}
            before, after = unchanged_ends([places.get(id(block), -1) for block in blocks], len(layers))
            usual, changed = layers[before : len(layers) - after], blocks[before : len(blocks) - after]
            if usual or changed:
                one = OneStream(usual, changed, affected)
                blocks = [*blocks[:before], one, *blocks[len(blocks) - after :]]
        arranged[stack] = blocks
    with in_place_of(transformer, arranged, window, of):
        yield


def scale_layers(layers: Sequence[nn.Module], scales: Mapping[int, float], stack: str) -> list[nn.Module]:
    """The layers, with a scale where they have one; `InputError` for an unknown layer and a scale that is no number."""
    for index, scale in scales.items():
        check_index(index, len(layers), stack)
        if not is_number(scale):
            raise InputError(f"scale {shown(scale)} of layer {index} of {stack} is no number: 1 leaves it as it is")
    return [
        layer if scales.get(index, 1) == 1 else Scaled([layer], scales[index]) for index, layer in enumerate(layers)
    ]


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def takes_skip(layers: Sequence[nn.Module]) -> list[bool]:
    """Which layers are handed an earlier layer's output as well (the upper half of the U-shaped HunyuanDiT)."""
    return [getattr(layer, "skip_linear", None) is not None for layer in layers]


def without_text(layers: Sequence[nn.Module]) -> list[int]:
    """The layers that return no text stream (SD3's last block), so that no other layer can follow them."""
    return [index for index, layer in enumerate(layers) if getattr(layer, "context_pre_only", False)]
