"""Line drawings as inline SVG: sharp at any size, small, and in the page's own colours."""

from collections.abc import Mapping
from html import escape

from painters_utils.show.figures import short
from painters_utils.engine.orders import Order

TILE, GAP = 22, 4


def order_svg(order: Order, depth: int, label: str) -> str:
    """Which layer runs when: a tile a step from left to right, layers that run in parallel above each other.

    Tiles are numbered and shaded by the layer's number; `label` is the drawing's text for those who do not see it.
    """
    tallest = max(len(step) if isinstance(step, list) else 1 for step in order)
    height, width = tallest * (TILE + GAP) + GAP, len(order) * (TILE + GAP) + GAP
    tiles = []
    for position, step in enumerate(order):
        group = step if isinstance(step, list) else [step]
        top = (height - len(group) * (TILE + GAP) + GAP) / 2
        for row, layer in enumerate(group):
            x, y = GAP + position * (TILE + GAP), top + row * (TILE + GAP)
            shade = 0.15 + 0.85 * layer / max(depth - 1, 1)
            tiles.append(
                f'<g><rect x="{x}" y="{y:g}" width="{TILE}" height="{TILE}" rx="4" fill="var(--accent)" '
                f'fill-opacity="{shade:.2f}"/><text x="{x + TILE / 2:g}" y="{y + TILE / 2 + 4:g}" text-anchor="middle" '
                f'font-size="11" fill="{"var(--paper)" if shade > 0.55 else "var(--ink)"}">{layer}</text></g>'
            )
    return (
        f'<svg class="order" role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{"".join(tiles)}</svg>'
    )


def stacks_svg(stacks: Mapping[str, int], label: str) -> str:
    """A model's stacks as rows of ticks on one line, as wide as they are deep."""
    left, parts = 0, []
    for number, (stack, depth) in enumerate(stacks.items()):
        colour = "var(--accent)" if number == 0 else "var(--second)"
        for layer in range(depth):
            parts.append(f'<rect x="{left + 10 * layer}" y="18" width="8" height="26" rx="2" fill="{colour}"/>')
        parts.append(
            f'<text x="{left}" y="12" font-size="12" fill="var(--ink)">{escape(short(stack))} · {depth}</text>'
        )
        left += max(10 * depth, 60) + 26  # at least as wide as its label
    return (
        f'<svg class="stacks" role="img" aria-label="{escape(label)}" viewBox="0 0 {left} 46" '
        f'width="{left}" height="46">{"".join(parts)}</svg>'
    )
