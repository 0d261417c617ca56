"""What an order does, in words, and stacks by the names that people give them."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain, groupby

from .orders import Order, check_order

SHORT = {
    "transformer_blocks": "MM-DiT",
    "joint_transformer_blocks": "MM-DiT",
    "single_transformer_blocks": "single",
}


def short(stack: str) -> str:
    """A stack's name as people say it: "MM-DiT", "single"."""
    return SHORT.get(stack, stack)


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
