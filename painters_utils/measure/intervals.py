"""Means with their 95 % intervals, by the percentile bootstrap; all of the study's intervals are made here."""

from collections.abc import Sequence
from functools import lru_cache
from math import isnan

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

Interval = tuple[float, float, float]  # mean, low, high


def interval(values: ArrayLike, prompts: Sequence[str] | None = None, seed: int = 0, draws: int = 2000) -> Interval:
    """Mean and bootstrap 95 % interval over prompts and the pictures of each: both are drawn anew, with replacement.

    Pictures of one prompt are alike; drawing pictures alone would make the interval too narrow. Without `prompts` every
    value stands for itself. For a comparison with the baseline give the differences, picture by picture: this is then
    the paired interval. NaN is left out; of nothing at all the interval is NaN.
    """
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    values = values[known]
    if not values.size:
        return float("nan"), float("nan"), float("nan")
    names = np.arange(len(known)).astype(str) if prompts is None else np.asarray(prompts)
    return float(values.mean()), *middle_95(drawn_means(values, names[known], seed, draws))


def drawn_means(values: np.ndarray, prompts: ArrayLike, seed: int = 0, draws: int = 2000) -> np.ndarray:
    """(draws,): the mean of values of these prompts when prompts and the pictures of each are drawn anew.

    Means of the same prompts and as many pictures are drawn alike: their differences are paired.
    """
    _, group, sizes = np.unique(prompts, return_inverse=True, return_counts=True)
    return drawn_weights(tuple(sizes.tolist()), seed, draws) @ values[np.argsort(group, kind="stable")]


def ends(values: ArrayLike, prompts: Sequence[str] | None = None) -> dict[str, float]:
    """`interval` as it is saved: {"mean", "low", "high"}."""
    return dict(zip(("mean", "low", "high"), interval(values, prompts), strict=True))


@lru_cache(4)  # a table's columns and a study's variants have the same pictures of the same prompts
def drawn_weights(sizes: tuple[int, ...], seed: int, draws: int) -> np.ndarray:
    """How much each value counts in each draw's mean, prompt after prompt: (draws, values).

    First the pictures of each prompt are drawn, then the prompts, which count as many pictures as they have.
    """
    rng, rows = np.random.default_rng(seed), np.arange(draws)[:, None]

    def times(count: int) -> np.ndarray:
        """How often each of `count` is drawn, in every draw: (draws, count)."""
        drawn = rows * count + rng.integers(0, count, (draws, count))
        return np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)

    pictures = np.concatenate([times(size) for size in sizes], axis=1)
    weights = pictures * np.repeat(times(len(sizes)), sizes, axis=1)
    return weights / weights.sum(1, keepdims=True)


def chance_of_least(values: pd.DataFrame, prompts: Sequence[str], seed: int = 0, draws: int = 2000) -> pd.Series:
    """How often each column has the least mean when prompts are drawn anew, with replacement.

    The least of many noisy means looks worse than it is; this says how sure it is that it is the least. `values` has a
    row for each picture, `prompts` says of which prompt.
    """
    means = values.groupby(list(prompts)).mean().to_numpy()
    chosen = np.random.default_rng(seed).integers(0, len(means), (draws, len(means)))
    least = means[chosen].mean(1).argmin(1)
    return pd.Series(np.bincount(least, minlength=values.shape[1]) / draws, index=values.columns)


def interval_of_draws(draws: np.ndarray) -> Interval:
    """Mean and 95 % interval of what a bootstrap has drawn already."""
    return float(np.mean(draws)), *middle_95(draws)


def middle_95(draws: np.ndarray) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def holm(p: Sequence[float], level: float = 0.05) -> np.ndarray:
    """Which of these p values survive Holm's correction: the k-th smallest of n lies below level / (n - k + 1)."""
    order = np.argsort(p, kind="stable")
    below = np.asarray(p)[order] <= level / np.arange(len(order), 0, -1)
    survives = np.zeros(len(order), bool)
    survives[order] = np.minimum.accumulate(below)
    return survives


def p_value(mean: float, low: float, high: float, threshold: float = 0.0) -> float:
    """The two-sided p value of a 95 % interval, taken as that of a normal distribution.

    A bootstrap of some thousand draws says nothing of p values as small as many tests together need. An interval
    without width, as of a single picture, says nothing: 1.
    """
    if not high > low:
        return 1.0
    return float(2 * ndtr(-2 * ndtri(0.975) * abs(mean - threshold) / (high - low)))


def with_interval(mean: float, low: float, high: float) -> str:
    """ "0.93 (0.90 – 0.97)"."""
    return f"{mean:.2f} ({low:.2f} – {high:.2f})"


def percent(*shares: float) -> str:
    """ "93 %"; of a mean and its interval "93 % (90 – 97 %)"."""
    mean, *ends = ("–" if isnan(share) else f"{round(100 * share)}" for share in shares)  # 0, where :.0f says -0
    return f"{mean} % ({' – '.join(ends)} %)" if ends else f"{mean} %"


def in_digits(number: float, digits: int = 0) -> str:
    """A number rounded, with more digits where it would round to 0 and is none: on which side an end lies, decides."""
    if abs(number) > 1e-9:  # what sums leave of 0 is 0
        while not round(number, digits):
            digits += 1
    return f"{round(number, digits) or 0.0:.{digits}f}"


def how_much(mean: float, low: float, high: float, what: str = "") -> str:
    """How much more or less of a share, in points, or of `what`, which is counted; and from where to where."""
    digits, less = (2, "fewer") if what else (0, "less")
    mean, low, high = (number * (1 if what else 100) for number in (mean, low, high))

    def size(number: float) -> str:
        return in_digits(abs(number), digits)

    ends = [size(low), size(high)] if low >= 0 else [size(high), size(low)]
    if low < 0 < high:
        ends = [f"{size(low)} {less}", f"{size(high)} more"]
    way, points = less if mean < 0 else "more", "point" if size(mean) == "1" else "points"
    return f"{size(mean)} {f'{way} {what}' if what else f'{points} {way}'} ({ends[0]} to {ends[1]})"
