"""The denoising loss: repeatable, the same scenes and noise for every order, and higher where layers are missing."""

import numpy as np
import pytest
import torch

from miniworld.denoising import LEVELS, denoising_loss, held_out
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.stacks import find_stacks
from painters_utils.models.loading import load_pipeline


@pytest.mark.slow
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
