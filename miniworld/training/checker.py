"""Train the checker on painted scenes, spoilt as generated pictures are: `python -m miniworld.training checker`.

It never sees a picture that a mini painted: what it says of them stays independent of them.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn

from miniworld.checker import SIDE, STRIDE, Checker
from miniworld.denoising import autocast
from miniworld.scenes import BACKGROUNDS, COLOURS, OBJECTS, PATTERNS, Scene

from .loop import Loop, begin, cosine
from .pools import Pools, paint_lessons

GRID = SIDE // STRIDE
POOL = 3072  # scenes painted and spoilt at a time,
SERVINGS = 4  # and how often each is looked at, always with other noise and blur


def train_checker(
    path: Path, vae_folder: Path, checkpoint: Path, steps: int, batch: int = 64, seed: int = 0, device: str = "cpu",
    pool: int = POOL,
) -> None:  # fmt: skip
    """Learn to read scenes and save the weights to `path` (bf16); resumes from `checkpoint` if it exists."""
    begin(seed)
    vae = AutoencoderKL.from_pretrained(vae_folder).to(device)
    checker, average = Checker().to(device).train(), Checker().to(device).requires_grad_(False)
    average.load_state_dict(checker.state_dict())
    optimizer = torch.optim.AdamW(checker.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    loop = Loop(
        "checker", checkpoint, {"checker": checker, "average": average}, [optimizer], cosine(3e-3, 100, steps), steps,
        batch, ema=0.995, clip=5.0,
    )  # fmt: skip
    loop.resume()
    with Lessons(vae, batch, pool, seed) as lessons:

        def loss_of(step: int) -> Tensor:
            pictures, scenes = lessons.batch_of(step)
            with autocast(vae.device):
                cells, background, pattern, _ = checker(pictures)
            return checker_loss(cells, background, pattern, scenes)

        loop.run(loss_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {k: v for k, v in average.state_dict().items() if "num_batches" not in k}
    save_file({key: value.to(torch.bfloat16).contiguous() for key, value in weights.items()}, path)


class Lessons(Pools):
    """Pools of `scenes` spoilt pictures each; a batch depends on the seed and its number alone."""

    def __init__(self, vae: AutoencoderKL, batch: int, scenes: int, seed: int) -> None:
        super().__init__()
        self.vae, self.batch, self.scenes, self.seed = vae, batch, scenes, seed

    def batch_of(self, step: int) -> tuple[Tensor, list[Scene | None]]:
        """Pictures (batch, 3, SIDE, SIDE) and what they show."""
        pictures, scenes = self.pool(step * self.batch // (SERVINGS * self.scenes))
        chosen = torch.randperm(len(scenes), generator=torch.Generator().manual_seed(step))[: self.batch]
        some = pictures[chosen].to(self.vae.device).float() / 127.5 - 1
        return wobble(some, step), [scenes[i] for i in chosen.tolist()]

    def jobs(self, number: int) -> list[tuple]:
        return [(paint_lessons, f"{self.seed}/{number}/{part}", self.scenes // 4) for part in range(4)]

    def finish(
        self, number: int, parts: Iterator[tuple[np.ndarray, list[Scene | None]]]
    ) -> tuple[Tensor, list[Scene | None]]:
        pictures, scenes = zip(*parts, strict=True)
        spoilt = spoil(torch.from_numpy(np.concatenate(pictures)), self.vae, self.seed + number)
        return spoilt, [scene for part in scenes for scene in part]


@torch.no_grad()
def spoil(pictures: Tensor, vae: AutoencoderKL, seed: int) -> Tensor:
    """Half of the pictures (n, SIDE, SIDE, 3) go through the VAE, most with noise on their latents; (n, 3, SIDE, SIDE).

    Noise on the latents is what a half-denoised picture looks like once decoded.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = pictures.permute(0, 3, 1, 2).contiguous()
    for part in torch.arange(len(pictures) // 2).split(64):
        pixels = pictures[part].to(vae.device).float() / 127.5 - 1
        with autocast(vae.device):
            latents = vae.encode(pixels).latent_dist.mean.float()
            amount = (torch.rand(len(part), 1, 1, 1, generator=generator) - 0.3).clamp(min=0) * 0.6
            noise = torch.randn(latents.shape, generator=generator) / vae.config.scaling_factor
            decoded = vae.decode(latents * (1 - amount).to(latents) + (noise * amount).to(latents)).sample
        pictures[part] = ((decoded.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    return pictures


def wobble(pictures: Tensor, seed: int) -> Tensor:
    """Blur, noise, and small shifts of contrast and brightness, each on a part of the batch (B, 3, SIDE, SIDE)."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.rand(len(pictures), 1, 1, 1, generator=generator).to(pictures)  # noqa: E731
    half = nn.functional.interpolate(nn.functional.avg_pool2d(pictures, 2), scale_factor=2, mode="bilinear")
    pictures = torch.lerp(pictures, half, (draw() - 0.4).clamp(min=0))
    noise = torch.randn(pictures.shape, generator=generator).to(pictures)
    pictures = pictures + noise * (draw() - 0.6).clamp(min=0) * 0.4
    return pictures * (0.9 + 0.2 * draw()) + 0.1 * (draw() - 0.5)


def checker_loss(cells: dict[str, Tensor], background: Tensor, pattern: Tensor, scenes: list[Scene | None]) -> Tensor:
    """Focal loss on centres (Lin et al. 2017, with CenterNet's soft neighbourhoods), cross entropies at them, L1 on
    places and sizes; cross entropies on background and pattern where there is a wall."""
    device = background.device
    heat = torch.zeros(len(scenes), GRID, GRID)
    spots, walls = [], []
    ys, xs = torch.meshgrid(torch.arange(GRID) + 0.5, torch.arange(GRID) + 0.5, indexing="ij")
    for i, scene in enumerate(scenes):
        if scene is None:
            continue
        walls.append((i, BACKGROUNDS.index(scene.background), PATTERNS.index(scene.pattern)))
        for thing in scene.things:
            x, y = thing.x * GRID, thing.y * GRID
            heat[i] = torch.maximum(heat[i], torch.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 1.0))
            column, row = min(int(x), GRID - 1), min(int(y), GRID - 1)
            for r in (row - 1, row, row + 1):  # neighbours learn too: the surest cell need not be the exact one
                for c in (column - 1, column, column + 1):
                    if 0 <= r < GRID and 0 <= c < GRID:
                        spots.append(
                            (i, r, c, x - c - 0.5, y - r - 0.5, thing.size, OBJECTS.index(thing.kind),
                             *(COLOURS.index(name) + 1 if name else 0
                               for name in (thing.colour, thing.hat, thing.sunglasses)))
                        )  # fmt: skip
            heat[i, row, column] = 1.0
    heat = heat.to(device)
    logit = cells["centre"][:, 0].float()
    p = logit.sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = heat == 1
    focal = torch.where(hit, -((1 - p) ** 2) * p.log(), -((1 - heat) ** 4) * p**2 * (1 - p).log())
    loss = focal.sum() / hit.sum().clamp(min=1)
    if spots:
        table = torch.tensor(spots, device=device)
        i, r, c = table[:, :3].long().T
        at = lambda name: cells[name].float()[i, :, r, c]  # noqa: E731
        loss = loss + (at("offset") - table[:, 3:5]).abs().mean() + 4 * (at("size") - table[:, 5:6]).abs().mean()
        for k, name in enumerate(("kind", "colour", "hat", "sunglasses")):
            weight = torch.ones(at(name).shape[1], device=device)
            weight[0] = 0.3 if name in ("hat", "sunglasses") else 1.0  # most things wear nothing: learn from the others
            loss = loss + nn.functional.cross_entropy(at(name), table[:, 6 + k].long(), weight)
    if walls:
        i, wall, kind = torch.tensor(walls, device=device).T
        loss = loss + nn.functional.cross_entropy(background[i].float(), wall)
        loss = loss + nn.functional.cross_entropy(pattern[i].float(), kind)
    return loss
