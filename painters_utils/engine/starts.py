"""What a model's first layers make of an input, computed once.

Orders that change a late layer begin as the untouched model does. Where two orders are given one input (the noise of a
picture's first step, what a model is given at a later one, a scene at one noise level), the layers before the first
change need not run again.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from painters_utils.errors import InputError

from .blocks import named_inputs
from .stacks import find_stacks

MOST = 2**30  # bytes that are remembered, about


class Starts:
    """A memory of a model's blocks: while it is open, each returns what it returned before to what it was given before.

        with Starts(transformer):
            transformer(x)  # untouched: the blocks learn
            with layer_order(transformer, {"blocks": order}):
                transformer(x)  # only what comes after the first change is computed

    The blocks learn while the model is untouched, as long as `most` bytes are not full, and outside of training only.
    It can be closed and opened again, and still knows what it knew. Results stay what they were to the bit: what is not
    computed again was computed in the same way. `InputError` if it is opened twice at once.
    """

    def __init__(self, transformer: nn.Module, most: int = MOST) -> None:
        self.transformer, self.room, self.stacks = transformer, most, find_stacks(transformer)
        blocks: list[Any] = [block for stack in self.stacks.values() for block in stack]
        self.known: dict[Any, list[tuple[dict[str, Any], Any]]] = {block: [] for block in blocks}
        self.hidden: dict[Any, dict[str, Any]] = {}

    def __enter__(self) -> "Starts":
        if self.hidden:
            raise InputError("this memory of a model's blocks is open already: open it once")
        for block in self.known:
            self.hidden[block] = {name: value for name, value in vars(block).items() if name == "forward"}
            block.forward = partial(self._run, block, block.forward)
        return self

    def __exit__(self, *_: object) -> None:
        while self.hidden:
            block, hidden = self.hidden.popitem()
            del block.forward
            vars(block).update(hidden)

    def _run(self, block: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled():
            return forward(*args, **kwargs)
        given = named_inputs(block, args, kwargs)
        for known, output in self.known[block]:
            if _equal(known, given):
                return output
        output = forward(*args, **kwargs)
        if self.room > 0 and not any(stack in vars(self.transformer) for stack in self.stacks):
            self.known[block].append((given, output))
            parts = output if isinstance(output, tuple) else (output,)
            self.room -= sum(part.nbytes for part in parts if part is not None)
        return output


def _equal(one: Any, other: Any) -> bool:
    """Whether two inputs are equal, tensors by their values."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (one.dtype == other.dtype and torch.equal(one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)
