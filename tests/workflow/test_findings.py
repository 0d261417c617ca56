"""A claim's verdict follows from its data alone, and flips when the data is swapped."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from painters_utils import Model, Studio
from painters_utils.errors import InputError
from painters_utils.study.experiments import EXPERIMENTS
from painters_utils.study.variants import Variant, custom_variant
from workflow.findings.claims import (
    FAILS,
    HOLDS,
    OPEN,
    PART,
    SAME,
    UNMEASURED,
    Verdict,
    as_records,
    at_threshold,
    combine,
    compare,
    correct,
    load_claims,
    verdict_counts,
    verdict_table,
)
from workflow.findings.evidence import (
    MEASURES,
    Evidence,
    ahead_of_ends,
    apart,
    evidence_of,
    find_verdicts,
    name_of,
    row_of,
)

PROMPTS = [f"prompt {number}" for number in range(24)]


class Told:
    """Evidence that was made up: `scores` by strategy."""

    lacking: tuple[str, ...] = ()

    def __init__(self, family: str = "flux", **kept: float) -> None:
        self.family, self.model, self.kept = family, f"{family}-mini", kept

    def lacks(self, *scores: str) -> str:
        return "; ".join(f"{score}: no checker" for score in scores if score in self.lacking)

    def variants(self, preset: str, of: dict) -> tuple[None, list[Variant]]:
        return None, [custom_variant("transformer_blocks", 24, of["strategy"], k=k) for k in of.get("k", ())]

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
    [found] = find_verdicts(claim(BELOW), {"toy": Told(skip=kept)})
    assert found.verdict == verdict
    [opposite] = find_verdicts(claim(ABOVE), {"toy": Told(skip=kept)})
    assert opposite.verdict == {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}[verdict]


@pytest.mark.parametrize(("removed", "words"), [
    ([1], "its first layer (MM-DiT)"), ([2], "its first 2 layers (MM-DiT)"), ([1, 4], "its first layers (MM-DiT)"),
])  # fmt: skip
def test_it_is_said_how_many_layers_an_end_has_lost(removed, words):
    of = {"strategy": "remove_first", "stack": "mm", "place": "first", "k": removed}
    [found] = find_verdicts(claim(BELOW | {"of": of}), {"toy": Told(remove_first=0.2)})
    assert found.outcomes[0].words.startswith(f"the model without {words} keeps ")


def test_what_the_author_ran_beside_what_he_wrote_is_named_with_its_layers():
    of = {"strategy": "parallel", "stack": "mm"}
    slipped, other = (custom_variant("transformer_blocks", 24, "parallel", band=band, about=about) for band, about in (
        ([10, 13], {"slip": "14–21 were dropped"}), ([18, 21], {})))  # fmt: skip
    assert name_of(of, [slipped]) == "parallel (MM-DiT, 14–21 were dropped)"
    assert name_of(of, [slipped, other]) == "parallel (MM-DiT, MM-DiT 10–13: 14–21 were dropped)"
    assert name_of(of, [other]) == "parallel (MM-DiT)"


def test_two_variants_are_compared_picture_by_picture():
    [found] = find_verdicts(claim(WORSE), {"toy": Told(skip=0.6, reverse=0.7)})
    assert found.verdict == HOLDS, "the noise is the pictures' own, and cancels"
    assert found.outcomes[0].mean == pytest.approx(-0.1)
    assert found.outcomes[0].high - found.outcomes[0].low < 1e-9
    [swapped] = find_verdicts(claim(WORSE), {"toy": Told(skip=0.7, reverse=0.6)})
    assert swapped.verdict == FAILS
    [slight] = find_verdicts(claim(WORSE | {"by": -0.2}), {"toy": Told(skip=0.6, reverse=0.7)})
    assert slight.verdict == FAILS, "not by so much"


def test_two_scores_of_one_variant_are_compared():
    test = {"score": "fine", "of": {"strategy": "skip"}, "is": "below", "other": {"score": "broad"}}
    [found] = find_verdicts(claim(test), {"toy": Told(skip=0.7)})
    assert found.verdict == HOLDS
    assert found.outcomes[0].mean == pytest.approx(-0.2)


def test_a_ranking_of_models_is_one_test_told_with_the_first_of_them(monkeypatch):
    monkeypatch.setitem(MEASURES, "ranking", lambda test, *_: compare("ranked", (0.5, 0.4, 0.6), "above", 0))
    ranked = {"measure": "ranking", "families": ["sd3", "flux"]}
    study = {family: Told(family, skip=0.2) for family in ("flux", "sd3")}
    flux, sd3 = find_verdicts(claim(BELOW, ranked), study)
    assert [len(flux.outcomes), len(sd3.outcomes)] == [1, 2] and sd3.outcomes[1].words == "ranked"


def test_a_small_difference_is_none_whatever_its_sign():
    [found] = find_verdicts(claim(WORSE), {"toy": Told(skip=0.6, reverse=0.63)})
    assert found.verdict == SAME
    full = BELOW | {"than": 1}
    [beside_full] = find_verdicts(claim(full), {"toy": Told(skip=1.0)})
    assert beside_full.verdict in (SAME, OPEN), "beside the full model it is a difference too"
    assert compare("x", (0.48, 0.47, 0.49), "below", 0.5).verdict == HOLDS, "a level is none"


def test_nothing_at_all_contradicts_nothing():
    assert compare("no surplus object", (0.0, 0.0, 0.0), "above", 0, difference=True).verdict == SAME
    assert compare("just there", (0.5, 0.5, 0.5), "above", 0.5).verdict == OPEN


@pytest.mark.parametrize(("score", "found", "words"), [
    ("kept", (-0.12, -0.2, -0.04), "12 points less (4 to 20)"),
    ("kept", (0.01, -0.004, 0.03), "1 point more (0.4 less to 3 more)"),
    ("kept", (-0.02, -0.06, 0.03), "2 points less (6 less to 3 more)"),
    ("duplicates", (0.2, 0.1, 0.3), "0.20 more surplus objects a picture (0.10 to 0.30)"),
])  # fmt: skip
def test_a_difference_is_told_as_people_tell_it(score, found, words):
    assert apart(score, found) == words


def test_a_claim_holds_with_all_of_its_parts_and_in_part_with_some():
    outcome = {verdict: compare("x", interval, "above", 0.5) for verdict, interval in (
        (HOLDS, (0.8, 0.7, 0.9)), (FAILS, (0.2, 0.1, 0.3)), (OPEN, (0.5, 0.4, 0.6)))}  # fmt: skip
    assert {verdict: one.verdict for verdict, one in outcome.items()} == {HOLDS: HOLDS, FAILS: FAILS, OPEN: OPEN}
    assert combine([outcome[HOLDS], outcome[HOLDS]]) == HOLDS
    assert combine([outcome[HOLDS], outcome[OPEN]]) == PART
    assert combine([outcome[HOLDS], outcome[OPEN], outcome[FAILS]]) == PART
    assert combine([outcome[OPEN], outcome[FAILS]]) == FAILS
    same = compare("x", (0.01, -0.01, 0.02), "above", 0, difference=True)
    assert combine([same, same]) == SAME and combine([same, outcome[OPEN]]) == OPEN
    assert combine([]) == OPEN


def test_correction_keeps_what_is_far_and_marks_what_is_near():
    """Of a hundred tests of nothing a few pass; of those hardly one survives, and a planted effect does."""
    draw = np.random.default_rng(0)
    chance = []
    for _ in range(100):
        mean = draw.normal(0, 0.05)
        chance.append(compare("chance", (mean, mean - 0.098, mean + 0.098), "above", 0))
    planted = compare("planted", (0.3, 0.2, 0.4), "above", 0)
    found = correct([Verdict("1", "toy", "matched", HOLDS, [*chance, planted])])[0].outcomes
    passed = [one for one in found[:-1] if one.verdict != OPEN]
    assert 1 <= len(passed) <= 12 and sum(one.survives for one in passed) <= 1
    assert found[-1].survives and all(one.survives for one in found if one.verdict == OPEN), "no claim, no mark"
    assert correct([]) == []


def test_the_family_of_tests_is_not_chosen_by_what_came_out():
    """A part that is barely sure survives alone, and not among fifty that decide nothing."""
    barely = compare("barely", (0.1, 0.005, 0.195), "above", 0)
    open_ = [compare("open", (0.01, -0.09, 0.11), "above", 0)] * 50
    counted = compare("counted, without an interval", (0.0, 0.0, 0.0), "above", 0.5)
    [alone] = correct([Verdict("1", "toy", "matched", HOLDS, [barely, counted])])
    [among] = correct([Verdict("1", "toy", "matched", HOLDS, [barely, counted, *open_])])
    assert [one.survives for one in alone.outcomes] == [True, True]
    assert [one.survives for one in among.outcomes] == [False, True, *[True] * 50], "the others claim nothing"


def test_a_threshold_moved_moves_the_verdicts_that_hang_on_it():
    level = compare("level", (0.6, 0.55, 0.65), "above", 0.5)
    difference = compare("difference", (0.6, 0.55, 0.65), "above", 0.5, difference=True)
    found = [Verdict("1", "toy", "matched", HOLDS, [one]) for one in (level, difference)]
    assert at_threshold(found, 0.3) == {HOLDS: 2}
    assert at_threshold(found, 0.7) == {HOLDS: 1, FAILS: 1}, "a comparison needs no such line"


def test_an_end_layer_that_stands_apart_is_seen():
    depth = 12
    near = 1 - np.abs(np.subtract.outer(np.arange(depth), np.arange(depth))) / depth
    apart = near.copy()
    apart[[0, -1], :] -= 0.3
    apart[:, [0, -1]] -= 0.3
    for matrix, lead in ((near, 0), (apart, 0.3)):
        assert ahead_of_ends(matrix[None], 3) == pytest.approx(lead)


@pytest.mark.parametrize(("grouped", "contrast", "verdict"), [
    (True, 0.6, "holds"), (False, 0.6, "undecided"), (True, -0.6, "not reproduced"), (False, -0.6, "not reproduced"),
])  # fmt: skip
def test_layers_without_a_border_are_not_said_to_form_groups(grouped, contrast, verdict, monkeypatch):
    draws = np.random.default_rng(0).normal(contrast, 0.1, 200)
    monkeypatch.setattr("workflow.findings.evidence.how_grouped", lambda stable: draws)
    told = SimpleNamespace(stable=[], clustered={"single": SimpleNamespace(grouped=grouped)})
    found = MEASURES["grouped"]({"is": "above", "than": 0}, told, {})
    assert found.verdict == verdict and found.mean == pytest.approx(contrast, abs=0.05)
    assert ("finds no border" in found.words) is not grouped


def test_what_a_model_has_no_score_for_is_not_measured():
    real = Told(skip=0.2)
    real.lacking = ("broad", "adherence", "quality")
    for test in (
        {"score": "broad", "of": {"strategy": "skip"}, "is": "above", "than": 0.5},
        {"score": "fine", "of": {"strategy": "skip"}, "is": "below", "other": {"score": "broad"}},
        BELOW | {"of": {"strategy": "skip", "role": "quality"}},
    ):
        [found] = find_verdicts(claim(BELOW, test), {"toy": real})
        assert found.verdict == PART
        assert find_verdicts(claim(test), {"toy": real})[0].verdict == UNMEASURED
        assert "no checker" in found.outcomes[1].words
    assert find_verdicts(claim(ABOVE, test), {"toy": real})[0].verdict == FAILS, "refuted, whatever else is not known"
    both = claim(test)
    [row] = verdict_table([both], find_verdicts(both, {"toy": real})).to_dict("records")
    assert row["matched"] == UNMEASURED
    assert verdict_counts(find_verdicts(both, {"toy": real})) == {UNMEASURED: 1}


def test_nothing_measured_is_undecided():
    assert compare("x", (float("nan"),) * 3, "below", 0.5).verdict == OPEN


def test_a_claim_is_asked_of_its_families_only():
    study = {"a": Told("flux", skip=0.2), "b": Told("sd3", skip=0.9)}
    assert [found.model for found in find_verdicts(claim(BELOW, families=["sd3"]), study)] == ["b"]
    assert [found.verdict for found in find_verdicts(claim(BELOW), study)] == [HOLDS, FAILS]


def test_tables_and_counts_say_what_the_verdicts_say():
    both = claim(BELOW, article=[ABOVE])
    found = find_verdicts(both, {"toy": Told(skip=0.2)})
    [row] = verdict_table([both], found).to_dict("records")
    assert (row["article"], row["matched"]) == (FAILS, HOLDS)
    assert verdict_counts(found) == {HOLDS: 1, FAILS: 1}
    records = as_records(found)
    assert records[0]["outcomes"][0]["mean"] == pytest.approx(found[0].outcomes[0].mean)


def test_every_question_and_claim_can_be_evaluated():
    table = load_claims()
    assert [question["id"] for question in table["questions"]] == [f"Q{number}" for number in range(1, 9)]
    assert [one["id"] for one in table["claims"]] == list(range(1, 27))
    ids = [one["id"] for one in table["own"]]
    assert ids == sorted(set(ids)) and min(ids) > 26, "our own claims come behind the article's"
    assert all(test["measure"] == "searched" for one in table["own"] for test in one["both"])
    searched = [test for one in table["claims"] + table["own"] for test in one.get("both", []) if "number" in test]
    for test in searched:
        assert test.get("difference", False) == (" less " in test.get("says", test["number"])), test["number"]
    for one in table["claims"]:
        assert set(one["families"]) <= {"flux", "sd3", "auraflow"}
        assert {"both"} & set(one) or {"matched"} <= set(one), f"claim {one['id']} has no matched test"


PROMPT = ["a dog on a white background"]


def evidence(name: str = "sd3-mini", **options: object) -> Evidence:
    """Of a model that is never loaded."""
    return Evidence(Model.named(name), PROMPT, [0], "results/never", **options)


@pytest.fixture
def never_painted(monkeypatch):
    """The bands are made up, and what asks for the model fails the test."""
    monkeypatch.setattr(Studio, "pipe", property(lambda _: pytest.fail("the model was loaded")))

    def bands(studio: Studio) -> dict:
        depths = studio.model.depths
        return {s: {"low": [2, 4], "high": [12, 14]} if d > 8 else {"middle": [1, 2]} for s, d in depths.items()}

    monkeypatch.setattr(Studio, "bands", property(bands))


@pytest.mark.parametrize("family", ["flux", "sd3", "auraflow"])
def test_every_variant_that_a_claim_names_exists(family, never_painted, monkeypatch):
    """Only which variants are meant is asked."""
    monkeypatch.setattr(
        Evidence, "role", lambda self, _: next((s, next(iter(p))) for s, p in self.studio.bands.items())
    )
    one_model, table, notebooks = evidence(f"{family}-mini"), load_claims(), {row.notebook for row in EXPERIMENTS}
    for one in table["questions"] + table["claims"] + table["own"]:
        if family not in one.get("families", [family]):
            continue
        for preset, key in (("matched", "tests"), ("article", "article"), ("matched", "matched")):
            for test in one.get(key, []):
                assert "measure" not in test or test["measure"] in MEASURES
                for of in (test.get("of"), test.get("other", {}).get("of")):
                    if of:
                        _, found = one_model.variants(preset, of)
                        assert found, (one["id"], of)
                        assert row_of(of).notebook in notebooks - {""}, "some notebook paints it"


def test_what_belongs_to_a_notebook_that_did_not_run_is_not_measured(never_painted):
    """As in a study of fewer notebooks: nothing of the others is painted after all."""
    some = evidence(notebooks=["05_skip"])
    reverse = {"score": "kept", "of": {"strategy": "reverse", "place": "any"}, "is": "above", "than": 0.5}
    edge = reverse | {"of": {"strategy": "skip", "place": "before low"}}
    less = {"score": "kept", "of": {"strategy": "skip"}, "is": "below", "other": {"of": {"strategy": "parallel"}}}
    for test, lacking in (
        (reverse, "07_reverse"),
        (less, "09_parallel"),
        (edge, "11_edges"),
        (BELOW | {"of": {"strategy": "skip", "role": "quality"}}, "12_layer_by_layer"),
    ):
        [found] = find_verdicts(claim(test), {"sd3-mini": some})
        assert found.verdict == UNMEASURED
        assert lacking in found.outcomes[0].words and "did not run" in found.outcomes[0].words
    assert not some.lacks("05_skip") and evidence().ran("07_reverse"), "None: all ran"


def test_what_ran_is_measured_and_refutes_a_claim_of_which_more_did_not_run(never_painted, monkeypatch):
    some = evidence(notebooks=["05_skip"])
    monkeypatch.setattr(Evidence, "scores", lambda _, preset, of: Told(skip=0.2).scores(preset, of))
    reverse = ABOVE | {"of": {"strategy": "reverse"}}
    assert find_verdicts(claim(BELOW), {"sd3-mini": some})[0].verdict == HOLDS
    assert find_verdicts(claim(BELOW, reverse), {"sd3-mini": some})[0].verdict == PART
    assert find_verdicts(claim(reverse), {"sd3-mini": some})[0].verdict == UNMEASURED
    assert find_verdicts(claim(ABOVE, reverse), {"sd3-mini": some})[0].verdict == FAILS


def test_a_study_has_the_evidence_of_each_model_in_its_folder():
    models = [Model.named("sd3-mini"), Model.named("flux-mini")]
    prompts = ["a red dog on a white background"], ["a blue dog on a white background"]
    own = {model.name: some for model, some in zip(models, prompts, strict=True)}
    study = evidence_of(models, own, [0], "results/never", notebooks=["05_skip"])
    assert [one.studio.shown for one in study.values()] == list(prompts)
    assert [str(one.studio.out) for one in study.values()] == ["results/never/sd3-mini", "results/never/flux-mini"]
    assert {one.family for one in study.values()} == {"sd3", "flux"}
    assert all(one.studio.shown == PROMPT for one in evidence_of(models, PROMPT, [0], "results/never").values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "beauty"}, "score of claim 1 'beauty'"),
        ({"is": "over"}, "side of claim 1 'over': .*above"),
    ],
)
def test_a_claim_that_cannot_be_tested_is_refused(change, message, tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"questions": [], "claims": [claim(BELOW | change)]}))
    with pytest.raises(InputError, match=message):
        load_claims(path)


def test_a_search_is_judged_by_the_number_that_it_left_for_these_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("painters_utils.study.numbers.DATA", tmp_path)
    model = SimpleNamespace(name="toy", title="Toy", weights="abc")
    study = {"toy": SimpleNamespace(model=model, family="flux")}
    test = {"measure": "searched", "in": "worth", "number": "luck", "is": "above", "than": 0}

    def verdict(**found: object) -> Verdict:
        (tmp_path / "worth").mkdir(exist_ok=True)
        (tmp_path / "worth/toy.json").write_text(json.dumps({"weights": "abc", "found": found}))
        return find_verdicts({"id": 27, "both": [test]}, study)[0]

    assert find_verdicts({"id": 27, "both": [test]}, study)[0].verdict == UNMEASURED, "nothing was searched"
    assert verdict(luck={"mean": 0.5, "low": 0.2, "high": 0.7}).verdict == HOLDS
    assert verdict(luck={"mean": 0.1, "low": -0.2, "high": 0.7}).verdict == OPEN
    assert verdict(luck={"mean": -0.5, "low": -0.7, "high": -0.2}).verdict == FAILS
    assert verdict(pluck={"mean": 0.5, "low": 0.2, "high": 0.7}).verdict == UNMEASURED
    slight = {"mean": 0.01, "low": -0.02, "high": 0.04}
    assert verdict(luck=slight).verdict == OPEN, "a level"
    test["difference"] = True
    assert verdict(luck=slight).verdict == SAME
    del test["difference"]
    test["than"] = 1
    assert verdict(luck={"mean": 0.99, "low": 0.98, "high": 1.01}).verdict == SAME, "beside the full model"
    model.weights = "retrained"
    assert "earlier weights" in verdict(luck={"mean": 0.5, "low": 0.2, "high": 0.7}).outcomes[0].words


def test_a_measure_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="measure of claim 1 'luck': .*band similarity"):
        find_verdicts(claim({"measure": "luck", "is": "above", "than": 0.5}), {"toy": Told()})


def test_a_variant_that_does_not_exist_is_refused(never_painted):
    with pytest.raises(InputError, match="no article variant of 'sd3-mini' is"):
        evidence().variants("article", {"strategy": "skip", "stack": "single"})
    with pytest.raises(InputError, match="variant 'plaice': .*place"):
        evidence().variants("article", {"strategy": "skip", "plaice": "low"})


def test_what_was_not_measured_is_no_number_on_the_page():
    nothing = compare('"NaN" of a toy', (float("nan"),) * 3, "above", 0.5)
    records = as_records([Verdict("Q1", "toy", "matched", OPEN, [nothing])])
    assert records[0]["outcomes"][0]["mean"] is None
    assert records[0]["outcomes"][0]["words"].startswith('"NaN" of a toy'), "only numbers are replaced"
