"""Endless training data: scenes painted by worker processes, squeezed by the VAE, kept as latents for a few epochs."""

import random
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from os import cpu_count

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from .models import autocast
from miniworld.render import render
from miniworld.scenes import caption, sample_scene


def paint_scenes(seed: str, count: int, alone: bool = False) -> tuple[np.ndarray, list[str]]:
    """`count` training scenes as uint8 pictures (count, SIDE, SIDE, 3) and their captions; `alone`: of one thing."""
    rng = random.Random(seed)
    scenes = [sample_scene(rng, alone=alone) for _ in range(count)]
    return np.stack([np.asarray(render(scene)) for scene in scenes]), [caption(scene) for scene in scenes]


class LatentPools:
    """Pool after pool of `scenes` painted scenes; each pool serves `epochs` epochs, then a fresh one follows.

    Painting costs a fraction of a training step on a CPU, but would starve a GPU: the next pool is painted
    by worker processes while the present one trains. A batch depends on the seed and its number alone.
    The scenes of the first `alone` pools hold one thing each.
    """

    def __init__(
        self, vae: AutoencoderKL, batch: int, scenes: int = 8192, epochs: int = 4, seed: int = 0, alone: int = 0
    ) -> None:
        self.vae, self.batch, self.alone = vae, batch, alone
        self.scenes, self.epochs, self.seed = max(scenes // batch, 1) * batch, epochs, seed
        self.workers = ProcessPoolExecutor(min(cpu_count() or 1, 16), mp_context=get_context("spawn"))
        self.painted: dict[int, list[Future]] = {}
        self.ready: tuple[int, Tensor, list[str]] | None = None

    def batch_of(self, step: int) -> tuple[Tensor, list[str]]:
        """Latents (batch, 8, SIDE/8, SIDE/8), scaled to unit spread, and their captions."""
        epoch, index = divmod(step, self.scenes // self.batch)
        pool = epoch // self.epochs
        if self.ready is None or self.ready[0] != pool:
            self._start(pool)
            self.ready = (pool, *self._encode(self.painted.pop(pool)))
            self._start(pool + 1)
        _, latents, captions = self.ready
        order = torch.randperm(self.scenes, generator=torch.Generator().manual_seed(self.seed * 7919 + epoch))
        chosen = order[index * self.batch : (index + 1) * self.batch]
        return latents[chosen.to(latents.device)], [captions[i] for i in chosen.tolist()]

    def _start(self, pool: int) -> None:
        if pool not in self.painted:
            part, alone = 256, pool < self.alone
            self.painted[pool] = [
                self.workers.submit(paint_scenes, f"{self.seed}/{pool}/{i}", min(part, self.scenes - i), alone)
                for i in range(0, self.scenes, part)
            ]

    @torch.no_grad()
    def _encode(self, parts: list[Future]) -> tuple[Tensor, list[str]]:
        latents, captions = [], []
        for part in parts:
            pictures, words = part.result()
            captions += words
            for some in torch.from_numpy(pictures).split(64):
                pixels = some.to(self.vae.device, self.vae.dtype).permute(0, 3, 1, 2) / 127.5 - 1
                with autocast(self.vae.device):
                    mean = self.vae.encode(pixels).latent_dist.mean
                latents.append(mean.float() * self.vae.config.scaling_factor)
        return torch.cat(latents), captions

    def __enter__(self) -> "LatentPools":
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the painters, also when the training was."""
        self.workers.shutdown(wait=False, cancel_futures=True)
