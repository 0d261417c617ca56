"""A claim's verdict follows from its data alone, and flips when the data is swapped."""

import numpy as np
import pandas as pd
import pytest
import yaml

from workflow.page import story
from painters_utils.errors import InputError
from workflow.findings.claims import (
    FAILS,
    HOLDS,
    OPEN,
    UNMEASURED,
    Evidence,
    Verdict,
    as_records,
    combined,
    judged,
    load_claims,
    verdict_counts,
    verdict_table,
    verdicts,
)

PROMPTS = [f"prompt {number}" for number in range(24)]


class Told:
    """Evidence that was made up: `scores` by strategy."""

    lacking: tuple[str, ...] = ()

    def __init__(self, family: str = "flux", **kept: float) -> None:
        self.family, self.model, self.kept = family, f"{family}-mini", kept

    def lacks(self, *scores: str) -> str:
        return "; ".join(f"{score}: no checker" for score in scores if score in self.lacking)

    def scores(self, preset: str, of: dict) -> pd.DataFrame:
        noise = np.random.default_rng(0).normal(0, 0.1, len(PROMPTS))
        values = self.kept[of["strategy"]] + noise
        index = pd.MultiIndex.from_product([PROMPTS, [0]], names=["prompt", "seed"])
        return pd.DataFrame({"kept": values, "broad": values, "fine": values - 0.2, "duplicates": values}, index=index)


def claim(*tests: dict, **more: object) -> dict:
    return {"id": 1, "text": "toy", "matched": list(tests)} | more


BELOW = {"score": "kept", "of": {"strategy": "skip"}, "is": "below", "than": 0.5}
ABOVE = BELOW | {"is": "above"}
WORSE = {"score": "kept", "of": {"strategy": "skip"}, "is": "below", "other": {"of": {"strategy": "reverse"}}}


@pytest.mark.parametrize(("kept", "verdict"), [(0.2, HOLDS), (0.9, FAILS), (0.5, OPEN)])
def test_a_verdict_flips_when_its_data_is_swapped(kept, verdict):
    [found] = verdicts(claim(BELOW), {"toy": Told(skip=kept)})
    assert found.verdict == verdict
    [opposite] = verdicts(claim(ABOVE), {"toy": Told(skip=kept)})
    assert opposite.verdict == {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}[verdict]


def test_two_variants_are_compared_picture_by_picture():
    [found] = verdicts(claim(WORSE), {"toy": Told(skip=0.6, reverse=0.65)})
    assert found.verdict == HOLDS, "the noise is the pictures' own, and cancels"
    assert found.outcomes[0].mean == pytest.approx(-0.05)
    assert found.outcomes[0].high - found.outcomes[0].low < 1e-9
    [swapped] = verdicts(claim(WORSE), {"toy": Told(skip=0.65, reverse=0.6)})
    assert swapped.verdict == FAILS
    [slight] = verdicts(claim(WORSE | {"by": -0.1}), {"toy": Told(skip=0.6, reverse=0.65)})
    assert slight.verdict == FAILS, "not by so much"


def test_two_scores_of_one_variant_are_compared():
    test = {"score": "fine", "of": {"strategy": "skip"}, "is": "below", "other": {"score": "broad"}}
    [found] = verdicts(claim(test), {"toy": Told(skip=0.7)})
    assert found.verdict == HOLDS
    assert found.outcomes[0].mean == pytest.approx(-0.2)


def test_a_claim_needs_all_of_its_tests_and_falls_with_one():
    outcome = {verdict: judged("x", interval, "above", 0.5) for verdict, interval in (
        (HOLDS, (0.8, 0.7, 0.9)), (FAILS, (0.2, 0.1, 0.3)), (OPEN, (0.5, 0.4, 0.6)))}  # fmt: skip
    assert {verdict: one.verdict for verdict, one in outcome.items()} == {HOLDS: HOLDS, FAILS: FAILS, OPEN: OPEN}
    assert combined([outcome[HOLDS], outcome[HOLDS]]) == HOLDS
    assert combined([outcome[HOLDS], outcome[OPEN]]) == OPEN
    assert combined([outcome[HOLDS], outcome[OPEN], outcome[FAILS]]) == FAILS
    assert combined([]) == OPEN


