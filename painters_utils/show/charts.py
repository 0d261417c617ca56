"""Charts of what variants keep of a model. `table` is always what `Studio.table` returns: a row for each variant."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from painters_utils.engine.describe import short
from painters_utils.measure.intervals import percent
from painters_utils.study.experiments import experiment
from painters_utils.study.scores import CATASTROPHIC, NAMES

from .figures import BLUE, GREEN, GREY, ORANGE, RED, side_by_side

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


def kept_chart(table: pd.DataFrame) -> Figure:
    """What each variant keeps: a row per variant, a marker per score, its 95 % interval; shaded: catastrophic.

    The coarse picture stands in for the layout where no checker reads it.
    """
    drawn = ("kept", "adherence", "quality", "layout", "clip", "dino", *(["coarse"] if "layout" not in table else []))
    scores = [score for score in drawn if score in table and table[score].notna().any()]
    figure, axis = plt.subplots(figsize=(9, 0.42 * len(table) + 1.3))
    offsets = np.linspace(-0.24, 0.24, len(scores)) if len(scores) > 1 else [0.0]
    for score, offset in zip(scores, offsets, strict=True):
        colour, marker = STYLE[score]
        rows = np.arange(len(table)) + offset
        axis.hlines(rows, table[f"{score} low"], table[f"{score} high"], color=colour, lw=1.4, alpha=0.55)
        axis.plot(table[score], rows, marker, color=colour, ms=6 if score == "kept" else 5, label=NAMES[score])
    for value in (0, 1):
        axis.axvline(value, color=GREY, lw=0.8, ls=":")
    low = min(-0.05, float(np.nanmin(table[[f"{s} low" for s in scores]])) - 0.03)
    high = max(1.1, float(np.nanmax(table[[f"{s} high" for s in scores]])) + 0.03)
    axis.axvspan(low, CATASTROPHIC, color=RED, alpha=0.06, lw=0)
    axis.set_yticks(range(len(table)), variant_labels(table))
    axis.set(xlim=(low, high), ylim=(len(table) - 0.5, -0.5))
    axis.set_xlabel("kept (0 %: another prompt's picture, 100 %: the untouched model)")
    axis.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axis.legend(frameon=False, ncols=len(scores), loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
    figure.tight_layout()
    return figure


def variant_labels(table: pd.DataFrame) -> list[str]:
    """ "MM-DiT: skip 7–10", the stack left out where there is but one."""
    if table["stack"].nunique() == 1:
        return list(table["name"])
    return [f"{short(stack)}: {name}" for stack, name in zip(table["stack"], table["name"], strict=True)]


def kept_table(table: pd.DataFrame) -> pd.DataFrame:
    """What `kept_chart` draws as numbers for `show_table`: one row per variant, intervals for the overall score."""
    columns = {"variant": variant_labels(table), "preset": table["preset"]}
    columns["share of stack"] = [f"{share:.0%}" for share in table["share"]]
    for score in [score for score in STYLE if score in table]:
        values = [percent(value) for value in table[score]]
        if score == "kept":
            values = [percent(*ends) for ends in table[["kept", "kept low", "kept high"]].to_numpy()]
        columns[NAMES[score]] = values
    if "duplicates" in table:
        columns["surplus objects"] = [f"{value:+.2f}" for value in table["duplicates"]]
    if "distance" in table:
        columns["kernel distance"] = [f"{value:.3f}" for value in table["distance"]]
    return pd.DataFrame(columns).replace(["nan", "– %"], "–")


def loops_map(kept: Mapping[str, pd.DataFrame]) -> Figure:
    """Looped parallel by number of layers (rows) and loops (columns): a heat map per stack, each row's best boxed."""
    figure, axes = side_by_side((4.6 * len(kept), 3.2), [1] * len(kept))
    high = min(max(float(np.nanmax(values.to_numpy())) for values in kept.values()), 4)
    for axis, (stack, values) in zip(axes, kept.items(), strict=True):
        sns.heatmap(values, vmin=0, vmax=high, cmap="viridis_r", annot=True, fmt=".2f", cbar=False, ax=axis)
        for row, best in enumerate(np.nanargmin(values.to_numpy(), axis=1)):
            axis.add_patch(Rectangle((best + 0.02, row + 0.02), 0.96, 0.96, fill=False, ec=RED, lw=2.2))
        axis.set(title=stack, xlabel="loops", ylabel="layers in parallel")
    figure.colorbar(axes[-1].collections[0], ax=axes, label="velocity error")
    return figure


