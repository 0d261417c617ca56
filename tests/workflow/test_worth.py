"""What judges has not chosen: prompts apart, and the claims' numbers from planted worths."""

import numpy as np
import pytest

from miniworld.suite import load_suite
from workflow import fewer, worth
from workflow.findings.claims import load_claims


def test_the_prompts_that_measure_choose_and_judge_are_apart():
    measuring, scored, choosing, judging = (
        set(worth.prompts_of(which)) for which in (worth.MEASURING, worth.SCORED, fewer.CHOOSING, fewer.JUDGING)
    )
    assert not measuring & scored and not measuring & judging and not scored & judging
    assert choosing <= scored and not set(fewer.CHOOSING_SEEDS) & {0, *fewer.JUDGING_SEEDS}
    assert len(measuring | scored | judging) == sum(map(len, load_suite().values()))


def test_the_claims_numbers_are_left_under_their_names():
    draw = np.random.default_rng(0)
    value = draw.normal(size=60)
    lost = value + draw.normal(size=(99, 60))
    layers = {worth.WINNER: value, worth.PRESENT: draw.normal(size=60), "score lost": lost.mean(0)}
    found = worth.judged(layers, lost)
    asked = {test["number"] for claim in load_claims()["own"] for test in claim["both"] if test["in"] == "worth"}
    assert asked <= set(found)
    assert all(found[name]["low"] > 0 for name in asked)
    assert found["share of the possible rank correlation that the velocity error reaches"]["mean"] == pytest.approx(
        1, abs=0.05
    )
