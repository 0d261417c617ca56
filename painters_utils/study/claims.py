"""Does a claim hold? `data/claims.yaml` holds the paper's questions and the article's claims, each with tests.

A test compares what variants keep of a model, 0 chance and 1 the full model, with a number or with other variants. It
passes if its 95 % interval lies wholly on the claimed side, is refuted if it lies wholly on the other, and is undecided
between. A claim holds if all of its tests pass, does not hold if one is refuted, and is undecided otherwise. A test of
a score that a model's pictures cannot have is not measured; nor is then the claim, unless another test refutes it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from painters_utils.engine.bands import how_grouped, stability
from painters_utils.models.catalog import ROOT, folder_name
from painters_utils.show.chapter import bands_to_change
from painters_utils.show.charts import NAMES as SCORE_NAMES
from painters_utils.measure.pictures import two_level_interval, with_interval
from painters_utils.errors import InputError, unknown
from painters_utils.show.figures import short
from .results import SEEDS, read_numbers, recorded, streams_by_stack
from .studio import OVERALL, SCORES, Studio
from .variants import Variant, article_variants, edge_variants, plan, single_skips

HOLDS, FAILS, OPEN, UNMEASURED = "holds", "does not hold", "undecided", "not measured"
DRAWS = 10  # random orders, as in the notebook on them
NAMES = SCORE_NAMES | {"duplicates": "surplus objects"}
SPARED = 0.9  # a layer is spared if skipping it keeps more than this for sure
REMOVED = 0.1  # share of a stack that edge variants remove, as in the notebook on edges


@dataclass(frozen=True)
class Outcome:
    """One test: what was measured, with its 95 % interval, and whether it agrees with the claim."""

    words: str
    mean: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Verdict:
    """What a model says of a claim under a preset of bands ("article", "matched", or "both" where there are none)."""

    claim: str
    model: str
    preset: str
    verdict: str
    outcomes: list[Outcome] = field(default_factory=list)


class Evidence:
    """What was painted and measured of one model; what is missing is painted."""

    def __init__(
        self, model: str, prompts: Sequence[str], seeds: Sequence[int], out: str | Path, steps: int | None = None,
        suite: int = 0, judges: Mapping[str, str | None] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.out = model, out
        self.studio = Studio(model, prompts, seeds, out, steps=steps, suite=suite, judges=judges)
        # Where there are many variants, the notebooks paint fewer of the suite's prompts.
        fewer = self.studio.mini and suite > 1
        self.few = Studio(model, prompts, seeds, out, steps=steps, suite=1) if fewer else self.studio
        self.family = self.studio.row.get("family", model)

    @cached_property
    def recordings(self) -> dict:
        return recorded(self.model, self.studio.shown, self.out, **self.studio.call)

    @cached_property
    def bands(self) -> dict[str, dict[str, list[int]]]:
        return bands_to_change(self.model, self.studio.shown, self.out, **self.studio.call)

    def lacks(self, *scores: str) -> str:
        """Which of the scores this model's pictures cannot have, and why; empty if they have all of them."""
        return "; ".join(f"{NAMES[score]}: {why}" for score in scores if (why := self.studio.lacks(score)))

    def scores(self, preset: str, of: Mapping) -> pd.DataFrame:
        """Scaled scores of the variants that `of` names, their mean for each prompt and seed; with "duplicates"."""
        studio, variants = self.variants(preset, of)
        tables = []
        for variant in variants:
            table = studio.scaled(variant)
            if studio.mini:
                table["duplicates"] = (studio.scores(variant)["duplicates"] - studio.full["duplicates"]).to_numpy()
            tables.append(table)
        return pd.concat(tables).groupby(["prompt", "seed"], sort=False).mean()

    def variants(self, preset: str, of: Mapping) -> tuple[Studio, list[Variant]]:
        """The studio and the variants that a reference of claims.yaml names; `InputError` if there are none."""
        known = ("strategy", "stack", "band", "place", "role")
        for key in of:
            if key not in known:
                raise unknown("key of a claim's variant", key, known)
        strategy, place, studio = of["strategy"], of.get("place"), self.studio
        depths = studio.depths
        if preset == "article":
            found = article_variants(self.model, strategy)
        elif strategy == "random_order":
            studio = self.few
            found = [v for seed in range(DRAWS) for v in plan(self.model, strategy, self.bands, ["matched"], seed=seed)]
            found = list({(v.stack, str(v.order)): v for v in found}.values())
        elif strategy in ("remove_first", "remove_last") or str(place).startswith(("before", "inside")):
            found = [v for v in edge_variants(self.bands, depths, REMOVED) if v.strategy == strategy]
        else:
            found = plan(self.model, strategy, self.bands, ["matched"])
        if "stack" in of:
            stacks = {"single": [s for s in depths if "single" in s], "mm": [s for s in depths if "single" not in s]}
            found = [v for v in found if v.stack in stacks[of["stack"]]]
        if "band" in of:
            found = [v for v in found if v.band == of["band"]]
        if "role" in of:
            found = [v for v in found if (v.stack, v.place) == self.role(of["role"])]
        if place not in (None, "any"):
            found = [v for v in found if v.place == place or v.place.startswith(f"{place} ")]
        if not found:
            raise InputError(f"no {preset} variant of {self.model!r} is {dict(of)}: see data/claims.yaml")
        return studio, found

    def role(self, score: str) -> tuple[str, str]:
        """The matched band whose layers, skipped one by one, cost most of this score beside the other overall score."""
        other = {"adherence": "quality", "quality": "adherence"}[score]
        cost = {}
        for stack, table in self.alone.items():
            for place, (first, last) in self.bands[stack].items():
                kept = table.iloc[first : last + 1]
                cost[stack, place] = float((kept[other] - kept[score]).mean())
        return max(cost, key=cost.get)

    @cached_property
    def alone(self) -> dict[str, pd.DataFrame]:
        """What each stack's layers leave when they are skipped one by one: a row for each layer."""
        skips = single_skips(self.studio.depths)
        return {stack: self.few.table(some, desc=f"{short(stack)} layers") for stack, some in skips.items()}

    # -- numbers beside the pictures --------------------------------------------------------------------------

    def similarity_draws(self, measure: str, inside_bands: bool) -> np.ndarray:
        """Mean similarity of two layers for each recorded picture: of the matched bands, or of all layers."""
        recording, values, layers = self.recordings[measure], [], []
        for stack, stream in streams_by_stack(recording).items():
            matrices = recording.per_picture(stream, stack=stack)
            spans = self.bands[stack].values() if inside_bands else [[0, matrices.shape[1] - 1]]
            for first, last in spans:
                part = matrices[:, first : last + 1, first : last + 1]
                values.append(part[:, ~np.eye(part.shape[1], dtype=bool)].mean(1))
                layers.append(last - first + 1)
        return np.average(values, axis=0, weights=layers)

    @cached_property
    def stable(self) -> dict:
        """Of each stack: how stable as many bands are as the notebook on bands found."""
        stacks = read_numbers(self.out, "04_clustering")["stacks"]
        recording = self.recordings["cosine"]
        return {
            stack: stability(recording.per_picture(stream, stack=stack), max(len(stacks[stack]["bands"]), 2))
            for stack, stream in streams_by_stack(recording).items()
        }

    @cached_property
    def spared(self) -> float:
        """The share of layers without any one of which more than SPARED is kept for sure."""
        return float((pd.concat(self.alone.values())["kept low"] > SPARED).mean())


