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
