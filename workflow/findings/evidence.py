"""Put claims to the test: what was painted and measured of each model, and the verdicts that follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from painters_utils.engine.bands import Bands, Stability, find_bands, how_grouped, stability
from painters_utils.engine.describe import short
from painters_utils.engine.strategies import TITLES
from painters_utils.errors import InputError, unknown
from painters_utils.measure.intervals import (
    Interval,
    drawn_means,
    how_much,
    interval,
    interval_of_draws,
    percent,
    with_interval,
)
from painters_utils.models.model import Model
from painters_utils.study.alone import leave_out_each
from painters_utils.study.experiments import FEW, Experiment, experiment, in_presets
from painters_utils.study.numbers import read_search
from painters_utils.study.recordings import recorded_prompts, similarity_by_stack, streams_by_stack
from painters_utils.study.scores import NAMES
from painters_utils.study.studio import Studio
from painters_utils.study.variants import Variant, article_variants

from .claims import HOLDS, OPEN, PRESETS, Outcome, Verdict, combine, compare, in_points, unmeasured

ROLES = {"adherence": "quality", "quality": "adherence"}  # a role's score, and the other overall score of a mini


class Evidence:
    """What was painted and measured of one model by the `notebooks` that ran (None: all); what they lack is painted."""

    def __init__(
        self, model: Model, prompts: Sequence[str] | None, seeds: Sequence[int], out: str | Path, suite: int = 0,
        judges: Mapping[str, str | None] | None = None, notebooks: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.notebooks = model, notebooks
        self.studio = Studio(model, prompts, seeds, out, suite=suite, judges=judges)
        self.few = Studio(model, prompts, seeds[:1], out, suite=min(suite, FEW), judges=judges)
        self.family = model.family or model.key

    def lacks(self, *needed: str) -> str:
        """Which scores this model's pictures cannot have and which notebooks did not run, and why; "" if none."""
        why = [f"{NAMES[name]}: {reason}" for name in needed if name in NAMES and (reason := self.studio.lacks(name))]
        return "; ".join(why + [f"{name} did not run" for name in needed if name not in NAMES and not self.ran(name)])

    def ran(self, notebook: str) -> bool:
        """Whether a notebook was part of the study."""
        return self.notebooks is None or notebook in self.notebooks

    def scores(self, preset: str, of: Mapping) -> pd.DataFrame:
        """Scaled scores of the variants that `of` names, their mean for each prompt and seed; with "duplicates"."""
        (studio, variants), tables = self.variants(preset, of), []
        for variant in variants:
            table, raw = studio.scaled(variant), studio.scores(variant)
            if "duplicates" in raw:
                table["duplicates"] = (raw["duplicates"] - studio.full["duplicates"]).to_numpy()
            tables.append(table)
        return pd.concat(tables).groupby(["prompt", "seed"], sort=False).mean()

    def variants(self, preset: str, of: Mapping) -> tuple[Studio, list[Variant]]:
        """The studio and the variants that a reference of claims.yaml names; `InputError` if there are none."""
        known = ("strategy", "stack", "band", "place", "role")
        if strange := [key for key in of if key not in known]:
            raise unknown("key of a claim's variant", strange[0], known)
        row, place = row_of(of), of.get("place", "any")
        if preset == "article":
            every = article_variants(self.model, [of["strategy"]])
        else:
            only = {"presets": ["matched"]} if row.build is in_presets else {}
            every = [it for it in row.variants(self.model, self.studio.bands, **only) if it.preset == "matched"]
        role = self.role(of["role"]) if "role" in of else None
        found = [
            variant for variant in every
            if variant.strategy == of["strategy"]
            and ("stack" not in of or ("single" in variant.stack) == (of["stack"] == "single"))
            and variant.band == of.get("band", variant.band)
            and role in (None, (variant.stack, variant.place))
            and (place in ("any", variant.place) or variant.place.startswith(f"{place} "))
        ]  # fmt: skip
        if not found:
            raise InputError(f"no {preset} variant of {self.model.name!r} is {dict(of)}: see data/claims.yaml")
        return (self.few if row.few else self.studio), found

    def role(self, score: str) -> tuple[str, str]:
        """The matched band whose layers, skipped one by one, cost most of this score beside the other overall score."""
        cost = {stack: table[ROLES[score]] - table[score] for stack, table in self.alone.items()}
        places = {(stack, place): cost[stack].iloc[first : last + 1].mean()
                  for stack in cost for place, (first, last) in self.studio.bands[stack].items()}  # fmt: skip
        return max(places, key=lambda place: places[place])

    @cached_property
    def alone(self) -> dict[str, pd.DataFrame]:
        """What each stack's layers leave when they are skipped one by one: a row for each layer."""
        table = leave_out_each(self.studio).table
        return {stack: rows.reset_index(drop=True) for stack, rows in table.groupby("stack", sort=False)}

    # -- numbers beside the pictures --------------------------------------------------------------------------

    def similarity_draws(self, measure: str, inside_bands: bool) -> np.ndarray:
        """Mean similarity of two layers for each recorded picture: of the matched bands, or of all layers."""
        recording, values, layers = self.studio.recordings[measure], [], []
        for stack, stream in streams_by_stack(recording).items():
            matrices = recording.per_picture(stream, stack=stack)
            spans = self.studio.bands[stack].values() if inside_bands else [[0, matrices.shape[1] - 1]]
            for first, last in spans:
                part = matrices[:, first : last + 1, first : last + 1]
                values.append(part[:, ~np.eye(part.shape[1], dtype=bool)].mean(1))
                layers.append(last - first + 1)
        return np.average(values, axis=0, weights=layers)

    @cached_property
    def clustered(self) -> dict[str, Bands]:
        """What clustering finds in each stack."""
        matrices = similarity_by_stack(self.studio.recordings["cosine"])
        return {stack: find_bands(matrix) for stack, matrix in matrices.items()}

    @cached_property
    def stable(self) -> list[Stability]:
        """Of each stack: how stable as many bands are as clustering finds."""
        recording = self.studio.recordings["cosine"]
        return [
            stability(
                recording.per_picture(stream, stack=stack),
                max(len(self.clustered[stack].bands), 2),
                prompts=recorded_prompts(self.studio.shown),
            )
            for stack, stream in streams_by_stack(recording).items()
        ]


