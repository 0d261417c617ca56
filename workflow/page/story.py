"""What the page says in words: every number in a sentence comes from what the notebooks of this run saved."""

from collections.abc import Mapping, Sequence

import numpy as np

from painters_utils.show.chapter import verdict
from painters_utils.show.charts import CATASTROPHIC, NAMES
from painters_utils.measure.pictures import with_interval
from painters_utils.show.figures import short
from painters_utils.study.claims import FAILS, HOLDS, OPEN, UNMEASURED
from painters_utils.study.variants import TITLES

Rows = Sequence[Mapping]
ENDS = ("mean", "low", "high")


def opening(numbers: Mapping[str, Mapping], findings: Mapping, titles: Mapping[str, str]) -> list[str]:
    """The findings in plain words, the strongest first. `numbers` holds each model's results by notebook."""
    ranking = findings["ranking"]
    names = list(ranking)
    lines = [
        f"**{TITLES[names[0]].capitalize()} harms least, {TITLES[names[-1]]} most.** When a quarter to three quarters "
        f"of a stack are changed, {ranking[names[0]]:.2f} of the model is kept on average by {TITLES[names[0]]} and "
        f"{ranking[names[-1]]:.2f} by {TITLES[names[-1]]}; "
        + ", ".join(f"{TITLES[name]} {ranking[name]:.2f}" for name in names[1:-1])
        + ". (1 is the full model, 0 is chance.)"
    ]
    kept = {
        name: matched_mean(numbers, notebook) for name, notebook in (("skip", "05_skip"), ("reverse", "07_reverse"))
    }
    order_is_less = kept["reverse"] > kept["skip"]
    lines.append(
        f"**{'Which layers run matters more than their order' if order_is_less else 'Order matters like presence'}.** "
        f"A quarter of a stack run backwards keeps {kept['reverse']:.2f} of the model, the same quarter left out "
        f"{kept['skip']:.2f}."
    )
    spared = {model: sum(n["12_layer_by_layer"]["spared"].values()) for model, n in numbers.items()}
    worst = {model: hardest(n["12_layer_by_layer"]["rows"]) for model, n in numbers.items()}
    vital = [model for model, row in worst.items() if row["kept high"] < CATASTROPHIC]
    if vital:
        head = f"Some layers nobody can replace in {', '.join(titles[model] for model in vital)}"
    elif all(row["kept low"] >= CATASTROPHIC for row in worst.values()):
        head = "No single layer is indispensable"
    else:
        head = "The layers needed most"  # neither is sure
    lines.append(
        f"**{head}.** "
        + "; ".join(
            f"{titles[model]} keeps {with_interval(*(row[key] for key in ('kept', 'kept low', 'kept high')))} without "
            f"{short(row['stack'])} layer {row['name'].split()[-1]}, and more than 0.9 for sure without any one of "
            f"{spared[model]} others"
            for model, row in worst.items()
        )
        + "."
    )
    grouped = {model: n["04_clustering"]["grouped"] for model, n in numbers.items()}
    order = sorted(grouped, key=lambda model: -grouped[model]["mean"])
    there = [model for model in order if grouped[model]["low"] > 0]
    head = "Layers form groups" if len(there) == len(order) else "Not every model's layers form groups"
    lines.append(
        f"**{head if there else 'Layers form no groups'}**, beyond what neighbours always share. How grouped they are: "
        + ", ".join(
            f"{titles[m]} {with_interval(*(grouped[m][key] for key in ENDS))}" for m in order
        )
        + ", where 0 is chance."
    )
    counts = findings["counts"]
    if not findings["claims"]:
        return [*lines, "**The article's 26 claims are about other models**, so none is put to the test."]
    tested, untested = sum(counts[kind] for kind in (HOLDS, FAILS, OPEN)), counts.get(UNMEASURED, 0)
    lines.append(
        f"**Of the article's 26 claims, put to the test {tested} times** (on each model they speak of, "
        f"on the author's layer orders and on matched ones), {counts[HOLDS]} hold, {counts[FAILS]} do not and "
        f"{counts[OPEN]} stay undecided. For {len(findings['differ'])} the verdict depends on which layers were chosen."
        + (f" Another {untested} times a claim could not be measured." if untested else "")
    )
    return lines


