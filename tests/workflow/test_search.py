"""What all searches share: their command, and what it leaves in data/."""

import json

import numpy as np
import pytest

from workflow import drift, fewer, loras, search, weaker, worth


@pytest.fixture
def data(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "DATA", tmp_path)
    return tmp_path


def test_numbers_are_kept_short_and_small_ones_are_not_lost():
    tree = {"a": [0.123456, np.int64(1), "x", None], "b": ({"c": 0.0000123456},), "d": float("nan")}
    assert search.rounded(tree) == {"a": [0.1235, 1, "x", None], "b": [{"c": 1.235e-05}], "d": None}


def test_what_is_found_of_each_model_is_left_in_its_file(data):
    search.command(lambda name, each: {"of": name, "each": each}, "worth", "", ["a", "b", "--each", "3"], each=(2, ""))
    assert [json.loads((data / f"worth/{name}.json").read_text()) for name in "ab"] == [
        {"of": "a", "each": 3},
        {"of": "b", "each": 3},
    ]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, search.InputError("no layer is left")])
def test_a_search_that_is_stopped_leaves_the_stages_before(data, stop):
    def stages(name):
        yield {"first": name}
        raise stop

    with pytest.raises(SystemExit, match="stopped|no layer is left"):
        search.command(stages, "drift", "", ["a"])
    assert json.loads((data / "drift/a.json").read_text()) == {"first": "a"}


@pytest.mark.parametrize(("module", "given", "words"), [
    (drift, ["flux-schnell"], "is no mini"),
    (fewer, ["flux-schnell"], "is no mini"),
    (loras, ["flux-schnell"], "is no mini"),
    (weaker, ["flux-schnell"], "is no mini"),
    (worth, ["flux-schnell"], "is no mini"),
    (worth, ["sd4-mini"], "unknown model"),
    (worth, ["sd3-mini", "--each", "12"], "give 1 to 11"),
    (weaker, ["sd3-mini", "--seeds", "0"], "seeds is 0: give a whole number"),
])  # fmt: skip
def test_what_cannot_be_searched_ends_in_one_line(module, given, words, data, monkeypatch):
    monkeypatch.setattr(loras, "need_peft", lambda: None)
    with pytest.raises(SystemExit, match=words):
        module.main(given)
    assert not list(data.iterdir())