def row_of(of: Mapping) -> Experiment:
    """The experiment that paints the variants of a reference: the edges', or the strategy's own."""
    edge = of["strategy"].startswith("remove_") or str(of.get("place", "")).startswith(("before", "inside"))
    return experiment("edges" if edge else of["strategy"])


def evidence_of(
    models: Sequence[Model], prompts: Sequence[str] | Mapping[str, Sequence[str]] | None, seeds: Sequence[int],
    out: str | Path, **options: Any,
) -> dict[str, Evidence]:  # fmt: skip
    """The evidence of each model, by the name of its folder in `out`; `prompts` are those of all or of each by name."""
    own = {model.name: prompts[model.name] if isinstance(prompts, Mapping) else prompts for model in models}
    return {model.key: Evidence(model, own[model.name], seeds, f"{out}/{model.key}", **options) for model in models}


def find_verdicts(claim: Mapping, study: Mapping[str, Evidence]) -> list[Verdict]:
    """What every model of the study (name → evidence) says of a question or a claim, for each preset that it has.

    A test that ranks `families` is one test of all models: it is told with the first of them.
    """
    for test in (test for key in PRESETS for test in claim.get(key, [])):
        if "measure" in test and test["measure"] not in MEASURES:
            raise unknown(f"measure of claim {claim['id']}", test["measure"], MEASURES)
    found = []
    for model, evidence in study.items():
        if claim.get("families") and evidence.family not in claim["families"]:
            continue
        for key, preset in PRESETS.items():
            if key in claim:
                own = [test for test in claim[key] if evidence.family in test.get("families", [evidence.family])[:1]]
                outcomes = [run_test(test, preset, evidence, study) for test in own]
                found.append(Verdict(str(claim["id"]), model, preset, combine(outcomes), outcomes))
    return found


