"""Charts of the page, drawn from numbers as SVG: in the page's colours, with every number under the pointer."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from painters_utils.engine.describe import short
from painters_utils.measure.ranks import spearman

from .facts import percent, typeset

WIDTH, HEIGHT = 420, 250  # px of a line chart: it fits a phone almost unshrunk
LEFT, RIGHT, TOP, BOTTOM = 44, 104, 12, 40
LINE = 13  # px from one label to the next
HEAT, EDGE = 300, 30  # px: the side of a heat map, and its margin for numbers


@dataclass(frozen=True)
class Line:
    """A line of a chart: points (x, y, what is said of it) and what it is called."""

    name: str
    colour: str
    points: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Axis:
    """An axis: what it shows, from where to where, and the marks along it with their words."""

    label: str
    low: float
    high: float
    ticks: Mapping[float, str]
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value stands, 0 to 1; what lies outside stands at the end."""
        low, high, value = (np.log(number) if self.log else number for number in (self.low, self.high, value))
        return float(np.clip((value - low) / (high - low), 0, 1))


def log_axis(label: str, values: Sequence[float], ticks: Sequence[float] | None = None) -> Axis:
    """A logarithmic axis as long as its values need; marks at 1, 2 and 5 of each power of ten, or at `ticks`."""
    low, high = min(values) * 0.9, max(values) * 1.1
    steps = [10.0**power * step for power in range(-6, 9) for step in (1, 2, 5)] if ticks is None else ticks
    if ticks is None:
        low, high = max(step for step in steps if step <= low), min(step for step in steps if step >= high)
    return Axis(label, low, high, {tick: f"{tick:g}" for tick in steps if low <= tick <= high}, log=True)


def line_chart(lines: Sequence[Line], title: str, across: Axis, up: Axis, shaded: float | None = None) -> Markup:
    """Lines, each named at its end; below `shaded` the ground is tinted."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    x, y = places(across, up)
    parts = []
    if shaded is not None:
        parts.append(f'<rect x="{LEFT}" y="{y(shaded):.1f}" width="{wide}" height="{TOP + high - y(shaded):.1f}" '
                     'class="shaded"/>')  # fmt: skip
    parts += frame(across, up)
    ends = spread([y(line.points[-1][1]) for line in lines])
    for line, end in zip(lines, ends, strict=True):
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value, _ in line.points)
        dots = "".join(f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="4"><title>{escape(said)}</title></circle>'
                       for at, value, said in line.points)  # fmt: skip
        last, edge = x(line.points[-1][0]), LEFT + wide
        parts.append(
            f'<g style="--colour:{line.colour}"><polyline points="{path}"/>{dots}'
            f'<line x1="{last + 5:.1f}" y1="{y(line.points[-1][1]):.1f}" x2="{edge + 8}" y2="{end:.1f}" '
            f'class="leader"/>{label(edge + 11, end + 4, line.name, "start")}</g>'
        )
    return svg(parts, WIDTH, HEIGHT, title, "lines")


def dot_chart(groups: Sequence[Line], title: str, across: Axis, up: Axis) -> Markup:
    """Dots that no line joins, a colour for each group; their names stand beside the chart."""
    x, y = places(across, up)
    parts = frame(across, up)
    for number, group in enumerate(groups):
        dots = "".join(f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="4"><title>{escape(said)}</title></circle>'
                       for at, value, said in group.points)  # fmt: skip
        top = TOP + 6 + 18 * number
        words = label(WIDTH - RIGHT + 23, top + 4, group.name, "start")
        named = f'<circle cx="{WIDTH - RIGHT + 14}" cy="{top}" r="4"/>{words}'
        parts.append(f'<g style="--colour:{group.colour}">{dots}{named if len(groups) > 1 else ""}</g>')
    return svg(parts, WIDTH, HEIGHT, title, "lines")


def places(across: Axis, up: Axis) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Where values stand in a chart: px from the left, and px from the top."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return lambda value: LEFT + across.at(value) * wide, lambda value: TOP + (1 - up.at(value)) * high


def frame(across: Axis, up: Axis) -> list[str]:
    """A chart's axes: ticks with their words, lines at the heights that are told, and what is shown."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    x, y = places(across, up)
    parts = [label(x(tick), HEIGHT - BOTTOM + 16, words, "middle") for tick, words in across.ticks.items()]
    for tick, words in up.ticks.items():
        parts.append(label(LEFT - 6, y(tick) + 4, words, "end"))
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + wide}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" class="grid"/>')
    parts.append(label(LEFT + wide / 2, HEIGHT - 6, across.label, "middle"))
    return [*parts, f'<g transform="rotate(-90)">{label(-(TOP + high / 2), 11, up.label, "middle")}</g>']


