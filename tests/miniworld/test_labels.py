"""What an eye saw, held against what the checker reads."""

import json

import pytest
from notebook_cells import run_cells
from PIL import Image

from miniworld import labels
from miniworld.checker import read
from miniworld.grammar import imagine
from miniworld.labels import Label, compare, load_labels, save_labels, save_sheet, scene_seen
from miniworld.metrics import mini_rows
from miniworld.render import render
from miniworld.training import labels as painting
from painters_utils.errors import InputError
from painters_utils.measure.pictures import frequencies_kept

PROMPT = "a red dog wearing a blue hat left of a yellow cat on a green background"


def test_a_sheet_comes_back_as_it_was_kept(tmp_path):
    prompts = [PROMPT, "a green balloon on a gray background", *["an owl on a white background"] * labels.COLUMNS]
    pictures = [render(imagine(prompt)) for prompt in prompts]
    save_sheet([Label("flux-mini", "untouched", prompt, 0) for prompt in prompts], pictures, tmp_path)
    known, cut = load_labels(tmp_path)
    assert [label.prompt for label in known] == prompts and not any(label.seen for label in known)
    assert all(min(frequencies_kept(one, two)) > 0.97 for one, two in zip(pictures, cut, strict=True))
    known[1].seen = "a balloon on a gray background"
    save_labels(known, tmp_path)
    assert load_labels(tmp_path)[0] == known
    with pytest.raises(InputError, match="training.labels"):
        load_labels(tmp_path / "none")


def test_what_was_seen_is_a_scene_in_the_words_of_prompts():
    assert scene_seen(" nothing on a striped blue background").things == ()
    assert scene_seen("nothing on a striped blue background").pattern == "striped"
    assert [thing.kind for thing in scene_seen(PROMPT).things] == ["dog", "cat"]
    for words in ("", "nothing", "a zebra on a white background"):
        with pytest.raises(InputError, match="outside the minis' grammar|empty"):
            scene_seen(words)


def test_eye_and_checker_are_compared_fact_by_fact():
    as_asked, hatless = imagine(PROMPT), imagine(PROMPT.replace(" wearing a blue hat", ""))
    known = [
        Label("flux-mini", "untouched", PROMPT, 0, seen=PROMPT),
        Label("flux-mini", "untouched", PROMPT, 1, seen="nothing on a green background"),
        Label("flux-mini", "untouched", PROMPT, 2),
    ]
    table = compare(known, [hatless, as_asked, as_asked])
    assert sorted(set(table["picture"])) == [0, 1], "nobody looked at the third"
    one, two = (table[table["picture"] == i].reset_index() for i in (0, 1))
    assert list(one.loc[one["eye"] != one["checker"], "fact"]) == ["accessory", "accessory colour", "everything right"]
    assert two["checker"].all() and list(two.loc[two["eye"], "fact"]) == ["background", "pattern"]


def test_the_notebook_keeps_what_is_typed_and_refuses_what_it_cannot_read(tmp_path):
    rows = [Label("flux-mini", "untouched", PROMPT, seed) for seed in range(3)]
    rows[0].seen = PROMPT
    save_sheet(rows, [render(imagine(PROMPT))] * 3, tmp_path)
    here = run_cells("17_label", folder=str(tmp_path))
    assert here["waiting"] == [1, 2]
    here["words"].value = "a zebra on a white background"
    assert "outside the minis' grammar" in here["said"].value and here["waiting"] == [1, 2]
    here["words"].value = "a red  dog on a green background"
    assert load_labels(tmp_path)[0][1].seen == "a red dog on a green background" and here["said"].value == "1 to go"
    here["words"].value = "nothing on a green background"
    assert not here["waiting"] and "All are described" in here["said"].value
    assert all(label.seen for label in load_labels(tmp_path)[0])


def test_a_sheet_is_not_painted_over(tmp_path, monkeypatch):
    monkeypatch.setattr(painting, "FOLDER", tmp_path)
    (tmp_path / "labels.json").write_text("[]")
    with pytest.raises(SystemExit, match="--replace"):
        painting.main([])


@pytest.mark.slow
def test_as_many_pictures_as_asked_are_painted_under_orders_that_harm(monkeypatch):
    monkeypatch.setattr(painting, "HARMED", 5)
    prompts = [PROMPT] * (painting.HARMED + 1)
    painted = painting.paint_sheet("sd3-mini", prompts)
    assert [label.order == "untouched" for label, _ in painted] == [True] + [False] * painting.HARMED
    assert all(isinstance(picture, Image.Image) for _, picture in painted)


def test_the_committed_labels_fit_the_grammar_and_every_mini():
    known, pictures = load_labels()
    assert {name: sum(label.model == name for label in known) for name in mini_rows()} == dict.fromkeys(mini_rows(), 50)
    assert sum(label.order != "untouched" for label in known) == 3 * painting.HARMED
    assert len(pictures) == len(read(pictures)) == 150
    assert all(label.seen and scene_seen(label.seen) for label in known), "all are described"
    assert json.loads((labels.FOLDER / "labels.json").read_text())[0]["prompt"] == known[0].prompt
