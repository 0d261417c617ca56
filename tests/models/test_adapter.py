"""An adapter is added to the weights and taken off again; one of another model is refused before anything changes."""

import json
from contextlib import nullcontext

import pytest
import torch
from conftest import toy_sd3
from safetensors.torch import load_file, save_file

from painters_utils.errors import InputError
from painters_utils.models.adapter import adapter

LAYER = "transformer_blocks.3.attn.to_q"


def written(path, layer=LAYER, rank=2, inputs=16, outputs=16, up=1.0):
    save_file(
        {
            f"transformer.{layer}.lora_A.weight": torch.ones(rank, inputs),
            f"transformer.{layer}.lora_B.weight": torch.full((outputs, rank), up),
        },
        path,
    )
    return path


def test_it_adds_b_a_and_is_undone_bit_for_bit(tmp_path):
    toy = toy_sd3()
    before, output = {key: value.clone() for key, value in toy.transformer.state_dict().items()}, toy.output()
    with pytest.raises(RuntimeError, match="stop"), adapter(toy.transformer, written(tmp_path / "a.safetensors"), 0.1):
        own = toy.transformer.get_submodule(LAYER).weight
        assert torch.allclose(own, before[f"{LAYER}.weight"] + 0.1 * 2)  # ones (16, 2) @ ones (2, 16)
        assert not torch.equal(toy.output(), output)
        raise RuntimeError("stop")
    assert all(torch.equal(value, before[key]) for key, value in toy.transformer.state_dict().items())
    assert torch.equal(toy.output(), output)


def test_a_zero_b_changes_nothing(tmp_path):
    toy = toy_sd3()
    output = toy.output()
    with adapter(toy.transformer, written(tmp_path / "a.safetensors", up=0.0)):
        assert torch.equal(toy.output(), output)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (dict(layer="transformer_blocks.24.attn.to_q"), "another model: .*no layer transformer_blocks.24.attn.to_q"),
        (dict(inputs=8), r"another model: .*A \(2, 8\) do not fit the weight \(16, 16\)"),
        (dict(layer="transformer_blocks.3.attn"), "no layer transformer_blocks.3.attn"),
    ],
)
def test_an_adapter_of_another_model_is_refused(tmp_path, other, message):
    toy = toy_sd3()
    before = {key: value.clone() for key, value in toy.transformer.state_dict().items()}
    with (
        pytest.raises(InputError, match=message),
        adapter(toy.transformer, written(tmp_path / "a.safetensors", **other)),
    ):
        pytest.fail("it was added")
    assert all(torch.equal(value, before[key]) for key, value in toy.transformer.state_dict().items())


def test_what_is_no_adapter_is_refused(tmp_path):
    path, transformer = tmp_path / "a.safetensors", toy_sd3().transformer
    with (
        pytest.raises(InputError, match="no adapter can be read from .*make loras"),
        adapter(transformer, path),
    ):
        pass
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no adapter can be read"), adapter(transformer, path):
        pass
    for metadata in ("{", "[]"):
        save_file({}, path, {"lora_adapter_metadata": metadata})
        with pytest.raises(InputError, match="no adapter can be read"), adapter(transformer, path):
            pass
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(InputError, match="holds weight as well"), adapter(transformer, path):
        pass
    save_file({}, path)
    with pytest.raises(InputError, match="holds no LoRA adapter"), adapter(transformer, path):
        pass


@pytest.mark.parametrize(("alpha", "fits"), [(2, True), (1, False)])
def test_an_alpha_that_is_not_the_rank_is_refused(tmp_path, alpha, fits):
    path, transformer = written(tmp_path / "a.safetensors"), toy_sd3().transformer
    about = json.dumps({"transformer.lora_alpha": alpha, "transformer.r": 2})
    save_file(load_file(path), path, {"lora_adapter_metadata": about})
    with nullcontext() if fits else pytest.raises(InputError, match="alpha 1 and rank"):
        with adapter(transformer, path):
            pass
