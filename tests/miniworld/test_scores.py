"""Scores against scenes with known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from miniworld.render import render
from miniworld.scenes import Scene, Thing
from miniworld.scores import (
    BROAD,
    FINE,
    chance,
    check_facts,
    kernel_distance,
    layout_kept,
    sprite_likeness,
)
from painters_utils.errors import InputError
from painters_utils.measure.pictures import frequencies_kept

DOG = Thing("dog", "red", 0.26, 0.5, 0.45, hat="blue")
CAT = Thing("cat", "yellow", 0.74, 0.5, 0.45, sunglasses="pink")
PAIR = Scene((DOG, CAT), "white", "plain", "left of")
PROMPT = "a red dog wearing a blue hat left of a yellow cat wearing pink sunglasses on a white background"


def test_a_picture_with_everything_right_has_every_fact():
    check = check_facts(PROMPT, PAIR)
    assert check.strict
    assert (check.share(), check.share(BROAD), check.share(FINE), check.duplicates) == (1, 1, 1, 0)
    assert [name for name, _ in check.facts].count("accessory colour") == 2


@pytest.mark.parametrize(
    ("things", "background", "missing"),
    [
        ((replace(DOG, colour="green"), CAT), "white", ["colour"]),
        ((replace(DOG, hat="green"), CAT), "white", ["accessory colour"]),
        ((replace(DOG, hat=None), CAT), "white", ["accessory", "accessory colour"]),
        ((replace(DOG, x=0.74), replace(CAT, x=0.26)), "white", ["position"]),
        ((DOG, replace(CAT, kind="fox")), "white", ["object", "colour", "accessory", "accessory colour", "position"]),
        ((DOG, CAT), "blue", ["background"]),
        ((), "white", ["object", "colour", "accessory", "accessory colour"] * 2 + ["position"]),
    ],
)
def test_what_is_wrong_is_named(things, background, missing):
    check = check_facts(PROMPT, Scene(things, background))
    assert [name for name, right in check.facts if not right] == missing
    assert not check.strict
    assert check.share() == pytest.approx(1 - len(missing) / 11)


def test_wishes_and_things_are_paired_for_the_best():
    wish = "a red dog wearing a blue hat and a green dog on a white background"
    green = Thing("dog", "green", 0.74, 0.5, 0.45)
    assert check_facts(wish, Scene((green, DOG))).strict
    assert check_facts(wish, Scene((DOG, green))).strict


def test_what_was_not_asked_for_decides_no_pair():
    hatted, plain = Thing("dog", "red", 0.3, 0.5, 0.4, "blue"), Thing("dog", None, 0.7, 0.5, 0.4)
    found = check_facts("a dog wearing a blue hat and a red dog on a white background", Scene((hatted, plain), "white"))
    wrong = [fact for fact, right in found.facts if not right]
    assert wrong == ["colour"], "the hat and its colour are there; paired otherwise, two facts would be missing"


def test_a_count_is_exact_where_it_is_asked_for_and_else_a_minimum():
    apples = tuple(Thing("apple", "red", x, 0.5, 0.3) for x in (0.2, 0.5, 0.8))
    assert check_facts("three red apples on a white background", Scene(apples)).strict
    assert not check_facts("two red apples on a white background", Scene(apples)).strict
    check = check_facts("a red apple on a white background", Scene(apples))
    assert check.strict
    assert check.duplicates == 2


def test_layout_is_kept_or_not():
    assert layout_kept(PAIR, PAIR) == pytest.approx(1)
    assert layout_kept(PAIR, Scene((replace(CAT, kind="fox"), DOG))) == pytest.approx(1), "whatever stands there"
    assert layout_kept(PAIR, Scene((DOG,))) == pytest.approx(0.5)
    assert layout_kept(PAIR, Scene(())) == 0
    assert layout_kept(Scene(()), Scene(())) == 1
    shifted = layout_kept(Scene((DOG,)), Scene((replace(DOG, x=DOG.x + DOG.size / 2),)))
    assert shifted == pytest.approx(1 / 3), "half a box beside: a third of the union is shared"


def test_low_and_high_frequencies_are_told_apart():
    before = render(PAIR)
    low, high = frequencies_kept(before, before)
    assert (low, high) == (pytest.approx(1), pytest.approx(1))
    swapped = render(Scene((replace(DOG, kind="fox"), replace(CAT, kind="owl"))))
    low, high = frequencies_kept(before, swapped)
    assert low > 0.7 > high, "the same places and colours, other objects"
    white = Image.new("RGB", before.size, "white")
    assert np.isnan(frequencies_kept(white, white)).all()
    assert frequencies_kept(before, white) == (0, 0)
    with pytest.raises(InputError, match="cannot be compared"):
        frequencies_kept(before, before.resize((32, 32)))


def test_sprites_are_like_themselves_and_blobs_are_not():
    assert sprite_likeness(render(PAIR), PAIR) == pytest.approx(1, abs=1e-6)
    blurred = render(PAIR).resize((8, 8)).resize((96, 96))
    assert sprite_likeness(blurred, PAIR) < 0.9
    assert np.isnan(sprite_likeness(render(PAIR), Scene(())))


def test_the_kernel_distance_is_zero_within_a_distribution_and_grows_outside():
    generator = torch.Generator().manual_seed(0)
    draw = lambda mean: torch.randn(300, 5, generator=generator) + mean  # noqa: E731
    real = draw(0)
    near, far, farther = (kernel_distance(draw(mean), real) for mean in (0, 1, 2))
    assert abs(near) < 0.01 < far < farther
    with pytest.raises(InputError, match="two pictures"):
        kernel_distance(real[:1], real)


def test_chance_is_what_the_wrong_prompt_gets():
    prompts = ["a red dog on a white background", "a blue car on a black background"]
    found = [
        Scene((Thing("dog", "red", 0.5, 0.5, 0.5),), "white"),
        Scene((Thing("car", "blue", 0.5, 0.5, 0.5),), "black"),
    ]
    assert chance(prompts, found) == pytest.approx(0.25), "of object, colour, background and pattern only 'plain'"
    with pytest.raises(InputError, match="two prompts"):
        chance(prompts[:1], found[:1])
