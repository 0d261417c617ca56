"""Loading and painting: deterministic by prompt and seed, and clear about what cannot be painted."""

import os
import shutil
import time

import numpy as np
import pytest
import torch
from diffusers import AuraFlowPipeline, FluxPipeline, StableDiffusion3Pipeline

from miniworld.training.models import build_flux, build_vae
from painters_utils.models import catalog
from painters_utils.models import pipelines
from painters_utils.models.catalog import call_settings, check_words, model_row
from painters_utils.errors import InputError
from painters_utils.models.pipelines import load_pipeline, noise_generator, paint
from painters_utils.engine.stacks import find_stacks

CALL = dict(num_inference_steps=2, height=32, width=32, guidance_scale=0.0, max_sequence_length=24)
PROMPTS = ["a red dog on a white background", "two blue cars on a black background", "an owl on a gray background"]


@pytest.fixture(scope="module")
def pipe() -> FluxPipeline:
    """An untrained flux-mini, a third as wide, that paints noise."""
    torch.manual_seed(0)
    pipe = build_flux(build_vae(), width=32)
    with torch.no_grad():  # a new mini starts as the identity, on which prompts have no effect
        for parameter in pipe.transformer.parameters():
            parameter.normal_(0, 0.06)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pixels(picture) -> np.ndarray:
    return np.asarray(picture.image).astype(int)


def test_a_picture_depends_on_its_prompt_and_seed_only(pipe):
    together = {(p.prompt, p.seed): pixels(p) for p in paint(pipe, PROMPTS, [0, 7], **CALL)}
    assert len(together) == 6
    for batch, prompts, seeds in ((1, PROMPTS, [0, 7]), (4, PROMPTS[::-1], [7, 0]), (2, PROMPTS[1:2], [7])):
        for picture in paint(pipe, prompts, seeds, batch=batch, **CALL):
            assert np.abs(pixels(picture) - together[picture.prompt, picture.seed]).max() <= 2
    first, *others = together.values()
    assert all(np.abs(first - other).max() > 10 for other in others)


def test_pictures_come_prompt_after_prompt(pipe):
    painted = paint(pipe, PROMPTS[:2], [3, 1], **CALL)
    assert [(p.prompt, p.seed) for p in painted] == [
        (PROMPTS[0], 3), (PROMPTS[0], 1), (PROMPTS[1], 3), (PROMPTS[1], 1),
    ]  # fmt: skip


def test_noise_is_drawn_per_prompt_and_seed():
    draw = {key: torch.randn(4, generator=noise_generator(*key)).tolist() for key in (("a", 0), ("a", 1), ("b", 0))}
    assert len({tuple(values) for values in draw.values()}) == 3
    assert draw["a", 0] == torch.randn(4, generator=noise_generator("a", 0)).tolist()


def test_a_picture_that_is_not_finite_is_flagged_and_never_black(pipe):
    weight = pipe.vae.decoder.conv_out.bias
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[0] = float("nan")
        [picture] = paint(pipe, PROMPTS[:1], [0], **CALL)
    finally:
        with torch.no_grad():
            weight.copy_(before)
    assert not picture.finite
    assert pixels(picture).mean() > 100
    [picture] = paint(pipe, PROMPTS[:1], [0], **CALL)
    assert picture.finite


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["a zebra on a white background"], r"'zebra' \(nearest: .*\)"),
        (["a dgo and a kat on a white background"], r"'dgo' \(nearest: .*dog.*'kat' \(nearest: .*cat"),
        (["  "], "is empty"),
        ([], "non-empty list"),
        ("a dog", "non-empty list"),
        (["a dog and " * 12], "words: a mini reads 23 at most"),
    ],
)
def test_what_a_mini_cannot_read_is_refused(pipe, prompts, message):
    with pytest.raises(InputError, match=message) as error:
        paint(pipe, prompts, [0], **CALL)
    assert "\n" not in str(error.value)


def test_other_tokenizers_read_any_word():
    check_words(["a zebra in a spaceship"], None)


@pytest.mark.parametrize("seeds", [[], [-1], [True], ["0"], [0.5]])
def test_bad_seeds_are_refused(pipe, seeds):
    with pytest.raises(InputError, match="seed"):
        paint(pipe, PROMPTS, seeds, **CALL)


