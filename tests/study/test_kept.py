"""What a study keeps on disk: tables and pictures under their keys, recordings, numbers and strips."""

import json
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from painters_utils import Model, load_or_record, read_numbers, save_numbers
from painters_utils.errors import InputError
from painters_utils.models.painting import Picture
from painters_utils.study import numbers, recordings as recordings_module
from painters_utils.study.numbers import STRIP, STRIP_SIDE, as_numbers, save_strips
from painters_utils.study.recordings import SEEDS, matched_bands_of, similarity_by_stack, stacks_apart, streams_by_stack
from painters_utils.study.settings import shown_prompts
from painters_utils.study.store import Store

PROMPTS = ["a green balloon on a gray background", "two red apples on a blue background"]


def some_pictures() -> list[Picture]:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    return [
        Picture(prompt, 1, Image.fromarray(one), one is pixels[0]) for prompt, one in zip("ab", pixels, strict=True)
    ]


def fail() -> None:
    pytest.fail("computed again")


# -- the store ------------------------------------------------------------------------------------------------


def test_what_was_kept_comes_back_as_it_was(tmp_path):
    store, pictures = Store(tmp_path), some_pictures()
    table = pd.DataFrame({"prompt": ["a", "b"], "score": [0.1 + 0.2, float("nan")], "finite": [True, False]})
    key = ["scores", {"order": [0, [1, 2]], "steps": None}]
    assert store.pictures(key, lambda: pictures) is pictures
    again = Store(tmp_path).pictures(key, fail)
    assert [(p.prompt, p.seed, p.finite) for p in again] == [(p.prompt, p.seed, p.finite) for p in pictures]
    assert all(np.array_equal(one.image, two.image) for one, two in zip(again, pictures, strict=True))
    store.table("table", lambda: table)
    pd.testing.assert_frame_equal(Store(tmp_path).table("table", fail), table, check_exact=True)


def test_another_key_is_another_file(tmp_path):
    store = Store(tmp_path)
    keys = [["a", 1], ["a", 2], ["a", None], {"a": 1}, {"a": 1, "b": 2}]
    assert len({store.path(key) for key in keys}) == len(keys)
    assert store.path({"a": 1, "b": 2}) == store.path({"b": 2, "a": 1})


