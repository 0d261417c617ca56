"""The door to the minis' painted world: nothing else in this package imports `miniworld`."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from diffusers import DiffusionPipeline

from miniworld.checker import WEIGHTS, look, read
from miniworld.denoising import denoising_loss, held_out
from miniworld.grammar import imagine, parse
from miniworld.pictures import correlation
from miniworld.render import render
from miniworld.scenes import Scene
from miniworld.scores import kernel_distance, rendered_features, score_pictures
from miniworld.suite import load_suite
from painters_utils.errors import InputError
from painters_utils.files import file_digest
from painters_utils.models.painting import Picture

__all__ = ["CheckerScorer", "Scenes", "as_asked", "correlation", "suite_prompts"]


class CheckerScorer:
    """The checker as a scorer of minis' pictures: it reads what they show and compares that with their prompts."""

    names = ("adherence", "broad", "fine", "quality", "layout")
    overall = ("adherence", "quality")
    floor_zero = ("quality",)  # where nothing is found, nothing is like its sprite

    def __init__(
        self, kept: Callable[[str, Callable[[], pd.DataFrame]], pd.DataFrame] = lambda _, make: make()
    ) -> None:
        """`kept(name, make)` gives what `make` made in an earlier run; without it everything is made anew."""
        self._kept = kept
        self._before: tuple[Sequence[Picture], Sequence[Scene]] = (), ()

    @cached_property
    def _rendered(self) -> torch.Tensor:
        """What painted pictures are held against; rendering it takes seconds."""
        table = self._kept("rendered", lambda: pd.DataFrame(rendered_features().numpy()))
        return torch.tensor(table.to_numpy(), dtype=torch.float32).contiguous()

    @property
    def fingerprint(self) -> str:
        """Of the checker's weights."""
        return file_digest(WEIGHTS)

    def score(self, prompts: Sequence[str], pictures: Sequence[Picture], before: Sequence[Picture]) -> pd.DataFrame:
        """A row for each picture: its scores and surplus things, and the distance of all pictures to rendered ones."""
        images = [picture.image for picture in pictures]
        seen, features = look(images)
        if before is not self._before[0]:  # all variants are held against the same pictures
            self._before = before, read([picture.image for picture in before])
        finite = features[[picture.finite for picture in pictures]]
        distance = kernel_distance(finite, self._rendered) if len(finite) > 1 else float("nan")
        return score_pictures(prompts, images, seen, self._before[1]).assign(distance=distance)

    def lacks(self, score: str) -> str:
        """Why it does not give a score; "" if it does."""
        return "" if score in (*self.names, "duplicates", "distance") else "minis are scored by the checker"


def require_grammar(prompts: Sequence[str]) -> None:
    """`InputError` for a prompt of which the checker could not say whether it was painted: outside its grammar."""
    for prompt in prompts:
        parse(prompt)


def suite_prompts(count: int) -> list[str]:
    """The first `count` prompts of the minis' suite, its nine tasks in turn; `InputError` for more than it has."""
    prompts = [prompt for turn in zip(*load_suite().values(), strict=True) for prompt in turn]
    if type(count) is not int or not 0 <= count <= len(prompts):
        raise InputError(f"suite is {count!r}: give a whole number from 0 to {len(prompts)}, the number of its prompts")
    return prompts[:count]


def as_asked(prompts: Sequence[str]) -> list[Picture]:
    """What minis' prompts ask for, rendered; `InputError` for a prompt outside the minis' grammar."""
    return [Picture(prompt, 0, render(imagine(prompt))) for prompt in prompts]


class Scenes:
    """`count` scenes that no training of a mini has seen, in the latents of its own VAE."""

    def __init__(self, pipe: DiffusionPipeline, count: int) -> None:
        self.pipe, self.held_out = pipe, held_out(pipe, count)

    def loss(self) -> np.ndarray:
        """The mini's denoising loss, (levels, scenes); inside `layer_order`, that of the order."""
        return denoising_loss(self.pipe, self.held_out)
