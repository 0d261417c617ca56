"""Charts of what variants keep of a model. `table` is always what `Studio.table` returns: a row for each variant."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from painters_utils.measure.pictures import with_interval
from .figures import BLUE, GREEN, GREY, ORANGE, RED, short
from painters_utils.study.studio import SCORES
from painters_utils.study.variants import TITLES

PURPLE, SKY = "#CC79A7", "#56B4E9"
STYLE = {  # of each score: colour and marker, so that no chart relies on colour alone
    "kept": ("#222222", "o"),
    "adherence": (BLUE, "s"),
    "broad": (SKY, "D"),
    "fine": (PURPLE, "v"),
    "quality": (ORANGE, "^"),
    "layout": (GREEN, "P"),
    "clip": (BLUE, "s"),
    "dino": (ORANGE, "^"),
    "coarse": (GREY, "X"),
    "detail": (RED, "<"),
}
NAMES = {"kept": "kept overall"} | SCORES
CATASTROPHIC = 0.5  # a variant that keeps less than half of the way from chance to the full model


def kept_chart(
    table: pd.DataFrame, scores: Sequence[str] = ("kept", "adherence", "quality", "layout", "clip", "dino", "coarse")
) -> Figure:
    """What each variant keeps: a row per variant, a marker per score, its 95 % interval; shaded: catastrophic.

    The coarse picture stands in for the layout where no checker reads it.
    """
    scores = [score for score in scores if score in table and table[score].notna().any()]
    scores = [score for score in scores if score != "coarse" or "layout" not in table]
    figure, axis = plt.subplots(figsize=(9, 0.42 * len(table) + 1.3))
    offsets = np.linspace(-0.24, 0.24, len(scores)) if len(scores) > 1 else [0.0]
    for score, offset in zip(scores, offsets, strict=True):
        colour, marker = STYLE[score]
        rows = np.arange(len(table)) + offset
        axis.hlines(rows, table[f"{score} low"], table[f"{score} high"], color=colour, lw=1.4, alpha=0.55)
        axis.plot(table[score], rows, marker, color=colour, ms=6 if score == "kept" else 5, label=NAMES[score])
    axis.axvspan(-1, CATASTROPHIC, color=RED, alpha=0.06, lw=0)
    for value, colour in ((0, GREY), (1, GREY)):
        axis.axvline(value, color=colour, lw=0.8, ls=":")
    low = min(-0.05, float(np.nanmin(table[[f"{s} low" for s in scores]])) - 0.03)
    high = max(1.1, float(np.nanmax(table[[f"{s} high" for s in scores]])) + 0.03)
    axis.set_yticks(range(len(table)), variant_labels(table))
    axis.set(xlim=(low, high), ylim=(len(table) - 0.5, -0.5), xlabel="kept (0 = chance, 1 = the full model)")
    axis.legend(frameon=False, ncols=len(scores), loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
    figure.tight_layout()
    return figure


def variant_labels(table: pd.DataFrame) -> list[str]:
    """ "MM-DiT: skip 7–10", the stack left out where there is but one."""
    stacks = table["stack"].unique()
    return [
        name if len(stacks) == 1 else f"{short(stack)}: {name}"
        for stack, name in zip(table["stack"], table["name"], strict=True)
    ]


def kept_table(table: pd.DataFrame, scores: Sequence[str] = tuple(STYLE)) -> pd.DataFrame:
    """The same as numbers for `show_table`: one row per variant, intervals for the overall score."""
    scores = [score for score in scores if score in table]
    columns = {
        "variant": variant_labels(table),
        "preset": table["preset"],
        "share of stack": [f"{share:.0%}" for share in table["share"]],
    }
    for score in scores:
        values = [f"{value:.2f}" for value in table[score]]
        if score == "kept":
            values = [
                with_interval(*row)
                for row in zip(table["kept"], table["kept low"], table["kept high"], strict=True)
            ]
        columns[NAMES[score]] = values
    if "duplicates" in table:
        columns["surplus objects"] = [f"{value:+.2f}" for value in table["duplicates"]]
    if "distance" in table:
        columns["kernel distance"] = [f"{value:.3f}" for value in table["distance"]]
    return pd.DataFrame(columns).replace("nan", "–")


def loops_map(kept: Mapping[str, pd.DataFrame]) -> Figure:
    """Looped parallel by number of layers (rows) and loops (columns): a heat map per stack, each row's best boxed."""
    figure, axes = plt.subplots(1, len(kept), figsize=(4.6 * len(kept), 3.2), squeeze=False, layout="constrained")
    high = max(float(np.nanmax(values.to_numpy())) for values in kept.values())
    for axis, (stack, values) in zip(axes[0], kept.items(), strict=True):
        numbers = values.to_numpy()
        drawn = axis.imshow(numbers, cmap="viridis_r", vmin=0, vmax=min(high, 4), aspect="auto")
        for row, line in enumerate(numbers):
            for column, value in enumerate(line):
                dark = value > 0.5 * min(high, 4)
                axis.text(
                    column,
                    row,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if dark else "black",
                )
            best = int(np.nanargmin(line))
            axis.add_patch(Rectangle((best - 0.48, row - 0.48), 0.96, 0.96, fill=False, ec=RED, lw=2.2))
        axis.set_xticks(range(len(values.columns)), values.columns)
        axis.set_yticks(range(len(values.index)), values.index)
        axis.set(title=stack, xlabel="loops", ylabel="layers in parallel")
        sns.despine(ax=axis, left=True, bottom=True)
    figure.colorbar(drawn, ax=axes[0].tolist(), label="rise of the denoising loss")
    return figure


