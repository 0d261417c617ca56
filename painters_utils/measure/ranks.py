"""Does a cheap measure order layers as their worth does? Rank correlations, and the most that noisy scores allow.

In all of these the last axis is that of the layers.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from .intervals import Interval, middle_95

Halves = np.ndarray  # (2, splits, layers), of `split_halves`


def spearman(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation along the last axis; NaN where one side is constant."""
    one, other = (rankdata(side, axis=-1) for side in (one, other))
    one, other = (side - side.mean(-1, keepdims=True) for side in (one, other))
    with np.errstate(invalid="ignore"):
        return (one * other).sum(-1) / np.sqrt((one**2).sum(-1) * (other**2).sum(-1))


def split_halves(scores: np.ndarray, splits: int = 50, seed: int = 0) -> Halves:
    """The means of two halves of the pictures, split at random `splits` times: (pictures, layers) to (2, splits,
    layers)."""
    draw, half = np.random.default_rng(seed), len(scores) // 2
    orders = np.stack([draw.permutation(len(scores)) for _ in range(splits)])
    return np.stack([scores[orders[:, :half]].mean(1), scores[orders[:, half:]].mean(1)])


def ceiling(halves: Halves) -> np.ndarray:
    """The highest rank correlation that any measure can be expected to have with the mean of noisy scores.

    Two halves of the pictures agree by r; all of them would agree with as many others by 2 r / (1 + r) (Spearman 1910,
    Brown 1910), and the root of this is what a measure without any error would reach. NaN where the halves disagree.
    """
    agree = spearman(*halves).mean(0)
    return np.sqrt(np.where(agree > 0, 2 * agree / (1 + agree), np.nan))


def over_layers(
    statistic: Callable[..., np.ndarray], *values: np.ndarray, draws: int = 1000, seed: int = 0
) -> Interval:
    """A statistic of layers with its bootstrap 95 % interval: layers are drawn anew, with replacement.

    `statistic` takes `values`, arrays whose last axis is that of the layers. Layers without a number are left out.
    """
    known = np.all([np.isfinite(side).reshape(-1, side.shape[-1]).all(0) for side in values], axis=0)
    values = tuple(side[..., known] for side in values)
    layers = values[0].shape[-1]
    drawn = np.random.default_rng(seed).integers(0, layers, (draws, layers))
    found = statistic(*(side[..., drawn] for side in values))
    found = found[np.isfinite(found)]  # a draw of one layer alone has no ranks
    return float(statistic(*values)), *(middle_95(found) if len(found) else (np.nan, np.nan))


def over_prompts(measure: np.ndarray, scores: np.ndarray, draws: int = 1000, seed: int = 0) -> Interval:
    """The rank correlation of a measure with the mean of `scores` (prompts, layers), with the 95 % interval of drawing
    the prompts anew. The drawing adds noise of its own, so its middle lies below the correlation."""
    drawn = np.random.default_rng(seed).integers(0, len(scores), (draws, len(scores)))
    means = np.stack([scores[one].mean(0) for one in drawn])
    return float(spearman(measure, scores.mean(0))), *middle_95(spearman(np.broadcast_to(measure, means.shape), means))