def along_depth(
    panels: Mapping[str, pd.DataFrame], ylabel: str, log: bool = False, xlabel: str = "layer"
) -> Figure:  # fmt: skip
    """Values by layer, one line per column, a panel per stack as wide as it is deep; intervals where `… low` exist."""
    figure, axes = side_by_side((9.5, 3), [max(len(values), 8) for values in panels.values()], sharey=True)
    for axis, (stack, values) in zip(axes, panels.items(), strict=True):
        lines = [name for name in values if not name.endswith((" low", " high"))]
        for name, fallback in zip(lines, (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY), strict=False):
            colour, marker = STYLE.get(name, (fallback, "o"))
            label = NAMES.get(name, name)
            axis.plot(values.index, values[name], marker=marker, ms=3.5, lw=1.4, color=colour, label=label)
            if f"{name} low" in values:
                low, high = values[f"{name} low"], values[f"{name} high"]
                axis.fill_between(values.index, low, high, color=colour, alpha=0.15, lw=0)
        axis.set(title=stack, xlabel=xlabel)
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        if log:
            axis.set_yscale("symlog", linthresh=0.1)
    axes[0].set_ylabel(ylabel)
    if len(lines) > 1:
        axes[-1].legend(frameon=False, fontsize=8)
    return figure


def roles_map(damage: Mapping[str, pd.DataFrame]) -> Figure:
    """Which layers carry what: rows are scores, columns layers, dark where skipping the layer costs much."""
    scores = list(next(iter(damage.values())))
    widths = [max(len(values), 6) for values in damage.values()]
    figure, axes = side_by_side((9.5, 0.36 * len(scores) + 1.3), widths)
    for axis, (stack, values) in zip(axes, damage.items(), strict=True):
        names = [NAMES[score] for score in scores] if axis is axes[0] else []
        lost, every = values[scores].to_numpy().T, 5 if len(values) > 12 else 1
        sns.heatmap(lost, vmin=0, vmax=1, cmap="magma_r", cbar=False, ax=axis, xticklabels=every, yticklabels=names)
        axis.tick_params("x", rotation=0)
        axis.set(title=stack, xlabel="layer skipped")
    figure.colorbar(axes[-1].collections[0], ax=axes, label="lost")
    return figure


