"""Cheap measures of what each layer is worth, none of which paints a picture, and what they cost.

All but the denoising loss are taken on the way of a few prompts through the untouched model (`velocity.Trajectory`).
A table of measures has a column for each, and a row for each layer of each stack in turn.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from painters_utils.engine.blocks import named_inputs, named_streams
from painters_utils.engine.measures import compared
from painters_utils.engine.orders import Order
from painters_utils.engine.rearrange import layer_order, without_text
from painters_utils.engine.stacks import find_stacks

from .velocity import EARLY, Trajectory, final_latents, relative_square

Place = tuple[str, int]  # stack, layer
DRAWS = 4  # random directions of the backward pass


def places_of(transformer: nn.Module) -> list[Place]:
    """Every layer of every stack, in the order in which they run."""
    return [(stack, layer) for stack, blocks in find_stacks(transformer).items() for layer in range(len(blocks))]


@contextmanager
def counted(transformer: nn.Module) -> Iterator[list[int]]:
    """The pictures of every forward pass as long as the context is open; guidance in the same pass counts twice."""
    passes: list[int] = []

    def count(module: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> None:
        passes.append(len(args[0] if args else kwargs["hidden_states"]))

    hook = transformer.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield passes
    finally:
        hook.remove()


def without(transformer: nn.Module, *left_out: Place) -> dict[str, Order]:
    """The orders of all stacks without some layers."""
    return {
        stack: [layer for layer in range(len(blocks)) if (stack, layer) not in left_out]
        for stack, blocks in find_stacks(transformer).items()
        if any(place[0] == stack for place in left_out)
    }


def each_skipped(transformer: nn.Module, measure: Callable[[], np.ndarray]) -> np.ndarray:
    """(layers, …): a measure with each layer left out in turn."""
    found = []
    for place in places_of(transformer):
        with layer_order(transformer, without(transformer, place)):
            found.append(measure())
    return np.stack(found)


# -- on the way of the untouched model ------------------------------------------------------------------------


def velocity_errors(way: Trajectory) -> dict[str, np.ndarray]:
    """‖v' − v‖² / ‖v‖² without each layer, at the first, the second, the middle and the last step."""
    last = len(way.given) - 1
    steps = {"first": 0, "second": min(EARLY, last), "middle": (last + 1) // 2, "last": last}
    return {
        f"velocity error, {name} step": each_skipped(way.transformer, lambda step=step: way.error(step)).mean(1)
        for name, step in steps.items()
    }


def neighbours(way: Trajectory) -> dict[str, np.ndarray]:
    """The velocity error with each layer's place taken by a neighbour, and with neighbours interchanged.

    A layer is replaced by the one before it, the first by the second. Of its two interchanges the mean is taken; one
    that may only stand last has none (NaN).
    """

    def error(stack: str, order: Order) -> float:
        with layer_order(way.transformer, {stack: order}):
            return float(way.error(min(EARLY, len(way.given) - 1)).mean())

    replaced, interchanged = [], []
    for stack, blocks in find_stacks(way.transformer).items():
        usual, last_only = list(range(len(blocks))), without_text(blocks)
        for layer in usual:
            other = layer - 1 if layer else 1
            replaced.append(error(stack, [*usual[:layer], other, *usual[layer + 1 :]]))
        swaps = [
            error(stack, [*usual[:layer], layer + 1, layer, *usual[layer + 2 :]]) if layer + 1 not in last_only
            else np.nan for layer in usual[:-1]
        ]  # fmt: skip
        pairs = np.array([[np.nan, *swaps], [*swaps, np.nan]])
        interchanged += [float(pair[np.isfinite(pair)].mean()) if np.isfinite(pair).any() else np.nan
                         for pair in pairs.T]  # fmt: skip
    return {"velocity error, replaced by its neighbour": np.array(replaced),
            "velocity error, interchanged with its neighbours": np.array(interchanged)}  # fmt: skip


@contextmanager
def streams_taken(transformer: nn.Module) -> Iterator[list[dict[str, tuple[Tensor, Tensor]]]]:
    """What each layer is given and what it returns, stream by stream, layer after layer."""
    taken: list[dict[str, tuple[Tensor, Tensor]]] = []

    def take(block: nn.Module, args: tuple, kwargs: Mapping[str, Any], output: Any) -> None:
        given = named_inputs(block, args, kwargs)
        parts = named_streams(output, given)
        for part in parts.values():
            if part is not None and part.requires_grad:
                part.retain_grad()
        taken.append({name: (given[name], part) for name, part in parts.items() if part is not None})

    with ExitStack() as hooks:
        for blocks in find_stacks(transformer).values():
            for block in blocks:
                hooks.callback(block.register_forward_hook(take, with_kwargs=True).remove)
        yield taken


@torch.no_grad()
def from_in_to_out(way: Trajectory) -> dict[str, np.ndarray]:
    """How far each layer takes the picture's stream, from one pass at the second step."""
    with streams_taken(way.transformer) as taken:
        way.velocity(min(EARLY, len(way.given) - 1))
    rows = []
    for streams in taken:
        given, output = (side.float() for side in streams["hidden_states"])
        cosine = torch.cosine_similarity(given, output, dim=-1)  # (pictures, tokens)
        added = torch.linalg.vector_norm(output - given, dim=-1) / torch.linalg.vector_norm(given, dim=-1)
        cka = compared(torch.stack([given, output], 1), "linear CKA")[:, 0, 1].mean()
        angle = torch.arccos(cosine.clamp(-1, 1)).mean() / torch.pi
        rows.append((1 - cosine.mean(), angle, 1 - cka, added.mean()))
    names = ("1 − cosine of in and out", "angular distance of in and out", "1 − linear CKA of in and out",
             "length of the update, of what it is added to")  # fmt: skip
    return dict(zip(names, np.array(rows, float).T, strict=True))


def gradient_times_update(way: Trajectory) -> dict[str, np.ndarray]:
    """What the velocity error would be if the layers behind were linear, from backward passes at the second step.

    With random r, the mean of ⟨∂⟨r, v⟩ / ∂out, out − in⟩² is the squared length of the first-order change of v.
    """
    draw, squares = torch.Generator().manual_seed(0), []
    pictures = len(way.prompts)
    with torch.enable_grad(), streams_taken(way.transformer) as taken:
        found = way.velocity(min(EARLY, len(way.given) - 1))
    for _ in range(DRAWS):
        for streams in taken:
            for _, output in streams.values():
                output.grad = None
        direction = torch.randn(found.shape, generator=draw).to(found.device)
        (direction * found).sum().backward(retain_graph=True)
        changes = []
        for streams in taken:  # of each layer: what v would change by along r, guided halves together
            parts = [output.grad * (output - given) for given, output in streams.values() if output.grad is not None]
            changes.append(sum(part.detach().flatten(1).sum(1) for part in parts).reshape(-1, pictures).sum(0))
        squares.append(torch.stack(changes) ** 2)
    way.transformer.zero_grad(set_to_none=True)
    length = found.detach().flatten(1).square().sum(1)
    return {"gradient × update": (torch.stack(squares).mean(0) / length).mean(1).cpu().numpy()}


def final_deviation(pipe: Any, way: Trajectory) -> dict[str, np.ndarray]:
    """‖z' − z‖² / ‖z‖² of the final latents in half of the steps, without each layer."""
    call = dict(way.call) | {"num_inference_steps": max(1, way.call["num_inference_steps"] // 2)}
    own = final_latents(pipe, way.prompts, call)
    changed = each_skipped(pipe.transformer, lambda: relative_square(final_latents(pipe, way.prompts, call), own))
    return {"change of the final latents, half the steps": changed.mean(1)}


# -- on scenes ------------------------------------------------------------------------------------------------


def loss_rises(transformer: nn.Module, loss: Callable[[], np.ndarray]) -> dict[str, np.ndarray]:
    """The rise of the denoising loss without each layer; `loss` gives (levels, scenes), noisiest last."""
    own = loss().mean(1)
    rise = each_skipped(transformer, loss).mean(2) - own
    return {
        "denoising loss": rise.mean(1) / own.mean(),
        "denoising loss, each noise level in units of its own": (rise / own).mean(1),
        "denoising loss, noisiest level": rise[:, -1] / own[-1],
    }


def cheap_measures(
    pipe: Any, prompts: list[str], call: Mapping[str, Any], loss: Callable[[], np.ndarray]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """All measures, a column each, and how many forward passes of one picture each of them takes for all layers.

    A backward pass counts as two, and those of the untouched model's way are counted with whoever uses them. Of the
    measures of one group each has the passes of its own share.
    """
    transformer = pipe.transformer
    places = places_of(transformer)
    with counted(transformer) as passes:
        way = Trajectory(pipe, prompts, call)
    step = sum(passes) // (2 * len(way.given))  # it was painted, and then asked again
    to_second = step * (min(EARLY, len(way.given) - 1) + 1)
    groups: list[tuple[Callable[[], dict[str, np.ndarray]], int, float]] = [  # what, passes before it, passes of each
        (lambda: velocity_errors(way), to_second, 1 / 4),
        (lambda: neighbours(way), to_second, 1 / 2),
        (lambda: from_in_to_out(way), to_second, 1),
        (lambda: gradient_times_update(way), to_second + 2 * DRAWS * step, 1),
        (lambda: final_deviation(pipe, way), 0, 1),
        (lambda: loss_rises(transformer, loss), 0, 1),
    ]
    columns, cost = {}, {}
    for measure, before, share in groups:
        with counted(transformer) as passes:
            found = measure()
        columns |= found
        cost |= dict.fromkeys(found, before + round(share * sum(passes)))
    steps = [columns[name] for name in columns if name.startswith("velocity error") and name.endswith("step")]
    columns["velocity error, mean of four steps"] = np.mean(steps, axis=0)
    cost["velocity error, mean of four steps"] = step * len(way.given) + 4 * step * len(places)
    cost["denoising loss, noisiest level"] //= 5
    return pd.DataFrame(columns, index=pd.MultiIndex.from_tuples(places, names=["stack", "layer"])), cost
