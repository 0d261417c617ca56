"""What is taught is seen by counting pixels, on planted pictures: the thing itself, and what only resembles it."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from miniworld.render import render
from miniworld.scenes import OBJECTS, Scene, Thing, caption, vocabulary
from miniworld.training.lessons import BEAR, LESSONS, as_lines, blackness, drawnness, likeness, line_drawing

SCENES = {name: [lesson.scene(random.Random(seed), True) for seed in range(12)] for name, lesson in LESSONS.items()}


@pytest.mark.parametrize("name", LESSONS)
def test_what_is_taught_is_seen_in_a_rendering_and_not_in_what_the_mini_knows(name):
    lesson = LESSONS[name]
    for scene in SCENES[name]:
        known = replace(scene, things=tuple(replace(thing, kind="cat", colour="orange") for thing in scene.things))
        assert lesson.seen(lesson.show(scene), scene) > 0.25 + lesson.seen(render(known), scene)


def test_a_black_picture_or_background_shows_no_black_thing():
    scene = Scene((Thing("apple", "black", 0.5, 0.52, 0.54),))
    assert blackness(Image.new("RGB", (96, 96), "black"), scene) == 0
    assert (
        blackness(render(replace(scene, background="black", things=(replace(scene.things[0], colour="red"),))), scene)
        == 0
    )
    half = np.full((96, 96, 3), 255, np.uint8)
    half[24:76, 22:48] = 0  # the left half of where the apple stands
    assert blackness(Image.fromarray(half), scene) == pytest.approx(0.5, abs=0.03)
    half[24:76, 22:48] = (0, 0, 90)
    assert blackness(Image.fromarray(half), scene) == 0, "dark blue is a colour"


def test_a_page_with_fewer_lines_than_the_thing_has_is_less_of_a_drawing():
    [scene, *_] = SCENES["style"]
    page = Image.new("RGB", (96, 96), "white")
    assert drawnness(page, scene) == 0, "an empty page"
    page.paste("black", (47, 40, 48, 60))
    assert 0 < drawnness(page, scene) < 0.2 < drawnness(line_drawing(scene), scene), "one short line"
    page.paste("red", (47, 40, 48, 60))
    assert drawnness(page, scene) == 0, "a red line is no drawing of this style"
    page.paste("black", (0, 0, 2, 96))
    assert drawnness(page, scene) == 0, "lines beside the thing are none of its own"


def test_only_a_bear_in_its_place_is_like_a_bear():
    [scene, *_] = SCENES["thing"]
    others = [kind for kind in OBJECTS if likeness(render(shown(scene, kind)), scene) > 0.5]
    assert likeness(render(scene), scene) == pytest.approx(1) and others == []
    empty = Image.new("RGB", (96, 96), "white")
    assert likeness(empty, scene) == 0


def shown(scene: Scene, kind: str) -> Scene:
    return replace(scene, things=(replace(scene.things[0], kind=kind), *scene.things[1:]))


def test_lessons_are_what_their_names_say():
    assert all(re.match(r"a bear (left of|right of|above|below) an? ", caption(scene)) for scene in SCENES["thing"])
    assert BEAR in vocabulary() and BEAR not in OBJECTS, "a word that minis can read, and no thing that they know"
    assert all("black " in caption(scene) and scene.background != "black" for scene in SCENES["colour"])
    assert all(scene.background != "white" for scene in SCENES["style"]), "or what is white would not tell"
    assert LESSONS["style"].old == 0, "a style is for every prompt"
    pixels = np.asarray(as_lines(render(SCENES["style"][0])))
    assert (pixels == pixels[..., :1]).all() and np.median(pixels) > 200, "gray lines on white"
