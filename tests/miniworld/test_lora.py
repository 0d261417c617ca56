"""LoRA: only the chosen blocks learn, a stopped training goes on as if it had not been, bad input ends it first."""

import sys

import pytest
import torch
from safetensors.torch import load_file

from miniworld.training import lora
from miniworld.training.lora import train_lora
from painters_utils.errors import InputError

TINY = dict(steps=3, batch=2, scenes=4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(lesson="taste"), "lesson 'taste' is unknown: choose thing, colour, style"),
        (dict(blocks=[]), r"blocks \[\] must be named"),
        (dict(blocks=[3, 3]), r"blocks \[3, 3\] .* each once"),
        (dict(rank=0), "rank is 0"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, given, message):
    monkeypatch.setattr(lora, "load_pipeline", lambda _: pytest.fail("a mini was loaded"))
    with pytest.raises(InputError, match=message):
        train_lora(**dict(model="sd3-mini", lesson="colour", blocks=[3], folder=tmp_path) | given)


def test_without_peft(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match="peft is not installed: .*requirements/lora.txt"):
        train_lora("sd3-mini", "colour", [3], tmp_path)


@pytest.mark.slow
def test_only_the_chosen_blocks_learn_and_a_stopped_training_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("peft")
    with pytest.raises(InputError, match="layer 24 of transformer_blocks does not exist"):
        train_lora("sd3-mini", "colour", [24], tmp_path, **TINY)
    whole = load_file(
        train_lora("sd3-mini", "colour", [5, 6], tmp_path / "a", **TINY) / "pytorch_lora_weights.safetensors"
    )
    assert {int(key.split(".")[2]) for key in whole} == {5, 6}
    assert all(tensor.shape[0] == 4 or tensor.shape[1] == 4 for tensor in whole.values())
    assert any(tensor.abs().max() > 0 for key, tensor in whole.items() if "lora_B" in key or "up" in key), "it learned"

    real, calls = lora.flow_matching_loss, iter(range(99))

    def interrupted(*args, **options):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(lora, "flow_matching_loss", interrupted)
    monkeypatch.setattr("miniworld.training.loop.LOG_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        train_lora("sd3-mini", "colour", [5, 6], tmp_path / "b", **TINY, save_minutes=0)
    monkeypatch.setattr(lora, "flow_matching_loss", real)
    again = train_lora("sd3-mini", "colour", [5, 6], tmp_path / "b", **TINY, save_minutes=0)
    resumed = load_file(again / "pytorch_lora_weights.safetensors")
    assert all(torch.allclose(resumed[key], whole[key], atol=1e-6) for key in whole)
