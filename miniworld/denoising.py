"""The denoising loss: how far off is the velocity that a mini predicts, on scenes it never saw, at each noise level?

Training minimises it, and the study reads it as a cheap stand-in for painting: one forward pass a scene and level,
nothing is sampled. Scenes and noise are the same whatever the order of the layers, so differences between orders have
little variance.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .pictures import to_tensor
from .render import render
from .scenes import TEXT_TOKENS, Scene, caption, sample_scene

if TYPE_CHECKING:  # diffusers takes seconds to import, and whoever calls this has a pipeline already
    from diffusers import DiffusionPipeline

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # σ: 0 is a picture, 1 is noise
Velocity = Callable[[Tensor, Tensor, list[str]], Tensor]  # (mixed, σ, captions) → noise - latents


@dataclass(frozen=True)
class HeldOut:
    """Latents (n, 8, h, w) of scenes that no training has seen, and their captions."""

    latents: Tensor
    captions: list[str]


@torch.no_grad()
def held_out(pipe: "DiffusionPipeline", scenes: int = 64, seed: int = 0) -> HeldOut:
    """`scenes` scenes from a seed that no training uses, through the pipeline's own VAE."""
    rng = random.Random(f"held out/{seed}")
    return encoded(pipe, [sample_scene(rng) for _ in range(scenes)])


@torch.no_grad()
def encoded(pipe: "DiffusionPipeline", scenes: Sequence[Scene]) -> HeldOut:
    """Scenes through the pipeline's own VAE, and their captions."""
    pixels = torch.stack([to_tensor(render(scene)) for scene in scenes]).to(pipe.vae.device, pipe.vae.dtype)
    latents = pipe.vae.encode(pixels).latent_dist.mean.float() * pipe.vae.config.scaling_factor
    return HeldOut(latents, [caption(scene) for scene in scenes])


@torch.no_grad()
def denoising_loss(
    pipe: "DiffusionPipeline", scenes: HeldOut, levels: Sequence[float] = LEVELS, seed: int = 0
) -> np.ndarray:
    """The flow-matching loss of each scene at each level, (levels, scenes); conditional, without guidance.

    Call it inside `layer_order` to see what an order costs: the rise over the untouched model's loss.
    """
    return np.stack(
        [
            flow_matching_loss(pipe, scenes.latents, scenes.captions, seed=seed * 1009 + i, sigma=level).cpu().numpy()
            for i, level in enumerate(levels)
        ]
    )


def flow_matching_loss(
    pipe: "DiffusionPipeline", latents: Tensor, captions: list[str], seed: int, sigma: float | Tensor | None = None,
    target: Velocity | None = None, noisiness: float = 0.0, quick: bool = True,
) -> Tensor:  # fmt: skip
    """The loss of each picture of a batch: latents (B, 8, h, w) and their captions; returns (B,).

    The mean square error of the velocity noise - latents at (1 - σ) latents + σ noise, or of what `target`, a teacher,
    predicts there. σ is `sigma`, a number or (B,), or else logit-normal around `noisiness` (Esser et al. 2024, 3.1).
    Noise and σ are drawn on the CPU from `seed`. `quick` False: compute as when nothing learns, which is faster where
    few layers do.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    if sigma is None:
        sigmas = (torch.randn(len(latents), generator=generator) + noisiness).sigmoid().to(latents.device)
    else:
        sigmas = torch.as_tensor(sigma, dtype=torch.float32).expand(len(latents)).to(latents.device)
    mixed = torch.lerp(latents, noise, sigmas[:, None, None, None])
    with for_learning(latents.device) if quick and torch.is_grad_enabled() else nullcontext():
        predicted = velocity(pipe, mixed, sigmas, captions)
        wanted = noise - latents if target is None else target(mixed, sigmas, captions)
    return (predicted.float() - wanted).square().mean(dim=(1, 2, 3))


def velocity(pipe: "DiffusionPipeline", mixed: Tensor, sigmas: Tensor, captions: list[str]) -> Tensor:
    """What a mini's transformer predicts at `mixed` (B, 8, h, w), called as its pipeline calls it."""
    batch, channels, height, width = mixed.shape
    device = mixed.device
    match type(pipe).__name__:
        case "FluxPipeline":
            text, pooled, text_ids = pipe.encode_prompt(captions, device=device, max_sequence_length=TEXT_TOKENS)
            packed = pipe.transformer(
                hidden_states=pipe._pack_latents(mixed, batch, channels, height, width),
                timestep=sigmas,
                encoder_hidden_states=text,
                pooled_projections=pooled,
                txt_ids=text_ids,
                img_ids=pipe._prepare_latent_image_ids(batch, height // 2, width // 2, device, torch.float32),
            ).sample
            return pipe._unpack_latents(packed, height * 8, width * 8, 8)
        case "StableDiffusion3Pipeline":
            text, _, pooled, _ = pipe.encode_prompt(
                captions, None, None, device=device, do_classifier_free_guidance=False, max_sequence_length=TEXT_TOKENS
            )
            return pipe.transformer(
                mixed, encoder_hidden_states=text, pooled_projections=pooled, timestep=sigmas * 1000
            ).sample
        case "AuraFlowPipeline":
            text, *_ = pipe.encode_prompt(
                captions, do_classifier_free_guidance=False, device=device, max_sequence_length=TEXT_TOKENS
            )
            return pipe.transformer(mixed, encoder_hidden_states=text, timestep=sigmas).sample
    raise TypeError(f"{type(pipe).__name__} is none of the minis' pipelines")


@contextmanager
def for_learning(device: torch.device) -> Iterator[None]:
    """What makes a training fast. A loss that is only measured is float32's, and the same on every processor."""
    # The fused attention's backward pass is slow for a hundred tokens on a CPU: plain products train 1.5 times faster.
    with autocast(device), sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext():
        yield


def autocast(device: torch.device) -> torch.autocast:
    """bf16 where the processor multiplies it fast, else untouched fp32."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.backends.mkldnn.is_available() and _cpu_has_bf16())


def _cpu_has_bf16() -> bool:
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
