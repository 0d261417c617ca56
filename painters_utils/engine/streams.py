"""Which part of a block's output is the image, which the text, told from one run through the blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from painters_utils.errors import InputError

from .blocks import INPUTS

# Blocks as they ran, each with a `place` (stack, position), their inputs by name and their outputs.
Taken = Sequence[tuple[Any, dict[str, Any], Any]]


def first_of(inputs: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of these arguments that was given."""
    return next((inputs[name] for name in names if inputs.get(name) is not None), None)


def same(one: Any, other: Any) -> bool:
    """Whether two latents, tensors or lists of tensors, are equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    both_lists = isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other)
    return both_lists and all(same(*pair) for pair in zip(one, other, strict=True))


def same_halves(latents: Any) -> bool:
    """Whether a batch holds the same latents twice."""
    middle, odd = divmod(len(latents), 2)
    return not odd and same(latents[:middle], latents[middle:])


def elements(output: Any) -> Sequence[Any]:
    return output if isinstance(output, tuple | list) else (output,)


def holds_tokens(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 3  # (B, N, D)


def stream_names(taken: Taken) -> list[dict[int, str]]:
    """Which element of each block's output is which stream, from one run through the blocks: {element: stream}.

    FLUX and SD3 blocks return (text, image), others (image, text). What a block returns the next one is given, so the
    very same tensor tells by the name under which it is passed. Where none is passed on (the last block, or something
    was done to it in between), the number of tokens tells, else the place it has in the other blocks.
    """
    names: list[dict[int, str] | None] = []
    for (_, inputs, output), (_, following, _) in zip(taken, [*taken[1:], (None, {}, None)], strict=True):
        tensors = {index: part for index, part in enumerate(elements(output)) if holds_tokens(part)}
        names.append(tell_streams(tensors, inputs, following))
    pairs = [named for named in names if named and len(named) == 2]
    if None in names and not pairs:
        stack, position = taken[names.index(None)][0].place
        raise InputError(f"cannot tell text from image in {stack} {position}: use unequal numbers of tokens")
    return [pairs[0] if named is None else named for named in names]


def apart(taken: Taken, names: list[dict[int, str]]) -> list[dict[int, str]]:
    """The same names, but those of each stack its own where one name stands for other tokens in other stacks."""
    shapes: dict[str, dict[str, tuple]] = {}
    for (tap, _, output), named in zip(taken, names, strict=True):
        for element, name in named.items():
            shapes.setdefault(name, {}).setdefault(tap.place[0], tuple(elements(output)[element].shape[1:]))
    mixed = {name for name, of in shapes.items() if len(set(of.values())) > 1}
    return [
        {element: tap.place[0] if name in mixed else name for element, name in named.items()}
        for (tap, _, _), named in zip(taken, names, strict=True)
    ]


def tell_streams(
    tensors: dict[int, Tensor], inputs: dict[str, Any], following: dict[str, Any]
) -> dict[int, str] | None:
    """The streams of one output; None if they cannot be told apart."""
    if len(tensors) < 2:  # cross-attention blocks read the text and return the image; others get both in one tensor
        name = "image" if holds_tokens(inputs.get("encoder_hidden_states")) else "joint"
        return {index: name for index in tensors}
    first, second = list(tensors)[:2]
    for text, image in ((first, second), (second, first)):
        if following.get("encoder_hidden_states") is tensors[text] or following.get("hidden_states") is tensors[image]:
            return {image: "image", text: "text"}
    given = [inputs[name].shape[1] if holds_tokens(inputs.get(name)) else 0 for name in INPUTS]
    for text, image in ((first, second), (second, first)):
        if given[0] != given[1] and [tensors[image].shape[1], tensors[text].shape[1]] == given:
            return {image: "image", text: "text"}
    return None
