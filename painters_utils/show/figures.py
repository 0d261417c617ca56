"""Figures: drawn in one style, shown with caption and alt text, and saved where the report finds them."""

import base64
import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, display
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
from PIL import Image
from scipy.cluster.hierarchy import dendrogram

from painters_utils.engine.bands import Bands
from painters_utils.models.catalog import ROOT
from painters_utils.engine.orders import Order
from painters_utils.models.pipelines import Picture

if TYPE_CHECKING:
    from miniworld.scenes import Scene

# Okabe & Ito's colours: told apart by the colour-blind too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8a8f98"
CHART_DPI, PICTURE_DPI = 110, 80  # shown at 80 px an inch; a mini's picture has no more pixels than that
SHORT = {
    "transformer_blocks": "MM-DiT",
    "joint_transformer_blocks": "MM-DiT",
    "single_transformer_blocks": "single",
}

# A prompt may hold signs that the font has not; they are drawn as boxes, and the alt text holds them.
warnings.filterwarnings("ignore", "Glyph .* missing from")
sns.set_theme(
    style="ticks",
    rc={"figure.dpi": 110, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False},
)


def short(stack: str) -> str:
    """A stack's name as people say it: 'MM-DiT', 'single'."""
    return SHORT.get(stack, stack)


def show(figure: Figure, name: str, caption: str, alt: str, out: str | Path, dpi: int = CHART_DPI) -> None:
    """Display a figure with its caption and save it as `{out}/figures/{name}.webp` (`out` relative to the repository).

    `alt` says in words what the figure shows, for those who do not see it. Both texts are escaped. `dpi` is CHART_DPI,
    or PICTURE_DPI for pictures of the minis, which hold no more detail than that.
    """
    html, file = rendered(figure, name, caption, alt, dpi)
    path = ROOT / out / "figures" / f"{name}.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file)
    display(HTML(html))


