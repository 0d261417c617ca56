"""Scenes, captions and pictures agree with each other, always."""

import hashlib
import random

import numpy as np
import pytest

from miniworld.render import PAINT, WALL, layout_box, render
from miniworld.scenes import (
    BACKGROUNDS,
    COLOURS,
    OBJECTS,
    RELATIONS,
    TEXT_TOKENS,
    UNSEEN_PAIRS,
    WEARERS,
    Scene,
    Thing,
    caption,
    sample_scene,
    vocabulary,
)
from painters_utils.errors import InputError

SCENES = [sample_scene(random.Random(seed)) for seed in range(3000)]


def test_the_caption_says_what_the_scene_holds():
    dog = Thing("dog", "red", 0.26, 0.5, 0.45, hat="blue")
    cat = Thing("cat", "yellow", 0.74, 0.5, 0.45, sunglasses="pink")
    assert caption(Scene((dog, cat))) == (
        "a red dog wearing a blue hat and a yellow cat wearing pink sunglasses on a white background"
    )
    assert caption(Scene((dog, cat), "gray", "striped", "left of")) == (
        "a red dog wearing a blue hat left of a yellow cat wearing pink sunglasses on a striped gray background"
    )
    owl = Thing("owl", None, 0.5, 0.5, 0.7, hat="orange", sunglasses="green")
    assert caption(Scene((owl,), "black")) == "an owl wearing an orange hat and green sunglasses on a black background"
    apples = tuple(Thing("apple", "red", x, 0.5, 0.4) for x in (0.2, 0.5, 0.8))
    assert caption(Scene(apples, "blue", "dotted", "count")) == "three red apples on a dotted blue background"
    three = (dog, Thing("fox", None, 0.5, 0.5, 0.4), Thing("car", "orange", 0.5, 0.5, 0.4))
    assert caption(Scene(three)).startswith("a red dog wearing a blue hat, a fox and an orange car on")


def test_the_same_seed_gives_the_same_scene_and_picture():
    for seed in range(20):
        one, two = sample_scene(random.Random(seed)), sample_scene(random.Random(seed))
        assert one == two
        assert render(one).tobytes() == render(two).tobytes()


def test_scenes_drawn_by_a_seed_are_those_that_the_minis_learned_from():
    drawn = [sample_scene(random.Random(s), unseen=s % 5 == 0, alone=s % 7 == 0) for s in range(500)]
    assert hashlib.sha256(repr(drawn).encode()).hexdigest().startswith("5c79436d4374aa14")
    assert hashlib.sha256("|".join(map(caption, drawn)).encode()).hexdigest().startswith("55d58417959ef45f")


def test_every_caption_fits_the_text_encoders():
    words = set(vocabulary())
    for scene in SCENES:
        said = caption(scene).replace(",", " ,").split()
        assert set(said) <= words
        assert len(said) < TEXT_TOKENS  # the end mark takes the last place


def test_a_tenth_of_the_pairs_is_never_painted_in_training():
    assert len(UNSEEN_PAIRS) == len(OBJECTS) * len(COLOURS) / 10
    assert all(kind in OBJECTS and colour in COLOURS for kind, colour in UNSEEN_PAIRS)
    painted = {(thing.kind, thing.colour) for scene in SCENES for thing in scene.things}
    assert not painted & UNSEEN_PAIRS
    coloured = {pair for pair in painted if pair[1]}
    assert len(coloured) == len(OBJECTS) * len(COLOURS) - len(UNSEEN_PAIRS), "all other pairs are seen"
    for seed in range(50):
        first = sample_scene(random.Random(seed), unseen=True).things[0]
        assert (first.kind, first.colour) in UNSEEN_PAIRS


def test_things_stand_where_the_caption_says():
    seen = set()
    for scene in SCENES:
        if scene.phrase in RELATIONS:
            seen.add(scene.phrase)
            one, two = scene.things
            gaps = {
                "left of": two.x - one.x, "right of": one.x - two.x, "above": two.y - one.y, "below": one.y - two.y,
            }  # fmt: skip
            assert gaps[scene.phrase] > 0.3
        if scene.phrase == "count":
            assert len({(thing.kind, thing.colour) for thing in scene.things}) == 1
    assert seen == set(RELATIONS)


def test_things_stay_on_the_canvas_and_apart():
    for scene in SCENES:
        boxes = [layout_box(thing) for thing in scene.things]
        assert all(-0.02 <= edge <= 1.02 for box in boxes for edge in box)
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                across = min(a[2], b[2]) - max(a[0], b[0])
                down = min(a[3], b[3]) - max(a[1], b[1])
                assert min(across, down) < 0.06, "two things overlap by no more than their sprites' empty rims"


def test_only_faces_wear_things():
    worn = {thing.kind for scene in SCENES for thing in scene.things if thing.hat or thing.sunglasses}
    assert worn == set(WEARERS)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_pictures_come_in_any_size(size):
    assert render(SCENES[0], size).size == (size, size)


def test_a_size_too_small_to_see_anything_is_refused():
    with pytest.raises(InputError, match="8 px is too small"):
        render(SCENES[0], 8)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_tinted_thing_has_its_colour_and_its_background_another(colour):
    picture = np.asarray(render(Scene((Thing("apple", colour, 0.5, 0.5, 0.7),), "white"))).astype(float)
    middle = picture[38:68, 34:64].mean((0, 1))
    shades = {name: np.array(paint) / max(paint) for name, paint in PAINT.items()}  # light and shadow left out
    nearest = min(shades, key=lambda name: np.abs(middle / middle.max() - shades[name]).sum())
    assert nearest == colour
    assert np.abs(picture[2, 2] - WALL["white"]).max() <= 1


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_patterns_differ_from_plain(background):
    plain, *patterned = (
        render(Scene((Thing("car", "red", 0.5, 0.5, 0.6),), background, pattern)).tobytes()
        for pattern in ("plain", "striped", "dotted", "checkered")
    )
    assert len({plain, *patterned}) == 4


def test_accessories_are_painted_in_their_colour():
    bare = np.asarray(render(Scene((Thing("fox", "gray", 0.5, 0.5, 0.7, hat="green"),)))).astype(int)
    other = np.asarray(render(Scene((Thing("fox", "gray", 0.5, 0.5, 0.7, hat="purple"),)))).astype(int)
    changed = np.abs(bare - other).sum(2) > 60
    assert 0.02 < changed.mean() < 0.2
    assert np.argwhere(changed)[:, 0].max() < 60, "a hat is in the upper half"
