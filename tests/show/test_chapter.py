"""What chapters have in common: the band of the opening, what was expected, and each order shown once."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from painters_utils.show import chapter
from painters_utils.study.variants import custom_variant


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What is said instead of displayed."""
    words: list[str] = []
    monkeypatch.setattr(chapter, "say", words.append)
    return words


def studio(**bands) -> SimpleNamespace:
    return SimpleNamespace(bands=bands, model=SimpleNamespace(depths={"short": 4, "long": 32}))


def test_the_opening_changes_the_last_band_of_the_first_stack_with_room_for_it():
    some = studio(short={"middle": [1, 2]}, long={"low": [2, 9], "high": [21, 28]})
    assert chapter.example_band(some) == ("long", 32, [21, 28])
    assert chapter.example_band(some, "short") == ("short", 4, [1, 2])
    assert chapter.example_band(some, "long", [3, 3]) == ("long", 32, [3, 3])
    assert chapter.example_band(studio(short={"middle": [1, 2]})) == ("short", 4, [1, 2])


@pytest.mark.parametrize(
    ("holds", "found", "words"),
    [
        (True, "", "Expected: it stays. **As expected**."),
        (np.False_, "3 of 4 go", "Expected: it stays. **Not as expected**: 3 of 4 go."),
    ],
)
def test_what_is_expected_may_fail_and_the_notebook_goes_on(said, holds, found, words):
    chapter.expect("it stays", holds, found)
    assert said == [words]


def test_an_order_of_both_presets_is_one_row_under_both():
    rows = [
        ("stack", "reverse 1–2", "article", "layers 1 and 2 change places", None, 0.9),
        ("stack", "reverse 1–2 (middle)", "matched", "layers 1 and 2 change places", None, 0.9),
        ("stack", "reverse 1–2, early", "matched", "layers 1 and 2 change places", [0, 1], 0.95),
        ("other", "reverse 1–2 (low)", "matched", "layers 1 and 2 change places", None, 0.8),
    ]
    table = pd.DataFrame(rows, columns=["stack", "name", "preset", "words", "steps", "kept"])
    shown = chapter.once(table)
    assert list(shown["name"]) == ["reverse 1–2", "reverse 1–2, early", "reverse 1–2 (low)"]
    assert list(shown["preset"]) == ["article and matched", "matched", "matched"]
    assert list(table["preset"]) == ["article", "matched", "matched", "matched"], "the numbers keep every row"


def test_an_order_is_drawn_once_and_in_its_place():
    one, other = (custom_variant("stack", 8, "skip", band=band) for band in ([2, 3], [4, 5]))
    again = custom_variant("stack", 8, "skip", " (low)", band=[2, 3])
    assert chapter.distinct([one, other, again]) == [one, other]


def test_a_layer_is_not_compared_with_itself():
    assert chapter.mean_of_pairs(np.array([[1, 0.2], [0.4, 1]])) == pytest.approx(0.3)


def of(*means: float) -> dict[str, dict[str, float]]:
    """Means with intervals of 10 points, by strategy."""
    return {
        name: {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}
        for name, mean in zip(("skip", "reverse", "middle_repeat"), means, strict=True)
    }


def test_strategies_are_compared_on_the_halves_first_and_only_what_is_sure_is_called_so():
    sure, unsure = ({"mean": 0.1, "low": low, "high": 0.2} for low in (0.02, -0.01))
    ahead = {"skip": {"reverse": sure, "middle_repeat": sure}, "reverse": {"middle_repeat": unsure}}
    means = {"reverse": 0.9, "skip": 0.85, "middle_repeat": 0.3}
    said = chapter.least_and_most({"stacks": 2, "kept": of(0.8, 0.7, 0.6), "ahead": ahead}, means)
    assert "skip 80 % (75 – 85 %), reverse 70 % (65 – 75 %)" in said
    assert "**Skip** surely harms least, and **repeat** most, not surely more than reverse." in said
    ahead["skip"] = {"reverse": sure, "middle_repeat": unsure}
    less = chapter.least_and_most({"stacks": 2, "kept": of(0.8, 0.7, 0.6), "ahead": ahead}, means)
    assert (
        "**Skip** harms least, not surely less than repeat, and **repeat** most, not surely more than skip, rev" in less
    )
    assert said.index("middle half") < said.index("all bands is: reverse 90 %, skip 85 %, repeat 30 %")
    assert chapter.least_and_most({}, means) == (
        "Over all bands, the mean of what is kept is: reverse 90 %, skip 85 %, repeat 30 %."
    )


@pytest.mark.parametrize(("pictures", "told"), [((48, 48), "of 48 pictures"), ((15, 150), "of 15 to 150 pictures")])
def test_a_caption_says_of_how_many_pictures(said, monkeypatch, pictures, told):
    shown = {}
    monkeypatch.setattr(chapter, "show", lambda *_, **about: shown.update(about))
    monkeypatch.setattr(chapter, "show_table", lambda *_: None)
    monkeypatch.setattr(chapter, "how_scored", lambda _: "")
    rows = [{"name": f"skip {i}", "stack": "a", "preset": "matched", "words": f"layer {i} is skipped", "share": 0.1,
             "kept": 0.9, "kept low": 0.8, "kept high": 1.0, "pictures": count}
            for i, count in enumerate(pictures)]  # fmt: skip
    chapter.show_kept(SimpleNamespace(), pd.DataFrame(rows), "name", "out")
    assert told in shown["caption"]
