"""Intervals: reproducible, paired by prompt, and right about as often as they say."""

import numpy as np
import pytest

from painters_utils.measure.intervals import interval


def test_intervals_treat_pictures_of_one_prompt_as_alike():
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(20), 10).astype(str)
    alike = np.repeat(rng.normal(size=20), 10)
    mean, low, high = interval(alike, prompts)
    assert mean == pytest.approx(alike.mean())
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * alike.std() / np.sqrt(20), rel=0.15), "20 prompts, not 200 pictures"
    assert interval(alike, prompts) == (mean, low, high), "the same seed gives the same interval"
    assert np.isnan(interval([np.nan], ["a"])).all()


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Of 200 studies of 20 prompts with two pictures each; the percentile bootstrap is a little narrow for so few."""
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(20), 2).astype(str)
    held = 0
    for _ in range(200):
        values = np.repeat(rng.normal(size=20), 2) + 0.5 * rng.normal(size=40)
        _, low, high = interval(values, prompts, draws=500)
        held += low <= 0 <= high
    assert 0.88 <= held / 200 <= 0.98
