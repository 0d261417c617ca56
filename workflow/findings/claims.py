"""The paper's questions, the article's claims and our own, as data/claims.yaml has them, and what a test says of one.

A test compares what variants keep of a model, 0 chance and 1 the full model, with a number or with other variants. It
passes or is refuted if its 95 % interval lies wholly on one side; a difference that lies wholly within MARGIN is none.
A claim with several tests holds if all pass, and holds in part if some do. The tests run in `evidence.py`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
import yaml

from painters_utils.errors import unknown
from painters_utils.measure.intervals import Interval, holm, in_digits, p_value
from painters_utils.paths import DATA
from painters_utils.study.scores import CATASTROPHIC, MARGIN, NAMES

HOLDS, PART, FAILS, SAME = "holds", "holds in part", "not reproduced", "no difference"
OPEN, UNMEASURED = "undecided", "not measured"
KINDS = (HOLDS, PART, FAILS, SAME, OPEN, UNMEASURED)
# The lists of tests that a claim can have, and the preset of bands that their verdicts are about.
PRESETS = {"tests": "matched", "both": "both", "article": "article", "matched": "matched"}


@dataclass(frozen=True)
class Outcome:
    """One test: what was measured, with its 95 % interval, which side of a threshold is claimed, and what follows."""

    words: str
    mean: float
    low: float
    high: float
    verdict: str
    side: str = "above"
    threshold: float = 0.0
    difference: bool = False  # of two things, so that one within MARGIN is none
    unit: str = "%"  # in which the words tell it: a share in "%", a difference of two in "points", else ""
    survives: bool = True  # whether what it says is still sure when all tests are taken together (`correct`)


@dataclass(frozen=True)
class Verdict:
    """What a model says of a claim under a preset of bands ("article", "matched", or "both" where there are none)."""

    claim: str
    model: str
    preset: str
    verdict: str
    outcomes: list[Outcome] = field(default_factory=list)


def load_claims(path: Path = DATA / "claims.yaml") -> dict:
    """The questions, the article's claims and those of our own; `InputError` for a test that names no score or side
    that there is."""
    table = {"own": []} | yaml.safe_load(path.read_text())
    for claim in table["questions"] + table["claims"] + table["own"]:
        for test in (test for key in PRESETS for test in claim.get(key, [])):
            if "measure" not in test and test.get("score") not in NAMES:
                raise unknown(f"score of claim {claim['id']}", test.get("score"), NAMES)
            if test.get("is", "above") not in ("above", "below"):
                raise unknown(f"side of claim {claim['id']}", test["is"], ["above", "below"])
    return table


def compare(
    what: str, interval: Interval, side: str, threshold: float, difference: bool = False, unit: str = "%"
) -> Outcome:  # fmt: skip
    """Whether an interval lies above (below) a threshold, beyond it, or across.

    `what` is a sentence that says what was measured and what the claim says of it. Of a `difference` an interval
    within MARGIN of the threshold says that there is none; the sentence then says so. `unit` as in `Outcome`.
    """
    mean, low, high = interval
    passes, refuted = (low > threshold, high < threshold) if side == "above" else (high < threshold, low > threshold)
    same = difference and threshold - MARGIN < low and high < threshold + MARGIN
    verdict = SAME if same else HOLDS if passes else FAILS if refuted else OPEN
    what += f", and less than {f'{100 * MARGIN:g} points' if unit else f'{MARGIN:g}'} count as none" if same else ""
    return Outcome(what, mean, low, high, verdict, side, threshold, difference, unit)


def in_points(mean: float, low: float, high: float) -> str:
    """A difference of two shares: "31 points (24 to 38)"."""
    mean_, low_, high_ = (in_digits(100 * end) for end in (mean, low, high))
    return f"{mean_} {'point' if mean_ in ('1', '-1') else 'points'} ({low_} to {high_})"


def unmeasured(what: str, verdict: str = UNMEASURED) -> Outcome:
    """The outcome of a test without numbers; `what` says why."""
    return Outcome(what, *[float("nan")] * 3, verdict)


def combine(outcomes: Sequence[Outcome]) -> str:
    """The verdict on a claim, of the outcomes of its tests."""
    results = {outcome.verdict for outcome in outcomes}
    if HOLDS in results:
        return HOLDS if results == {HOLDS} else PART
    return next((kind for kind in (FAILS, UNMEASURED, OPEN, SAME) if kind in results), OPEN)


def correct(found: Sequence[Verdict], level: float = 0.05) -> list[Verdict]:
    """The verdicts with a mark on each part that holds or is contradicted: does it survive Holm's correction?

    With a hundred tests some intervals miss by chance. Holm (1979) orders the parts by their p value and asks of the
    k-th of n that it is below level / (n − k + 1). All parts that have an interval count, whatever came out: a family
    of those that came out sure would be chosen by its outcome.
    """
    tested = [(one, part) for one, verdict in enumerate(found) for part, outcome in enumerate(verdict.outcomes)
              if outcome.high > outcome.low]  # fmt: skip
    outcomes = [found[one].outcomes[part] for one, part in tested]
    values = [p_value(one.mean, one.low, one.high, one.threshold) for one in outcomes]
    unsure = {place for place, sure in zip(tested, holm(values, level), strict=True) if not sure}
    return [replace(verdict, outcomes=[replace(outcome, survives=outcome.verdict not in (HOLDS, FAILS)
                                               or (one, part) not in unsure)
                                       for part, outcome in enumerate(verdict.outcomes)])
            for one, verdict in enumerate(found)]  # fmt: skip


def at_threshold(found: Sequence[Verdict], level: float, usual: float = CATASTROPHIC) -> dict[str, int]:
    """How many verdicts there would be of each kind if `level` were called catastrophic and not `usual`."""
    moved = []
    for verdict in found:
        outcomes = [
            compare(one.words, (one.mean, one.low, one.high), one.side, level)
            if one.threshold == usual and not one.difference and one.verdict != UNMEASURED else one
            for one in verdict.outcomes
        ]  # fmt: skip
        moved.append(replace(verdict, verdict=combine(outcomes), outcomes=outcomes))
    return verdict_counts(moved)


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
    """How many verdicts there are of each of KINDS, those that occur."""
    counts = Counter(verdict.verdict for verdict in found)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}