def test_settings_come_from_the_table_unless_changed():
    table = model_row("flux-mini")["call"]
    assert call_settings("flux-mini") == table
    assert call_settings("flux-mini", num_inference_steps=None) == table
    assert call_settings("flux-mini", num_inference_steps=3)["num_inference_steps"] == 3
    for steps in (0, -4, 1.5, True):
        with pytest.raises(InputError, match="num_inference_steps"):
            call_settings("flux-mini", num_inference_steps=steps)


def test_an_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="unknown model 'flux-mimi': choose one of flux-mini"):
        load_pipeline("flux-mimi")


@pytest.mark.parametrize(
    ("name", "pipeline", "depths", "limit"),
    [
        ("flux-mini", FluxPipeline, [19, 38], 26),
        ("sd3-mini", StableDiffusion3Pipeline, [24], 14),
        ("auraflow-mini", AuraFlowPipeline, [4, 32], 14),
    ],
)
def test_the_shipped_minis_load_as_stock_pipelines_in_one_line(name, pipeline, depths, limit):
    folder = pipelines.ROOT / model_row(name)["path"]
    absent = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3-mini" else {}  # SD3 without its T5
    pipe = pipeline.from_pretrained(folder, **absent)
    call = model_row(name)["call"] | {"num_inference_steps": 1}
    assert pipe("a red dog on a white background", **call).images[0].size == (96, 96)
    assert [len(blocks) for blocks in find_stacks(pipe.transformer).values()] == depths
    assert not [*folder.rglob("*.bin"), *folder.rglob("*.pt"), *folder.rglob("*.ckpt")], "weights are safetensors only"
    assert not [path for path in folder.rglob("*.json") if "_name_or_path" in path.read_text()], "no machine's paths"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= limit * 2**20


def test_all_weights_together_stay_small():
    files = [path for path in (pipelines.ROOT / "data/models").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 50 * 2**20


@pytest.mark.parametrize("damage", ["cut short", "emptied", "missing"])
def test_damaged_weights_are_refused_with_a_remedy(tmp_path, monkeypatch, damage):
    shutil.copytree(pipelines.ROOT / "data/models/flux-mini", tmp_path / "data/models/flux-mini")
    shutil.copy(pipelines.ROOT / "data/models.yaml", tmp_path / "data")
    weights = tmp_path / "data/models/flux-mini/transformer/diffusion_pytorch_model.safetensors"
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "emptied":
        weights.write_bytes(b"")
    else:
        weights.unlink()
    monkeypatch.setattr(pipelines, "ROOT", tmp_path)
    with pytest.raises(InputError, match="weights of 'flux-mini' are damaged .* retrain"):
        load_pipeline("flux-mini")
    shutil.rmtree(tmp_path / "data/models/flux-mini")
    with pytest.raises(InputError, match="no weights of 'flux-mini'.*make minis"):
        load_pipeline("flux-mini")


def test_weights_are_hashed_once_and_anew_when_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "DIGESTS", tmp_path / "digests")
    monkeypatch.setattr(catalog, "SETTLED", -1)
    weights, hashed = tmp_path / "model.safetensors", []
    weights.write_bytes(b"one")
    hash_file = catalog.hashlib.file_digest
    monkeypatch.setattr(catalog.hashlib, "file_digest", lambda *given: hashed.append(1) or hash_file(*given))
    before = catalog.folder_fingerprint(tmp_path)
    assert catalog.folder_fingerprint(tmp_path) == before and len(hashed) == 1
    assert catalog.file_digest(weights) == catalog.hashlib.sha256(b"one").hexdigest()
    times = weights.stat()
    time.sleep(0.05)
    weights.write_bytes(b"two")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert catalog.folder_fingerprint(tmp_path) != before, "as large and as old, and yet another"
    [kept.write_text("damaged") for kept in catalog.DIGESTS.iterdir()]
    assert catalog.file_digest(weights) == catalog.hashlib.sha256(b"two").hexdigest()


def test_what_was_just_written_is_hashed_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "DIGESTS", tmp_path / "digests")
    (tmp_path / "new").write_bytes(b"one")
    catalog.file_digest(tmp_path / "new")
    assert not catalog.DIGESTS.exists()