def matched_mean(numbers: Mapping[str, Mapping], notebook: str) -> float:
    """What a strategy keeps on average over the matched bands of all models."""
    return float(
        np.mean([r["kept"] for n in numbers.values() for r in n[notebook]["rows"] if r["preset"] == "matched"])
    )


def hardest(rows: Rows) -> Mapping:
    """The row that keeps least."""
    return min(rows, key=lambda row: row["kept"])


def in_short(rows: Rows, title: str) -> str:
    """A model's variants of one strategy in a sentence: the least and the most harmful, and how many are which."""
    best, worst = max(rows, key=lambda row: row["kept"]), hardest(rows)
    words = [verdict(row["kept low"], row["kept high"]) for row in rows]
    many = "variant" if len(rows) == 1 else "variants"
    sentence = f"**{title}**: {words.count('catastrophic')} of {len(rows)} {many} catastrophic for sure, "
    sentence += f"{words.count('tolerable')} tolerable for sure. "
    if len(rows) == 1:
        return sentence + f"{label(best)} keeps {kept(best)}."
    return sentence + f"Best: {label(best)}, {kept(best)}; worst: {label(worst)}, {kept(worst)}."


def label(row: Mapping) -> str:
    """ "MM-DiT skip 7–10"."""
    return f"{short(row['stack'])} {row['name']}"


def kept(row: Mapping, score: str = "kept") -> str:
    """ "0.93 (0.90 – 0.97)"."""
    return with_interval(*(row[score + end] for end in ("", " low", " high")))


def answers(findings: Mapping, question: str, titles: Mapping[str, str]) -> list[dict]:
    """What each model says of a question: title, verdict, and the value of its first test."""
    rows = []
    for found in findings["questions"]:
        if found["claim"] == question:
            first = found["outcomes"][0]
            measured = first["mean"] is not None  # a score that the model itself does not have is no number
            value = with_interval(*(first[key] for key in ENDS)) if measured else "not measured"
            value = "" if found["verdict"] == UNMEASURED else value  # said already
            words = "; ".join(outcome["words"] for outcome in found["outcomes"])
            rows.append({"title": titles[found["model"]], "verdict": found["verdict"], "value": value, "words": words})
    return rows


def claim_rows(claims: Sequence[Mapping], findings: Mapping, titles: Mapping[str, str]) -> list[dict]:
    """A row for each claim: its number and text, and for each model its verdict by preset and the evidence in words."""
    rows = []
    for claim in claims:
        found = [verdict for verdict in findings["claims"] if verdict["claim"] == str(claim["id"])]
        cells = [
            {
                "title": titles[one["model"]],
                "model": one["model"],
                "preset": {"both": "similarity and single layers"}.get(one["preset"], one["preset"]),
                "verdict": one["verdict"],
                "words": [outcome["words"] for outcome in one["outcomes"]],
            }
            for one in found
        ]
        rows.append({"id": claim["id"], "text": claim["text"], "notebook": claim["notebook"], "cells": cells})
    return rows


def roles(rows: Rows, title: str) -> str:
    """Which layer costs most of each score, in a sentence."""
    parts = []
    wanted = ("broad", "fine", "layout", "quality") if "layout" in rows[0] else ("clip", "dino", "coarse", "detail")
    for score in wanted:
        if any(row.get(score) is not None for row in rows):
            row = min(rows, key=lambda row: row[score] if row[score] is not None else 9)
            parts.append(f"{NAMES[score]} {short(row['stack'])} {row['name'].split()[-1]} ({1 - row[score]:.2f} lost)")
    return f"**{title}**, the layer that costs most: " + ", ".join(parts) + "."
