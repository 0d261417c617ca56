"""Run a transformer's layers in another order.

An *order* is a plain JSON list of the layer indices of one stack; an inner list is a *group* of layers that
run in parallel on the same input and are averaged: `[0, 1, [2, 3, 4], 5]`.

    with layer_order(pipe.transformer, {"transformer_blocks": [0, 2, 1, 3]}):
        picture = pipe("a red dog").images[0]
"""

import json
from ast import literal_eval
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, groupby

from torch import nn

from .blocks import OneStream, Parallel, Skipped, Summed
from .errors import InputError
from .stacks import get_stack, in_place_of, keeps_places

Order = list[int | list[int]]


# -- run ----------------------------------------------------------------------------------------------------


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
        layers = get_stack(transformer, stack)
        check_order(order, len(layers), stack, only_last=without_text(layers))
        check_pairs(order, takes_skip(layers), stack)
        blocks = [
            group([layers[index] for index in step]) if isinstance(step, list) else layers[step] for step in order
        ]
        if keeps_places(transformer):
            check_places(order, affected, transformer, stack)
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


def unchanged_ends(order: Order, depth: int) -> tuple[int, int]:
    """How many layers at the beginning and at the end of a stack an order leaves as they are."""
    usual, most = list(range(depth)), min(len(order), depth)
    before = next((i for i in range(most) if order[i] != usual[i]), most)
    after = next((i for i in range(most - before) if order[-1 - i] != usual[-1 - i]), most - before)
    return before, after


def steps_window(steps: Sequence[int] | None, of: int | None) -> range | None:
    """The steps of a call in which an order holds, None for all; `InputError` unless they lie within the call."""
    if steps is None:
        return None
    if type(of) is not int or of < 1:
        raise InputError(f"of {shown(of)} does not say how many steps a call has: give a whole number above 0")
    if not isinstance(steps, list) or len(steps) != 2 or any(type(step) is not int for step in steps):
        raise InputError(f"steps {shown(steps)} are no window: write [first, last], both included, from 0 to {of - 1}")
    if not 0 <= steps[0] <= steps[1] < of:
        raise InputError(f"steps {steps} do not lie within a call of {of} steps: choose from 0 to {of - 1}")
    return range(steps[0], steps[1] + 1)


def takes_skip(layers: Sequence[nn.Module]) -> list[bool]:
    """Which layers are handed an earlier layer's output as well (the upper half of the U-shaped HunyuanDiT)."""
    return [getattr(layer, "skip_linear", None) is not None for layer in layers]


def without_text(layers: Sequence[nn.Module]) -> list[int]:
    """The layers that return no text stream (SD3's last block), so that no other layer can follow them."""
    return [index for index, layer in enumerate(layers) if getattr(layer, "context_pre_only", False)]


# -- check --------------------------------------------------------------------------------------------------


def check_order(order: Order, depth: int, stack: str = "this stack", only_last: Collection[int] = ()) -> None:
    """Raise `InputError` unless `order` can run on a stack of `depth` layers.

    Layers may be left out and repeated. A group is a flat, non-empty list in which no layer stands twice, for that
    would only weight the average without saying so. `only_last` lists layers that may stand in the last position only.
    `stack` is the name used in the message.
    """
    if not isinstance(order, list):
        raise not_a_list("order", order, stack, "[0, 1, [2, 3], 4]")
    if not order:
        raise InputError(f"order [] of {stack} runs no layer: give at least one, from 0 to {depth - 1}")
    for position, step in enumerate(order):
        if not isinstance(step, list) and meant_list(step) is not None:
            raise not_a_list("group", step, stack, "[2, 3]")
        group = step if isinstance(step, list) else [step]
        if not group:
            raise InputError(f"group [] in the order of {stack} runs no layer: name its layers or take it out")
        for index in group:
            if isinstance(index, list | tuple):
                raise InputError(f"group {shown(group)} of {stack} holds another group: write one flat list of layers")
            check_index(index, depth, stack)
            if group.count(index) > 1:
                raise InputError(f"group {shown(group)} of {stack} holds layer {index} more than once: name it once")
            if index in only_last and position < len(order) - 1:
                raise InputError(
                    f"layer {index} of {stack} stands at position {position} of 0 to {len(order) - 1} but returns no "
                    "text stream for a next layer to read: put it last or leave it out"
                )


def check_pairs(order: Order, skips: Sequence[bool], stack: str) -> None:
    """Raise `InputError` if an order of a U-shaped stack breaks the pairs of layers that are joined across it.

    The pipeline hands each position of the upper half what a position of the lower half returned. So every position
    must keep one layer, and one of its own half.
    """
    if not any(skips):
        return
    if len(order) != len(skips) or any(isinstance(step, list) for step in order):
        raise InputError(
            f"{stack} is U-shaped, its upper layers are handed what lower ones returned: it cannot skip, add or "
            f"join layers; give {len(skips)} single ones"
        )
    for position, layer in enumerate(order):
        if skips[layer] != skips[position]:
            raise InputError(
                f"{stack} is U-shaped: layer {layer} cannot stand at position {position}, in the other half; keep "
                f"layers {skips.index(True)}–{len(skips) - 1} at the end, in any order"
            )