def evidence_of(
    models: Sequence[str], prompts: Sequence[str] | Mapping[str, Sequence[str]], seeds: Sequence[int], out: str | Path,
    steps: int | None | Mapping[str, int | None] = None, **options: Any,
) -> dict[str, Evidence]:  # fmt: skip
    """The evidence of every model of a study, by the name of its folder in `out`.

    `prompts` and `steps` are those of all models, or of each by its name.
    """
    own = lambda given, model: given[model] if isinstance(given, Mapping) else given  # noqa: E731
    return {
        name: Evidence(model, own(prompts, model), seeds, f"{out}/{name}", steps=own(steps, model), **options)
        for name, model in ((folder_name(model), model) for model in models)
    }


def load_claims(path: Path = ROOT / "data/claims.yaml") -> dict:
    """The questions and claims; `InputError` for a test that names no score, side or measure that there is."""
    table = yaml.safe_load(path.read_text())
    for claim in table["questions"] + table["claims"]:
        for test in tests_of(claim):
            if "measure" in test:
                if test["measure"] not in MEASURES:
                    raise unknown(f"measure of claim {claim['id']}", test["measure"], MEASURES)
            elif test.get("score") not in ("kept", "duplicates", *SCORES):
                raise unknown(f"score of claim {claim['id']}", test.get("score"), ["kept", "duplicates", *SCORES])
            if test.get("is", "above") not in ("above", "below"):
                raise unknown(f"side of claim {claim['id']}", test["is"], ["above", "below"])
    return table


