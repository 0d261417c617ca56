"""Run a transformer's layers in another order, and put everything back afterwards.

with layer_order(pipe.transformer, {"transformer_blocks": [0, 2, 1, 3]}):
    picture = pipe("a red dog").images[0]
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn

from painters_utils.errors import InputError

from .blocks import OneStream, Parallel, Skipped, Summed
from .orders import Order, check_order, check_pairs, check_places, shown, steps_window, unchanged_ends
from .stacks import get_stack, in_place_of, keeps_places


@contextmanager
def layer_order(
    transformer: nn.Module, orders: Mapping[str, Order], combine: str = "mean", affected: str = "both",
    steps: Sequence[int] | None = None, of: int | None = None,
) -> Iterator[None]:  # fmt: skip
    """Let the transformer run each named stack in the given order; undone on exit, also on error.

    `orders` maps a stack's attribute name to its order; stacks not named stay as they are. Indices always mean
    the model's own layers, so in nested contexts the inner order replaces the outer one of the same stack.
    To record the layers of an order, enter `layer_order` first and the recorder inside it.

    Three controls tell what an effect comes from:
    - `combine`: "mean" averages the layers of a group; "sum" adds up their updates (`blocks.Summed`).
    - `affected`: "both" streams, or only the "image" or the "text" stream (`blocks.OneStream`).
    - `steps`: the denoising steps, [first, last] counted from 0, in which the order holds, and `of` how many steps
      a call of the pipeline has; in the others the model is as it was. For pipelines that call the transformer once
      a step.

    Every argument is checked before anything is changed: `InputError` names the bad value and the remedy.
    """
    if not isinstance(orders, Mapping):
        raise InputError(f"orders {shown(orders)} name no stack: write {{stack: order}}")
    if combine not in ("mean", "sum"):
        raise InputError(f"combine {shown(combine)} is unknown: choose mean or sum")
    if affected not in ("both", "image", "text"):
        raise InputError(f"affected {shown(affected)} is unknown: choose both, image or text")
    window = steps_window(steps, of)
    group = Parallel if combine == "mean" else Summed
    arranged = {}
    for stack, order in orders.items():
        layers = list(get_stack(transformer, stack))
        check_order(order, len(layers), stack, only_last=without_text(layers))
        check_pairs(order, takes_skip(layers), stack)
        blocks = [
            group([layers[index] for index in step]) if isinstance(step, list) else layers[step] for step in order
        ]
        if keeps_places(transformer):
            check_places(order, affected, type(transformer).__name__, stack)
            blocks = [layer if index in order else Skipped([layer]) for index, layer in enumerate(layers)]
        if affected != "both":
            before, after = unchanged_ends(order, len(layers))
            usual, changed = layers[before : len(layers) - after], blocks[before : len(blocks) - after]
            if usual or changed:
                one = OneStream(usual, changed, affected)
                blocks = [*blocks[:before], one, *blocks[len(blocks) - after :]]
        arranged[stack] = blocks
    with in_place_of(transformer, arranged, window, of):
        yield


def takes_skip(layers: Sequence[nn.Module]) -> list[bool]:
    """Which layers are handed an earlier layer's output as well (the upper half of the U-shaped HunyuanDiT)."""
    return [getattr(layer, "skip_linear", None) is not None for layer in layers]


def without_text(layers: Sequence[nn.Module]) -> list[int]:
    """The layers that return no text stream (SD3's last block), so that no other layer can follow them."""
    return [index for index, layer in enumerate(layers) if getattr(layer, "context_pre_only", False)]
