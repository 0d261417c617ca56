"""The minis' training at toy size: it learns, it resumes, it leaves pipelines that load."""

import json
import random

import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline
from safetensors.torch import load_file

from miniworld import train, train_mini
from miniworld.checkpoint import load_checkpoint, save_checkpoint
from miniworld.models import build_tokenizer, build_vae
from miniworld.scenes import caption, sample_scene, vocabulary
from miniworld.train_mini import Recipe, train_flux
from miniworld.train_vae import random_crops, train_vae
from painters_utils.errors import InputError

RECIPE = Recipe(stages=((32, 4), (48, 4)), batch=2, warmup=2, width=32, scenes=4, compile=False)


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory):
    """A VAE of two training steps."""
    folder = tmp_path_factory.mktemp("vae")
    train_vae(folder / "vae", folder / "vae.safetensors", steps=2, batch=4)
    return folder / "vae"


def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path, vae_folder, monkeypatch):
    monkeypatch.setattr(train_mini, "LOG_EVERY", 1)
    monkeypatch.setattr(train_mini, "show_samples", lambda *_: None)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train_flux(tmp_path / "one", vae_folder, whole, RECIPE)

    honest = train_mini.flow_matching_loss

    def killed_at_the_sixth(pipe, latents, tokens, seed):
        if seed % 1_000_003 == 5:
            raise KeyboardInterrupt
        return honest(pipe, latents, tokens, seed)

    monkeypatch.setattr(train_mini, "flow_matching_loss", killed_at_the_sixth)
    with pytest.raises(KeyboardInterrupt):
        train_flux(tmp_path / "two", vae_folder, parts, RECIPE, save_minutes=0)
    assert not (tmp_path / "two").exists()
    monkeypatch.setattr(train_mini, "flow_matching_loss", honest)
    train_flux(tmp_path / "two", vae_folder, parts, RECIPE)

    losses = [
        [json.loads(line)["loss"] for line in path.with_suffix(".jsonl").read_text().splitlines()]
        for path in (whole, parts)
    ]
    assert len(losses[0]) == 8
    assert losses[0] == losses[1]
    one, two = (load_file(path) for path in (whole, parts))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)

    pipe = FluxPipeline.from_pretrained(tmp_path / "one")
    assert len(pipe.transformer.transformer_blocks) == 19
    assert len(pipe.transformer.single_transformer_blocks) == 38


def test_the_vae_learns_and_resumes(tmp_path):
    def error(vae):
        pictures = random_crops(16, 32, "test")
        with torch.no_grad():
            return (vae.decode(vae.encode(pictures).latent_dist.mean).sample - pictures).abs().mean().item()

    train_vae(tmp_path / "vae", tmp_path / "vae.safetensors", steps=15, batch=16)
    train_vae(tmp_path / "vae", tmp_path / "vae.safetensors", steps=30, batch=16)
    trained = AutoencoderKL.from_pretrained(tmp_path / "vae")
    assert error(trained) < 0.8 * error(build_vae())
    assert trained.config.scaling_factor != 1.0
    assert trained.config.shift_factor == 0.0


def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path):
    path = tmp_path / "toy.safetensors"
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_checkpoint(path, 7, {"layer": layer}, [optimizer])
    other = torch.nn.Linear(2, 2)
    again = torch.optim.AdamW(other.parameters())
    assert load_checkpoint(path, {"layer": other}, [again]) == 7
    assert torch.equal(layer.weight, other.weight)
    assert again.state_dict()["state"][0]["exp_avg"].equal(optimizer.state_dict()["state"][0]["exp_avg"])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="toy.safetensors does not fit this training"):
        load_checkpoint(path, {"layer": other}, [again])
    assert path.exists()


def test_the_tokenizer_knows_every_caption():
    tokenizer = build_tokenizer()
    assert len(tokenizer) == len(vocabulary()) + 3
    for seed in range(200):
        text = caption(sample_scene(random.Random(seed)))
        ids = tokenizer(text, padding="max_length").input_ids
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == 24
        assert ids.count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flux-mini", "--stages", "64"], "64:3000,128:5000"),
        (["flux-mini", "--stages", "20:5"], "multiples of 16"),
        (["vae", "--steps", "0"], "0 is not above 0"),
        (["flux-max"], "invalid choice"),
    ],
)
def test_bad_arguments_end_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit):
        train.main(arguments)
    assert message in capsys.readouterr().err


def test_a_mini_without_a_vae_says_what_to_run_first(tmp_path):
    with pytest.raises(SystemExit, match="run `python -m miniworld.train vae` first"):
        train.main(["flux-mini", "--work", str(tmp_path), "--out", str(tmp_path)])
