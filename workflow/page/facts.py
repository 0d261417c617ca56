"""What the page's sentences say: numbers and cases, from what the notebooks of this run saved. The words are templates.

`numbers` are each model's by notebook, `{"flux-mini": {"05_skip": {"rows": [...]}}}`; what did not run is not there.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from statistics import fmean

from painters_utils.engine.describe import short
from painters_utils.measure.intervals import with_interval
from painters_utils.study.experiments import experiment
from painters_utils.study.scores import NAMES, verdict

Numbers = Mapping[str, Mapping[str, Mapping]]
Rows = Sequence[Mapping]


def ranking(findings: Mapping) -> list[dict]:
    """What each strategy of the sweep keeps, the most harmless first."""
    return [{"title": experiment(name).title, "kept": kept} for name, kept in findings.get("ranking", {}).items()]


def matched_mean(numbers: Numbers, notebook: str) -> float | None:
    """What a strategy keeps on average over the matched bands of all models."""
    every = [row for of in numbers.values() for row in of.get(notebook, {}).get("rows", [])]
    kept = [row["kept"] for row in every if row["preset"] == "matched"]
    return fmean(kept) if kept else None


def single_layers(numbers: Numbers) -> list[dict]:
    """For each model the layer that is needed most, and how many others can be spared."""
    known = {model: of["12_layer_by_layer"] for model, of in numbers.items() if "12_layer_by_layer" in of}
    worst = {model: min(layers["rows"], key=itemgetter("kept")) for model, layers in known.items()}
    return [{"model": model, "row": worst[model], "is": verdict_of(worst[model]), "spared": sum(of["spared"].values())}
            for model, of in known.items()]  # fmt: skip


def grouped(numbers: Numbers) -> list[dict]:
    """How grouped each model's layers are, the most grouped first, and whether surely beyond chance."""
    known = {model: of["04_clustering"]["grouped"] for model, of in numbers.items() if "04_clustering" in of}
    order = sorted(known, key=lambda model: -known[model]["mean"])
    return [{"model": model, "grouped": ends(known[model]), "there": known[model]["low"] > 0} for model in order]


def in_short(rows: Rows) -> dict:
    """Of the variants of one experiment: the least and the most harmful, and how many are surely which."""
    are = [verdict_of(row) for row in rows]
    counts = {kind: are.count(kind) for kind in ("catastrophic", "tolerable")}
    best, worst = (most(rows, key=itemgetter("kept")) for most in (max, min))
    return {"count": len(rows), "best": best, "worst": worst, **counts}


def roles(rows: Rows) -> list[dict]:
    """Of each score that the model has, the layer that costs most of it."""
    wanted = ("broad", "fine", "layout", "quality") if "layout" in rows[0] else ("clip", "dino", "coarse", "detail")
    measured = {score: [row for row in rows if row.get(score) is not None] for score in wanted}
    worst = {score: min(some, key=itemgetter(score)) for score, some in measured.items() if some}
    return [{"score": NAMES[score], "row": row, "lost": 1 - row[score]} for score, row in worst.items()]


def verdict_of(row: Mapping) -> str:
    """What is sure about a variant: "catastrophic", "tolerable" or something between."""
    return verdict(row["kept low"], row["kept high"])


def kept(row: Mapping) -> str:
    """ "0.93 (0.90 – 0.97)"."""
    return with_interval(row["kept"], row["kept low"], row["kept high"])


def ends(outcome: Mapping) -> str:
    """Of a test or a measure, in the same way."""
    return with_interval(outcome["mean"], outcome["low"], outcome["high"])


def place(row: Mapping) -> str:
    """ "MM-DiT skip 7–10"."""
    return f"{short(row['stack'])} {row['name']}"


def layer(row: Mapping) -> str:
    """Of a single layer's row, "MM-DiT layer 7"."""
    return f"{short(row['stack'])} layer {row['name'].split()[-1]}"