def test_what_a_model_has_no_score_for_is_not_measured():
    real = Told(skip=0.2)
    real.lacking = ("broad", "adherence", "quality")
    for test in (
        {"score": "broad", "of": {"strategy": "skip"}, "is": "above", "than": 0.5},
        {"score": "fine", "of": {"strategy": "skip"}, "is": "below", "other": {"score": "broad"}},
        BELOW | {"of": {"strategy": "skip", "role": "quality"}},
    ):
        [found] = verdicts(claim(BELOW, test), {"toy": real})
        assert found.verdict == UNMEASURED
        assert "no checker" in found.outcomes[1].words
    assert verdicts(claim(ABOVE, test), {"toy": real})[0].verdict == FAILS, "refuted, whatever else is not known"
    both = claim(test)
    [row] = verdict_table([both], verdicts(both, {"toy": real})).to_dict("records")
    assert row["matched"] == UNMEASURED
    assert verdict_counts(verdicts(both, {"toy": real})) == {HOLDS: 0, FAILS: 0, OPEN: 0, UNMEASURED: 1}
    records = as_records(verdicts(both | {"id": "Q1"}, {"toy": real}))
    [answer] = story.answers({"questions": records}, "Q1", {"toy": "Toy"})
    assert (answer["value"], answer["verdict"]) == ("", UNMEASURED)


def test_nothing_measured_is_undecided():
    assert judged("x", (float("nan"),) * 3, "below", 0.5).verdict == OPEN


def test_a_claim_is_asked_of_its_families_only():
    study = {"a": Told("flux", skip=0.2), "b": Told("sd3", skip=0.9)}
    assert [found.model for found in verdicts(claim(BELOW, families=["sd3"]), study)] == ["b"]
    assert [found.verdict for found in verdicts(claim(BELOW), study)] == [HOLDS, FAILS]


def test_tables_and_counts_say_what_the_verdicts_say():
    both = claim(BELOW, article=[ABOVE])
    found = verdicts(both, {"toy": Told(skip=0.2)})
    [row] = verdict_table([both], found).to_dict("records")
    assert (row["article"], row["matched"]) == (FAILS, HOLDS)
    assert verdict_counts(found) == {HOLDS: 1, FAILS: 1, OPEN: 0}
    records = as_records(found)
    assert records[0]["outcomes"][0]["mean"] == pytest.approx(found[0].outcomes[0].mean)


def test_every_question_and_claim_can_be_evaluated():
    table = load_claims()
    assert [question["id"] for question in table["questions"]] == [f"Q{number}" for number in range(1, 9)]
    assert [one["id"] for one in table["claims"]] == list(range(1, 27))
    for one in table["claims"]:
        assert set(one["families"]) <= {"flux", "sd3", "auraflow"}
        assert {"both"} & set(one) or {"matched"} <= set(one), f"claim {one['id']} has no matched test"


@pytest.mark.parametrize("family", ["flux", "sd3", "auraflow"])
def test_every_variant_that_a_claim_names_exists(family, monkeypatch):
    """No model is loaded: the bands are made up, and only which variants are meant is asked."""
    evidence = Evidence(f"{family}-mini", ["a dog on a white background"], [0], "results/never")
    depths = evidence.studio.depths
    bands = {s: {"low": [2, 4], "high": [12, 14]} if d > 8 else {"middle": [1, 2]} for s, d in depths.items()}
    monkeypatch.setattr(Evidence, "bands", bands)
    monkeypatch.setattr(Evidence, "role", lambda *_: (list(bands)[-1], list(bands[list(bands)[-1]])[0]))
    table = load_claims()
    for one in table["questions"] + table["claims"]:
        if family not in one.get("families", [family]):
            continue
        for preset, key in (("matched", "tests"), ("article", "article"), ("matched", "matched")):
            for test in one.get(key, []):
                for of in (test.get("of"), test.get("other", {}).get("of")):
                    if of:
                        _, found = evidence.variants(preset, of)
                        assert found, (one["id"], of)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "beauty"}, "unknown score of claim 1 'beauty'"),
        ({"is": "over"}, "unknown side of claim 1 'over': choose one of above"),
        ({"measure": "luck"}, "unknown measure of claim 1 'luck'"),
    ],
)
def test_a_claim_that_cannot_be_tested_is_refused(change, message, tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"questions": [], "claims": [claim(BELOW | change)]}))
    with pytest.raises(InputError, match=message):
        load_claims(path)


def test_a_variant_that_does_not_exist_is_refused():
    evidence = Evidence("sd3-mini", ["a dog on a white background"], [0], "results/never")
    with pytest.raises(InputError, match="no article variant of 'sd3-mini' is"):
        evidence.variants("article", {"strategy": "skip", "stack": "single"})
    with pytest.raises(InputError, match="unknown key of a claim's variant 'plaice': choose one of place"):
        evidence.variants("article", {"strategy": "skip", "plaice": "low"})


def test_what_was_not_measured_is_no_number_on_the_page():
    nothing = judged('"NaN" of a toy', (float("nan"),) * 3, "above", 0.5)
    records = as_records([Verdict("Q1", "toy", "matched", OPEN, [nothing])])
    assert records[0]["outcomes"][0]["mean"] is None
    assert records[0]["outcomes"][0]["words"].startswith('"NaN" of a toy'), "only numbers are replaced"
    [answer] = story.answers({"questions": records}, "Q1", {"toy": "Toy"})
    assert (answer["value"], answer["verdict"]) == ("not measured", OPEN)