def spread(heights: Sequence[float]) -> list[float]:
    """Heights for labels near `heights`, LINE apart at least and all inside the chart."""
    order, found = np.argsort(heights), np.zeros(len(heights))
    low = TOP + 4.0
    for rank, index in enumerate(order):
        room = HEIGHT - BOTTOM - LINE * (len(heights) - 1 - rank)
        found[index] = low = min(max(heights[index], low), room)
        low += LINE
    return found.tolist()


def heat_map(matrix: Sequence[Sequence[float]], bands: Mapping[str, Sequence[int]], name: str) -> Markup:
    """A similarity matrix, one point of colour a pair of layers, with its bands; page.js says the value under a finger.

    Colours run from the lowest value to 1.
    """
    values = np.asarray(matrix)
    depth, low = len(values), float(values.min())
    levels = np.rint(255 * (values - low) / max(1 - low, 1e-9)).clip(0, 255).astype(np.uint8)
    colours = (mpl.colormaps["viridis"](levels)[..., :3] * 255).round().astype(np.uint8)
    side = HEAT / depth
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, format="png", optimize=True)
    picture = base64.b64encode(buffer.getvalue()).decode()
    parts = [f'<image href="data:image/png;base64,{picture}" x="{EDGE}" y="0" width="{HEAT}" height="{HEAT}"/>']
    for layer in range(0, depth, 5 if depth > 8 else 1):
        at = (layer + 0.5) * side
        parts += [label(EDGE + at, HEAT + 15, str(layer), "middle"), label(EDGE - 5, at + 4, str(layer), "end")]
    for band, (first, last) in bands.items() if len(bands) > 1 else ():
        start, wide = first * side, (last - first + 1) * side
        parts.append(f'<rect x="{EDGE + start:.1f}" y="{start:.1f}" width="{wide:.1f}" height="{wide:.1f}" '
                     f'class="band"><title>{escape(band)} band: layers {first}–{last}</title></rect>')  # fmt: skip
    parts.append(label(EDGE + HEAT / 2, HEAT + 32, "layer", "middle"))
    listed = ", ".join(f"{band} {first}–{last}" for band, (first, last) in bands.items())
    alike = values[~np.eye(depth, dtype=bool)].mean()
    title = f"Heat map of how alike the {depth} layers of {name} are: {alike:.2f} on average, {low:.2f} at least"
    title += f". Bands: {listed}."
    data = base64.b64encode(levels.tobytes()).decode()
    more = f' data-levels="{data}" data-depth="{depth}" data-low="{low:.3f}" data-edge="{EDGE}" data-side="{HEAT}"'
    return svg(parts, EDGE + HEAT + 4, HEAT + 38, title, "heat", more)