def along_depth(damage: Mapping[str, pd.DataFrame], ylabel: str, log: bool = False) -> Figure:
    """Values by layer, one line per column, a panel per stack as wide as it is deep; intervals where `… low` exist."""
    depths = [len(values) for values in damage.values()]
    figure, axes = plt.subplots(
        1, len(damage), figsize=(9.5, 3), width_ratios=[max(d, 8) for d in depths], sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, (stack, values) in zip(axes[0], damage.items(), strict=True):
        lines = [name for name in values if not name.endswith((" low", " high"))]
        for name, fallback in zip(lines, (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY), strict=False):
            colour, marker = STYLE.get(name, (fallback, "o"))
            axis.plot(
                values.index, values[name], marker=marker, ms=3.5, lw=1.4, color=colour, label=NAMES.get(name, name)
            )
            if f"{name} low" in values:
                axis.fill_between(
                    values.index, values[f"{name} low"], values[f"{name} high"], color=colour, alpha=0.15, lw=0
                )
        axis.set(title=stack, xlabel="layer")
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        if log:
            axis.set_yscale("symlog", linthresh=0.1)
    axes[0, 0].set_ylabel(ylabel)
    if len(lines) > 1:
        axes[0, -1].legend(frameon=False, fontsize=8)
    return figure


def roles_map(damage: Mapping[str, pd.DataFrame]) -> Figure:
    """Which layers carry what: rows are scores, columns layers, dark where skipping the layer costs much."""
    depths = [len(values) for values in damage.values()]
    scores = list(next(iter(damage.values())))
    figure, axes = plt.subplots(
        1, len(damage), figsize=(9.5, 0.36 * len(scores) + 1.3), width_ratios=[max(d, 6) for d in depths],
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis, (stack, values) in zip(axes[0], damage.items(), strict=True):
        drawn = axis.imshow(
            values[scores].to_numpy().T, cmap="magma_r", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
        )
        axis.set_yticks(range(len(scores)), [NAMES[score] for score in scores] if axis is axes[0, 0] else [])
        axis.set(title=stack, xlabel="layer skipped")
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        sns.despine(ax=axis, left=True, bottom=True)
    figure.colorbar(drawn, ax=axes[0].tolist(), label="lost")
    return figure


def sweep_chart(tables: Mapping[str, pd.DataFrame], score: str = "kept") -> Figure:
    """The paper's summary: what is left against the share of the stack that is affected; a panel for each stack."""
    columns = min(len(tables), 3)
    rows = -(-len(tables) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns + 0.6, 2.9 * rows), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[len(tables) :]:
        axis.axis("off")
    for axis, (title, table) in zip(axes.flat, tables.items(), strict=False):
        for strategy, rows_of in table.groupby("strategy", sort=False):
            by_share = rows_of.groupby("share")[score].mean()
            colour, marker = STRATEGY_STYLE[strategy]
            shares, values = [0.0, *by_share.index], [1.0, *by_share]
            axis.plot(shares, values, marker=marker, ms=4.5, lw=1.5, color=colour, label=TITLES[strategy])
        axis.axhspan(-1, CATASTROPHIC, color=RED, alpha=0.06, lw=0)
        axis.axhline(0, color=GREY, lw=0.8, ls=":")
        axis.set(title=title, xlim=(0, 1), ylim=(-0.15, 1.1))
    for axis in axes[:, 0]:
        axis.set_ylabel(NAMES[score])
    for axis in axes.flat[max(len(tables) - columns, 0) : len(tables)]:  # the lowest of every column
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("share of the stack affected")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


STRATEGY_STYLE = {
    "skip": (BLUE, "o"),
    "middle_repeat": (RED, "X"),
    "reverse": (ORANGE, "^"),
    "random_order": (PURPLE, "D"),
    "parallel": (GREEN, "s"),
    "looped_parallel": (SKY, "P"),
}


def verdict_grid(table: pd.DataFrame) -> Figure:
    """Claims down, models and presets across: a sign and a colour for each verdict of `findings.verdict_table`."""
    signs = {"holds": ("✓", GREEN), "does not hold": ("✗", RED), "undecided": ("?", ORANGE),
             "not measured": ("·", GREY), "–": ("", "#eeeeee")}  # fmt: skip
    claims, models = list(dict.fromkeys(table["claim"])), list(dict.fromkeys(table["model"]))
    columns = [(model, preset) for model in models for preset in ("article", "matched")]
    figure, axis = plt.subplots(figsize=(1.0 + 0.95 * len(columns), 0.3 * len(claims) + 0.9))
    cells = {(row["claim"], row["model"]): row for row in table.to_dict("records")}
    for y, claim in enumerate(claims):
        for x, (model, preset) in enumerate(columns):
            verdict = cells.get((claim, model), {}).get(preset, "–")
            sign, colour = signs[verdict]
            axis.add_patch(Rectangle((x + 0.04, y + 0.06), 0.92, 0.88, color=colour, alpha=0.25 if sign else 1, lw=0))
            axis.text(x + 0.5, y + 0.5, sign, ha="center", va="center", color=colour, fontsize=12, fontweight="bold")
    axis.set(xlim=(0, len(columns)), ylim=(len(claims), 0))
    axis.set_yticks(np.arange(len(claims)) + 0.5, [claim.split(".")[0] for claim in claims])
    axis.set_xticks(
        np.arange(len(columns)) + 0.5, [f"{model.removesuffix('-mini')}\n{preset}" for model, preset in columns]
    )
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.set_ylabel("claim")
    sns.despine(ax=axis, left=True, bottom=True)
    figure.tight_layout()
    return figure
