"""The denoising loss of any flow-matching pipeline on pictures of its own: a cheap stand-in for painting.

How far off is the predicted velocity, when a finished picture is noised again? One step of the pipeline from a noise
level straight to the picture says what it predicts. The minis' loss on scenes is in `miniworld/denoising.py`.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from painters_utils.engine.noise import noise_generator

from .skeleton import pipeline_kwargs

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # σ: 0 is a picture, 1 is noise
Job = tuple[str, int]  # a picture's prompt and seed


def why_no_loss(pipe: DiffusionPipeline) -> str:
    """Why a pipeline's denoising loss cannot be had; empty if it can."""
    if not isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler):
        return f"{type(pipe.scheduler).__name__} is no Euler flow-matching scheduler"
    lacking = {"latents", "sigmas", "output_type"} - set(inspect.signature(pipe.__call__).parameters)
    return f"{type(pipe).__name__} takes no {', '.join(sorted(lacking))}" if lacking else ""


class OwnPictures:
    """Pictures that a model painted itself, one for each job, as finished latents; `call` is its pipeline's."""

    def __init__(self, pipe: DiffusionPipeline, jobs: Sequence[Job], batch: int, call: Mapping[str, Any]) -> None:
        self.pipe, self.call = pipe, dict(call)
        self.parts = [jobs[start : start + batch] for start in range(0, len(jobs), batch)]
        self.latents: list[Tensor] = []  # in the shape that the pipeline takes and returns them
        for part in self.parts:
            given = pipeline_kwargs([prompt for prompt, _ in part], call)
            generators = [noise_generator(*job) for job in part]
            self.latents.append(pipe(**given, generator=generators, output_type="latent").images.float())

    @torch.no_grad()
    def loss(self, levels: Sequence[float] = LEVELS) -> np.ndarray:
        """The flow-matching loss at each noise level, (levels, pictures); conditional, without guidance.

        The noise depends on the picture and the level alone. Call it inside `layer_order` to see what an order costs.
        """
        losses = []
        for level in levels:
            for part, clean in zip(self.parts, self.latents, strict=True):
                noise = torch.stack([
                    torch.randn(clean.shape[1:], generator=noise_generator(f"{prompt}/σ = {level}", seed))
                    for prompt, seed in part
                ]).to(clean)  # fmt: skip
                mixed, prompts = torch.lerp(clean, noise, level), [prompt for prompt, _ in part]
                found = velocity(self.pipe, mixed, level, prompts, **self.call)
                losses.append((found - (noise - clean)).square().flatten(1).mean(1).cpu().numpy())
        return np.concatenate(losses).reshape(len(levels), -1)


@torch.no_grad()
def velocity(pipe: DiffusionPipeline, mixed: Tensor, level: float, prompts: Sequence[str], **call: object) -> Tensor:
    """What the model predicts at noise level σ = `level`, in the shape of `mixed`, by one step from there to σ = 0."""
    call |= {"num_inference_steps": 1, "sigmas": [level], "output_type": "latent"}
    if not pipe.transformer.config.get("guidance_embeds"):  # there, guidance is a number that the model reads
        call |= {name: 1.0 for name in ("guidance_scale", "true_cfg_scale") if name in call}
    own = pipe.scheduler
    # The same noise levels as asked for: a pipeline's own scheduler may shift them with the picture's size.
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(own.config.num_train_timesteps)
    try:
        clean = pipe(**pipeline_kwargs(prompts, call), latents=mixed.to(pipe.transformer.dtype)).images
    finally:
        pipe.scheduler = own
    return (mixed - clean.float()) / level
