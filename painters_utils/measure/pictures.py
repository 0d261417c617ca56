"""How far pictures are from their baselines, in numbers that mean something without knowing the model."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import bootstrap

from painters_utils.errors import InputError
from painters_utils.models.pipelines import Picture


def change(baseline: Sequence[Picture], variant: Sequence[Picture]) -> np.ndarray:
    """How much each picture changed: 0 = the baseline's own picture, 1 = as far from it as another prompt's picture.

    The root mean square difference of a picture to the baseline of the same prompt and seed, divided by the
    mean of that difference between baselines of different prompts. Shape (pictures,); NaN where a picture is not
    finite. Raises `InputError` unless both lists hold the same prompts and seeds, of two prompts or more.
    """
    if [(p.prompt, p.seed) for p in baseline] != [(p.prompt, p.seed) for p in variant]:
        raise InputError("baseline and variant hold other prompts or seeds: paint both with the same ones")
    before, after = (np.stack([np.asarray(p.image, np.float32) for p in pictures]) for pictures in (baseline, variant))
    prompts = np.array([p.prompt for p in baseline])
    apart = _distances(before)[prompts[:, None] != prompts[None, :]]
    if not apart.size:
        raise InputError("all pictures show one prompt: two prompts at least are needed to scale a change")
    changed = np.sqrt(np.square(after - before).mean((1, 2, 3))) / apart.mean()
    return np.where([p.finite for p in variant], changed, np.nan)


def _distances(pictures: np.ndarray) -> np.ndarray:
    """Root mean square difference of all pairs: |a - b|² = |a|² + |b|² - 2ab."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    squares = np.square(flat).sum(1)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0) / flat.shape[1])


BLUR = 0.06  # of the width: coarser than this is layout, finer is detail
LARGEST = 256  # px: larger pictures are shrunk first, for blurring a megapixel takes seconds


def frequencies_kept(before: Image.Image, after: Image.Image) -> tuple[float, float]:
    """Correlation of two pictures' coarse part (a Gaussian blur) and of their fine part (what the blur removes).

    1: the same, 0: unrelated. A part without any structure in either picture gives NaN, in one of them 0.
    """
    if before.size != after.size or before.mode != after.mode:
        raise InputError(f"pictures of {before.mode} {before.size} and {after.mode} {after.size} cannot be compared")
    shrunk = [picture.copy() for picture in (before, after)]
    for picture in shrunk:
        picture.thumbnail((LARGEST, LARGEST))
    one, two = (np.asarray(picture, float) for picture in shrunk)
    sigma = (BLUR * one.shape[1],) * 2 + (0,)
    low = [gaussian_filter(x, sigma) for x in (one, two)]
    return correlation(*low), correlation(one - low[0], two - low[1])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two pictures' values (h, w, 3), each less its mean; NaN if neither has structure, 0 if one."""
    a, b = a - a.mean((0, 1)), b - b.mean((0, 1))
    norms = np.sqrt((a**2).sum()), np.sqrt((b**2).sum())
    if max(norms) < 1:
        return float("nan")
    return float((a * b).sum() / (norms[0] * norms[1])) if min(norms) >= 1 else 0.0


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean and bootstrap 95 % interval over pictures (bias-corrected where the data allow it); NaN is left out."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if len(values) < 3 or np.ptp(values) == 0:
        mean = float(values.mean()) if len(values) else float("nan")
        return mean, mean if len(values) > 2 else float("nan"), mean if len(values) > 2 else float("nan")
    found = bootstrap(
        (values,), np.mean, confidence_level=0.95, random_state=np.random.default_rng(seed), method="percentile"
    )
    return float(values.mean()), float(found.confidence_interval.low), float(found.confidence_interval.high)


def with_interval(mean: float, low: float, high: float) -> str:
    """ "0.93 (0.90 – 0.97)"."""
    return f"{mean:.2f} ({low:.2f} – {high:.2f})"


def two_level_interval(
    values: Sequence[float], prompts: Sequence[str], seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """Mean and bootstrap 95 % interval over prompts and the pictures of each: both are drawn anew, with replacement.

    Pictures of one prompt are alike; drawing pictures alone would make the interval too narrow. For a comparison with
    the baseline give the differences, picture by picture: that is the paired interval. NaN is left out.
    """
    frame = pd.DataFrame({"value": np.asarray(values, float), "prompt": list(prompts)}).dropna()
    if frame.empty:
        return float("nan"), float("nan"), float("nan")
    groups = [group.to_numpy() for _, group in frame.groupby("prompt")["value"]]
    rng = np.random.default_rng(seed)
    # Mean of each prompt in each draw, then a draw of prompts, weighted by their number of pictures.
    sums = np.stack([group[rng.integers(0, len(group), (draws, len(group)))].sum(1) for group in groups], axis=1)
    sizes = np.array([len(group) for group in groups])
    chosen = rng.integers(0, len(groups), (draws, len(groups)))
    means = np.take_along_axis(sums, chosen, 1).sum(1) / sizes[chosen].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(frame["value"].mean()), float(low), float(high)
