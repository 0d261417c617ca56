"""Charts of the checker and of what the minis score; only notebooks draw them."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from .scenes import Scene

# Okabe & Ito's colours: told apart by the colour-blind too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8a8f98"


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
    pictures: Sequence[Image.Image], scenes: Sequence[Scene], titles: Sequence[str],
    right: Sequence[bool] | None = None,
) -> Figure:  # fmt: skip
    """Pictures with what the checker read in them: a box and a name a thing; ✓ and green: all right, ✗ and red: not."""
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
        mark, colour = ("", "#222") if right is None else ("✓ ", GREEN) if right[i] else ("✗ ", RED)
        words = f"{textwrap.fill(mark + title, 40, max_lines=6, placeholder=' …')}\nbackground read: {wall}"
        axis.set_title(words, fontsize=8, color=colour, parse_math=False)
    figure.tight_layout()
    return figure
