"""Give the VAE a decoder that paints all that the latents know: `python -m miniworld.training decoder`.

The VAE's first decoder, trained beside the encoder on crops, blurs faces and windows away. This one is wider where
pictures are smallest, learns on whole pictures, and is told by the checker's features what matters in them. Encoder and
latents stay as they are.

It sees the encoder's latents with noise on them, never latents that a mini has painted: a decoder that mends a mini's
mistakes would hide the very damage that this study measures.
"""

import copy
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from miniworld.checker import load_checker
from miniworld.denoising import autocast
from miniworld.pictures import save_grid, to_pictures, to_tensor
from miniworld.render import render
from miniworld.scenes import unseen_scenes

from .loop import Loop, begin, cosine
from .models import build_vae
from .muon import ConvMuon
from .pools import paint_scenes
from .vae import reconstruction_loss

SHAKEN = 0.2  # how much noise a widened decoder's weights get, in their own spread: copies must learn to differ
NOISE = 0.1  # the most noise on latents of unit spread: a sampler never ends exactly where an encoder would


def train_decoder(
    folder: Path, checkpoint: Path, steps: int, batch: int = 8, rate: float = 4e-3, seed: int = 0, device: str = "cpu"
) -> None:
    """Train a wider decoder for the VAE in `folder` and put it there; resumes if it was stopped.

    Leaves pictures, what the former decoder made of them and what the new one does beside the checkpoint.
    """
    begin(seed)
    former = AutoencoderKL.from_pretrained(folder).to(device).requires_grad_(False).eval()
    vae = widen(former, build_vae().to(device), seed).requires_grad_(False)
    average = copy.deepcopy(vae.decoder)
    vae.decoder.requires_grad_(True)
    kernels = [value for value in vae.decoder.parameters() if value.ndim == 4 and min(value.shape[:2]) > 3]
    others = [value for value in vae.decoder.parameters() if not any(value is kernel for kernel in kernels)]
    optimizers = [
        ConvMuon(kernels, rate),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
    ]
    modules = {"decoder": vae.decoder, "average": average}
    loop = Loop("decoder", checkpoint, modules, optimizers, cosine(rate, 100, steps), steps, batch, save_minutes=5)
    loop.resume()
    judge = copy.deepcopy(load_checker()).to(device).requires_grad_(False).features
    scale = vae.config.scaling_factor

    def loss_of(step: int) -> Tensor:
        painted, _ = paint_scenes(f"{seed}/decoder/{step}", batch, "hard")
        pictures = torch.from_numpy(painted).to(vae.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with autocast(vae.device):
            latents = vae.encode(pictures).latent_dist.mean
            amount = NOISE * torch.rand(batch, 1, 1, 1, generator=generator)
            noise = amount * torch.randn(latents.shape, generator=generator) / scale
            decoded = vae.decode(latents + noise.to(latents)).sample
            unlike = (judge(decoded) - judge(pictures)).abs().mean()
        return reconstruction_loss(decoded.float(), pictures) + 0.1 * unlike.float()

    loop.run(loss_of)
    vae.decoder = average
    with torch.no_grad():
        pictures = torch.stack([to_tensor(render(scene)) for scene in unseen_scenes(128, "decoder")]).to(device)
        latents = former.encode(pictures).latent_dist.mean
        before, after = (some.decode(latents).sample.clamp(-1, 1) for some in (former, vae))
        moved = (vae.encode(pictures).latent_dist.mean - latents).abs().max().item()
    errors = [(some - pictures).abs().mean().item() * 127.5 for some in (before, after)]
    print(
        f"decoder: mean error {errors[1]:.2f} of 255 grey levels, {errors[0]:.2f} before; latents differ by {moved:.0e}"
    )
    rows = torch.stack([pictures[:24], before[:24], after[:24]], dim=1).flatten(0, 1)
    save_grid(to_pictures(rows.cpu()), checkpoint.with_suffix(".webp"), columns=12)
    vae.to(torch.bfloat16).save_pretrained(folder)


@torch.no_grad()
def widen(narrow: AutoencoderKL, wide: AutoencoderKL, seed: int = 0, shaken: float = SHAKEN) -> AutoencoderKL:
    """Give `wide`, whose widths are multiples, the weights of `narrow`: each channel several times, side by side.

    Whatever reads a channel that is there twice takes half of each, and the copies stand in the group of their
    original, whose mean and spread they don't change: so the encoder does exactly what it did. The decoder's weights
    are shaken, or copies would stay copies.
    """
    generator = torch.Generator().manual_seed(seed)
    known, weights = narrow.state_dict(), {}
    for name, theirs in wide.state_dict().items():
        if name in known:
            value = known[name]
        else:  # a shortcut past a block that kept its width before: it passed on what came
            width = min(theirs.shape[:2]) if theirs.ndim == 4 else theirs.shape[0]
            value = torch.eye(width).view(width, width, 1, 1) if theirs.ndim == 4 else torch.zeros(width)
        outside, *inside = (ours // former for ours, former in zip(theirs.shape[:2], value.shape, strict=False))
        value = value.repeat_interleave(outside, dim=0)
        for times in inside:
            value = value.repeat_interleave(times, dim=1) / times
        if name.startswith("decoder") and value.ndim == 4 and max(outside, *inside) > 1:
            value = value + shaken * value.std() * torch.randn(value.shape, generator=generator).to(value)
        weights[name] = value
    wide.load_state_dict(weights)
    wide.register_to_config(scaling_factor=narrow.config.scaling_factor, shift_factor=narrow.config.shift_factor)
    return wide
