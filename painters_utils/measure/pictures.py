"""How far pictures are from their baselines, in numbers that mean something without knowing the model."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from painters_utils.errors import InputError
from painters_utils.models.painting import Picture

from .world import correlation


def change(
    baseline: Sequence[Picture], variant: Sequence[Picture], among: Sequence[Picture] | None = None
) -> np.ndarray:  # fmt: skip
    """How much each picture changed: 0 = the baseline's own picture, 1 = as far from it as another prompt's picture.

    The root mean square difference of a picture to the baseline of the same prompt and seed, divided by the mean of
    that difference between baselines of different prompts, those in `among` if given. Shape (pictures,); NaN where a
    picture is not finite. Raises `InputError` unless both lists hold the same prompts and seeds, and of two prompts or
    more.
    """
    if [(p.prompt, p.seed) for p in baseline] != [(p.prompt, p.seed) for p in variant]:
        raise InputError("baseline and variant hold other prompts or seeds: paint both with the same ones")
    others = baseline if among is None else among
    before, after, all_before = (
        np.stack([np.asarray(p.image, np.float32) for p in some]) for some in (baseline, variant, others)
    )
    prompts = np.array([p.prompt for p in others])
    apart = distances_between(all_before)[prompts[:, None] != prompts[None, :]]
    if not apart.size:
        raise InputError("all pictures show one prompt: two prompts at least are needed to scale a change")
    changed = np.sqrt(np.square(after - before).mean((1, 2, 3))) / apart.mean()
    return np.where([p.finite for p in variant], changed, np.nan)


def distances_between(pictures: np.ndarray) -> np.ndarray:
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
    (coarse, fine), (coarse_after, fine_after) = (_parts(p.mode, p.size, p.tobytes()) for p in (before, after))
    return correlation(coarse, coarse_after), correlation(fine, fine_after)


@lru_cache(256)  # many variants are held against one baseline
def _parts(mode: str, size: tuple[int, int], pixels: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A picture's coarse part and its fine part."""
    picture = Image.frombytes(mode, size, pixels)
    picture.thumbnail((LARGEST, LARGEST))
    whole = np.asarray(picture, float)
    coarse = gaussian_filter(whole, (BLUR * whole.shape[1],) * 2 + (0,))
    return coarse, whole - coarse
