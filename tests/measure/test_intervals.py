"""Intervals: reproducible, paired by prompt, and right about as often as they say."""

import numpy as np
import pandas as pd
import pytest

from painters_utils.measure.intervals import (
    chance_of_least,
    ends,
    how_much,
    interval,
    interval_of_draws,
    with_interval,
)


def planted(
    draw: np.random.Generator, prompts: int, pictures: int, truth: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Values on two levels: each prompt has a mean of its own, and so has each of its pictures."""
    own = np.repeat(draw.normal(truth, 1.0, prompts), pictures)
    return own + draw.normal(0, 0.5, own.shape), np.repeat(np.arange(prompts), pictures).astype(str)


def test_the_interval_holds_the_mean_and_shrinks_with_more_pictures():
    draw = np.random.default_rng(0)
    few, many = draw.normal(0.4, 0.1, 10), draw.normal(0.4, 0.1, 1000)
    for values in (few, many):
        mean, low, high = interval(values)
        assert low < mean < high
        assert mean == pytest.approx(values.mean())
    assert interval(many)[2] - interval(many)[1] < (interval(few)[2] - interval(few)[1]) / 3
    assert interval(few) == interval(few), "the same seed gives the same interval"
    assert interval(few, seed=1) != interval(few)


def test_intervals_treat_pictures_of_one_prompt_as_alike():
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(20), 10).astype(str)
    alike = np.repeat(rng.normal(size=20), 10)
    mean, low, high = interval(alike, prompts)
    assert mean == pytest.approx(alike.mean())
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * alike.std() / np.sqrt(20), rel=0.15), "20 prompts, not 200 pictures"
    assert interval(alike, prompts) == (mean, low, high)
    _, narrow_low, narrow_high = interval(alike)
    assert narrow_high - narrow_low < (high - low) / 2, "as if each picture were a witness of its own"


def test_the_order_of_pictures_changes_nothing_that_matters():
    values, prompts = planted(np.random.default_rng(1), 15, 3)
    shuffled = np.random.default_rng(2).permutation(len(values))
    assert interval(values[shuffled], prompts[shuffled]) == pytest.approx(interval(values, prompts), abs=0.03)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Of 300 studies of 30 prompts with two pictures each; the percentile bootstrap is a little narrow for so few."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        values, prompts = planted(rng, 30, 2, truth=0.3)
        _, low, high = interval(values, prompts, draws=400)
        held += low <= 0.3 <= high
    assert 0.90 <= held / 300 <= 0.98


def test_the_interval_is_that_of_a_bootstrap_drawn_one_by_one():
    values, prompts = np.random.default_rng(2).random(7), ["b", "a", "a", "c", "b", "a", "c"]
    groups = [values[[prompt == name for prompt in prompts]] for name in "abc"]
    draw, draws = np.random.default_rng(5), 400
    pictures = [group[draw.integers(0, len(group), (draws, len(group)))] for group in groups]
    means = []
    for row, chosen in enumerate(draw.integers(0, 3, (draws, 3))):
        means.append(np.concatenate([pictures[group][row] for group in chosen]).mean())
    expected = values.mean(), *np.percentile(means, (2.5, 97.5))
    assert interval(values, prompts, seed=5, draws=draws) == pytest.approx(expected)
    named = ends(values, prompts)
    assert list(named) == ["mean", "low", "high"] and tuple(named.values()) == interval(values, prompts)


def test_a_pair_is_compared_picture_by_picture():
    """The pictures' own luck, far larger than the effect, cancels in the differences."""
    draw = np.random.default_rng(0)
    before, prompts = planted(draw, 24, 2)
    after = before - 0.05 + draw.normal(0, 0.02, before.shape)
    mean, low, high = interval(after - before, prompts)
    assert low < -0.05 < high < 0 and mean == pytest.approx(-0.05, abs=0.01)
    apart = [interval(values, prompts) for values in (after, before)]
    assert apart[0][2] > apart[1][1], "apart, the two intervals overlap widely"
    _, low, high = interval(before[::2] - before[1::2], prompts[::2])
    assert low < 0 < high, "no effect, no verdict"


def test_the_least_of_many_is_as_sure_as_it_is_apart():
    draw, prompts = np.random.default_rng(0), [f"prompt {number}" for number in range(12)]
    noise = pd.DataFrame(draw.normal(0.9, 0.1, (12, 20)), columns=[f"layer {number}" for number in range(20)])
    assert chance_of_least(noise, prompts).max() < 0.9, "twenty equals: none is the least for sure"
    planted = noise.assign(**{"layer 7": 0.2})
    least = chance_of_least(planted, prompts)
    assert least["layer 7"] == 1 and least.sum() == pytest.approx(1)
    assert chance_of_least(planted, prompts).equals(least)


def test_what_is_no_number_is_left_out():
    values, prompts = planted(np.random.default_rng(0), 10, 2)
    holed, kept = values.copy(), np.arange(20) % 5 > 0
    holed[~kept] = np.nan
    assert interval(holed, prompts) == interval(values[kept], prompts[kept])
    assert np.isnan(interval([np.nan], ["a"])).all()
    assert np.isnan(interval([])).all()


def test_draws_that_are_there_already_are_taken_as_they_are():
    draws = np.arange(101.0)
    assert interval_of_draws(draws) == (50.0, 2.5, 97.5)
    assert with_interval(0.934, 0.9, 0.9666) == "0.93 (0.90 – 0.97)"


def test_an_end_that_rounds_to_nothing_says_on_which_side_it_lies():
    assert how_much(0.05, 0.003, 0.1) == "5 points more (0.3 to 10)"
    assert how_much(0.05, -0.003, 0.1) == "5 points more (0.3 less to 10 more)"
    assert how_much(-0.02, -0.05, -0.004) == "2 points less (0.4 to 5)"
    assert how_much(0.01, 0.0, 0.02) == "1 point more (0 to 2)", "what is nothing stays so"
    assert how_much(0.3, -0.001, 0.5, "birds") == "0.30 more birds (0.001 fewer to 0.50 more)"
