"""What each layer adds on average: a vector that can stand in for a layer that is left out.

    with record_means(pipe.transformer, of=4) as means:
        pipe(prompts, num_inference_steps=4)
    with layer_order(pipe.transformer, {"transformer_blocks": [0, 1, 5, 6]}, means=means, of=4):
        pipe(others, num_inference_steps=4)

Where a layer is skipped, those behind it lack what it found in *this* picture, and they are given vectors from another
place than they were trained on. With its mean update they lack the first only. After the mean residuals of
DiT-BlockSkip (arXiv 2603.20755).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from painters_utils.errors import InputError

from .blocks import StandIn, named_inputs, named_streams
from .orders import Order
from .stacks import find_stacks, in_place_of
from .streams import first_of, same_halves


@dataclass
class Means:
    """The mean update of each layer: `vectors[stack][layer][stream]` is (steps, halves, D), None where a stream ends.

    Streams are named after the blocks' inputs ("hidden_states": the image, or all tokens). `halves` is 2 where the
    pipeline joins the unconditional and the conditional prompt in one batch: each half has a mean of its own.
    """

    model: tuple[str, int]  # class and number of parameters
    steps: int
    pictures: int = 0  # they are averaged over these, and over all tokens of a stream
    vectors: dict[str, list[dict[str, Tensor | None]]] = field(default_factory=dict)


@contextmanager
def record_means(transformer: nn.Module, of: int) -> Iterator[Means]:
    """Average what each of the model's own layers adds while pictures are painted; there once the context has closed.

    `of`: the denoising steps of a call; for pipelines that call the transformer once a step. Use prompts that are not
    scored. Whether a batch is guided, that is [unconditional, conditional] halves, its latents tell. `InputError` for a
    number of steps that is none, for calls of another number, and for guided and unguided ones together.
    """
    if type(of) is not int or of < 1:
        raise InputError(f"of {of!r} does not say how many steps a call has: give a whole number above 0")
    means = Means(model_of(transformer), of)
    taps = {stack: [Adder(block, of) for block in blocks] for stack, blocks in find_stacks(transformer).items()}
    every = [tap for some in taps.values() for tap in some]
    halves = set()

    def begin(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        inputs = signature(type(module).forward).bind_partial(module, *args, **kwargs).arguments
        halves.add(1 + same_halves(first_of(inputs, ("hidden_states", "x"))))
        if len(halves) > 1:
            raise InputError("some calls were guided and some were not: record the means of each on its own")
        for tap in every:
            tap.halves = max(halves)

    hook = transformer.register_forward_pre_hook(begin, with_kwargs=True)
    try:
        with in_place_of(transformer, taps):
            yield means
    finally:
        hook.remove()
    if any(tap.runs == 0 or tap.runs % of for tap in every):
        raise InputError(f"{every[0].runs} forward passes are no whole calls of {of} steps: paint, with as many steps")
    means.pictures = every[0].seen // of
    means.vectors = {stack: [tap.means() for tap in some] for stack, some in taps.items()}


class Adder(StandIn):
    """A block that adds up its updates: for each stream and step, over pictures and tokens."""

    def __init__(self, block: nn.Module, of: int) -> None:
        super().__init__([block])
        self.of, self.halves, self.runs, self.seen = of, 1, 0, 0
        self.sums: dict[str, list[Any]] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.blocks[0](*args, **kwargs)
        given = named_inputs(self, args, kwargs)
        for name, part in named_streams(output, given).items():
            sums = self.sums.setdefault(name, [0] * self.of)
            if part is None:
                sums[self.runs % self.of] = None
            else:
                added = (part.detach() - given[name].detach()).float().mean(1)  # (B, D)
                sums[self.runs % self.of] += added.unflatten(0, (self.halves, -1)).sum(1)
                batch = len(part) // self.halves
        self.runs += 1
        self.seen += batch
        return output

    def means(self) -> dict[str, Tensor | None]:
        pictures = self.seen // self.of
        return {name: None if sums[0] is None else torch.stack(sums) / pictures for name, sums in self.sums.items()}


def model_of(transformer: nn.Module) -> tuple[str, int]:
    """What means must have in common with the model that they are used on."""
    return type(transformer).__name__, sum(parameter.numel() for parameter in transformer.parameters())


def check_means(means: Means, transformer: nn.Module, stack: str, order: Order, of: int | None) -> None:
    """Raise `InputError` unless the means are of such a model, of calls of `of` steps, and the order only skips."""
    if means.model != model_of(transformer):
        (kind, size), (own, own_size) = means.model, model_of(transformer)
        raise InputError(
            f"means of {kind}, {size} parameters, do not fit {own}, {own_size} parameters: record them on this model"
        )
    if not means.vectors:
        raise InputError("these means are of no picture: paint some inside `record_means`, and close it")
    if of != means.steps:
        raise InputError(
            f"means of calls of {means.steps} steps, but of is {of!r}: give of={means.steps}, or record anew"
        )
    if any(isinstance(step, list) for step in order) or order != sorted(set(order)):
        raise InputError(f"means stand in for layers that are left out: the order of {stack} does more than that")
