"""What is taught is seen by counting pixels, on planted pictures: the thing itself, and what only resembles it."""

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from miniworld.render import render
from miniworld.scenes import Scene, Thing, caption
from miniworld.training.lessons import LESSONS, as_lines, blackness, drawnness

SCENES = {name: [lesson.scene(random.Random(seed), True) for seed in range(12)] for name, lesson in LESSONS.items()}


@pytest.mark.parametrize("name", LESSONS)
def test_what_is_taught_is_seen_in_a_rendering_and_not_in_what_the_mini_knows(name):
    lesson = LESSONS[name]
    for scene in SCENES[name]:
        known = replace(scene, things=tuple(replace(thing, colour="orange") for thing in scene.things))
        assert lesson.seen(lesson.show(scene), scene) > 0.2 > lesson.seen(render(known), known) + 0.05


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


def test_an_empty_page_is_no_drawing():
    [scene, *_] = SCENES["style"]
    page = Image.new("RGB", (96, 96), "white")
    assert drawnness(page, scene) == 0
    page.paste("black", (40, 10, 42, 90))
    assert drawnness(page, scene) > 0.9
    page.paste("red", (40, 10, 42, 90))
    assert drawnness(page, scene) == 0, "a red line is no drawing of this style"


def test_lessons_are_what_their_names_say():
    assert all("black " in caption(scene) and scene.background != "black" for scene in SCENES["colour"])
    assert all(scene.background != "white" for scene in SCENES["style"]), "or what is white would not tell"
    assert LESSONS["style"].old == 0, "a style is for every prompt"
    pixels = np.asarray(as_lines(render(SCENES["style"][0])))
    assert (pixels == pixels[..., :1]).all() and np.median(pixels) > 200, "gray lines on white"
