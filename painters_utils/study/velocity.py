"""The velocity error: how far a single step's velocity is from the model's own when layers run in another order.

The untouched model paints a few prompts, and what its transformer is given at each step is kept. Under an order it is
given the same once more: ‖v' − v‖² / ‖v‖², one forward pass, and nothing is painted. Where a pipeline guides itself
in the same pass, v is the guided velocity, which the picture follows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from originals.skeleton import pipeline_kwargs
from painters_utils.engine.noise import noise_generator
from painters_utils.errors import InputError


def final_latents(pipe: DiffusionPipeline, prompts: Sequence[str], call: Mapping[str, Any], seed: int = 0) -> Tensor:
    """What the pipeline paints of the prompts before it is decoded: (prompts, …)."""
    generators = [noise_generator(prompt, seed) for prompt in prompts]
    return pipe(**pipeline_kwargs(prompts, call), generator=generators, output_type="latent").images


class Trajectory:
    """What a model's transformer is given at each step while it paints `prompts`, and the velocities that it predicts.

    `call` goes to the pipeline (see `Model.call`). `InputError` for a pipeline that guides itself by passes of their
    own: there a step has no single velocity.
    """

    def __init__(self, pipe: DiffusionPipeline, prompts: Sequence[str], call: Mapping[str, Any], seed: int = 0) -> None:
        self.transformer, self.prompts, self.call = pipe.transformer, list(prompts), call
        self.given: list[tuple[tuple, dict[str, Any]]] = []
        hook = pipe.transformer.register_forward_pre_hook(
            lambda _, args, kwargs: self.given.append((args, dict(kwargs))), with_kwargs=True
        )
        try:
            final_latents(pipe, prompts, call, seed)
        finally:
            hook.remove()
        if len(self.given) != call["num_inference_steps"]:
            raise InputError(f"{type(pipe).__name__} passes {len(self.given)} times in {call['num_inference_steps']} "
                             "steps: a step's velocity is known where there is one pass a step")  # fmt: skip
        with torch.no_grad():
            self.own = [self.velocity(step) for step in range(len(self.given))]

    def velocity(self, step: int) -> Tensor:
        """(prompts, …): what the transformer, as it is now, predicts at a step, counted from 0."""
        args, kwargs = self.given[step]
        found = self.transformer(*args, **kwargs)[0].float()
        if len(found) == len(self.prompts):
            return found
        free, asked = found.chunk(2)
        return free + self.call["guidance_scale"] * (asked - free)

    @torch.no_grad()
    def error(self, step: int) -> np.ndarray:
        """(prompts,): the velocity error at a step; call it inside `layer_order`."""
        return relative_square(self.velocity(step), self.own[step])


def relative_square(found: Tensor, own: Tensor) -> np.ndarray:
    """‖found − own‖² / ‖own‖² of each picture of a batch."""
    found, own = found.float().flatten(1), own.float().flatten(1)
    return ((found - own).square().sum(1) / own.square().sum(1)).cpu().numpy()
