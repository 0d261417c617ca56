"""The paper's questions and the article's claims, as data/claims.yaml writes them down, and what a test says of one.

A test compares what variants keep of a model, 0 chance and 1 the full model, with a number or with other variants. It
passes or is refuted if its 95 % interval lies wholly on one side. A claim holds if all of its tests pass and does not
hold if one is refuted; else it is not measured if one has no score or did not run, and undecided otherwise. The tests
run in `evidence.py`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
import yaml

from painters_utils.errors import unknown
from painters_utils.measure.intervals import Interval, with_interval
from painters_utils.paths import DATA
from painters_utils.study.scores import NAMES

HOLDS, FAILS, OPEN, UNMEASURED = "holds", "does not hold", "undecided", "not measured"
# The lists of tests that a claim can have, and the preset of bands that their verdicts are about.
PRESETS = {"tests": "matched", "both": "both", "article": "article", "matched": "matched"}


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


def load_claims(path: Path = DATA / "claims.yaml") -> dict:
    """The questions and claims; `InputError` for a test that names no score or side that there is."""
    table = yaml.safe_load(path.read_text())
    for claim in table["questions"] + table["claims"]:
        for test in (test for key in PRESETS for test in claim.get(key, [])):
            if "measure" not in test and test.get("score") not in NAMES:
                raise unknown(f"score of claim {claim['id']}", test.get("score"), NAMES)
            if test.get("is", "above") not in ("above", "below"):
                raise unknown(f"side of claim {claim['id']}", test["is"], ["above", "below"])
    return table


def compare(what: str, interval: Interval, side: str, threshold: float) -> Outcome:
    """Whether an interval lies above (below) a threshold, beyond it, or across."""
    mean, low, high = interval
    passes, refuted = (low > threshold, high <= threshold) if side == "above" else (high < threshold, low >= threshold)
    words = f"{what}: {with_interval(*interval)}, claimed to be {side} {threshold:g}"
    return Outcome(words, mean, low, high, HOLDS if passes else FAILS if refuted else OPEN)


def unmeasured(what: str, verdict: str = UNMEASURED) -> Outcome:
    """The outcome of a test without numbers; `what` says why."""
    return Outcome(what, *[float("nan")] * 3, verdict)


def combine(outcomes: Sequence[Outcome]) -> str:
    """The verdict on a claim, of the outcomes of its tests."""
    results = {outcome.verdict for outcome in outcomes}
    if FAILS in results or UNMEASURED in results:
        return FAILS if FAILS in results else UNMEASURED
    return HOLDS if results == {HOLDS} else OPEN


def as_records(found: Sequence[Verdict]) -> list[dict]:
    """Verdicts as plain values: what `save_numbers` writes and the page reads."""
    rows = [asdict(verdict) for verdict in found]
    return json.loads(json.dumps(rows), parse_constant=lambda _: None)


def verdict_table(claims: Sequence[Mapping], found: Sequence[Verdict]) -> pd.DataFrame:
    """A row for each claim and model: the verdict under each preset, and what was measured."""
    texts, rows = {str(claim["id"]): f"{claim['id']}. {claim['text']}" for claim in claims}, {}
    for verdict in [verdict for verdict in found if verdict.claim in texts]:
        row = {"claim": texts[verdict.claim], "model": verdict.model, "article": "–", "matched": "–"}
        row = rows.setdefault((verdict.claim, verdict.model), row)
        presets = ["article", "matched"] if verdict.preset == "both" else [verdict.preset]
        row |= dict.fromkeys(presets, verdict.verdict)
        row["evidence"] = "; ".join(outcome.words for outcome in verdict.outcomes)
    return pd.DataFrame(rows.values())


def verdict_counts(found: Sequence[Verdict]) -> dict[str, int]:
    """How many verdicts hold, do not hold and are undecided; and are not measured, where there are such."""
    counts = Counter({HOLDS: 0, FAILS: 0, OPEN: 0})
    counts.update(verdict.verdict for verdict in found)
    return dict(counts)
