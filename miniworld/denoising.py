"""The denoising loss: how well a model predicts the velocity on scenes it never saw, noise level by noise level.

No picture is sampled, so it costs one forward pass a scene and level; the same scenes and the same noise are used
whatever the order of the layers, so differences between orders have little variance. Long sweeps lean on it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from .pictures import to_tensor
from .render import render
from .scenes import caption, sample_scene
from miniworld.training.mini import flow_matching_loss

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # σ: 0 is a picture, 1 is noise


@dataclass(frozen=True)
class HeldOut:
    """Latents (n, 8, h, w) of scenes that no training has seen, and their captions."""

    latents: Tensor
    captions: list[str]


@torch.no_grad()
def held_out(pipe: DiffusionPipeline, scenes: int = 64, seed: int = 0) -> HeldOut:
    """`scenes` scenes from a seed that no training uses, through the pipeline's own VAE."""
    rng = random.Random(f"held out/{seed}")
    drawn = [sample_scene(rng) for _ in range(scenes)]
    pixels = torch.stack([to_tensor(render(scene)) for scene in drawn]).to(pipe.vae.device, pipe.vae.dtype)
    latents = pipe.vae.encode(pixels).latent_dist.mean.float() * pipe.vae.config.scaling_factor
    return HeldOut(latents, [caption(scene) for scene in drawn])


@torch.no_grad()
def denoising_loss(
    pipe: DiffusionPipeline, scenes: HeldOut, levels: Sequence[float] = LEVELS, seed: int = 0
) -> np.ndarray:
    """The flow-matching loss of each scene at each level, (levels, scenes); conditional, without guidance.

    Call it inside `layer_order` to see what an order costs: the rise over the untouched model's loss.
    """
    return np.stack(
        [
            flow_matching_loss(pipe, scenes.latents, scenes.captions, seed=seed * 1009 + i, sigma=level).cpu().numpy()
            for i, level in enumerate(levels)
        ]
    )