def run_test(test: Mapping, preset: str, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """One test on one model."""
    if "measure" in test:
        return MEASURES[test["measure"]](test, evidence, study)
    score, other = test["score"], test.get("other", {})
    of, other_score = other.get("of", test["of"]), other.get("score", score)
    role = "role" in test["of"] or "role" in of
    needed = [score, other_score, *(ROLES if role else ()), *(row_of(one).notebook for one in (test["of"], of))]
    if lacking := evidence.lacks(*dict.fromkeys(needed + ["12_layer_by_layer"] * role)):
        return unmeasured(f"{NAMES[score]} of {name_of(test['of'])} ({lacking})")
    values = evidence.scores(preset, test["of"])[score]
    name, beside_name = (name_of(one, evidence.variants(preset, one)[1]) for one in (test["of"], of))
    threshold, side = test.get("than"), test["is"]
    counted = score == "duplicates"  # and no share
    if not other:
        found = interval(values, values.index.get_level_values("prompt"))
        words = f"{name} keeps {told(score, found)}; the claim says {side_of(side)}"
        words += f" than {told_threshold(score, threshold)}"
        if score == "duplicates":
            words = f"{name} paints {apart(score, found)} than the untouched model"
            words += f"; the claim says that it paints {side_of(side)}"
        beside_full = threshold == 1 or score == "duplicates"
        return compare(words, found, side, threshold, difference=beside_full, unit="" if counted else "%")
    beside = evidence.scores(preset, of)[other_score]
    both = values.index.intersection(beside.index)
    values, threshold = values[both] - beside[both], test.get("by", 0)
    found = interval(values, values.index.get_level_values("prompt"))
    if "of" in other:
        of_score = "" if score in ("kept", "duplicates") else f" of the {called(score)}"
        words = f"{name} keeps {apart(score, found)}{of_score} than {beside_name}"
    else:
        words = f"{name} keeps {apart(score, found)} of the {called(score)} than of the {called(other_score)}"
    by = told_threshold(score, threshold).replace("%", "points")
    claimed = f"{at_most(side)} {by} more" if threshold else side_of(side)
    words += f"; the claim says that it keeps {claimed}"
    return compare(words, found, side, threshold, difference=True, unit="" if counted else "points")


def name_of(of: Mapping, variants: Sequence[Variant] = ()) -> str:
    """ "skip (MM-DiT, low)"; of layers removed at an end also how many, where its `variants` agree on that, and of the
    article's orders what its author ran beside what he wrote."""
    stack, band, place, role = (of.get(key) for key in ("stack", "band", "place", "role"))
    where = ["MM-DiT" if stack == "mm" else stack, band and "–".join(map(str, dict.fromkeys(band)))]
    where += [None if place in ("any", "first", "last") else place, role and f"layers for {called(role)}"]
    slips = "; ".join(slip_of(variant, alone=len(variants) == 1) for variant in variants if variant.slip)
    inside = ", ".join(part for part in (*where, slips) if part)
    title = TITLES[of["strategy"]]
    if title.startswith("without "):  # first or last; a variant's own name ends in how many, if that is not one
        counts = {variant.name.removeprefix(title).strip() or "1" for variant in variants}
        many = counts.pop() if len(counts) == 1 else ""
        title = title.replace("without", "the model without its")
        title += {"1": " layer", "": " layers"}.get(many, f" {many} layers")
    return title + (f" ({inside})" if inside else "")


def slip_of(variant: Variant, alone: bool) -> str:
    """A variant's slip; where it stands beside others, behind its layers: "MM-DiT 10–13: layers 14–21 were dropped"."""
    layers = variant.name.removeprefix(TITLES[variant.strategy]).strip()
    return variant.slip if alone else f"{short(variant.stack)} {layers}: {variant.slip}"


def told_threshold(score: str, number: float) -> str:
    """ "50 %"; surplus objects are counted, all other scores are shares of the untouched model's."""
    return f"{number:g}" if score == "duplicates" else f"{100 * number:.0f} %"


def told(score: str, found: Interval) -> str:
    """ "70 % (62 – 78 %) of the score"."""
    return f"{percent(*found)} of the {called(score)}"


def apart(score: str, found: Interval) -> str:
    """ "12 points less (4 to 20)"; "2 points less (6 less to 3 more)"; "0.2 more surplus objects a picture"."""
    return how_much(*found, what="surplus objects a picture" if score == "duplicates" else "")


def called(score: str) -> str:
    """What a score is called behind "of the"."""
    return "score" if score == "kept" else NAMES[score].removesuffix(" kept")


def side_of(side: str) -> str:
    return "more" if side == "above" else "less"


def at_most(side: str) -> str:
    return "at least" if side == "above" else "at most"


# -- measures -----------------------------------------------------------------------------------------------


def measured(what: str, found: Interval, side: str, threshold: float, difference: bool = False) -> Outcome:
    """The outcome for a number that is no score."""
    words = f"{what}: {with_interval(*found)}; the claim says {side_of(side)} than {threshold:g}"
    return compare(words, found, side, threshold, difference, unit="")


def band_similarity(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """Linear CKA of two layers of a matched band."""
    values = evidence.similarity_draws("linear CKA", inside_bands=True)
    found = interval(values, recorded_prompts(evidence.studio.shown))
    return measured("linear CKA inside bands", found, test["is"], test["than"])


def middle_apart(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """How much more alike two middle layers are than an end layer and a layer just as far away (linear CKA).

    The first and the last layer are the ends, all others the middle; a stack of fewer than six layers has no middle.
    """
    recording, values, layers = evidence.studio.recordings["linear CKA"], [], []
    for stack, stream in streams_by_stack(recording).items():
        matrices = recording.per_picture(stream, stack=stack)
        if (depth := matrices.shape[1]) >= 6:
            apart = [ahead_of_ends(matrices, distance) for distance in range(1, depth - 2)]
            values.append(np.mean(apart, axis=0))
            layers.append(depth)
    if not values:
        return unmeasured("how alike middle layers are: no stack is deep enough")
    found = interval(np.average(values, axis=0, weights=layers), recorded_prompts(evidence.studio.shown))
    return measured("linear CKA of two middle layers less that of an end and one as far away", found, test["is"],
                    test["than"], difference=True)  # fmt: skip


def ahead_of_ends(matrices: np.ndarray, distance: int) -> np.ndarray:
    """Of each similarity matrix: the mean of the middle pairs so far apart, less that of the pairs with an end."""
    diagonal = np.diagonal(matrices, distance, axis1=1, axis2=2)
    return diagonal[:, 1:-1].mean(1) - diagonal[:, [0, -1]].mean(1)


def contrast(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """How grouped the model is beyond chance (`bands.how_grouped`)."""
    draws = how_grouped(evidence.stable)
    if any(found.grouped for found in evidence.clustered.values()):
        return measured("contrast of its bands beyond chance", interval_of_draws(draws), test["is"], test["than"])
    found = interval_of_draws(draws)
    words = "clustering finds no border, so there are no groups that the claim could be judged by; cut in two all the "
    words += f"same, the contrast beyond chance is {with_interval(*found)}; the claim says {side_of(test['is'])} than "
    words += f"{test['than']:g}"
    outcome = compare(words, found, test["is"], test["than"], unit="")
    return replace(outcome, verdict=OPEN) if outcome.verdict == HOLDS else outcome  # groups without a border are none


def ranking(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """Whether models are as grouped as in the claimed order: each step down, as the difference to the next."""
    by_family = {one.family: how_grouped(one.stable) for one in study.values()}
    if any(family not in by_family for family in test["families"]):
        return unmeasured("the ranking of all three models: not all were studied", OPEN)
    order = [by_family[family] for family in test["families"]]
    least = np.min([one - two for one, two in zip(order, order[1:], strict=False)], axis=0)
    titles = {one.family: one.model.title for one in study.values()}
    words = [f"{titles[family]} {one.mean():.2f}" for family, one in zip(test["families"], order, strict=True)]
    what = f"the contrast beyond chance is {', '.join(words)}; the smallest step down in this order"
    return measured(what, interval_of_draws(least), "above", 0)


def weaker_similarity(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """Mean cosine of two layers, less that of the other model where it is smallest."""
    resampled = {
        one.model.key: drawn_means(
            one.similarity_draws("cosine", inside_bands=False), recorded_prompts(one.studio.shown)
        )
        for one in study.values()
    }
    own = resampled.pop(evidence.model.key)
    if not resampled:
        return unmeasured("similarity beside the other models': none was studied", OPEN)
    beside = min(resampled.values(), key=np.mean)
    return measured(
        "mean cosine less that of the next model", interval_of_draws(own - beside), test["is"], test["than"],
        difference=True,
    )  # fmt: skip


def border_near(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """The share of resampled pictures with a border between bands behind one of the layers."""
    first, last = test["layers"]
    share = max(float(one.borders[first : last + 1].max()) for one in evidence.stable if len(one.borders) > last)
    words = f"{percent(share)} of the draws have a border at layers {first}–{last}"
    words += f"; the claim says {side_of(test['is'])} than {percent(test['than'])}"
    return compare(words, (share,) * 3, test["is"], test["than"])


def searched(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """A number that a search of its own command has left with its interval (data/<in>/<model>.json, "found")."""
    key = test["number"]
    what = test.get("says", key)
    left, why = read_search(test["in"], evidence.model)
    if left is None:
        return unmeasured(f"{what} ({why})")
    number = left.get("found", left).get(key)
    if number is None or None in number.values():
        return unmeasured(f"{what} (the search has left no such number)")
    found, difference = (number["mean"], number["low"], number["high"]), test.get("difference", test["than"] == 1)
    if not test.get("percent"):
        return measured(what, found, test["is"], test["than"], difference)
    say, unit = (in_points, "points") if "difference" in test else (percent, "%")
    words = f"{what}: {say(*found)}; the claim says {side_of(test['is'])} than {100 * test['than']:g} {unit}"
    return compare(words, found, test["is"], test["than"], difference, unit)


MEASURES: dict[str, Callable[[Mapping, Evidence, Mapping[str, Evidence]], Outcome]] = {
    "band similarity": band_similarity,
    "middle apart": middle_apart,
    "grouped": contrast,
    "ranking": ranking,
    "weaker similarity": weaker_similarity,
    "border near": border_near,
    "searched": searched,
}