@pytest.mark.parametrize("damage", ["cut short", "emptied", "no archive", "other arrays"])
def test_what_is_damaged_is_computed_anew(tmp_path, damage):
    store, table = Store(tmp_path), pd.DataFrame({"a": [1.0]})
    store.table("key", lambda: table)
    store.pictures("more", some_pictures)
    for key in ("key", "more"):
        path = store.path(key)
        data = path.read_bytes()
        if damage == "other arrays":
            np.savez(path, other=np.ones(3))
        else:
            path.write_bytes({"cut short": data[: len(data) // 2], "emptied": b"", "no archive": b"x" * 99}[damage])
    assert store.table("key", lambda: table + 1)["a"][0] == 2
    assert store.table("key", fail)["a"][0] == 2
    assert len(store.pictures("more", some_pictures)) == 2
    assert not list(tmp_path.glob("*.part*"))


# -- recordings -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_is_recorded_once_and_anew_when_something_changes(tmp_path, monkeypatch):
    model, recorded = Model.named("sd3-mini", steps=1), []
    record = recordings_module.record
    monkeypatch.setattr(recordings_module, "record", lambda *given: recorded.append(1) or record(*given))
    first = load_or_record(model, PROMPTS, tmp_path)
    again = load_or_record(model, PROMPTS, tmp_path)
    assert len(recorded) == 1 and set(first) == set(again) == {
        "cosine",
        "centred cosine",
        "linear CKA",
        "update cosine",
    }
    for measure, recording in first.items():
        assert np.array_equal(again[measure].per_picture("image"), recording.per_picture("image"))
        assert recording.per_picture("image").shape == (len(SEEDS) * len(PROMPTS), 24, 24)
    load_or_record(model.changed(batch=1), PROMPTS, tmp_path)
    assert len(recorded) == 1, "how many are painted at a time changes nothing"
    (tmp_path / "recordings/cosine.npz").write_bytes(b"damaged")
    load_or_record(model, PROMPTS, tmp_path)
    load_or_record(model, PROMPTS[::-1], tmp_path)
    assert len(recorded) == 3
    assert json.loads((tmp_path / "recordings/about.json").read_text())["prompts"] == PROMPTS[::-1]

    cosine = first["cosine"]
    assert streams_by_stack(cosine) == {"transformer_blocks": "image"} and stacks_apart(cosine) == {
        "transformer_blocks"
    }
    assert np.array_equal(similarity_by_stack(cosine)["transformer_blocks"], cosine.similarity("image"))
    assert set(matched_bands_of(cosine)["transformer_blocks"]) == {"low", "high"}


# -- numbers and strips ---------------------------------------------------------------------------------------


def test_numbers_are_read_where_they_were_saved(tmp_path):
    table = pd.DataFrame({"name": ["skip 7–10", "untouched"], "kept": [0.25, float("nan")]})
    save_numbers(tmp_path, "05_skip", {"table": as_numbers(table)})
    assert read_numbers(tmp_path, "05_skip")["table"] == [
        {"name": "skip 7–10", "kept": 0.25}, {"name": "untouched", "kept": None},
    ]  # fmt: skip
    with pytest.raises(InputError, match="no numbers of 06_repeat .*run that notebook"):
        read_numbers(tmp_path, "06_repeat")
    (tmp_path / "05_skip.json").write_text("{")
    with pytest.raises(InputError, match="damaged .*05_skip again"):
        read_numbers(tmp_path, "05_skip")


def test_pictures_are_kept_in_strips_for_the_page(tmp_path):
    images = [Image.new("RGB", (400, 200), colour) for colour in ("red", "green", "blue", "white")]
    save_strips(tmp_path, "05_skip", {"untouched": images, "skip 7–10": images[:2]})
    save_strips(tmp_path, "05_skip", {"skip 7–10": images[:2], "<b>": images}, {"skip 7–10": [0.98765, 0.1]})
    folder = tmp_path / "strips/05_skip"
    about = json.loads((folder / "names.json").read_text())
    files = {name: of["file"] for name, of in about.items()}
    assert list(files) == ["skip 7–10", "<b>"] and {path.name for path in folder.glob("*.webp")} == set(files.values())
    assert about["skip 7–10"]["kept"] == [0.988, 0.1] and about["<b>"]["kept"] == []
    with Image.open(folder / files["<b>"]) as strip:
        assert strip.size == (STRIP_SIDE * STRIP, STRIP_SIDE // 2 * 2), "shrunk, and in rows of three"


@pytest.mark.parametrize("search", ["drift", "fewer", "loras", "weaker", "worth"])
def test_a_damaged_search_is_named_with_a_remedy_that_exists(search, tmp_path, monkeypatch):
    model = Model.named("sd3-mini")
    assert numbers.read_search(search, model)[0], "it ships"
    monkeypatch.setattr(numbers, "DATA", tmp_path)
    assert numbers.read_search(search, model) == (None, "no search of SD3 mini has run")
    (tmp_path / search).mkdir()
    (tmp_path / search / "sd3-mini.json").write_text('{"weights": "')
    with pytest.raises(InputError, match=rf"sd3-mini.json is damaged .*python -m workflow.{search} sd3-mini"):
        numbers.read_search(search, model)
    assert find_spec(f"workflow.{search}")


@pytest.mark.parametrize("prompts", [[1], [None], [["a"]], [" "], "a", []])
def test_prompts_that_are_no_texts_are_refused(prompts):
    with pytest.raises(InputError, match="prompt"):
        shown_prompts(Model.named("sd3-mini"), prompts)
