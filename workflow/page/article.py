"""The page itself: what its templates are given, and how they write numbers."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from painters_utils.engine.describe import short
from painters_utils.engine.strategies import build_order
from painters_utils.measure.intervals import how_much, percent, with_interval
from painters_utils.models.model import Model
from painters_utils.paths import DATA, ROOT
from painters_utils.show.drawings import order_svg, stacks_svg
from painters_utils.show.figures import FigureFile
from painters_utils.study import experiments
from painters_utils.study.numbers import read_json, read_numbers, read_search
from painters_utils.study.scores import CATASTROPHIC, MARGIN
from workflow.config import Study
from workflow.findings.claims import FAILS, HOLDS, OPEN, PART, SAME, UNMEASURED, in_points, load_claims
from workflow.findings.grid import SIGNS
from workflow.notebooks import saves_numbers

from . import facts
from .charts import fewer_chart, heat_map, interval_plot, sweep_charts, worth_chart
from .costs import cost_chapters
from .facts import typeset

TEMPLATE = Path(__file__).parent / "template"
BY_HAND = "by-hand"  # where what no study makes is kept: pages in report/notebooks, numbers in data (`by_hand.py`)
TOLD_APART = ("layer_by_layer", "sweep", "controls")  # experiments with a section of their own kind
ENDS = ("mean", "low", "high")
Documents = Mapping[tuple[str, str], nbformat.NotebookNode]  # by the folder of the results and the notebook
# What a lab without a stylesheet needs of figures and tables, and a page with one does not.
CLUTTER = re.compile(
    r' style="(?:text-align|max-width)[^"]*"| class="dataframe"|\n *(?=</?t(?:able|head|body|r|h|d)\b)'
)
VERDICTS = {
    HOLDS: "the 95 % interval of every part lies on the claimed side",
    PART: "so many of its parts hold",
    FAILS: "an interval lies on the other side, and no part holds",
    SAME: f"the whole interval of a difference lies within {100 * MARGIN:.0f} points of none, whichever side it is on",
    OPEN: "the interval lies on both sides, or there is nothing that the claim could be judged by",
    UNMEASURED: "these pictures cannot be scored on it",
}


def article(study: Study, documents: Documents, figures: Mapping[str, Mapping[str, FigureFile]], live: bool) -> str:
    """The page of a finished study; `live`: there is a page to play with beside it."""
    numbers: dict[str, dict[str, dict]] = {who: {} for who in figures}
    for (who, name), document in documents.items():
        if (study.out / who / f"{name}.json").exists() or saves_numbers(document):
            numbers[who][name] = read_numbers(study.out / who, name)
    findings = {key: value for found in numbers.pop("study").values() for key, value in found.items()}

    def ran(notebook: str) -> list[Model]:
        """The models for which a notebook found something."""
        return [model for model in study.models if notebook in numbers[model.key]]

    def figure(who: str, name: str) -> Markup:
        """A notebook's figure, whole; nothing if it showed none of this name."""
        return Markup(CLUTTER.sub("", figures[who][name].html(f"{who}-{name}")) if name in figures[who] else "")

    @cache
    def strips_of(who: str, notebook: str) -> list[dict]:
        return load_strips(study.out / who / "strips" / notebook, numbers[who].get(notebook, {}))

    def strips(model: Model, notebook: str) -> list[dict]:
        """The pictures of one notebook, the baseline first."""
        return strips_of(model.key, notebook)

    first = {model.key: [some[0] for name in numbers[model.key] if (some := strips(model, name))]
             for model in study.models}  # fmt: skip
    baselines = {key: some[0] for key, some in first.items() if some}
    rows = experiments.EXPERIMENTS
    tried = [row for row in rows if row.notebook and ran(row.notebook) and row.name not in TOLD_APART]
    colours = {row.name: row.colour for row in rows}
    titles = {name: title_of(document) for (_, name), document in documents.items()}
    return templates().get_template("page.html.j2").render(
        study=study, models=study.models, minis=[model for model in study.models if model.mini],
        titles={model.key: model.title for model in study.models}, steps=study.for_all(lambda model: model.steps),
        numbers=numbers, findings=findings, facts=facts, claims=load_claims(), costs=cost_chapters(), figures=figures,
        telling=facts.most_telling(numbers, study.models), links=links(), live=live,
        precision=kept_in(DATA / "precision.json"), bert=kept_in(DATA / BY_HAND / "21_bert.json"),
        ran=ran, searched=lambda search, model: read_search(search, model)[0] or {}, figure=figure, strips=strips,
        baselines=baselines, right=right_share, stacks_svg=stacks_svg, heat_map=heat_map,
        worth_chart=worth_chart, fewer_chart=fewer_chart, few=experiments.FEW,
        sweeps=lambda some: sweep_charts(some, facts.titles_of(some), colours, CATASTROPHIC), verdicts=VERDICTS,
        interval_plot=interval_plot, signs={what: sign for what, (sign, _) in SIGNS.items()}, tried=tried,
        shown_in={row.notebook: row.name.replace("_", "-") for row in tried} | {
            "12_layer_by_layer": "roles", "13_sweep": "half", "14_controls": "controls", "03_similarity": "space",
            "04_clustering": "space"},
        headings={row.name: row.heading for row in rows},
        drawn=[(row, order_svg({"": build_order(row.name, 8, **row.example)}, 8))
               for row in rows if row.example is not None],
        names=titles, chapters=set(documents), every=dict(sorted(titles.items())),
        style=(TEMPLATE / "page.css").read_text(), script=(TEMPLATE / "page.js").read_text(),
    )  # fmt: skip


