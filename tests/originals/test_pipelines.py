"""Models that others trained, offline: whole toy pipelines of many families are loaded, painted with and recorded."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_pipelines import TOYS, toy_pipeline

from originals.skeleton import check_supported, parameters
from painters_utils import Model, Studio, Variant, find_stacks, layer_order, load_pipeline, paint, record_activations
from painters_utils.errors import InputError
from painters_utils.study.recordings import streams_by_stack

PROMPTS = ["a red dog on a white background", "two blue cars on a black background"]
MORE = {  # what a toy of this size needs beside the pipeline's own settings
    "pixart": {"use_resolution_binning": False}, "sana": {"use_resolution_binning": False},
    "flux2_klein": {"text_encoder_out_layers": (0, 1, 2)},
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("offline")


def pixels(pictures) -> np.ndarray:
    return np.stack([np.asarray(picture.image) for picture in pictures]).astype(int)


AT_ONCE = ("sd3", "lumina2")  # the others take a second each


@pytest.mark.parametrize(
    "name", [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.slow) for name in TOYS]
)
def test_any_pipeline_is_loaded_painted_reordered_and_recorded(name, tmp_path):
    toy_pipeline(name).save_pretrained(tmp_path)
    model = Model.named(str(tmp_path), steps=2, dtype="float32")
    check_supported(model.source)
    pipe = load_pipeline(model)
    assert type(pipe).__module__.startswith("diffusers.")
    stacks = find_stacks(pipe.transformer)
    assert model.depths == {stack: len(blocks) for stack, blocks in stacks.items()}
    assert parameters(model.source)["transformer"] == sum(p.numel() for p in pipe.transformer.parameters())
    call = dict(model.call) | dict(height=32, width=32) | MORE.get(name, {})

    with record_activations(pipe.transformer, guided=None) as recording:
        untouched = paint(pipe, PROMPTS, [0], batch=2, **call)
    assert len(untouched) == 2 and all(picture.finite for picture in untouched)
    assert np.abs(pixels(untouched)[0] - pixels(untouched)[1]).max() > 10, "other prompts, other pictures"
    assert len(recording.timesteps) == 2 and recording.finite
    noisiest = np.diff(recording.timesteps)[0] < 0
    assert noisiest != recording.rising == (name in ("lumina2", "z_image")), "those count up"
    assert set(streams_by_stack(recording)) == set(stacks)
    for stack, stream in streams_by_stack(recording).items():
        assert recording.per_picture(stream, stack=stack).shape == (2, len(stacks[stack]), len(stacks[stack]))

    stack, blocks = list(stacks.items())[-1]
    with layer_order(pipe.transformer, {stack: list(range(len(blocks)))}):
        assert np.array_equal(pixels(paint(pipe, PROMPTS, [0], batch=2, **call)), pixels(untouched))
    with layer_order(pipe.transformer, {stack: [0, 3]}):
        assert not np.array_equal(pixels(paint(pipe, PROMPTS, [0], batch=2, **call)), pixels(untouched))


def test_of_two_passes_a_step_the_one_with_the_prompt_is_recorded(ovis):
    pipe = load_pipeline(ovis, dtype="float32")
    call = dict(num_inference_steps=2, height=32, width=32)
    found = {}
    for scale in (1.0, 5.0):
        passes = []
        hook = pipe.transformer.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        with record_activations(pipe.transformer, averages=("after", "timesteps")) as recording:
            paint(pipe, PROMPTS[:1], [0], guidance_scale=scale, **call)
        hook.remove()
        assert len(passes) == (2 if scale == 1 else 4)
        assert not recording.guided
        found[scale] = recording.per_timestep("image")
        assert recording.per_picture("image").shape[0] == 1
    np.testing.assert_allclose(found[1.0][0], found[5.0][0], atol=1e-6)  # the first step, from the same noise


def test_some_steps_only_are_steps_not_passes(ovis, tmp_path):
    model = Model.named(ovis, steps=2, dtype="float32")
    model = replace(model, call=dict(model.call) | dict(height=32, width=32))
    studio = Studio(model, PROMPTS, [0], tmp_path, judges={})
    assert studio.passes == 2
    stack = next(iter(model.depths))
    order = [0, 3]

    def painted(steps, of=None):
        with layer_order(studio.pipe.transformer, {stack: order}, steps=steps, of=of):
            return pixels(paint(studio.pipe, PROMPTS, [0], **model.call))

    variant = Variant("late", stack, order, 4, "skip", steps=[1, 1])
    assert np.array_equal(pixels(studio.pictures(variant)), painted([2, 3], 4))
    assert not np.array_equal(pixels(studio.pictures(variant)), painted([1, 1], 2))


def test_fewer_tokens_can_be_recorded(ovis):
    pipe = load_pipeline(ovis, dtype="float32")
    call = dict(num_inference_steps=1, height=32, width=32, guidance_scale=1.0)
    means = []
    for most in (None, 1000, 16):
        with record_activations(pipe.transformer, most_tokens=most) as recording:
            paint(pipe, PROMPTS[:1], [0], **call)
        means.append(recording.similarity("image"))
    assert np.array_equal(means[0], means[1])
    assert not np.array_equal(means[0], means[2])
    np.testing.assert_allclose(means[0], means[2], atol=0.1)


def test_settings_that_a_pipeline_does_not_know_are_named(ovis):
    pipe = load_pipeline(ovis)
    with pytest.raises(InputError, match="OvisImagePipeline 'true_cfg_scale': choose one of"):
        paint(pipe, PROMPTS, [0], true_cfg_scale=4.0)


def test_pickled_weights_are_not_read(tmp_path):
    pipe = toy_pipeline("flux")
    pipe.save_pretrained(tmp_path)
    weights = tmp_path / "transformer/diffusion_pytorch_model.safetensors"
    torch.save(pipe.transformer.state_dict(), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(InputError, match="cannot be loaded .*safetensors"):
        load_pipeline(str(tmp_path))
