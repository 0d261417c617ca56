"""What the benchmarks found: their numbers as a table, a chart and sentences, for terminal, docs and page.

`python -m benchmarks` leaves a file for each machine, benchmarks/results/<machine>.json, and so does each original that
was run at full size:
- `of`: what was measured;
- `machine`: name, processor, cores, torch, the accelerator if there is one, and how busy the machine was;
- `rows`: {id, what, value, low, high, unit, goal, note}; low and high are a 95 % interval or None, and goal is None or
  a sign and a number, ["≤", 1.01];
- `points`: {panel, line, x, y}, to be drawn.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from painters_utils.paths import ROOT
from painters_utils.show.figures import BLUE, GREY, ORANGE, table_html

from .charts import Line, line_chart, log_axis
from .facts import typeset

RESULTS = ROOT / "benchmarks/results"
COLOURS = {"untouched": GREY, "recording": BLUE, "by hand": ORANGE}


def save_costs(found: Mapping, name: str) -> None:
    """Write what was found on one machine, with four digits of each number, for the page to read."""
    from workflow.search import rounded  # loads torch, which the page does without

    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(rounded(found), ensure_ascii=False, separators=(",", ":")) + "\n")


def cost_chapters(folder: Path = RESULTS) -> list[dict]:
    """What the page shows of each machine: its name, sentences, charts (if there are points) and a table, as HTML."""
    chapters = []
    for path in sorted(folder.glob("*.json")):
        cost = json.loads(path.read_text())
        machine, points = cost["machine"], cost["points"]
        where = machine["accelerator"] or machine["processor"]
        name = f"{cost['of']}: {where}, {machine['cores']} cores, torch {machine['torch']}"
        if machine["busy"] > machine["cores"] / 2:
            name += ", busy with other work"
        rows = [row | {key: typeset(row[key]) for key in ("what", "note")} for row in cost["rows"]]
        table = table_html(cost_table(rows), f"Medians with their 95 % intervals. {name}.")
        words = [typeset(sentence) for sentence in in_words(cost["rows"])]
        chapters.append(
            {"machine": name, "words": words, "charts": cost_charts(points) if points else [], "table": Markup(table)}
        )
    return chapters


def goal_met(row: Mapping) -> str:
    """ "yes" or "no" if the whole interval lies on that side of the goal, "open" if it lies on both; "" without one."""
    if row["goal"] is None:
        return ""
    sign, goal = row["goal"]
    ends = [row["value"] if row[end] is None else row[end] for end in ("low", "high")]
    inside = [end <= goal if sign == "≤" else end >= goal for end in ends]
    return "yes" if all(inside) else "open" if any(inside) else "no"


def cost_table(rows: Sequence[Mapping]) -> pd.DataFrame:
    """The rows as people read them."""
    goals = ["" if row["goal"] is None else "{} {:g}".format(*row["goal"]) for row in rows]
    what, notes = ([row[key] for row in rows] for key in ("what", "note"))
    measured, met = [in_short(row) for row in rows], [goal_met(row) for row in rows]
    return pd.DataFrame({"what": what, "measured": measured, "goal": goals, "met": met, "note": notes})


def in_short(row: Mapping) -> str:
    """ "1.003 × (0.998 – 1.009)"."""
    value, low, high = (None if row[key] is None else number(row[key], row["unit"]) for key in ("value", "low", "high"))
    return f"{value} {row['unit']}".strip() + (f" ({low} – {high})" if low else "")


def number(value: float, unit: str) -> str:
    """Three digits after the point close to 1, where they matter; two significant ones or whole numbers elsewhere."""
    if unit == "×" and 0.8 < value < 1.25:
        return f"{value:.3f}"
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def cost_charts(points: Sequence[Mapping]) -> list[Markup]:
    """A chart for each thing that grows, both axes logarithmic: a straight line at 45° is growth in proportion."""
    charts = []
    for panel, some in pd.DataFrame(points).groupby("panel", sort=False):
        what, over = str(panel).split(" by ")
        lines = []
        for line, of in some.groupby("line", sort=False):
            said = [(x, y, f"{line}, {x:g} {over}: {y:.3g} {what}") for x, y in zip(of["x"], of["y"], strict=True)]
            lines.append(Line(typeset(f"{line} {slope_of(of):.2f}"), COLOURS[str(line)], said))
        title = f"{what} by {over}; slopes: {', '.join(line.name for line in lines)}."
        ticks = sorted(some["x"].unique())
        charts.append(line_chart(lines, title, log_axis(over, ticks, ticks), log_axis(what, some["y"].tolist())))
    return charts


def slope_of(points: pd.DataFrame) -> float:
    """The slope of a line on two logarithmic axes: 1 is growth in proportion, 2 with the square."""
    return float(np.polyfit(np.log(points["x"]), np.log(points["y"]), 1)[0])


def in_words(rows: Sequence[Mapping]) -> list[str]:
    """What the rows say, a sentence each; those that were not measured are left out."""
    found = {row["id"]: row for row in rows}
    return [
        f"**{heads[goal_met(found[key]) == 'yes']}.** {found[key]['what'].capitalize()}: {in_short(found[key])}."
        for key, heads in HEADS.items()
        if key in found
    ]


HEADS = {  # of a row's sentence, and if its goal is surely met
    "reverse": ("What another order costs", "Another order costs nothing"),
    "recording": ("What recording costs", "Recording hardly slows the painting"),
    "by hand": ("What recording as it paints saves", "Recording as it paints saves the wait"),
    "flat": ("The recorder's memory", "The recorder's memory does not grow with the steps"),
    "batch": ("What painting together gives", "Prompts are painted together"),
    "cores": ("What a second core gives", "A second core is used"),
}
