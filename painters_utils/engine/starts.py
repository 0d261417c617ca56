"""What a model's first layers make of an input, computed once.

Orders that change a late layer begin as the untouched model does. Where two orders are given one input (the noise of a
picture's first step, a scene at one noise level), the layers before the first change need not run again.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import named_inputs
from .stacks import find_stacks

MOST = 2**30  # bytes that are remembered, about


def remember_starts(transformer: nn.Module, most: int = MOST) -> nn.Module:
    """Let each block return what it returned before when it is given once more what it was given; returns the model.

    The blocks learn while the model is untouched, as long as `most` bytes are not full, and outside of training only.
    Results stay what they were to the bit: what is not computed again was computed in the same way.
    """
    stacks, room = find_stacks(transformer), [most]

    def learns() -> bool:
        return room[0] > 0 and not any(stack in vars(transformer) for stack in stacks)

    for blocks in stacks.values():
        for block in blocks:
            if "forward" not in vars(block):
                block.forward = _remembering(block, block.forward, learns, room)
    return transformer


def _remembering(
    block: nn.Module, forward: Callable[..., Any], learns: Callable[[], bool], room: list[int]
) -> Callable[..., Any]:
    """The block's forward with a memory."""
    seen: list[tuple[dict[str, Any], Any]] = []

    def remembered(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled():
            return forward(*args, **kwargs)
        given = named_inputs(block, args, kwargs)
        for known, output in seen:
            if _equal(known, given):
                return output
        output = forward(*args, **kwargs)
        if learns():
            seen.append((given, output))
            parts = output if isinstance(output, tuple) else (output,)
            room[0] -= sum(part.nbytes for part in parts if part is not None)
        return output

    return remembered


def _equal(one: Any, other: Any) -> bool:
    """Whether two inputs are equal, tensors by their values."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (one.dtype == other.dtype and torch.equal(one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)
