"""The velocity error: how far a single step's velocity is from the model's own when layers run in another order.

The untouched model paints a few prompts, and what its transformer is given at each step is kept. Under an order it is
given the same once more: ‖v' − v‖² / ‖v‖², one forward pass, and nothing is painted. Where a pipeline guides itself
in the same pass, v is the guided velocity, which the picture follows.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from diffusers import DiffusionPipeline
from torch import Tensor
from tqdm.auto import tqdm

from originals.skeleton import pipeline_kwargs
from painters_utils.engine.noise import noise_generator
from painters_utils.engine.starts import Starts
from painters_utils.errors import InputError
from painters_utils.measure.intervals import Interval, interval
from painters_utils.measure.world import suite_prompts

from .studio import Studio
from .variants import Variant

PROMPTS = 18  # of the suite, two of each task
EARLY = 1  # an early step, counted from 0; notebook 19_worth has others beside it


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


class VelocityError:
    """The velocity error of a studio's model at one early step, which stands in for painting.

    Of a mini it is taken on `count` prompts of the suite, of any other model on the studio's prompts.
    What was computed once is kept in the studio's store.
    """

    def __init__(self, studio: Studio, count: int = PROMPTS) -> None:
        self.studio = studio
        self.prompts = suite_prompts(count) if studio.model.mini else list(studio.shown)
        self.step = min(EARLY, studio.model.steps - 1)

    @cached_property
    def ways(self) -> list[Trajectory]:
        """What the untouched model does on its way to the prompts' pictures, batch by batch."""
        batch, model = self.studio.model.loading.batch or 1, self.studio.model
        parts = [self.prompts[start : start + batch] for start in range(0, len(self.prompts), batch)]
        return [Trajectory(self.studio.pipe, part, model.call) for part in parts]

    @cached_property
    def starts(self) -> Starts:
        """What the untouched layers return at that step is remembered: a variant runs from its first change on."""
        ways = self.ways  # painted before the memory is open, which is for one step alone
        with Starts(self.studio.pipe.transformer) as starts:
            for way in ways:
                way.error(self.step)
        return starts

    @property
    def why_not(self) -> str:
        """Why the model has no velocity error; empty if it has one."""
        try:
            passes = self.studio.passes
        except InputError as error:
            return str(error)
        return "" if passes == 1 else f"it passes {passes} times in a step, and no single velocity is known"

    def of(self, variant: Variant) -> np.ndarray:
        """(prompts,): the error under a variant.

        `InputError` for a model without one, and for variants of some steps only: it is taken at one step.
        """
        if variant.steps is not None:
            raise InputError(f"variant {variant.name!r} holds in some steps only: the velocity error is taken at one")

        def compute() -> pd.DataFrame:
            if why_not := self.why_not:
                raise InputError(f"{self.studio.model.name!r} has no velocity error: {why_not}")
            with self.starts, self.studio.order(variant):
                return pd.DataFrame({"error": np.concatenate([way.error(self.step) for way in self.ways])})

        about = f"velocity error at step {self.step}, for the prompts: {'; '.join(self.prompts)}"
        return self.studio._kept(about, variant, compute)["error"].to_numpy()

    def mean(self, variant: Variant) -> Interval:
        """The mean error with its interval over prompts."""
        return interval(self.of(variant), self.prompts)

    def table(self, groups: Mapping[str, Sequence[Variant]]) -> pd.DataFrame:
        """`mean` of variant after variant, a row each; columns "name", "name low", "name high" for each group."""
        columns = {}
        for name, variants in groups.items():
            means = [self.mean(variant) for variant in tqdm(variants, desc=name, leave=False)]
            for column, end in enumerate(("", " low", " high")):
                columns[name + end] = pd.Series([mean[column] for mean in means], dtype=float)
        return pd.DataFrame(columns)