def label(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(parts: Sequence[str], width: float, height: float, title: str, kind: str, more: str = "") -> Markup:
    return Markup(
        f'<svg class="{kind}" role="img" aria-label="{escape(title)}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}"{more}>{"".join(parts)}</svg>'
    )


def sweep_charts(
    rows: Sequence[Mapping], titles: Mapping[str, str], colours: Mapping[str, str], shaded: float
) -> list[Markup]:
    """What a model's strategies keep as ever more of a stack's middle is changed: a chart for each of its stacks."""
    charts = []
    quarters = (0, 0.25, 0.5, 0.75, 1)
    up = Axis("% of the score kept", -0.2, 1.1, {tick: f"{100 * tick:.0f}" for tick in quarters})
    for stack in dict.fromkeys(row["stack"] for row in rows):
        lines = []
        for strategy in dict.fromkeys(row["strategy"] for row in rows if row["stack"] == stack):
            of = [row for row in rows if row["stack"] == stack and row["strategy"] == strategy]
            points = [(0.0, 1.0, "nothing changed: 100 %")]
            points += [(row["share"], row["kept"], f"{row['name']}: {percent(row)} of the score") for row in of]
            lines.append(Line(titles[strategy], colours[strategy], points))
        told = typeset("; ".join(f"{line.name} {100 * line.points[-1][1]:.0f} %" for line in lines))
        title = f"{short(stack)}: share of the score kept as ever more layers change. At the largest share: {told}."
        name = f"share of the {short(stack)} layers changed"
        charts.append(
            line_chart(lines, title, Axis(name, 0, 1, {tick: f"{100 * tick:.0f} %" for tick in quarters}), up, shaded)
        )
    return charts


def worth_chart(found: Mapping) -> Markup:
    """What `workflow.worth` has found of a model: each layer's velocity error and the score lost without it."""
    layers, measure = pd.DataFrame(**found["layers"]), "velocity error, second step"
    colours = dict(zip(layers["stack"].unique(), ("#0072B2", "#D55E00", "#009E73"), strict=False))
    groups = [
        Line(short(stack), colours[stack], [
            (row[measure], row["score lost"],
             typeset(f"layer {row['layer']}: velocity error {row[measure]:.2g}, score lost "
                     f"{round(100 * row['score lost'])} %"))
            for row in some.to_dict("records")
        ])
        for stack, some in layers.groupby("stack", sort=False)
    ]  # fmt: skip
    values, most = layers[measure].tolist(), max(0.1, float(layers["score lost"].max()))
    up = Axis("% of the score lost", min(-0.05, float(layers["score lost"].min())), most, shares(most))
    ticks = [step * 10.0**power for power in range(-6, 3) for step in (1, 3)]
    across = log_axis("velocity error ‖v′ − v‖² / ‖v‖², logarithmic", values, ticks)
    told = spearman(layers[measure].to_numpy(), layers["score lost"].to_numpy())
    title = f"Score lost without each of {len(layers)} layers against its velocity error; rank correlation {told:.2f}."
    return dot_chart(groups, title, across, up)


def fewer_chart(found: Mapping) -> Markup:
    """What `workflow.fewer` has found of a model: the score kept as ever more layers are left out, a line a ranking."""
    rows, colours = found["chosen among"], ("#0072B2", "#009E73", "#E69F00")
    named = {"velocity error, each alone": "each alone", "velocity error, one after the other": "in turn",
             "score lost, each alone": "by the score"}  # fmt: skip
    lines = []
    for ranking, colour in zip(dict.fromkeys(row["by"] for row in rows), colours, strict=False):
        points = [(0.0, 1.0, "nothing left out: 100 %")]
        points += [(row["share"], row["kept"]["mean"],
                    f"{row['left out']} layers left out: {100 * row['kept']['mean']:.0f} % of the score")
                   for row in rows if row["by"] == ranking]  # fmt: skip
        lines.append(Line(named.get(ranking, ranking), colour, points))
    told = "; ".join(f"{line.name} {100 * line.points[-1][1]:.0f} %" for line in lines)
    least = min(value for line in lines for _, value, _ in line.points)
    most = max(share for line in lines for share, _, _ in line.points)
    across = Axis("% of all layers left out", 0, most, shares(most))
    up = Axis("% of the score kept", min(0.5, least), 1.05, {tick: f"{100 * tick:.0f}" for tick in (0.6, 0.8, 1)})
    return line_chart(lines, f"Score kept with the most layers left out: {told}.", across, up)


def shares(most: float) -> dict[float, str]:
    """Marks along an axis of shares up to `most`: every fifth or tenth per cent, in per cent."""
    step = 0.05 if most <= 0.3 else 0.1 if most <= 0.6 else 0.2
    return {round(step * n, 2): f"{100 * step * n:.0f}" for n in range(int(most / step) + 1)}


def interval_plot(outcome: Mapping) -> Markup:
    """A claim's part as a picture: the interval, the claimed side tinted, from −1 to 1 or as far as the numbers go."""
    numbers = [outcome[end] for end in ("low", "high", "threshold")]
    low, high = min([*numbers, 0.0]), max([*numbers, 1.0 if min(numbers) >= 0 else 0.2])
    pad = 0.05 * (high - low)
    at = lambda value: 160 * (value - low + pad) / (high - low + 2 * pad)  # noqa: E731
    limit = at(outcome["threshold"])
    place = "start" if limit < 20 else "end" if limit > 140 else "middle"
    start, wide = (limit, 160 - limit) if outcome["side"] == "above" else (0, limit)
    ends = f"M{at(outcome['low']):.1f} 8H{at(outcome['high']):.1f}"
    threshold = outcome["threshold"] * (100 if outcome["unit"] else 1)
    words = label(limit, 27, typeset(f"{threshold:g}" + " %" * (outcome["unit"] == "%")), place)
    return Markup(  # hundreds of these are on the page, each beside its numbers in words
        f'<svg class="interval" aria-hidden="true" width="160" height="30"><path class="claimed" '
        f'd="M{start:.1f} 0h{wide:.1f}v16H{start:.1f}z"/><path class="limit" d="M{limit:.1f} 0v16"/>'
        f'<path class="range" d="{ends}"/><circle cx="{at(outcome["mean"]):.1f}" cy="8" r="4"/>{words}</svg>'
    )
