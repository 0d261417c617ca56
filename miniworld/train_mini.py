"""Train a mini on scenes by flow matching: `python -m miniworld.train flux-mini`."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxPipeline
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from painters_utils.pipelines import paint

from .checkpoint import load_checkpoint, save_checkpoint
from .latents import LatentPools
from .models import TEXT_TOKENS, autocast, build_flux_pipeline
from .pictures import save_grid
from .train_vae import blend

SAMPLE_PROMPTS = (
    "a red dog wearing a blue hat and a yellow cat wearing pink sunglasses on a white background",
    "a speaker wearing purple sunglasses left of a microphone on a white background",
    "a monitor, a teddy bear, a yellow cat and a parrot on a blue background",
    "a green balloon on a gray background",
    "a gray robot, an owl and an orange fox on a white background",
    "a red bridge on a blue background",
    "three red apples on a striped green background",
    "a purple car above a pink house on a dotted yellow background",
)


LOG_EVERY = 20  # steps


@dataclass(frozen=True)
class Recipe:
    """How long and at which sizes to train. `stages` are (picture size in px, steps), smallest first."""

    stages: tuple[tuple[int, int], ...] = ((64, 3000), (128, 5000))
    batch: int = 32
    rate: float = 1.5e-3
    warmup: int = 200
    decay: float = 0.3  # the last part of all steps, in which the learning rate falls to zero
    ema: float = 0.995  # over some 200 steps: 0.999 still remembered the smaller pictures of the stage before
    width: int = 96
    scenes: int = 8192  # painted at a time, see LatentPools
    epochs: int = 4
    seed: int = 0
    muon: bool = True
    compile: bool = True

    @property
    def steps(self) -> int:
        return sum(steps for _, steps in self.stages)


def train_flux(
    folder: Path, vae_folder: Path, checkpoint: Path, recipe: Recipe, device: str = "cpu", save_minutes: float = 10
) -> None:
    """Train flux-mini and save it to `folder` as a complete pipeline; resumes from `checkpoint` if it exists.

    The transformer and its text encoders learn together; `smooth` is their moving average, which is what is kept.
    Loss and speed go to the checkpoint's .jsonl, samples to its .png.
    """
    torch.manual_seed(recipe.seed)
    torch.set_flush_denormal(True)  # tiny numbers take a processor a hundred times longer
    where = torch.device(device)
    vae = AutoencoderKL.from_pretrained(vae_folder).to(where)
    pipe, average = (build_flux_pipeline(vae, recipe.width) for _ in range(2))
    average.set_progress_bar_config(disable=True)
    parts = ("transformer", "text_encoder", "text_encoder_2")
    model = nn.ModuleDict({part: getattr(pipe, part) for part in parts}).to(where).train()
    smooth = nn.ModuleDict({part: getattr(average, part) for part in parts}).to(where).eval().requires_grad_(False)
    smooth.load_state_dict(model.state_dict())
    optimizers = build_optimizers(model, recipe)
    modules = {"model": model, "smooth": smooth}
    start = load_checkpoint(checkpoint, modules, optimizers) if checkpoint.exists() else 0
    if recipe.compile:
        pipe.transformer.compile_repeated_blocks(fullgraph=True)  # 57 blocks of two kinds: two compilations

    log = checkpoint.with_suffix(".jsonl")
    record = log.read_text().splitlines()[: start // LOG_EVERY] if start else []
    progress = tqdm(total=recipe.steps, initial=start, desc="flux-mini", unit="step", smoothing=0.05)
    losses, saved, began = [], time.monotonic(), time.monotonic()
    for step, size, latents, tokens in batches(recipe, vae, pipe.tokenizer, start):
        set_rate(optimizers, recipe, step)
        loss = flow_matching_loss(pipe, latents, tokens, seed=recipe.seed * 1_000_003 + step)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        blend(smooth, model, min(recipe.ema, (step + 1) / (step + 10)))
        progress.update()

        losses.append(loss.detach())
        if (step + 1) % LOG_EVERY:
            continue
        row = {
            "step": step + 1,
            "loss": round(torch.stack(losses).mean().item(), 5),
            "size": size,
            "images_per_s": round(recipe.batch * (step + 1 - start) / (time.monotonic() - began), 1),
        }
        losses.clear()
        record.append(json.dumps(row))
        progress.set_postfix(row)
        if time.monotonic() - saved > save_minutes * 60:
            save_checkpoint(checkpoint, step + 1, modules, optimizers)
            log.write_text("\n".join(record) + "\n")
            show_samples(average, checkpoint.with_suffix(".png"), size)
            saved = time.monotonic()
    progress.close()
    save_checkpoint(checkpoint, recipe.steps, modules, optimizers)
    log.write_text("\n".join(record) + "\n")
    show_samples(average, checkpoint.with_suffix(".png"), recipe.stages[-1][0])
    average.to(torch.bfloat16).save_pretrained(folder)


def batches(
    recipe: Recipe, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, start: int
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """(step, picture size, latents, caption tokens) from step `start` on, stage after stage."""
    first = 0
    for size, steps in recipe.stages:
        if start < first + steps:
            with LatentPools(vae, tokenizer, size, recipe.batch, recipe.scenes, recipe.epochs, recipe.seed) as pools:
                for step in range(max(start, first), first + steps):
                    yield step, size, *pools.batch_of(step - first)
        first += steps


def build_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' weight matrices, AdamW for everything else (Jordan et al. 2024)."""
    matrices, others = [], []
    for name, value in model.named_parameters():
        hidden = recipe.muon and value.ndim == 2 and "transformer_blocks" in name and ".norm" not in name
        (matrices if hidden else others).append(value)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=recipe.rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    ]
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, lr=recipe.rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def set_rate(optimizers: list[torch.optim.Optimizer], recipe: Recipe, step: int) -> None:
    """Warm up, hold, fall linearly to zero."""
    left = (recipe.steps - step) / (recipe.decay * recipe.steps)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min(1.0, (step + 1) / recipe.warmup, left)


