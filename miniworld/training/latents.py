"""Endless training data for the minis: painted scenes, squeezed by the VAE, kept as latents for a few epochs."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from miniworld.denoising import autocast

from .pools import Pools, paint_scenes

PART = 256  # scenes that a worker paints at a time


class LatentPools(Pools):
    """Pools of `scenes` scenes each, which serve `epochs` epochs; those of the first `alone` pools hold one thing each,
    from that of step `hard_from` on they hold hard ones (`sample_hard_scene`).

    A batch depends on the seed and its number alone.
    """

    def __init__(
        self, vae: AutoencoderKL, batch: int, scenes: int = 8192, epochs: int = 4, seed: int = 0, alone: int = 0,
        hard_from: float = math.inf,
    ) -> None:  # fmt: skip
        super().__init__()
        self.vae, self.batch, self.alone, self.hard_from = vae, batch, alone, hard_from
        self.scenes, self.epochs, self.seed = max(scenes // batch, 1) * batch, epochs, seed

    def batch_of(self, step: int) -> tuple[Tensor, list[str]]:
        """Latents (batch, 8, SIDE/8, SIDE/8), scaled to unit spread, and their captions."""
        epoch, index = divmod(step, self.scenes // self.batch)
        latents, captions = self.pool(epoch // self.epochs)
        order = torch.randperm(self.scenes, generator=torch.Generator().manual_seed(self.seed * 7919 + epoch))
        chosen = order[index * self.batch : (index + 1) * self.batch]
        return latents[chosen.to(latents.device)], [captions[i] for i in chosen.tolist()]

    def jobs(self, number: int) -> list[tuple]:
        last = (number + 1) * self.epochs * (self.scenes // self.batch) - 1  # the last step that learns from this pool
        kind = "alone" if number < self.alone else "hard" if last >= self.hard_from else "any"
        return [
            (paint_scenes, f"{self.seed}/{number}/{first}", min(PART, self.scenes - first), kind)
            for first in range(0, self.scenes, PART)
        ]

    @torch.no_grad()
    def finish(self, number: int, parts: Iterator[tuple[np.ndarray, list[str]]]) -> tuple[Tensor, list[str]]:
        latents, captions = [], []
        for pictures, words in parts:
            captions += words
            for some in torch.from_numpy(pictures).split(64):
                pixels = some.to(self.vae.device, self.vae.dtype).permute(0, 3, 1, 2) / 127.5 - 1
                with autocast(self.vae.device):
                    mean = self.vae.encode(pixels).latent_dist.mean
                latents.append(mean.float() * self.vae.config.scaling_factor)
        return torch.cat(latents), captions