def rendered(figure: Figure, name: str, caption: str, alt: str, dpi: int = CHART_DPI) -> tuple[str, bytes]:
    """A figure as HTML that holds its picture, and the picture as a WebP file; see `show`."""
    if not caption.strip() or not alt.strip():
        raise ValueError(f"figure {name!r} needs a caption and an alt text")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", facecolor="white", dpi=dpi)
    plt.close(figure)
    picture = Image.open(buffer).convert("RGB")
    file = smallest_webp(picture)
    data = base64.b64encode(file).decode()
    width, height = (80 * side // dpi for side in picture.size)
    html = (
        f'<figure id="{escape(name)}"><img src="data:image/webp;base64,{data}" alt="{escape(alt)}" '
        f'width="{width}" height="{height}" style="max-width:100%;height:auto">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
    return html, file


def smallest_webp(picture: Image.Image) -> bytes:
    """The picture as WebP: lossy, or in steps of 8 of 255 without loss, whichever is smaller; for charts the latter."""
    flat = picture.point([round(value / 255 * 31) * 255 // 31 for value in range(256)] * 3)
    files = []
    for kind, options in ((picture, {"quality": 60}), (flat, {"lossless": True})):
        buffer = io.BytesIO()
        kind.save(buffer, format="webp", method=6, **options)
        files.append(buffer.getvalue())
    return min(files, key=len)


def show_table(table: pd.DataFrame, caption: str) -> None:
    """Display a table with its caption; every cell is escaped."""
    display(HTML(table_html(table, caption)))


def table_html(table: pd.DataFrame, caption: str) -> str:
    """A table with its caption as HTML; every cell is escaped."""
    numbers = {column: "{:,}".format for column in table.select_dtypes("integer")}
    html = table.to_html(index=False, border=0, escape=True, na_rep="–", justify="left", formatters=numbers)
    return f'<figure class="table"><div>{html}</div><figcaption>{escape(caption)}</figcaption></figure>'


# -- models and orders --------------------------------------------------------------------------------------


def draw_stacks(stacks: Mapping[str, int]) -> Figure:
    """The model's stacks as rows of blocks: `stacks` maps a stack to its depth."""
    figure, axis = plt.subplots(figsize=(9, 1.7))
    left = 0
    for (stack, depth), colour in zip(stacks.items(), (BLUE, ORANGE, GREEN, RED), strict=False):
        for layer in range(depth):
            axis.add_patch(Rectangle((left + layer, 0), 0.82, 1, color=colour, alpha=0.85))
            if depth <= 6 or layer % 5 == 0 or layer == depth - 1:
                axis.text(left + layer + 0.41, -0.15, str(layer), ha="center", va="top", fontsize=8, color="#444")
        axis.text(left, 1.12, f"{short(stack)}\n{depth} blocks", color="#222", fontsize=10, va="bottom")
        left += depth + 1.5
    axis.set(xlim=(-0.5, left), ylim=(-0.7, 2.0))
    axis.axis("off")
    return figure


def draw_order(orders: Mapping[str, Order], depth: int) -> Figure:
    """Which layer runs when: a row for each order, time from left to right, a group's layers above each other."""
    longest = max(len(order) for order in orders.values())
    tallest = {name: max(len(s) if isinstance(s, list) else 1 for s in order) for name, order in orders.items()}
    heights = [0.5 + 0.16 * min(tall, 20) for tall in tallest.values()]
    figure, axes = plt.subplots(
        len(orders), 1, figsize=(9, sum(heights) + 0.4), height_ratios=heights, squeeze=False, sharex=True
    )
    colours = plt.get_cmap("viridis")
    for axis, (name, order) in zip(axes[:, 0], orders.items(), strict=True):
        for position, step in enumerate(order):
            group = step if isinstance(step, list) else [step]
            for row, layer in enumerate(group):
                axis.add_patch(Rectangle((position, row), 0.86, 0.86, color=colours(layer / max(depth - 1, 1))))
                if longest <= 40 and len(group) == 1:
                    light = layer / max(depth - 1, 1) > 0.6
                    axis.text(position + 0.43, row + 0.4, str(layer), ha="center", va="center", fontsize=7,
                              color="black" if light else "white")  # fmt: skip
        axis.set(xlim=(-0.3, max(longest, depth) + 0.3), ylim=(-0.1, tallest[name] + 0.1), yticks=[], xticks=[])
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        sns.despine(ax=axis, left=True, bottom=True)
    figure.tight_layout()
    return figure


# -- pictures -----------------------------------------------------------------------------------------------


def picture_rows(rows: Mapping[str, Sequence[Picture]], titles: Sequence[str] | None = None) -> Figure:
    """Pictures side by side: a labelled row for each entry, columns that belong together, `titles` above them."""
    columns = max(len(pictures) for pictures in rows.values())
    size = min(10.5 / columns, 2.0)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(size * columns, size * len(rows) + (0.6 if titles else 0)), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis_row, (label, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(axis_row, pictures, strict=False):
            axis.imshow(picture.image, interpolation="lanczos")
        axis_row[0].text(-0.04, 0.5, label, transform=axis_row[0].transAxes, ha="right", va="center", fontsize=9)
    for axis, title in zip(axes[0], titles or [], strict=False):  # a prompt is text, whatever signs it holds
        axis.set_title(wrapped(title, int(size * 11)), fontsize=8, color="#444", pad=4, parse_math=False)
    figure.subplots_adjust(wspace=0.03, hspace=0.03)
    return figure


def picture_dpi(pictures: Sequence[Picture]) -> int:
    """For `show`: PICTURE_DPI for pictures as small as a mini's, at most CHART_DPI for larger ones."""
    return min(max(PICTURE_DPI, pictures[0].image.width // 2), CHART_DPI)


def wrapped(text: str, width: int) -> str:
    """The text in lines of at most `width` characters, six at most."""
    return "\n".join(textwrap.wrap(text, width, max_lines=6, placeholder=" …"))


# -- similarity ---------------------------------------------------------------------------------------------


def heatmaps(
    matrices: Mapping[str, np.ndarray], bands: Mapping[str, Bands] | None = None, unit: str = "cosine"
) -> Figure:
    """Similarity matrices side by side on one colour scale, with the bands drawn over them where given."""
    side = 4.3 if len(matrices) < 3 else 2.7
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(side * len(matrices) + 0.9, side), squeeze=False, layout="constrained"
    )
    low = min(float(np.nanmin(matrix)) for matrix in matrices.values())
    for axis, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        drawn = axis.imshow(matrix, cmap="viridis", vmin=low, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set(xlabel="layer", ylabel="layer" if axis is axes[0, 0] else "")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        sns.despine(ax=axis, left=True, bottom=True)
        for band in bands[title].bands if bands and len(bands[title].bands) > 1 else []:
            first, last = band.span
            wide = last - first + 1
            axis.add_patch(Rectangle((first - 0.5, first - 0.5), wide, wide, fill=False, ec="white", lw=2))
            axis.text(
                (first + last) / 2, (first + last) / 2, band.name, fontsize=9, va="center", ha="center", color="white",
                path_effects=[withStroke(linewidth=2.5, foreground="#333")],
            )  # fmt: skip
    figure.colorbar(drawn, ax=axes[0].tolist(), label=f"{unit} similarity".strip(), shrink=0.9)
    return figure


def draw_dendrograms(bands: Mapping[str, Bands]) -> Figure:
    """The tree of merges behind each set of bands: the lower two layers join, the more alike they are."""
    figure, axes = plt.subplots(len(bands), 1, figsize=(9, 2.4 * len(bands)), squeeze=False, layout="constrained")
    for axis, (title, found) in zip(axes[:, 0], bands.items(), strict=True):
        dendrogram(found.linkage, ax=axis, color_threshold=0, above_threshold_color=BLUE, leaf_font_size=8)
        axis.set(title=title, xlabel="layer", ylabel="distance (1 − cosine)")
    return figure


def lines_by_depth(lines: Mapping[str, np.ndarray], ylabel: str, log: bool = False, xlabel: str = "layer") -> Figure:
    """One line per entry along the layers."""
    figure, axis = plt.subplots(figsize=(9, 2.8))
    for (label, values), colour in zip(lines.items(), (BLUE, ORANGE, GREEN, RED, GREY), strict=False):
        axis.plot(values, marker="o", ms=3, label=label, color=colour)
    axis.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    if log:
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.legend(frameon=False)
    figure.tight_layout()
    return figure


# -- scores -------------------------------------------------------------------------------------------------


def score_bars(scores: Mapping[str, Mapping[str, float]]) -> Figure:
    """A bar for each score (mean, low, high between 0 and 1) with its 95 % interval; the first one stands apart."""
    figure, axis = plt.subplots(figsize=(9, 0.36 * len(scores) + 0.8))
    for row, value in enumerate(scores.values()):
        axis.barh(row, value["mean"], height=0.66, color=BLUE if row == 0 else GREY, alpha=1 if row == 0 else 0.55)
        axis.plot([value["low"], value["high"]], [row, row], color="#222", lw=1.5)
        axis.text(1.02, row, f"{value['mean']:.2f}", va="center", fontsize=9)
    axis.set_yticks(range(len(scores)), list(scores))
    axis.set(xlim=(0, 1), ylim=(len(scores) - 0.4, -0.6), xlabel="share of pictures with everything right")
    figure.tight_layout()
    return figure


def steps_chart(scores: Mapping[int, Mapping[str, float]], chosen: int) -> Figure:
    """Score against the number of denoising steps, with 95 % intervals; the chosen number is marked."""
    figure, axis = plt.subplots(figsize=(9, 2.6))
    steps = list(scores)
    axis.fill_between(steps, [s["low"] for s in scores.values()], [s["high"] for s in scores.values()],
                      color=BLUE, alpha=0.2, lw=0)  # fmt: skip
    axis.plot(steps, [s["mean"] for s in scores.values()], marker="o", color=BLUE)
    axis.axvline(chosen, color=RED, lw=1, ls="--")
    axis.text(chosen, 1.02, "used", color=RED, fontsize=8, ha="center")
    axis.set(ylim=(0, 1), xticks=steps, xlabel="denoising steps", ylabel="strict score")
    figure.tight_layout()
    return figure


def loss_chart(points: Sequence[Mapping[str, float]]) -> Figure:
    """What pictures lose under an order against the rise of the denoising loss: a dot an order, for each score."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3))
    for axis, key in zip(axes, ("adherence lost", "likeness lost"), strict=True):
        axis.scatter([p["loss rise"] for p in points], [p[key] for p in points], color=BLUE, s=24)
        axis.axhline(0, color=GREY, lw=0.8)
        axis.set(xlabel="rise of the denoising loss", ylabel=key)
    figure.tight_layout()
    return figure


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Rows: what was there; columns: what was read. Shares of each row; counts of mistakes are written out."""
    figure, axis = plt.subplots(figsize=(7.4, 6.6), layout="constrained")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawn = axis.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    for row, column in zip(*np.nonzero(counts), strict=True):
        if row != column:
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color="white")
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set(xlabel="read", ylabel="painted")
    figure.colorbar(drawn, ax=axis, label="share of the row", shrink=0.7)
    sns.despine(ax=axis, left=True, bottom=True)
    return figure


def readings(
    pictures: Sequence[Image.Image], scenes: Sequence["Scene"], titles: Sequence[str],
    right: Sequence[bool] | None = None,
) -> Figure:  # fmt: skip
    """Pictures with what the checker read in them: a box and a name a thing; green titles: right, red: wrong."""
    columns = min(len(pictures), 3)
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.3 * columns, 3.9 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for i, (picture, scene, title) in enumerate(zip(pictures, scenes, titles, strict=True)):
        axis = axes.flat[i]
        axis.imshow(picture, interpolation="lanczos", extent=(0, 1, 1, 0))
        for thing in scene.things:
            half = thing.size / 2
            axis.add_patch(
                Rectangle((thing.x - half, thing.y - half), thing.size, thing.size, fill=False, ec=ORANGE, lw=1.5)
            )
            worn = [f"{c} {what}" for c, what in ((thing.hat, "hat"), (thing.sunglasses, "sunglasses")) if c]
            words = f"{thing.colour or 'natural'} {thing.kind}" + "".join(f"\n+ {item}" for item in worn)
            axis.text(
                thing.x, min(thing.y + half, 0.98), words, ha="center", va="bottom", fontsize=7, color="white",
                path_effects=[withStroke(linewidth=2, foreground="#222")],
            )  # fmt: skip
        wall = scene.background if scene.pattern == "plain" else f"{scene.pattern} {scene.background}"
        colour = "#222" if right is None else GREEN if right[i] else RED
        axis.set_title(f"{wrapped(title, 40)}\nbackground read: {wall}", fontsize=8, color=colour)
    figure.tight_layout()
    return figure
