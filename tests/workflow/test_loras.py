"""Choices of layers are what their names say, the correlation finds what was planted, bad input ends it at once."""

import random
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from miniworld.scenes import Scene, Thing
from miniworld.training.lessons import LESSONS
from painters_utils.errors import InputError
from painters_utils.models.adapter import DOWN, UP
from workflow import loras
from workflow.loras import LAYERS, choices, follows, new_scenes, search, shrink

WORTH = [0.1 * (layer % 7) + 0.01 * layer for layer in range(24)]
PROXY = [1 / (1 + layer) for layer in range(24)]


def test_choices_are_what_their_names_say_at_equal_parameters():
    found = {choice.name: choice for choice in choices(WORTH, PROXY)}
    worth = {name: sum(WORTH[block] for block in choice.blocks) for name, choice in found.items() if name != "all"}
    assert max(worth, key=worth.get) == "worth most" and min(worth, key=worth.get) == "worth least"
    assert found["velocity changed most"].blocks == (0, 1, 2, 3)
    assert found["the middle"].blocks == (10, 11, 12, 13) and found["both ends"].blocks == (0, 1, 22, 23)
    assert found["all"].blocks == tuple(range(24))
    assert {len(choice.blocks) * choice.rank for choice in found.values()} == {24}
    assert all(len(set(choice.blocks)) == LAYERS for name, choice in found.items() if name != "all")
    assert choices(WORTH, PROXY) == list(found.values()), "chance is the same in every run"


def test_layers_that_cannot_be_split_are_refused():
    with pytest.raises(InputError, match="stack of 5 layers .* choices of 4"):
        choices(WORTH[:5], PROXY[:5])


@pytest.mark.slow
def test_the_correlation_finds_what_was_planted():
    worth, rng = np.arange(10) / 10, np.random.default_rng(1)
    noise = 0.02 * rng.standard_normal((2, 10, 16))
    up, down = follows(worth, worth[None, :, None] + noise), follows(worth, -worth[None, :, None] + noise)
    assert up["mean"] > 0.9 and up["low"] > 0.5 and down["mean"] < -0.9 and down["high"] < -0.5
    nothing = follows(worth, rng.standard_normal((2, 10, 16)))
    assert nothing["low"] < 0 < nothing["high"]


def test_a_shrunk_adapter_is_the_nearest_of_its_rank(tmp_path):
    torch.manual_seed(0)
    up, down = torch.randn(8, 3) * torch.tensor([10.0, 5.0, 0.1]), torch.randn(3, 6)
    save_file({f"a{UP}": up, f"a{DOWN}": down}, tmp_path / "whole.safetensors")
    small = load_file(shrink(tmp_path / "whole.safetensors", tmp_path / "small.safetensors", 2))
    assert small[f"a{UP}"].shape == (8, 2) and small[f"a{DOWN}"].shape == (2, 6)
    after, before = small[f"a{UP}"].float() @ small[f"a{DOWN}"].float(), up @ down
    assert (after - before).norm() < 0.02 * before.norm()


@pytest.mark.parametrize("lesson", loras.LESSONS)
def test_new_prompts_were_not_trained(lesson):
    rng = random.Random(0)
    trained = [loras.caption(loras.LESSONS[lesson].scene(rng, False)) for _ in range(loras.TRAINING["scenes"])]
    again = [loras.caption(scene) for scene in new_scenes(lesson, trained)]
    assert len(set(again)) == loras.NEW and not set(again) & set(trained)


def test_a_lesson_whose_captions_were_all_trained_is_refused(monkeypatch):
    lesson = replace(LESSONS["colour"], scene=lambda *_: Scene((Thing("apple", "black", 0.5, 0.5, 0.5),)))
    monkeypatch.setattr(loras, "LESSONS", {"colour": lesson})
    with pytest.raises(InputError, match="lesson 'colour': 1 of its captions are new, 16 are needed"):
        new_scenes("colour", [])


@pytest.mark.parametrize(("name", "message"), [("sd4-mini", "unknown model 'sd4-mini'"), ("sd3-medium", "is no mini")])
def test_bad_input_ends_before_anything_is_computed(name, message, monkeypatch):
    monkeypatch.setattr(loras, "need_peft", lambda: None)
    monkeypatch.setattr(loras, "load_pipeline", lambda _: pytest.fail("a mini was loaded"))
    with pytest.raises(InputError, match=message):
        search(name)


def test_without_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr(loras, "load_pipeline", lambda _: pytest.fail("a mini was loaded"))
    with pytest.raises(InputError, match="peft is not installed: .*requirements/lora.txt"):
        search("sd3-mini")


@pytest.mark.slow
def test_what_was_trained_is_not_trained_again(tmp_path, monkeypatch):
    """A whole search, tiny: its numbers come out the same when nothing can be trained or painted any more."""
    pytest.importorskip("peft")
    for name, value in {"ROOT": tmp_path, "DATA": tmp_path, "NEW": 2, "KNOWN": 1, "CHOOSING": 1}.items():
        monkeypatch.setattr(loras, name, value)
    monkeypatch.setattr(loras, "TRAINING", {"steps": 2, "batch": 2, "rate": 1e-2, "scenes": 4})
    monkeypatch.setattr(loras, "LESSONS", {"style": loras.LESSONS["style"]})
    monkeypatch.setattr(
        loras, "load_suite", lambda: {"colours": [f"a {c} dog on a white background" for c in ("red", "blue")]}
    )
    model = loras.Model.named("sd3-mini", steps=2)
    monkeypatch.setattr(loras.Model, "named", lambda _: model)
    monkeypatch.setattr(loras, "layers_worth", lambda *_: WORTH)
    monkeypatch.setattr(loras, "velocity_changed", lambda *_: PROXY)
    few = [loras.Choice("worth most", (5, 6), 1), loras.Choice("the middle", (11, 12), 1), loras.Choice("a", (1, 2), 1)]
    monkeypatch.setattr(loras, "choices", lambda *_: [*few, loras.Choice("all", tuple(range(24)), 1)])
    found = search("sd3-mini")
    rows = found["lessons"]["style"]["choices"]
    assert [row["name"] for row in rows] == ["worth most", "the middle", "a", "all"]
    assert all(row["parameters"] > 0 and row["learned"]["low"] <= row["learned"]["mean"] for row in rows)
    [shipped] = tmp_path.glob("loras/*.safetensors")
    with loras.adapter(loras.load_pipeline("sd3-mini").transformer, shipped):
        pass
    monkeypatch.setattr(loras, "train_lora", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(loras, "paint", lambda *_, **__: pytest.fail("painted again"))
    assert search("sd3-mini") == found
