"""Line drawings as SVG: small, sharp at any size, in the page's colours on the page and in daylight's elsewhere."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import groupby

from painters_utils.engine.describe import describe, short
from painters_utils.engine.orders import Order

TILE, PITCH = 22, 26  # px: a layer, and from one layer to the next
WIDE = 900  # px that a page has; a longer order has smaller tiles
TALL = 8  # layers of a group above each other; more stand in further columns
LOOPS = 3  # of a group that are drawn one by one
SAID = 2  # columns that the number of more loops takes
LETTER = 6.4  # px that a letter takes, at most
COLOURS = {"ink": "#22252b", "soft": "#5f6570", "accent": "#0b5fa5", "second": "#b8640a"}


@dataclass(frozen=True)
class Drawing:
    """An SVG element, its size in pixels, and what it shows in words; notebooks and templates show it as it is."""

    svg: str
    width: int
    height: int
    alt: str

    def __html__(self) -> str:
        return self.svg

    _repr_html_ = __html__


def order_svg(orders: Mapping[str, Order], depth: int) -> Drawing:
    """Which layer runs when, in a stack of `depth`: a row for each order, under its name, which may be "".

    Time runs from left to right. Layers that run in parallel share a frame. The later a layer stands in the stack, the
    darker its tile. A group that runs more than LOOPS times over is drawn once, with the number of times behind it.
    """
    steps = {name: times_over(order) for name, order in orders.items()}
    longest = max(sum(len(columns) + SAID * (times > 1) for columns, times in row) for row in steps.values())
    left = max(LETTER * len(name) + 12 if name else 4 for name in orders)
    pitch = round(min(PITCH, (WIDE - left) / longest), 1)
    side = round(pitch * TILE / PITCH, 1)
    edge = (pitch - side) / 2
    names, frames, numbers, top = [], [], [], 4.0
    tiles: dict[int, str] = {}  # of each layer, one path of thick strokes: its tiles have one shade
    for name, row in steps.items():
        tallest, x = max(len(columns[0]) for columns, _ in row), left
        names.append(text(4, top + tallest * pitch / 2 - 2, name) if name else "")
        for columns, times in row:
            first = top + (tallest - len(columns[0])) * pitch / 2
            if len(columns[0]) > 1:
                frames.append(tile(x - edge, first - edge, pitch * len(columns), pitch * len(columns[0])))
            for column in columns:
                for y, layer in ((first + pitch * down, layer) for down, layer in enumerate(column)):
                    tiles[layer] = tiles.get(layer, "") + f"M{x:g} {round(y + side / 2, 1):g}h{side:g}"
                    numbers.append(text(round(x + side / 2, 1), round(y + side / 2, 1), layer))
                x += pitch
            if times > 1:
                names.append(text(x + 4, top + tallest * pitch / 2 - 2, f"× {times}"))
                x += SAID * pitch
        top += pitch * tallest + 4
    # The darkest is so light that its number can be read.
    shades = [f'<path stroke-opacity="{0.06 + 0.44 * layer / max(depth - 1, 1):.2f}" d="{path}"/>'
              for layer, path in sorted(tiles.items())]  # fmt: skip
    parts = (
        group(names, "fill", "ink", 'font-size="12" dominant-baseline="central"'),
        group(frames, "stroke", "soft", 'fill="none"'),
        group(shades, "stroke", "accent", f'stroke-width="{side:g}"'),
        group(
            numbers,
            "fill",
            "ink",
            f'font-size="{min(0.6 * side, 11):g}" text-anchor="middle" dominant-baseline="central"',
        ),
    )
    alt = "; ".join(f"{name}: {describe(order, depth)}".removeprefix(": ") for name, order in orders.items())
    return drawing(parts, left + pitch * longest + 2, top, alt)


def times_over(order: Order) -> list[tuple[list[list[int]], int]]:
    """An order's steps as columns of layers, and how often each runs one after the other if that is not drawn out."""
    row: list[tuple[list[list[int]], int]] = []
    for step, same in groupby(order):
        columns, times = columns_of(step), len(list(same))
        row += [(columns, times)] if isinstance(step, list) and times > LOOPS else [(columns, 1)] * times
    return row


def columns_of(step: int | list[int]) -> list[list[int]]:
    """A step's layers from top to bottom, in as many columns as keep a large group low."""
    layers = step if isinstance(step, list) else [step]
    return [layers[start : start + TALL] for start in range(0, len(layers), TALL)]


def stacks_svg(stacks: Mapping[str, int]) -> Drawing:
    """A model's stacks (name → depth) as they run, a mark for each layer and a number at every fifth."""
    left, parts = 4, []
    for count, (stack, depth) in enumerate(stacks.items()):
        marks = [tile(left + 10 * layer, 18, 8, 26) for layer in range(depth)]
        told = [layer for layer in range(depth) if layer == depth - 1 or layer % 5 == 0 and layer < depth - 2]
        parts += [
            group(marks, "fill", "second" if count else "accent"),
            group([text(left, 12, f"{short(stack)} · {depth}")], "fill", "ink", 'font-size="12"'),
            group([text(left + 10 * layer + 4, 56, layer) for layer in told], "fill", "soft",
                  'font-size="9" text-anchor="middle"'),
        ]  # fmt: skip
        left += max(10 * depth, 60) + 26  # at least as wide as its name
    alt = ", then ".join(f"{depth} layers in {stack}" for stack, depth in stacks.items())
    return drawing(parts, left, 60, alt)


def tile(x: float, y: float, width: float, height: float) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3"/>'


def text(x: float, y: float, words: object) -> str:
    return f'<text x="{x:g}" y="{y:g}">{escape(str(words))}</text>'


def group(parts: Iterable[str], what: str, colour: str, more: str = "") -> str:
    """Elements with one colour for their `fill` or `stroke`: the page's if it has one of this name."""
    own = COLOURS[colour]
    return f'<g {what}="{own}" style="{what}:var(--{colour},{own})" {more}>{"".join(parts)}</g>'


def drawing(parts: Iterable[str], width: float, height: float, alt: str) -> Drawing:
    width, height = round(width), round(height)
    return Drawing(
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(alt)}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="system-ui, sans-serif">{"".join(parts)}</svg>',
        width,
        height,
        alt,
    )