def check_places(order: Order, affected: str, transformer: nn.Module, stack: str) -> None:
    """Raise `InputError` unless an order only leaves layers out: in a stack whose positions differ none can move."""
    joined = any(isinstance(step, list) for step in order)
    if joined or order != sorted(set(order)) or affected != "both":
        raise InputError(
            f"{type(transformer).__name__} gives every position of {stack} something of its own, so that a layer "
            "elsewhere would run with another layer's: layers can be left out, not moved, repeated or joined"
        )


def check_index(index: int, depth: int, stack: str) -> None:
    """Raise `InputError` unless `index` is a plain int that counts one of `depth` layers."""
    if type(index) is not int:  # JSON knows no others: not True, not 2.0, not numpy's
        raise InputError(f"layer {shown(index)} of {stack} is not a plain int: write a whole number, 0 to {depth - 1}")
    if not 0 <= index < depth:
        raise InputError(f"layer {index} of {stack} does not exist: choose from 0 to {depth - 1}")


def not_a_list(kind: str, value: object, stack: str, example: str) -> InputError:
    """The error for an order, group or band which is no list; it says what the list would be where that is plain."""
    meant = meant_list(value)
    written = example if meant is None else shown(meant)
    such_as = " such as" if meant is None else ""
    return InputError(
        f"{kind} {shown(value)} of {stack} is a {type(value).__name__}: write it as a JSON list{such_as} {written}"
    )


def meant_list(value: object) -> list | None:
    """The list that a tuple, or the string papermill made of one, stands for: "(0, 1)" means [0, 1]."""
    try:
        value = literal_eval(value) if isinstance(value, str) else value
        return json.loads(json.dumps(value)) if isinstance(value, list | tuple) else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def shown(value: object) -> str:
    """A value on one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


# -- say ----------------------------------------------------------------------------------------------------


def describe(order: Order, depth: int) -> str:
    """What an order does to a stack of `depth` layers, in words: "layers 7–10 are skipped". `InputError` if it cannot.

    Says which layers are skipped, run several times, run in parallel, and where they do not run in ascending order.
    """
    check_order(order, depth)
    steps = [sorted(step) if isinstance(step, list) else [step] for step in order]
    loops = [(step, len(list(same))) for step, same in groupby(steps)]  # a step and how often it runs on end
    runs = Counter(chain.from_iterable(steps))

    facts = []
    if skipped := [layer for layer in range(depth) if layer not in runs]:
        facts.append(f"{named(skipped)} {'is' if len(skipped) == 1 else 'are'} skipped")

    told = {layer: times for step, times in loops if len(step) > 1 for layer in step}  # by the loop it runs in
    for times in sorted(set(runs.values()) - {1}):
        if often := [layer for layer in sorted(runs) if runs[layer] == times != told.get(layer)]:
            facts.append(f"{named(often)} {'is' if len(often) == 1 else 'are each'} run {times} times")

    for step, times in loops:
        if len(step) > 1:
            facts.append(f"{named(step)} run in parallel" + (f", {times} times over" if times > 1 else ""))

    for tangle in tangles([step for step, _ in loops]):
        layers = list(chain.from_iterable(tangle))
        if len(layers) > len(tangle) or layers != sorted(layers, reverse=True):
            facts.append(f"order changed: {', '.join(spelled(tangle))}")
        elif len(layers) == 2:
            facts.append(f"{named(sorted(layers))} change places")
        else:
            facts.append(f"{named(sorted(layers))} run in reverse order")

    return "; ".join(facts) or "every layer runs once, in order"


def tangles(steps: list[list[int]]) -> Iterator[list[list[int]]]:
    """The shortest stretches outside of which the layers ascend: cut wherever all before lies below all after."""
    start = 0
    for end in range(1, len(steps) + 1):
        if end == len(steps) or max(map(max, steps[start:end])) < min(map(min, steps[end:])):
            if end - start > 1:
                yield steps[start:end]
            start = end


def named(layers: list[int]) -> str:
    """`[7]` is "layer 7", `[3, 4]` "layers 3 and 4", `[3, 4, 5, 9]` "layers 3–5 and 9"."""
    *others, last = map(str, layers) if len(layers) == 2 else ranges(layers)
    listed = f"{', '.join(others)} and {last}" if others else last
    return f"layer {listed}" if len(layers) == 1 else f"layers {listed}"


def ranges(layers: list[int]) -> list[str]:
    """Layers that count up by one drawn together: `[3, 4, 5, 9]` is "3–5", "9"."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return [f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]


def spelled(steps: list[list[int]]) -> Iterator[str]:
    """Steps in the order in which they run, groups in brackets: "5", "2–4", "[0–1]"."""
    for single, part in groupby(steps, key=lambda step: len(step) == 1):
        if single:
            yield from ranges([layer for [layer] in part])
        else:
            yield from (f"[{', '.join(ranges(step))}]" for step in part)
