"""Painting: a picture depends on its prompt and its seed, and what cannot be painted is told so."""

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from miniworld.training.models import build_flux, build_vae
from originals.words import check_prompts, read_tokenizer, reads_words
from painters_utils.engine.noise import noise_generator
from painters_utils.errors import InputError
from painters_utils.models.painting import paint, remember_texts
from painters_utils.paths import DATA

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
        (["a dgo and a kat on a white background"], r"'dgo' .*dog.*'kat' .*cat"),
        (["  "], "is empty"),
        ([], "non-empty list"),
        ("a dog", "non-empty list"),
        (["a dog and " * 12], "36 words: .* 23"),
    ],
)
def test_what_a_mini_cannot_read_is_refused(pipe, prompts, message):
    with pytest.raises(InputError, match=message) as error:
        paint(pipe, prompts, [0], **CALL)
    assert "\n" not in str(error.value)


def test_other_tokenizers_read_any_word():
    check_prompts(["a zebra in a spaceship"], None)


def test_words_are_checked_before_a_model_is_loaded(tmp_path):
    mini = DATA / "models/sd3-mini"
    assert reads_words(mini) and not reads_words(tmp_path)
    check_prompts(["a red dog on a white background"], *read_tokenizer(mini))
    with pytest.raises(InputError, match="'zebra'"):
        check_prompts(["a zebra"], *read_tokenizer(mini))
    with pytest.raises(InputError, match="tokenizer .* damaged"):
        check_prompts(["a zebra"], *read_tokenizer(tmp_path))


@pytest.mark.parametrize("seeds", [[], [-1], [True], ["0"], [0.5], 3, [0, 0]])
def test_bad_seeds_are_refused(pipe, seeds):
    with pytest.raises(InputError, match="seed"):
        paint(pipe, PROMPTS, seeds, **CALL)


def test_settings_of_another_pipeline_and_no_batch_are_refused(pipe):
    with pytest.raises(InputError, match="FluxPipeline 'guidance': .*guidance_scale"):
        paint(pipe, PROMPTS, [0], guidance=3)
    with pytest.raises(InputError, match="batch is 0"):
        paint(pipe, PROMPTS, [0], batch=0, **CALL)


def test_prompts_are_encoded_once(pipe, monkeypatch):
    plain = paint(pipe, PROMPTS[:1], [0], **CALL)
    encoded, encode = [], type(pipe).encode_prompt
    monkeypatch.setattr(type(pipe), "encode_prompt", lambda *a, **k: encoded.append(1) or encode(*a, **k))
    try:
        remember_texts(pipe)
        again = [paint(pipe, PROMPTS[:1], [0], **CALL) for _ in range(2)]
    finally:
        vars(pipe).pop("encode_prompt", None)
    assert len(encoded) == 1
    assert all(np.array_equal(pixels(p), pixels(plain[0])) for [p] in again)