@cache
def templates() -> Environment:
    """The templates, and how they write numbers: share 0.7 as "70 %", an interval in brackets behind it."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    jinja.filters |= {
        "bold": bold,
        "once": once,
        "two": lambda number: "–" if number is None else typeset(f"{number:.2f}"),
        "pct": lambda number: "–" if number is None else typeset(percent(number)),
        "ends": facts.percent,
        "share": share,
        "finely": lambda of: typeset(f"{100 * of['mean']:.1f} % ({100 * of['low']:.1f} – {100 * of['high']:.1f} %)"),
        "small_share": lambda number: f"{100 * number:.2g} %",
        "three": lambda ends: typeset(percent(*ends)),
        "points": points,
        "more": more,
        "plain": lambda of: "–" if of["mean"] is None else typeset(with_interval(*(of[end] for end in ENDS))),
        "place": lambda number: round(100 * (min(max(number, -0.2), 1.2) + 0.2) / 1.4, 1),
        "upper_first": lambda words: words[:1].upper() + words[1:],
        "typeset": typeset,
        "lower_first": lambda words: words[:1].lower() + words[1:],
    }
    return jinja


def share(of: Mapping[str, float]) -> str:
    """ "82 % (75 – 89 %)"."""
    return typeset(percent(*(of[end] for end in ENDS)))


def more(of: Mapping[str, float]) -> str:
    """ "12 points less (4 to 20)", of a difference of two shares."""
    ends = [of[end] for end in ENDS]
    return typeset(how_much(*ends)) if any(ends) else "no more and no less"


def points(of: Mapping[str, float]) -> str:
    """ "31 points (24 to 38)"."""
    return typeset(in_points(*(of[end] for end in ENDS)))


def title_of(document: nbformat.NotebookNode) -> str:
    """The first heading."""
    found = re.search(r"^# (.+)$", document.cells[0].source, re.M)
    return found.group(1) if found else "Notebook"


def load_strips(folder: Path, numbers: Mapping) -> list[dict]:
    """What `save_strips` wrote, the baseline first: pictures as data, their names in words, and what they keep.

    Of the others the most telling is marked: the one that keeps least and still half, or else the one that keeps most.
    """
    path = folder / "names.json"
    about = json.loads(path.read_text()) if path.exists() else {}
    rows = {(row["stack"], row["name"]): row for key in ("rows", "draws") for row in numbers.get(key, ())}
    halves, draws = numbers.get("halves", {}).get("each stack", {}), facts.draws(numbers.get("rows", ()))
    found: list[dict[str, Any]] = []
    for key, of in about.items():
        stack, _, name = key.rpartition("/")
        strategy = next((one for one in facts.WAYS if name.startswith(experiments.experiment(one).title)), "")
        row, of_all = rows.get((stack, name), {}), " of the score"
        if stack in halves and strategy in halves[stack]["kept"]:
            ends = halves[stack]["kept"][strategy]
            row = {"kept": ends["mean"], "kept low": ends["low"], "kept high": ends["high"]}
            of_all = " of the score" + (" over all draws" if strategy == "random_order" and draws > 1 else "")
        band = re.search(r"\d+–\d+", name.removeprefix("repeat ").split(" over ")[-1])
        found.append({
            "name": f"{short(stack)}: {name}" if stack else name, "stack": stack, "strategy": strategy,
            "band": band.group() if band else "", "width": of["width"], "height": of["height"],
            "columns": of["columns"], "rows": -(-of["height"] * of["columns"] // of["width"]),
            "kept": [None if value != value else round(100 * value) for value in of["kept"]],
            "said": facts.percent(row) + of_all if row else "", "mean": row.get("kept"), "telling": False,
            "data": "data:image/webp;base64," + base64.b64encode((folder / of["file"]).read_bytes()).decode(),
        })  # fmt: skip
    scored = [one for one in found[1:] if one["mean"] is not None]
    halved = [one for one in scored if one["mean"] >= CATASTROPHIC]
    chosen = (
        min(halved, key=lambda one: one["mean"]) if halved else max(scored, key=lambda one: one["mean"], default=None)
    )
    if chosen is None and len(found) > 1:
        chosen = found[1]
    if chosen is not None:
        chosen["telling"] = True
    return found


def once(strips: Sequence[Mapping]) -> list[dict]:
    """The strips, those once that show and keep what an earlier one does: both presets may have one order."""
    found: dict[tuple, dict] = {}
    for strip in strips:
        first = found.setdefault((strip["data"], strip["said"], str(strip["kept"])), {**strip, "telling": False})
        first["telling"] |= strip["telling"]
    return list(found.values())


def right_share(mini: Model) -> str:
    """How many of a mini's pictures of the prompt suite show everything asked for: "66 % (59 – 73 %)"."""
    path = mini.folder / "scores.json"
    if not path.exists():
        return "an unmeasured share"
    return share(json.loads(path.read_text())["strict"])


def bold(text: str) -> Markup:
    """The text, escaped, with **these words** in bold."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))


def kept_in(path: Path) -> dict[str, Any]:
    """What a command of its own has measured and kept; {} if it has not. `InputError` if the file is damaged."""
    return read_json(path, "check it out again") if path.exists() else {}


def links() -> dict[str, str]:
    """Where the article, the paper and the repository are, as CITATION.cff has them; "" for what it has not."""
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    article, paper = (one["url"] for one in about["references"])
    repository = about.get("repository-code", "")
    return {"article": article, "paper": paper, "version": about["version"], "repository": repository}