def tests_of(claim: Mapping) -> list[Mapping]:
    """All tests of a claim, of whichever preset."""
    return [test for key in ("tests", "both", "article", "matched") for test in claim.get(key, [])]


def verdicts(claim: Mapping, study: Mapping[str, Evidence]) -> list[Verdict]:
    """What every model of the study (name → evidence) says of a question or a claim, for each preset that it has.

    A claim on models that are not in the study has no verdicts; one that compares models needs all of them.
    """
    found = []
    families = claim.get("families")
    for model, evidence in study.items():
        if families and evidence.family not in families:
            continue
        for key, preset in (("tests", "matched"), ("both", "both"), ("article", "article"), ("matched", "matched")):
            if key in claim:
                outcomes = [outcome for test in claim[key] if (outcome := tried(test, preset, evidence, study))]
                found.append(Verdict(str(claim["id"]), model, preset, combined(outcomes), outcomes))
    return found


def combined(outcomes: Sequence[Outcome]) -> str:
    """Of a claim's tests: holds if all pass, does not hold if one is refuted, undecided otherwise."""
    results = [outcome.verdict for outcome in outcomes]
    for one_is_enough in (FAILS, UNMEASURED):
        if one_is_enough in results:
            return one_is_enough
    return HOLDS if results and all(result == HOLDS for result in results) else OPEN


