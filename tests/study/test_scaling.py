"""Scores between chance, 0, and the full model, 1: with planted scores, so that what must come out is known."""

import numpy as np
import pandas as pd
import pytest

from painters_utils.measure.intervals import interval
from painters_utils.study.scores import (
    LEAST_REACH,
    NAMES,
    SCORES,
    reach,
    scale,
    summarise,
    verdict,
    without_broken,
)

PROMPTS, SEEDS = [f"prompt {number}" for number in range(20)], (0, 1)
FLOOR = {"adherence": 0.2, "quality": 0.0, "layout": 0.5}
OVERALL = ("adherence", "quality")


def planted(**means: float) -> pd.DataFrame:
    """A row for each prompt and seed; every score scatters about its mean, each picture in its own way."""
    draw = np.random.default_rng(0)
    luck = draw.normal(0, 0.1, len(PROMPTS) * len(SEEDS))
    table = pd.DataFrame([(prompt, seed) for prompt in PROMPTS for seed in SEEDS], columns=["prompt", "seed"])
    table["finite"] = True
    for name, mean in means.items():
        table[name] = mean + luck - luck.mean()
    return table.assign(change=0.3)


FULL = planted(adherence=0.8, quality=0.5, layout=0.9)


def test_the_untouched_model_is_one_and_chance_is_zero():
    assert (scale(FULL, FULL, FLOOR, OVERALL)[[*FLOOR, "kept"]] == 1).all(axis=None), "picture by picture"
    chance = scale(planted(**FLOOR), FULL, FLOOR, OVERALL)
    assert chance[[*FLOOR, "kept"]].mean().to_numpy() == pytest.approx(0)


@pytest.mark.parametrize("kept", [-0.25, 0.0, 0.3, 0.5, 1.0, 1.2])
def test_what_is_kept_is_the_way_from_chance_to_the_full_model(kept):
    means = {name: FLOOR[name] + kept * (FULL[name].mean() - FLOOR[name]) for name in FLOOR}
    scaled = scale(planted(**means), FULL, FLOOR, OVERALL)
    for name in (*FLOOR, "kept"):
        assert scaled[name].to_numpy() == pytest.approx(kept), "the pictures' own luck cancels"
    assert list(scaled["prompt"]) == list(FULL["prompt"]) and list(scaled["seed"]) == list(FULL["seed"])


def test_kept_is_the_mean_of_the_overall_scores_and_of_no_others():
    variant = planted(adherence=0.8, quality=0.0, layout=0.1)  # all, nothing, less than chance
    scaled = scale(variant, FULL, FLOOR, OVERALL)
    assert scaled["kept"].mean() == pytest.approx(0.5)
    assert scale(variant, FULL, FLOOR, ["quality"])["kept"].mean() == pytest.approx(0)
    assert scaled["layout"].mean() == pytest.approx(1 - 0.8 / 0.4)


def test_a_score_that_the_full_model_hardly_has_says_nothing():
    full = planted(adherence=0.8, quality=LEAST_REACH / 2, layout=0.4)  # hardly above chance, and below it
    above = reach(full, FLOOR)
    assert above["adherence"] == pytest.approx(0.6) and np.isnan([above["quality"], above["layout"]]).all()
    scaled = scale(planted(adherence=0.5, quality=0.0, layout=0.4), full, FLOOR, OVERALL)
    assert scaled[["quality", "layout"]].isna().all(axis=None)
    assert scaled["kept"].to_numpy() == pytest.approx(scaled["adherence"].to_numpy()), "the mean of what there is"


def test_a_picture_that_is_not_finite_scores_nothing():
    table = planted(adherence=0.8, quality=0.5, layout=0.9)
    table.loc[3, "finite"] = False
    table.loc[3, "layout"] = np.nan
    broken = without_broken(table.copy())
    assert (broken.loc[3, ["adherence", "quality"]] == 0).all()
    assert np.isnan(broken.loc[3, "layout"]), "what was not measured stays so"
    assert broken.drop(3).equals(table.drop(3)) and broken.loc[3, "change"] == table.loc[3, "change"]
    row = summarise(broken, scale(broken, FULL, FLOOR, OVERALL), FULL, list(FLOOR))
    assert row["not finite"] == 1 and row["pictures"] == len(table)
    lost = FULL.loc[3, "adherence"] / (FULL["adherence"].mean() - FLOOR["adherence"]) / len(table)
    assert row["adherence"] == pytest.approx(1 - lost)


def test_a_summary_has_means_with_intervals_over_prompts():
    variant = planted(adherence=0.5, quality=0.5, layout=0.9)
    variant["adherence"] += np.repeat(np.random.default_rng(1).normal(0, 0.2, len(PROMPTS)), len(SEEDS))
    scaled = scale(variant, FULL, FLOOR, OVERALL)
    row = summarise(variant, scaled, FULL, list(FLOOR))
    for name in ("kept", *FLOOR):
        assert (row[name], row[f"{name} low"], row[f"{name} high"]) == interval(scaled[name], variant["prompt"])
    assert row["adherence low"] < row["adherence"] < row["adherence high"]
    assert row["quality low"] == pytest.approx(row["quality high"]), "nothing of it is lost in any picture"
    assert (row["change"], row["pictures"], row["not finite"]) == (pytest.approx(0.3), 40, 0)
    assert "duplicates" not in row and "distance" not in row


def test_surplus_and_distance_stand_beside_the_untouched_models():
    full, variant = FULL.assign(duplicates=0.25, distance=0.1), FULL.assign(duplicates=1.0, distance=0.4)
    row = summarise(variant, scale(variant, full, FLOOR, OVERALL), full, list(FLOOR))
    assert (row["duplicates"], row["distance"], row["distance untouched"]) == pytest.approx((0.75, 0.4, 0.1))


def test_draws_taken_together_are_averaged_picture_by_picture():
    variants = [planted(adherence=mean, quality=0.5, layout=0.9) for mean in (0.2, 0.8)]
    both = pd.concat(variants)
    scaled = pd.concat([scale(variant, FULL, FLOOR, OVERALL) for variant in variants])
    row = summarise(both, scaled, FULL, list(FLOOR))
    assert row["adherence"] == pytest.approx(0.5) and row["pictures"] == 40
    mean = (scaled["adherence"][:40].to_numpy() + scaled["adherence"][40:].to_numpy()) / 2
    assert row["adherence low"] == pytest.approx(interval(mean, variants[0]["prompt"])[1]), "no narrower for many draws"


def test_verdicts_follow_from_the_interval():
    assert verdict(0.1, 0.4) == "catastrophic"
    assert verdict(0.5, 0.9) == "tolerable"
    assert "between" in verdict(0.4, 0.6)


def test_every_score_has_a_name():
    assert set(SCORES) < set(NAMES) and len(set(NAMES.values())) == len(NAMES)
