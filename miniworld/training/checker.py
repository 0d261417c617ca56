"""Train the checker on painted scenes, spoilt as generated pictures are: `python -m miniworld.training checker`.

It never sees a picture that a mini painted: what it says of them stays independent of them.
"""

import random
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from miniworld.checker import SIDE, STRIDE, Checker
from .checkpoint import load_checkpoint, save_checkpoint
from .models import autocast
from miniworld.render import render
from miniworld.scenes import BACKGROUNDS, COLOURS, OBJECTS, PATTERNS, WEARERS, Scene, Thing, sample_scene
from .vae import blend

GRID = SIDE // STRIDE
POOL = 3072  # scenes painted and spoilt at a time,
SERVINGS = 4  # and how often each is looked at, always with other noise and blur


def train_checker(
    path: Path, vae_folder: Path, checkpoint: Path, steps: int, batch: int = 64, seed: int = 0, device: str = "cpu",
    pool: int = POOL,
) -> None:  # fmt: skip
    """Learn to read scenes and save the weights to `path` (bf16); resumes from `checkpoint` if it exists."""
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    where = torch.device(device)
    vae = AutoencoderKL.from_pretrained(vae_folder).to(where)
    checker, average = Checker().to(where).train(), Checker().to(where).requires_grad_(False)
    average.load_state_dict(checker.state_dict())
    optimizer = torch.optim.AdamW(checker.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    modules = {"checker": checker, "average": average}
    start = load_checkpoint(checkpoint, modules, [optimizer]) if checkpoint.exists() else 0

    progress = tqdm(range(start, steps), initial=start, total=steps, desc="checker", unit="step")
    saved = time.monotonic()
    # Painting takes as long as learning: the next pool is painted meanwhile.
    with ProcessPoolExecutor(min(2, cpu_count() or 1), mp_context=get_context("spawn")) as workers:
        paint = lambda n: [workers.submit(paint_lessons, f"{seed}/{n}/{i}", pool // 4) for i in range(4)]  # noqa: E731
        number, upcoming = -1, paint(start * batch // (SERVINGS * pool))
        for step in progress:
            if number != (now := step * batch // (SERVINGS * pool)):
                number = now
                lessons = [lesson for part in upcoming for lesson in part.result()]
                upcoming = paint(number + 1)
                pictures = spoil(torch.from_numpy(np.stack([lesson[0] for lesson in lessons])), vae, seed + number)
                targets = [lesson[1] for lesson in lessons]
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / steps))
            chosen = torch.randperm(len(targets), generator=torch.Generator().manual_seed(step))[:batch]
            some = wobble(pictures[chosen].to(where).float() / 127.5 - 1, step)
            with autocast(where):
                cells, background, pattern = checker(some)
            loss = checker_loss(cells, background, pattern, [targets[i] for i in chosen.tolist()])
            loss.backward()
            nn.utils.clip_grad_norm_(checker.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad()
            blend(average, checker, min(0.995, (step + 1) / (step + 10)))
            for ours, theirs in zip(average.buffers(), checker.buffers(), strict=True):
                ours.copy_(theirs)
            progress.set_postfix(loss=f"{loss.item():.3f}")
            if time.monotonic() - saved > 120:
                save_checkpoint(checkpoint, step + 1, modules, [optimizer])
                saved = time.monotonic()
        for future in upcoming:
            future.cancel()
    save_checkpoint(checkpoint, steps, modules, [optimizer])
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {k: v for k, v in average.state_dict().items() if "num_batches" not in k}
    save_file({key: value.to(torch.bfloat16).contiguous() for key, value in weights.items()}, path)


def sample_lesson(rng: random.Random) -> Scene | None:
    """What the checker learns from: training scenes, things strewn anywhere, and a tenth of nothing (None)."""
    draw = rng.random()
    if draw < 0.1:
        return None
    if draw < 0.5:
        return sample_scene(rng, unseen=rng.random() < 0.2)
    things: list[Thing] = []
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 3, 4, 5))):
        size = rng.uniform(0.3, 0.6)
        place = lambda: rng.uniform(size * 0.45, 1 - size * 0.45)  # noqa: B023, E731
        x, y = place(), place()
        if any(max(abs(x - other.x), abs(y - other.y)) < 0.45 * (size + other.size) for other in things):
            continue
        kind = rng.choice(OBJECTS)
        colour = rng.choice((None, *COLOURS))
        hat, sunglasses = (rng.choice(COLOURS) if kind in WEARERS and rng.random() < 0.5 else None for _ in range(2))
        things.append(Thing(kind, colour, x, y, size, hat, sunglasses))
    return Scene(tuple(things), rng.choice(BACKGROUNDS), rng.choice(PATTERNS))


def paint_lessons(seed: str, count: int) -> list[tuple[np.ndarray, Scene | None]]:
    """`count` pictures (uint8, SIDE × SIDE × 3) and what they show."""
    rng = random.Random(seed)
    noise = np.random.default_rng(rng.getrandbits(32))
    lessons = []
    for _ in range(count):
        scene = sample_lesson(rng)
        lessons.append((np.asarray(render(scene)) if scene else nothing(noise), scene))
    return lessons


def nothing(rng: np.random.Generator) -> np.ndarray:
    """A picture of no object: one colour, or noise, fine or coarse."""
    grain = int(rng.choice([0, 1, 2, 4, 8, 16]))
    if grain == 0:
        return np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), (SIDE, SIDE, 3)).copy()
    side = -(-SIDE // grain)
    coarse = rng.normal(rng.uniform(60, 200), rng.uniform(10, 90), (side, side, 3)).clip(0, 255).astype(np.uint8)
    return coarse.repeat(grain, 0).repeat(grain, 1)[:SIDE, :SIDE]


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
