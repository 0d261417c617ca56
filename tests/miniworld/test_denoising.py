"""The denoising loss: repeatable, the same scenes and noise for every order, and higher where layers are missing."""

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from miniworld.denoising import LEVELS, denoising_loss, held_out, velocity
from miniworld.training.models import MINIS, build_vae
from originals import denoising as own
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.stacks import find_stacks
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model


@pytest.mark.parametrize("name", ["flux-mini", "sd3-mini", "auraflow-mini"])
def test_the_loss_knows_a_whole_model_from_a_maimed_one(name):
    pipe = load_pipeline(name)
    scenes = held_out(pipe, 3)
    assert scenes.latents.shape == (3, 8, 12, 12)
    whole = denoising_loss(pipe, scenes)
    assert whole.shape == (len(LEVELS), 3)
    assert np.array_equal(whole, denoising_loss(pipe, scenes)), "the same scenes, the same noise"
    stack, blocks = next(iter(find_stacks(pipe.transformer).items()))
    with layer_order(pipe.transformer, {stack: list(range(len(blocks)))}):
        assert np.array_equal(whole, denoising_loss(pipe, scenes)), "the identity order changes nothing"
    with layer_order(pipe.transformer, {stack: list(range(len(blocks) // 2, len(blocks)))}):
        assert denoising_loss(pipe, scenes).mean() > 1.1 * whole.mean()
    assert whole.mean() < 1, "better than saying nothing: the velocity has a spread of about 1.4"


def test_held_out_scenes_are_the_same_every_time_and_others_for_another_seed():
    pipe = load_pipeline("flux-mini")
    one, again, other = held_out(pipe, 3), held_out(pipe, 3), held_out(pipe, 3, seed=1)
    assert torch.equal(one.latents, again.latents)
    assert one.captions == again.captions != other.captions


@pytest.mark.parametrize("name", MINIS)
def test_one_step_of_the_pipeline_says_what_the_model_predicts(name):
    """The loss of any model on its own pictures asks the pipeline; the minis' training calls the transformer."""
    torch.manual_seed(0)
    pipe = MINIS[name](build_vae(), width=32)
    with torch.no_grad():  # a new mini starts as the identity
        for parameter in pipe.transformer.parameters():
            parameter.normal_(0, 0.06)
    pipe.set_progress_bar_config(disable=True)
    # A scheduler that shifts its noise levels, as the originals' do, changes nothing.
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    prompts, call = ["a red dog on a white background", "two blue cars on a black background"], Model.named(name).call
    mixed = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = velocity(pipe, mixed, torch.full((2,), 0.3), prompts)
    packed = pipe._pack_latents(mixed, 2, 8, 12, 12) if name == "flux-mini" else mixed
    found = own.velocity(pipe, packed, 0.3, prompts, **call)
    if name == "flux-mini":
        found = pipe._unpack_latents(found, 96, 96, 8)
    assert torch.allclose(found, expected, atol=1e-5)
    assert pipe.scheduler.config.shift == 3.0, "the pipeline has its own scheduler back"
