"""Guidance by a weaker self: paint away from what the model would do under another order of its layers.

v' = v + weight × (v − v_weak): where the full model and its weakened self disagree, go further in the full model's
direction. After autoguidance (Karras et al. 2024) and skip-layer guidance, whose weak self is the model without a few
middle layers; here it is the model under any order.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from math import isfinite
from typing import Any

from torch import Tensor, nn

from painters_utils.errors import InputError

from .orders import Order, shown, steps_window
from .rearrange import layer_order
from .stacks import get_stack


@contextmanager
def weaker_self(
    transformer: nn.Module, orders: Mapping[str, Order], weight: float, steps: Sequence[int] | None = None,
    of: int | None = None,
) -> Iterator[None]:  # fmt: skip
    """Let the transformer guide itself away from itself under `orders`; undone on exit, also on error.

    `weight`: how far, 0 not at all; negative, towards it. `steps`, [first, last] counted from 0: the denoising steps
    in which it does so, and `of` how many a call of the pipeline has; None: all. Each of them costs two forward passes.
    Where the pipeline has classifier-free guidance, both of its predictions are guided.

    `InputError`, before anything is changed, for an order that cannot run, one that changes nothing, a weight that is
    no number, and a window outside the call.
    """
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight):
        raise InputError(f"weight {shown(weight)} is no number: 1 doubles the difference to the weaker self")
    window = steps_window(steps, of)
    with layer_order(transformer, orders):  # checks the orders
        pass
    if all(order == list(range(len(get_stack(transformer, stack)))) for stack, order in orders.items()):
        raise InputError("these orders change nothing: the weaker self would be the model itself")
    passes = count()

    def guide(module: nn.Module, args: tuple, kwargs: Mapping[str, Any], output: Any) -> Any:
        step = next(passes) % (of or 1)
        if weight == 0 or window is not None and step not in window:
            return output
        with layer_order(module, orders):
            weak = module.forward(*args, **kwargs)  # not called, or it would guide itself once more
        return away(output, weak, weight)

    hook = transformer.register_forward_hook(guide, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def away(output: Any, weak: Any, weight: float) -> Any:
    """The first tensor of an output moved away from the weak one's; a diffusers output keeps its class."""
    if isinstance(output, Tensor):
        return output + weight * (output - weak)
    if isinstance(output, tuple):
        return away(output[0], weak[0], weight), *output[1:]
    return type(output)(sample=away(output.sample, weak.sample, weight))