def flow_matching_loss(pipe: FluxPipeline, latents: Tensor, tokens: Tensor, seed: int) -> Tensor:
    """The loss of one batch: latents (B, 16, h, w), tokens (B, TEXT_TOKENS). Noise and σ are drawn from `seed`.

    The mean square error of the velocity noise - latents at (1 - σ) latents + σ noise, σ logit-normal
    (Esser et al. 2024, section 3.1).
    """
    batch, channels, height, width = latents.shape
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    sigma = torch.randn(batch, generator=generator).sigmoid().to(latents.device)
    mixed = torch.lerp(latents, noise, sigma[:, None, None, None])
    pack = lambda x: pipe._pack_latents(x, batch, channels, height, width)  # noqa: E731  (B, h/2 · w/2, 64)
    with autocast(latents.device):
        velocity = pipe.transformer(
            hidden_states=pack(mixed),
            timestep=sigma,
            encoder_hidden_states=pipe.text_encoder_2(tokens)[0],
            pooled_projections=pipe.text_encoder(tokens).pooler_output,
            txt_ids=torch.zeros(TEXT_TOKENS, 3, device=latents.device),
            img_ids=pipe._prepare_latent_image_ids(batch, height // 2, width // 2, latents.device, torch.float32),
        ).sample
    return nn.functional.mse_loss(velocity.float(), pack(noise - latents))


def show_samples(pipe: FluxPipeline, path: Path, size: int) -> None:
    """Two seeds of each of SAMPLE_PROMPTS, painted with the averaged weights."""
    pictures = paint(
        pipe, SAMPLE_PROMPTS, seeds=[0, 1], num_inference_steps=12, height=size, width=size,
        guidance_scale=0.0, max_sequence_length=TEXT_TOKENS,
    )  # fmt: skip
    save_grid([picture.image for picture in pictures], path, columns=8)
