"""Planted worths come back as rank correlations, and planted noise as the ceiling that it sets."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from painters_utils.measure.ranks import ceiling, over_layers, over_prompts, spearman, split_halves

LAYERS, PICTURES = 400, 60
draw = np.random.default_rng(3)
WORTH = draw.normal(size=LAYERS)


def scores(noise: float, seed: int = 0) -> np.ndarray:
    """(pictures, layers): the layers' worth, and noise in each picture."""
    return WORTH + noise * np.random.default_rng(seed).normal(size=(PICTURES, LAYERS))


def test_it_is_scipys_with_ties_and_many_at_once():
    one, other = draw.integers(0, 5, (2, 3, 30)).astype(float)
    assert spearman(one, other) == pytest.approx([spearmanr(*pair).statistic for pair in zip(one, other, strict=True)])
    assert np.isnan(spearman(np.ones(4), np.arange(4)))


@pytest.mark.parametrize("noise", [0.5, 2.0, 5.0])
def test_the_ceiling_is_what_a_measure_without_error_reaches(noise):
    of = scores(noise)
    reached = spearman(WORTH, of.mean(0))
    assert float(ceiling(split_halves(of))) == pytest.approx(reached, abs=0.06)
    share, low, high = over_layers(
        lambda one, other, halves: spearman(one, other) / ceiling(halves), WORTH, of.mean(0), split_halves(of), draws=50
    )
    assert share == pytest.approx(1, abs=0.1) and low - 0.05 < 1 < high + 0.05


def test_pure_noise_has_no_ceiling_to_speak_of():
    of = np.random.default_rng(1).normal(size=(PICTURES, LAYERS))
    found = ceiling(split_halves(of))
    assert np.isnan(found) or found < 0.4


def test_a_measure_that_tells_something_is_told_from_one_that_tells_nothing():
    lost = scores(2.0).mean(0)
    good, blind = WORTH + draw.normal(size=LAYERS), draw.normal(size=LAYERS)
    mean, low, high = over_layers(spearman, good, lost)
    assert low < mean < high and low > 0.5
    _, low, high = over_layers(spearman, blind, lost)
    assert low < 0 < high
    ahead = lambda one, other, of: spearman(one, of) - spearman(other, of)  # noqa: E731
    assert over_layers(ahead, good, blind, lost)[1] > 0
    few, many = (over_layers(spearman, good[:n], lost[:n]) for n in (20, LAYERS))
    assert few[2] - few[1] > 2 * (many[2] - many[1]), "few layers, wide interval"


def test_a_layer_without_a_number_is_left_out():
    lost, holed = scores(0.5).mean(0), WORTH.copy()
    holed[7] = np.nan
    assert over_layers(spearman, holed, lost)[0] == pytest.approx(spearman(np.delete(WORTH, 7), np.delete(lost, 7)))


def test_noise_of_the_prompts_widens_the_interval():
    calm, noisy = (over_prompts(WORTH, scores(noise), draws=200) for noise in (0.5, 5.0))
    assert calm[0] > noisy[0] and noisy[2] - noisy[1] > calm[2] - calm[1]
