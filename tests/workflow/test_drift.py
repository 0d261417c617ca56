"""The search on drift: its numbers where they are planted, and one whole search in little."""

import json

import numpy as np
import pytest

from painters_utils.models.model import Model
from workflow import drift
from workflow.findings.claims import load_claims


def test_holm_asks_more_of_many() -> None:
    assert drift.holm([0.04]).tolist() == [True]
    assert drift.holm([0.04, 0.04]).tolist() == [False, False]
    assert drift.holm([0.04, 0.001, 0.5]).tolist() == [False, True, False]
    assert drift.holm([0.02, 0.001, 0.04]).tolist() == [True, True, True]
    assert drift.holm([0.03, 0.03, 0.001]).tolist() == [False, False, True]


def test_a_share_of_the_loss_is_that_of_the_sums() -> None:
    lost = np.random.default_rng(0).uniform(0.2, 0.6, 200)
    given_back = drift.share(0.5 * lost, lost)
    assert given_back["mean"] == pytest.approx(0.5)
    assert given_back["low"] == pytest.approx(0.5) and given_back["high"] == pytest.approx(0.5)
    noisy = drift.share(0.5 * lost + np.random.default_rng(1).normal(0, 0.2, 200), lost)
    assert noisy["low"] < noisy["mean"] < noisy["high"]


@pytest.mark.slow
def test_a_little_search_finds_all_numbers_of_the_claims(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    model = Model.named("sd3-mini", steps=1)
    monkeypatch.setattr(drift.Model, "named", lambda name: model)
    monkeypatch.setattr(drift, "ROOT", tmp_path)
    little = dict(LEARNING=1, JUDGING=1, DAMPINGS=(4,), SCENES=3, LEVELS=(0.9,), SCALES=(0, 0.5, 1.25))
    for name, value in little.items():
        monkeypatch.setattr(drift, name, value)
    *_, found = drift.search("sd3-mini")
    assert json.loads(json.dumps(found))["judged on"] == 9
    assert [row["what"] for row in found["skips"]][:2] == ["middle quarter", "middle half"]
    assert len(found["skips"]) == 2 + drift.COSTLY
    assert [row["damping"] for row in found["repeats"]] == [1, 4] * 2
    assert found["repeats"][0]["beside plain"] == {"mean": 0, "low": 0, "high": 0}
    assert found["scales"]["tried"] == 24 * 2, "0 leaves a layer out, and is not counted"
    asked = {test["number"] for one in load_claims()["own"] for test in one["both"] if test["in"] == "drift"}
    assert set(found["found"]) == asked
    assert all(set(number) == {"mean", "low", "high"} for number in found["found"].values())
