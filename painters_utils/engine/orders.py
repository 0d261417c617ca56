"""What an order is: a plain JSON list of the layer indices of one stack, and what makes one impossible.

An inner list is a *group* of layers that run in parallel on the same input and are averaged: `[0, 1, [2, 3, 4], 5]`.
Nothing here knows a model; `rearrange.py` runs an order on one.
"""

import json
from ast import literal_eval
from collections.abc import Collection, Sequence

from painters_utils.errors import InputError

Order = list[int | list[int]]


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
        if isinstance(layer, int) and skips[layer] != skips[position]:
            raise InputError(
                f"{stack} is U-shaped: layer {layer} cannot stand at position {position}, in the other half; keep "
                f"layers {skips.index(True)}–{len(skips) - 1} at the end, in any order"
            )


def check_places(order: Order, affected: str, kind: str, stack: str) -> None:
    """Raise `InputError` unless an order only leaves layers out: in a stack whose positions differ none can move."""
    joined = any(isinstance(step, list) for step in order)
    if joined or order != sorted(set(order)) or affected != "both":
        raise InputError(
            f"{kind} gives every position of {stack} something of its own, so that a layer "
            "elsewhere would run with another layer's: layers can be left out, not moved, repeated or joined"
        )


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


def check_index(index: int, depth: int, stack: str) -> None:
    """Raise `InputError` unless `index` is a plain int that counts one of `depth` layers."""
    if type(index) is not int:  # JSON knows no others: not True, not 2.0, not numpy's
        raise InputError(f"layer {shown(index)} of {stack} is not a plain int: write a whole number, 0 to {depth - 1}")
    if not 0 <= index < depth:
        raise InputError(f"layer {index} of {stack} does not exist: choose from 0 to {depth - 1}")


def unchanged_ends(order: Order, depth: int) -> tuple[int, int]:
    """How many layers at the beginning and at the end of a stack an order leaves as they are."""
    usual, most = list(range(depth)), min(len(order), depth)
    before = next((i for i in range(most) if order[i] != usual[i]), most)
    after = next((i for i in range(most - before) if order[-1 - i] != usual[-1 - i]), most - before)
    return before, after


def find_loops(order: Order) -> list[tuple[Order, int]]:
    """The order as pieces and how often each runs in a row: [0, 1, 2, 1, 2, 3] is 0 once, 1 and 2 twice, 3 once.

    Read from the left, the shortest loop first.
    """
    pieces, at = [], 0
    while at < len(order):
        piece, times = order[at : at + 1], 1
        for size in range(1, (len(order) - at) // 2 + 1):
            loop = order[at : at + size]
            if loop == order[at + size : at + 2 * size]:
                piece = loop
                while loop == order[at + times * size : at + (times + 1) * size]:
                    times += 1
                break
        pieces.append((piece, times))
        at += len(piece) * times
    return pieces


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
