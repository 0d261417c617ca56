"""How much pictures changed: 0 for the same, about 1 for another prompt's."""

import numpy as np
import pytest
from PIL import Image

from painters_utils.errors import InputError
from painters_utils.measure.intervals import interval
from painters_utils.measure.pictures import change, frequencies_kept
from painters_utils.models.painting import Picture


def pictures(seed: int) -> list[Picture]:
    draw = np.random.default_rng(seed)
    noise = draw.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    return [Picture("abc"[i // 2], i % 2, Image.fromarray(array)) for i, array in enumerate(noise)]


def test_the_same_pictures_have_not_changed_and_unrelated_ones_by_one():
    baseline = pictures(0)
    assert np.array_equal(change(baseline, baseline), np.zeros(6))
    assert change(baseline, pictures(1)) == pytest.approx(1, abs=0.06)


def test_change_equals_a_naive_reference():
    baseline, variant = pictures(0), pictures(3)

    def distance(a, b):
        return np.sqrt(np.mean((np.asarray(a.image, float) - np.asarray(b.image, float)) ** 2))

    apart = np.mean([distance(a, b) for a in baseline for b in baseline if a.prompt != b.prompt])
    expected = [distance(a, b) / apart for a, b in zip(baseline, variant, strict=True)]
    assert change(baseline, variant) == pytest.approx(expected, rel=1e-5)


def test_half_a_change_lies_between():
    baseline = pictures(0)
    half = [
        Picture(p.prompt, p.seed, Image.blend(p.image, q.image, 0.5))
        for p, q in zip(baseline, pictures(1), strict=True)
    ]
    assert change(baseline, half) == pytest.approx(0.5, abs=0.05)


def test_a_picture_that_is_not_finite_is_left_out_of_the_mean():
    baseline = pictures(0)
    broken = [*pictures(1)[:5], Picture("c", 1, baseline[5].image, finite=False)]
    values = change(baseline, broken)
    assert np.isnan(values[5])
    assert np.isfinite(interval(values)).all()


def test_other_pictures_and_a_single_prompt_are_refused():
    baseline = pictures(0)
    with pytest.raises(InputError, match="other prompts or seeds"):
        change(baseline, baseline[::-1])
    with pytest.raises(InputError, match="two prompts at least"):
        change(baseline[:2], baseline[:2])


def test_coarse_and_fine_parts_are_kept_apart():
    draw = np.random.default_rng(0)
    one = Image.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    noise = [draw.normal(0, 20, (96, 96, 3)) for _ in range(2)]
    grainy, otherwise = (Image.fromarray(np.clip(np.asarray(one) + grain, 0, 255).astype(np.uint8)) for grain in noise)
    assert frequencies_kept(grainy, grainy) == pytest.approx((1, 1))
    coarse, detail = frequencies_kept(grainy, otherwise)
    assert coarse > 0.95 and detail < 0.5
    coarse, detail = frequencies_kept(grainy, grainy.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert coarse < 0.5 and detail < 0.5
    grey = Image.new("RGB", (96, 96), "grey")
    assert np.isnan(frequencies_kept(grey, grey)).all(), "nothing there to keep"
    assert frequencies_kept(grainy, grey)[0] == 0
    with pytest.raises(InputError, match="(96, 96).*(48, 48)"):
        frequencies_kept(grainy, grainy.resize((48, 48)))
