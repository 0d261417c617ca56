"""The experiments as orders: pure functions from a stack's depth and a band of its layers to an order.

A band is a JSON list `[first, last]`, both ends included. The experiments are those of "Transformer Layers as Painters"
(Sun et al., arXiv 2407.09298); the article "Extending Transformer Layers as Painters to DiT's" runs them on DiTs.
What a function cannot build it refuses with an `InputError`.
"""

import random
from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

from painters_utils.errors import InputError, unknown

from .orders import Order, not_a_list, shown

STRATEGIES: dict[str, Callable[..., Order]] = {}
TITLES: dict[str, str] = {}  # the strategies' names in people's words


def strategy(title: str) -> Callable[[Callable[..., Order]], Callable[..., Order]]:
    """Enter a function that builds an order into STRATEGIES, under its own name and with a title."""

    def enter(build: Callable[..., Order]) -> Callable[..., Order]:
        STRATEGIES[build.__name__], TITLES[build.__name__] = build, title
        return build

    return enter


@strategy("untouched")
def identity(depth: int) -> Order:
    """Every layer once, in order: the control that must equal the untouched model."""
    return list(range(check_whole("depth", depth, 1)))


@strategy("skip")
def skip(depth: int, band: list[int]) -> Order:
    """Leave the band out (paper: "Skip", are all the layers necessary?)."""
    before, layers, after = split(depth, band)
    if not before + after:
        raise InputError(f"band {band} is the whole stack and skipping it leaves no layer: give a shorter band")
    return before + after


@strategy("repeat")
def middle_repeat(depth: int, band: list[int], layer: int | None = None) -> Order:
    """One layer of the band in place of each (paper: "Middle Repeat", do the middle layers do the same function?).

    `layer` is the band's centre unless given; of two centres the lower one, as in the article (9 for 3–16).
    """
    before, layers, after = split(depth, band)
    if layer is None:
        layer = (band[0] + band[1]) // 2
    return before + [check_whole("layer", layer, *band)] * len(layers) + after


@strategy("reverse")
def reverse(depth: int, band: list[int]) -> Order:
    """The band backwards (paper: "Reverse", does the layer order matter?)."""
    before, layers, after = split(depth, band)
    return before + layers[::-1] + after


@strategy("random order")
def random_order(depth: int, band: list[int], seed: int = 0) -> Order:
    """The band shuffled by `random.Random(seed)` (paper: "Random Order", averaged over ten seeds).

    A draw that leaves the band as it was is drawn again. The paper does not do so, but in a band of two it would be
    every other one, and the untouched picture would be counted as a harmless change.
    """
    before, layers, after = split(depth, band)
    draw = random.Random(check_whole("seed", seed))
    shuffled = layers.copy()
    while shuffled == layers and len(layers) > 1:
        draw.shuffle(shuffled)
    return before + shuffled + after


@strategy("parallel")
def parallel(depth: int, band: list[int]) -> Order:
    """The band's layers side by side, their outputs averaged (paper: "Parallel", can layers run in parallel?)."""
    return looped_parallel(depth, band, loops=1)


@strategy("looped parallel")
def looped_parallel(depth: int, band: list[int], loops: int = 3) -> Order:
    """As `parallel`, fed back into itself `loops` times (paper: "Looped Parallel", three times)."""
    before, layers, after = split(depth, band)
    return before + [layers.copy() for _ in range(check_whole("loops", loops, 1))] + after


@strategy("without first")
def remove_first(depth: int, k: int) -> Order:
    """Leave out the first `k` layers."""
    return identity(depth)[check_whole("k", k, 0, depth - 1) :]


@strategy("without last")
def remove_last(depth: int, k: int) -> Order:
    """Leave out the last `k` layers."""
    return identity(depth)[: depth - check_whole("k", k, 0, depth - 1)]


@strategy("swap")
def swap_neighbours(depth: int, i: int) -> Order:
    """Layers `i` and `i + 1` change places."""
    check_whole("i", i, 0, check_whole("depth", depth, 2) - 2)
    order = identity(depth)
    order[i], order[i + 1] = order[i + 1], order[i]
    return order


def build_order(strategy: str, depth: int, band: list[int] | None = None, **options: Any) -> Order:
    """The order of a strategy given by name, for notebooks: `build_order("looped_parallel", 19, [3, 15], loops=3)`.

    `InputError` for an unknown strategy, for an option or a band it does not take, and for one that is missing.
    """
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    given = options if band is None else options | {"band": band}
    takes = {name: option for name, option in signature(STRATEGIES[strategy]).parameters.items() if name != "depth"}
    for name in (name for name in given if name not in takes):
        it_takes = f" (it takes {', '.join(takes)})" if takes else ""
        raise InputError(f"strategy {strategy!r} takes no {name}={shown(given[name])}: leave it out{it_takes}")
    for name, option in takes.items():
        if name not in given and option.default is Parameter.empty:
            remedy = "band=[first, last]" if name == "band" else f"{name}= a whole number"
            raise InputError(f"strategy {strategy!r} lacks its {name}: give {remedy}")
    return STRATEGIES[strategy](depth, **given)


def middle_band(depth: int, s: int) -> list[int]:
    """The paper's middle: layers i <= s and i >= depth - s are kept, the M = depth - 2 s - 1 between them are the band.

    With `s = 0` the band runs to the last layer. At least one layer must be left between.
    """
    check_whole("depth", depth, 2)
    check_whole("s", s, 0, (depth - 2) // 2)
    return [s + 1, depth - s - 1]


def split(depth: int, band: list[int]) -> tuple[Order, list[int], Order]:
    """The layers before, in and after a band; `InputError` unless it is `[first, last]` within `depth` layers."""
    check_whole("depth", depth, 1)
    if not isinstance(band, list):
        raise not_a_list("band", band, f"{depth} layers", "[7, 10]")
    if len(band) != 2:
        raise InputError(f"band {shown(band)} has {len(band)} entries: write it as [first, last], both included")
    first, last = (check_whole("band's layer", layer, 0, depth - 1) for layer in band)
    if first > last:
        raise InputError(f"band {band} ends before it begins: write [{last}, {first}]")
    return list(range(first)), list(range(first, last + 1)), list(range(last + 1, depth))


def check_whole(name: str, value: int, lowest: int | None = None, highest: int | None = None) -> int:
    """The value, if it is a plain int from `lowest` to `highest`; otherwise an `InputError` that names it."""
    least = "" if lowest is None else f", {lowest} or more"
    wanted = f"a whole number{least if highest is None else f' from {lowest} to {highest}'}"
    if type(value) is not int:  # True and 2.0 would pass for numbers too
        raise InputError(f"{name} {shown(value)} is not a plain int: give {wanted}")
    if (lowest is not None and value < lowest) or (highest is not None and value > highest):
        raise InputError(f"{name} {value} is out of range: give {wanted}")
    return value
