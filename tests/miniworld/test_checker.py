"""The checker reads scenes that it never saw, refuses what it cannot read, and is not fooled by nothing."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from miniworld import checker
from miniworld.checker import Checker, features, load_checker, read
from miniworld.metrics import checker_metrics, mini_scores, minis_table
from miniworld.render import SIDE, render
from miniworld.scenes import OBJECTS, Scene, Thing, unseen_scenes
from miniworld.training.checker import GRID, checker_loss
from miniworld.training.evaluate import NEAR, grey_levels_apart, read_back
from miniworld.training.pools import nothing, sample_lesson
from painters_utils.errors import InputError

SCENES = unseen_scenes(150, "tests")
PICTURES = [render(scene) for scene in SCENES]


def test_the_shipped_checker_reads_unseen_scenes():
    table = read_back(SCENES, PICTURES)["table"]
    for name in ("precision", "recall", "colour", "accessory", "accessory colour", "position", "background", "pattern"):
        assert table[name] >= 0.97, f"{name}: {table[name]:.3f}"


def test_its_measured_table_meets_the_goals():
    metrics = checker_metrics()
    for pictures, goal in (("clean", 0.98), ("VAE", 0.95)):
        for name, value in metrics[pictures]["table"].items():
            assert value >= goal, f"{pictures}, {name}: {value:.3f}"
    assert max(metrics["false objects"].values()) <= 0.01
    assert np.array(metrics["clean"]["confusion"]).shape == (len(OBJECTS) + 1,) * 2
    assert 0 < metrics["VAE error"] < 6


def test_what_was_measured_of_the_minis_is_there_and_of_others_is_not():
    table = minis_table()
    assert list(table["mini"]) == ["flux-mini", "sd3-mini", "auraflow-mini"]
    assert list(table["blocks"]) == ["19 + 38", "24", "4 + 32"]
    assert mini_scores("sd3-mini")["strict"]["mean"] > 0.8
    with pytest.raises(InputError, match="'flux-maxi': choose one of flux-mini"):
        mini_scores("flux-maxi")


def test_the_distance_of_pictures_is_in_grey_levels():
    black, grey = (Image.new("RGB", (4, 4), (value,) * 3) for value in (0, 12))
    assert (grey_levels_apart(black, grey), grey_levels_apart(grey, grey)) == (12, 0)


def test_it_finds_nothing_in_nothing():
    rng = np.random.default_rng(5)
    pictures = [Image.fromarray(nothing(rng)) for _ in range(100)]
    pictures += [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("white", "black", "red")]
    assert sum(bool(scene.things) for scene in read(pictures)) <= 1


def test_a_reading_does_not_depend_on_the_batch():
    together = read(PICTURES[:9], batch=9)
    for others in (read(PICTURES[:9], batch=4), [read([picture])[0] for picture in PICTURES[:9]]):
        for one, two in zip(together, others, strict=True):
            assert (one.background, one.pattern, len(one.things)) == (two.background, two.pattern, len(two.things))
            for a, b in zip(one.things, two.things, strict=True):
                assert replace(a, x=0, y=0, size=0) == replace(b, x=0, y=0, size=0)
                assert (a.x, a.y, a.size) == pytest.approx((b.x, b.y, b.size), abs=1e-4)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("RGB", (64, 64)), r"not RGB of \(64, 64\)"),
        (Image.new("L", (SIDE, SIDE)), "not L of"),
        (Image.new("RGBA", (SIDE, SIDE)), "not RGBA of"),
        (np.zeros((SIDE, SIDE, 3)), "not ndarray"),
    ],
)
def test_other_pictures_are_refused(picture, message):
    with pytest.raises(InputError, match=f"reads RGB pictures of {SIDE} × {SIDE} px, {message}"):
        read([PICTURES[0], picture])


def test_no_pictures_and_no_weights_are_explained(tmp_path):
    with pytest.raises(InputError, match="no pictures to read"):
        read([])
    with pytest.raises(InputError, match="train it with `python -m miniworld.training checker`"):
        load_checker(tmp_path / "none.safetensors")


def test_it_is_small():
    assert checker.WEIGHTS.stat().st_size <= 4 * 2**20
    assert features(PICTURES[:3]).shape == (3, 192)


def test_mistakes_are_counted():
    """Every kind of mistake, against a checker that reads the truth with these mistakes put in."""
    apple, dog = Thing("apple", "red", 0.3, 0.5, 0.4), Thing("dog", "blue", 0.7, 0.5, 0.4, hat="pink")
    truth = [Scene((apple, dog))] * 4
    seen = [
        Scene((apple, dog)),
        Scene((apple, Thing("cat", "blue", 0.7, 0.5, 0.4, hat="green"))),  # another object, another hat
        Scene((apple,), "blue"),  # one missing, another wall
        Scene((apple, dog, Thing("car", None, 0.1, 0.1, 0.3))),  # one too many
    ]
    pictures = [Image.new("RGB", (SIDE, SIDE), (i, 0, 0)) for i in range(4)]
    original, checker.read = checker.read, lambda some: [seen[p.getpixel((0, 0))[0]] for p in some]
    try:
        found = read_back(truth, pictures)
    finally:
        checker.read = original
    table = found["table"]
    assert table["precision"] == pytest.approx(6 / 8)
    assert table["recall"] == pytest.approx(6 / 8)
    assert table["count"] == 0.5
    assert table["background"] == 0.75
    assert table["accessory colour"] == pytest.approx(2 / 3)
    assert table["position"] == 1
    confusion = np.array(found["confusion"])
    assert confusion[OBJECTS.index("dog"), OBJECTS.index("cat")] == 1
    assert confusion[OBJECTS.index("dog"), -1] == 1
    assert confusion[-1, OBJECTS.index("car")] == 1
    assert confusion.sum() == 9
    assert NEAR < 0.3


def test_lessons_hold_everything_and_the_loss_knows_the_truth():
    lessons = [sample_lesson(random.Random(seed)) for seed in range(400)]
    assert any(lesson is None for lesson in lessons)
    assert {len(lesson.things) for lesson in lessons if lesson} >= {0, 1, 2, 3, 4}
    torch.manual_seed(0)
    scenes = [lesson for lesson in lessons if lesson and lesson.things][:4] + [None]
    cells, background, pattern, _ = Checker()(torch.zeros(5, 3, SIDE, SIDE))
    assert cells["centre"].shape == (5, 1, GRID, GRID)
    cells = {name: value.detach().clone() for name, value in cells.items()}
    before = checker_loss(cells, background, pattern, scenes)
    for i, scene in enumerate(scenes[:4]):  # put the truth about the objects into the cells
        for thing in scene.things:
            row, column = int(thing.y * GRID), int(thing.x * GRID)
            cells["kind"][i, OBJECTS.index(thing.kind), row - 1 : row + 2, column - 1 : column + 2] += 20
    assert checker_loss(cells, background, pattern, scenes) < before - 1
