"""The denoising loss under an order, without painting: how much worse does the model predict?

Of a mini it is taken on scenes that no training has seen, of any other model on pictures of its own.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from originals.denoising import OwnPictures, why_no_loss
from painters_utils.engine.starts import remember_starts
from painters_utils.errors import InputError
from painters_utils.measure.intervals import Interval, interval
from painters_utils.measure.world import Scenes

from .studio import Studio
from .variants import Variant


class Loss:
    """The loss of a studio's model on `scenes` pictures; what was computed once is kept in the studio's store."""

    def __init__(self, studio: Studio, scenes: int = 32) -> None:
        self.studio, self.scenes = studio, scenes

    @cached_property
    def why_not(self) -> str:
        """Why the model has no denoising loss; empty if it has one."""
        return "" if self.studio.model.mini else why_no_loss(self.studio.pipe)

    @property
    def taken_on(self) -> str:
        """What the loss is taken on: "32 unseen scenes", "6 pictures of its own"."""
        own = min(self.scenes, len(self.studio.prompts) * len(self.studio.seeds))
        return f"{self.scenes} unseen scenes" if self.studio.model.mini else f"{own} pictures of its own"

    @cached_property
    def pictures(self) -> Scenes | OwnPictures:
        """What the loss is taken on, loaded or painted when it is needed."""
        studio = self.studio
        if studio.model.mini:
            scenes = Scenes(studio.pipe, self.scenes)
            remember_starts(studio.pipe.transformer)  # many orders, each of which changes a layer or a few
            scenes.loss()
            return scenes
        jobs = [(prompt, seed) for prompt in studio.prompts for seed in studio.seeds][: self.scenes]
        return OwnPictures(studio.pipe, jobs, studio.model.loading.batch or 1, dict(studio.model.call))

    def of(self, variant: Variant | None = None) -> np.ndarray:
        """The loss of each picture at each noise level, (levels, pictures); of the untouched model without a variant.

        `InputError` for a model without a loss, and for variants of some steps only: the loss knows noise levels, not
        steps.
        """
        if self.why_not:
            raise InputError(f"{self.studio.model.name!r} has no denoising loss: {self.why_not}")
        if variant is not None and variant.steps is not None:
            raise InputError(f"variant {variant.name!r} holds in some steps only: the denoising loss has no steps")

        def compute() -> pd.DataFrame:
            pictures = self.pictures
            with self.studio.order(variant):
                return pd.DataFrame(pictures.loss().T)

        return self.studio._kept(f"loss of {self.scenes} scenes", variant, compute).to_numpy().T

    def rise(self, variant: Variant) -> Interval:
        """How much the loss rises, in units of the untouched model's: mean, low, high over pictures."""
        untouched = self.of()
        return interval((self.of(variant) - untouched).mean(0) / untouched.mean())

    def rises(self, groups: Mapping[str, Sequence[Variant]]) -> pd.DataFrame:
        """`rise` of variant after variant, a row each; columns "name", "name low", "name high" for each group."""
        columns = {}
        for name, variants in groups.items():
            rises = [self.rise(variant) for variant in tqdm(variants, desc=name, leave=False)]
            for column, end in enumerate(("", " low", " high")):
                columns[name + end] = pd.Series([rise[column] for rise in rises], dtype=float)
        return pd.DataFrame(columns)