def sweep_chart(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The paper's summary: what is left against the share of the stack that is affected; a panel for each stack."""
    rows = pd.concat([table.assign(panel=title) for title, table in tables.items()])
    nothing = rows.drop_duplicates(["panel", "strategy"]).assign(share=0.0, kept=1.0)
    drawn = {name: experiment(name) for name in rows["strategy"].unique()}
    rows = pd.concat([nothing, rows]).replace({"strategy": {name: row.title for name, row in drawn.items()}})
    grid = sns.relplot(
        rows, x="share", y="kept", hue="strategy", style="strategy", col="panel", col_wrap=min(len(tables), 3),
        kind="line", height=2.9, aspect=1.15, dashes=False, errorbar=None, lw=1.5, ms=6,
        palette={row.title: row.colour for row in drawn.values()},
        markers={row.title: row.marker for row in drawn.values()},
        facet_kws={"xlim": (0, 1), "ylim": (-0.15, 1.1), "legend_out": False},
    )  # fmt: skip
    for axis in grid.axes.flat:
        axis.axhspan(-1, CATASTROPHIC, color=RED, alpha=0.06, lw=0)
        axis.axhline(0, color=GREY, lw=0.8, ls=":")
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axis.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axis.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    grid.set_titles("{col_name}").set_axis_labels("share of the stack affected", NAMES["kept"])
    grid.tight_layout(w_pad=2)  # the last mark of a panel clear of the first of the next
    sns.move_legend(grid, "upper center", bbox_to_anchor=(0.5, 0), ncols=len(drawn), title=None)
    return grid.figure


def learned_chart(choices: Mapping[str, pd.DataFrame], measure: str, xlabel: str) -> Figure:
    """What adapters learn against what their layers are worth: a panel for each lesson, a point for each choice.

    Each table has `name`, `measure`, and `learned` with its interval, `learned low` and `learned high`; the choice of
    all layers is a line, for it is none.
    """
    figure, axes = side_by_side((9.5, 4), [1] * len(choices), sharey=True)
    for axis, (lesson, table) in zip(axes, choices.items(), strict=True):
        every, table = table[table["name"] == "all"], table[table["name"] != "all"]
        groups = table.groupby(table["name"].str.replace(r"^chance.*", "by chance", regex=True), sort=False)
        signs = iter(zip((BLUE, RED, GREEN, PURPLE, SKY), "DsPv^", strict=True))
        axis.vlines(table[measure], table["learned low"], table["learned high"], color=GREY, lw=1, alpha=0.6)
        for name, rows in groups:
            colour, marker = (GREY, "o") if name == "by chance" else next(signs)
            axis.plot(rows[measure], rows["learned"], marker, color=colour, ms=7, label=name, ls="")
        axis.axhline(float(every["learned"].iloc[0]), color=ORANGE, lw=1.2, ls="--", label="all layers")
        axis.set(title=lesson, xlabel=xlabel)
        axis.margins(x=0.1)
    axes[0].set_ylabel("learned (0 = untouched, 1 = as taught)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def worth_scatter(layers: pd.DataFrame, measure: str, outcome: str) -> Figure:
    """A cheap measure of each layer across, what leaving it out costs up; a colour and a marker for each stack.

    `layers` has a row for each layer: stack, layer, and both columns. The first three of either column are named.
    """
    figure, axis = plt.subplots(figsize=(6.4, 4))
    looks = zip(dict.fromkeys(layers["stack"]), (BLUE, ORANGE, GREEN, RED), ("o", "s", "^", "D"), strict=False)
    for stack, colour, marker in looks:
        some = layers[layers["stack"] == stack]
        axis.plot(some[measure], some[outcome], marker, color=colour, ms=5, alpha=0.8, label=short(stack))
    named = pd.concat([layers.nlargest(3, outcome), layers.nlargest(3, measure)]).drop_duplicates(["stack", "layer"])
    for row in named.itertuples():
        place = (layers.loc[row.Index, measure], layers.loc[row.Index, outcome])
        axis.annotate(f"{short(row.stack)} {row.layer}", place, xytext=(-6, 0), textcoords="offset points",
                      ha="right", va="center", fontsize=8)  # fmt: skip
    axis.axhline(0, color=GREY, lw=0.8, ls=":")
    axis.set(xscale="log", xlabel=measure, ylabel=f"{outcome} (1: as bad as chance)")
    if layers["stack"].nunique() > 1:
        axis.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    return figure


def fewer_chart(rows: pd.DataFrame, judged: pd.DataFrame, layers: int, wanted: float) -> Figure:
    """What is kept when fewer layers run, a line for each ranking, and with intervals what was judged on other prompts.

    Both tables have a row for each set: "by", "left out", "kept"; `judged` also "kept low", "kept high".
    """
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    looks = zip(dict.fromkeys(rows["by"]), (BLUE, GREEN, GREY), ("o", "s", "^"), strict=False)
    for by, colour, marker in looks:
        some = rows[rows["by"] == by]
        axis.plot(1 - some["left out"] / layers, some["kept"], marker=marker, ms=5, lw=1.4, color=colour, label=by)
    axis.errorbar(
        1 - judged["left out"] / layers, judged["kept"], [judged["kept"] - judged["kept low"],
        judged["kept high"] - judged["kept"]], fmt="D", ms=6, color=RED, lw=1.6, capsize=3,
        label="judged on other prompts and noise",
    )  # fmt: skip
    axis.axhline(wanted, color=GREY, lw=0.8, ls=":")
    axis.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axis.set(xlabel="layers that run", ylabel="score kept")
    axis.invert_xaxis()
    axis.legend(frameon=False, fontsize=9, loc="lower left")
    figure.tight_layout()
    return figure