def tried(test: Mapping, preset: str, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome | None:
    """One test on one model."""
    if "measure" in test:
        return MEASURES[test["measure"]](test, evidence, study)
    score, other = test["score"], test.get("other", {})
    of, other_score = other.get("of", test["of"]), other.get("score", score)
    needed = [score, other_score, *(s for o in (test["of"], of) if "role" in o for s in OVERALL)]
    if lacking := evidence.lacks(*dict.fromkeys(needed)):
        return Outcome(f"{named(score, test['of'])} ({lacking})", *[float("nan")] * 3, UNMEASURED)
    values = evidence.scores(preset, test["of"])[score]
    threshold, against = test.get("than"), ""
    if other:
        beside = evidence.scores(preset, of)[other_score]
        both = values.index.intersection(beside.index)
        values = values[both] - beside[both]
        threshold = test.get("by", 0)
        against = f" less {named(other_score, of)}" if "of" in other else f" less {NAMES[other_score]}"
    interval = two_level_interval(values, values.index.get_level_values("prompt"))
    return judged(f"{named(score, test['of'])}{against}", interval, test["is"], threshold)


def judged(what: str, interval: tuple[float, float, float], side: str, threshold: float) -> Outcome:
    """Whether an interval lies above (below) a threshold, beyond it, or across."""
    mean, low, high = interval
    passes, refuted = (low > threshold, high <= threshold) if side == "above" else (high < threshold, low >= threshold)
    words = f"{what}: {with_interval(*interval)}, claimed to be {side} {threshold:g}"
    return Outcome(words, mean, low, high, HOLDS if passes else FAILS if refuted else OPEN)


def named(score: str, of: Mapping) -> str:
    """ "broad concepts of skip (MM-DiT, low)"."""
    band = of.get("band")
    where = [{"mm": "MM-DiT", "single": "single"}.get(of.get("stack"), ""), f"{band[0]}–{band[1]}" if band else ""]
    where += ["" if of.get("place") in (None, "any") else of["place"], f"{of['role']} layers" if "role" in of else ""]
    inside = ", ".join(part for part in where if part)
    return f"{NAMES[score]} of {of['strategy'].replace('_', ' ')}" + (f" ({inside})" if inside else "")


# -- measures -----------------------------------------------------------------------------------------------


def _interval(draws: np.ndarray) -> tuple[float, float, float]:
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(np.mean(draws)), float(low), float(high)


def band_similarity(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """Linear CKA of two layers of a matched band."""
    values = evidence.similarity_draws("linear CKA", inside_bands=True)
    prompts = [prompt for _ in SEEDS for prompt in evidence.studio.shown]
    return judged("linear CKA inside bands", two_level_interval(values, prompts), test["is"], test["than"])


def grouped(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """How grouped the model is beyond chance (`bands.how_grouped`)."""
    draws = how_grouped(list(evidence.stable.values()))
    return judged("contrast of its bands beyond chance", _interval(draws), test["is"], test["than"])


def ranking(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome | None:
    """Whether models are as grouped as in the claimed order: each step down, as the difference to the next."""
    by_family = {one.family: how_grouped(list(one.stable.values())) for one in study.values()}
    if any(family not in by_family for family in test["families"]):
        return Outcome("the ranking of all three models: not all were studied", *[float("nan")] * 3, OPEN)
    order = [by_family[family] for family in test["families"]]
    least = np.min([one - two for one, two in zip(order, order[1:], strict=False)], axis=0)
    words = " over ".join(f"{family} {one.mean():.2f}" for family, one in zip(test["families"], order, strict=True))
    return judged(f"grouped in the order {words}, smallest lead", _interval(least), "above", 0)


def weaker_similarity(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """Mean cosine of two layers, less that of the other model where it is smallest."""
    draw = np.random.default_rng(0)
    resampled = {
        one.model: np.array([draw.choice(values, len(values)).mean() for _ in range(1000)])
        for one, values in ((one, one.similarity_draws("cosine", inside_bands=False)) for one in study.values())
    }
    own = resampled.pop(evidence.model)
    if not resampled:
        return Outcome("similarity beside the other models': none was studied", *[float("nan")] * 3, OPEN)
    beside = min(resampled.values(), key=np.mean)
    return judged("mean cosine less that of the next model", _interval(own - beside), test["is"], test["than"])


def border_near(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """The share of resampled pictures with a border between bands behind one of the layers."""
    first, last = test["layers"]
    share = max(
        float(one.borders[first : last + 1].max()) for one in evidence.stable.values() if len(one.borders) > last
    )
    return judged(f"share of draws with a border at layers {first}–{last}", (share,) * 3, test["is"], test["than"])


def spared(test: Mapping, evidence: Evidence, study: Mapping[str, Evidence]) -> Outcome:
    """The share of layers that can each be skipped almost for nothing."""
    return judged("share of layers that can each be skipped", (evidence.spared,) * 3, test["is"], test["than"])


MEASURES: dict[str, Callable[[Mapping, Evidence, Mapping[str, Evidence]], Outcome | None]] = {
    "band similarity": band_similarity,
    "grouped": grouped,
    "ranking": ranking,
    "weaker similarity": weaker_similarity,
    "border near": border_near,
    "spared": spared,
}


# -- shown --------------------------------------------------------------------------------------------------


def as_records(found: Sequence[Verdict]) -> list[dict]:
    """Verdicts as plain values: what `save_numbers` writes and the page reads."""
    rows = [asdict(verdict) for verdict in found]
    return json.loads(json.dumps(rows), parse_constant=lambda _: None)


def verdict_table(claims: Sequence[Mapping], found: Sequence[Verdict]) -> pd.DataFrame:
    """A row for each claim and model: the verdict under each preset, and the first test's effect."""
    rows = []
    for claim in claims:
        mine = [verdict for verdict in found if verdict.claim == str(claim["id"])]
        for model in dict.fromkeys(verdict.model for verdict in mine):
            row = {"claim": f"{claim['id']}. {claim['text']}", "model": model, "article": "–", "matched": "–"}
            for verdict in mine:
                if verdict.model == model:
                    presets = ["article", "matched"] if verdict.preset == "both" else [verdict.preset]
                    row |= dict.fromkeys(presets, verdict.verdict)
                    row["evidence"] = "; ".join(outcome.words for outcome in verdict.outcomes)
            rows.append(row)
    return pd.DataFrame(rows)


def verdict_counts(found: Sequence[Verdict]) -> dict[str, int]:
    """How many verdicts hold, do not hold and are undecided; and are not measured, where there are such."""
    counts = {kind: sum(verdict.verdict == kind for verdict in found) for kind in (HOLDS, FAILS, OPEN, UNMEASURED)}
    return {kind: number for kind, number in counts.items() if number or kind != UNMEASURED}
