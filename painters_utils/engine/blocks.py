"""What can stand in a stack beside its own blocks: layers that run in parallel, and the controls of the study.

Each is a module with the blocks' own call. The blocks are called, not copied, so compiled blocks run compiled.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from inspect import Parameter, signature
from typing import Any, cast

import torch
from torch import Tensor, nn

from painters_utils.errors import InputError

Output = Tensor | tuple[Tensor | None, ...] | None
INPUTS = ("hidden_states", "encoder_hidden_states")  # a block's first two parameters: image (or joint) and text


class StandIn(nn.Module):
    """A module in a block's place: attributes that it lacks are the block's (SD3's forward asks for some).

    `blocks` are those that it runs; the first is the one asked.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(cast(nn.ModuleList, super().__getattr__("blocks"))[0], name)


class Parallel(StandIn):
    """Run blocks on the same inputs and average what they return, stream by stream.

    After question 5 of "Transformer Layers as Painters", "Can we run the layers in parallel?". A group of one returns
    its block's output untouched.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Output:
        outputs = [block(*args, **kwargs) for block in self.blocks]
        return average(outputs) if len(outputs) > 1 else outputs[0]


class Summed(Parallel):
    """As `Parallel`, but the blocks' updates are added up: x + Σ (block(x) - x).

    The control for `Parallel`: averaging M blocks also shrinks what they add to 1/M of the sum.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Output:
        outputs = [block(*args, **kwargs) for block in self.blocks]
        if len(outputs) == 1:
            return outputs[0]
        return scale_update(average(outputs), named_inputs(self, args, kwargs), len(outputs))


class Scaled(StandIn):
    """Run blocks one after another, and scale what they add together: x + scale × (g(x) - x)."""

    def __init__(self, blocks: Sequence[nn.Module], scale: float) -> None:
        super().__init__(blocks)
        self.scale = scale

    def forward(self, *args: Any, **kwargs: Any) -> Output:
        given = named_inputs(self, args, kwargs)
        output, state = None, given
        for block in self.blocks:
            output = block(**state)
            state = given | named_streams(output, given)
        return scale_update(output, given, self.scale)


class MeanResidual(StandIn):
    """Add to what a block was given the block's mean update, in place of its own; the block does not run.

    `means`: for each stream that the block returns, in its order, (steps, halves, D), by the input's name; None for one
    that it lacks (`means.record_means`). `steps`: the denoising steps of the calls to come, without end.
    """

    def __init__(self, block: nn.Module, means: Mapping[str, Tensor | None], steps: Iterator[int]) -> None:
        super().__init__([block])
        self.means, self.steps = means, steps

    def forward(self, *args: Any, **kwargs: Any) -> Output:
        given, step = named_inputs(self, args, kwargs), next(self.steps)
        parts = tuple(
            None if mean is None else self.with_mean(given[name], mean[step]) for name, mean in self.means.items()
        )
        return parts if len(parts) > 1 else parts[0]

    def with_mean(self, part: Tensor, mean: Tensor) -> Tensor:
        each, odd = divmod(len(part), len(mean))
        if odd:
            raise InputError(f"a batch of {len(part)} has no halves, but the means are of guided ones: paint as then")
        return part + mean.to(part).repeat_interleave(each, 0)[:, None]


class Skipped(StandIn):
    """Return what a block was given, in the form in which it returns it: the block runs, and adds nothing.

    For stacks whose positions differ, where leaving a layer out would move those behind it (`stacks.keeps_places`).
    """

    def forward(self, *args: Any, **kwargs: Any) -> Output:
        output = self.blocks[0](*args, **kwargs)
        given = named_inputs(self, args, kwargs)
        if isinstance(output, Tensor):
            return given["hidden_states"]
        return tuple(given[name] for name in stream_of(output, given))


class OneStream(nn.Module):
    """Let a change of layers reach one stream only.

    Both the `usual` and the `changed` layers run from the same input to their end; the image (or text) comes from the
    changed ones, everything else from the usual ones. `affected` is "image" or "text".
    """

    def __init__(self, usual: Sequence[nn.Module], changed: Sequence[nn.Module], affected: str) -> None:
        super().__init__()
        self.usual, self.changed = nn.ModuleList(usual), nn.ModuleList(changed)
        self.affected = {"image": "hidden_states", "text": "encoder_hidden_states"}[affected]

    def forward(self, *args: Any, **kwargs: Any) -> Output:
        given = named_inputs((*self.usual, *self.changed)[0], args, kwargs)
        if not isinstance(given.get("encoder_hidden_states"), Tensor):
            raise InputError("these blocks take text and image in one tensor: both are affected or neither")
        names = None
        ends = []
        for blocks in (self.usual, self.changed):
            state = {name: given.get(name) for name in INPUTS}
            for block in blocks:
                output = block(**given | state)
                names = names or stream_of(output, given)
                state = dict(zip(names, output, strict=True))
            ends.append(state)
        usual, changed = ends
        mixed = usual | {self.affected: changed[self.affected]}
        # Both runs may be empty (a skipped band), so the order of the streams is asked of whichever ran.
        return tuple(mixed[name] for name in names or INPUTS[::-1])


def named_inputs(block: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a block, or the first block of a stand-in, is called with, by name; the first is always INPUTS[0]."""
    while isinstance(block, StandIn):
        block = block.blocks[0]
    return dict(zip(parameter_names(type(block).forward), args, strict=False)) | dict(kwargs)


@cache
def parameter_names(forward: Callable[..., Any]) -> tuple[str, ...]:
    """What the arguments of a class of blocks are called; one that takes anything is called as most blocks are."""
    _, first, *others = signature(forward).parameters.values()
    if first.kind is Parameter.VAR_POSITIONAL:
        return INPUTS
    return INPUTS[0], *(parameter.name for parameter in others)


def stream_of(output: tuple[Tensor | None, ...], given: Mapping[str, Any]) -> tuple[str, ...]:
    """Which element of a block's output continues which of its inputs, told by the number of tokens.

    FLUX, SD3 and AuraFlow return (text, image), others (image, text); a stream that has ended is None.
    """
    tokens = {name: given[name].shape[1] for name in INPUTS if isinstance(given.get(name), Tensor)}
    if len(set(tokens.values())) < len(tokens) or len(output) != 2:
        raise InputError("cannot tell text from image: use a picture size with another number of tokens than the text")
    names = [next((n for n, count in tokens.items() if part is not None and part.shape[1] == count), None)
             for part in output]  # fmt: skip
    missing = [name for name in INPUTS if name not in names]
    return tuple(name or missing.pop() for name in names)


def named_streams(output: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """A block's output by the names of the inputs that it continues; `given` is what the block was given."""
    if isinstance(output, Tensor):
        return {"hidden_states": output}
    return dict(zip(stream_of(output, given), output, strict=True))


def scale_update(output: Any, given: Mapping[str, Any], scale: float) -> Output:
    """x + scale × (output - x), stream by stream, in the form of the output; `given` holds x."""
    parts = tuple(
        None if part is None else given[name] + scale * (part - given[name])
        for name, part in named_streams(output, given).items()
    )
    return parts[0] if isinstance(output, Tensor) else parts


def average(outputs: Sequence[Any]) -> Any:
    """The mean of tensors of one shape, or of each stream of tuples of them; a stream that one lacks is None."""
    if any(output is None for output in outputs):
        return None
    if isinstance(outputs[0], Tensor):
        return torch.stack(list(outputs)).mean(0)  # sums in float32: adding up 30 layers in bfloat16 errs 8 times more
    return tuple(average(stream) for stream in zip(*outputs, strict=True))
