"""Train a mini on scenes by flow matching: `python -m miniworld.training flux-mini`."""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, FluxPipeline, StableDiffusion3Pipeline
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from painters_utils.models.catalog import call_settings, model_row
from painters_utils.errors import InputError
from painters_utils.models.pipelines import paint

from miniworld.checker import WEIGHTS, read
from .checkpoint import load_checkpoint, save_checkpoint
from .latents import LatentPools
from .models import MINIS, TEXT_TOKENS, autocast, trained_parts
from miniworld.pictures import save_grid
from miniworld.scores import judge
from miniworld.suite import load_suite
from .reader import learn_to_read
from .vae import blend

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
    """How long and how to train."""

    steps: int = 6500
    batch: int = 32
    rate: float = 2e-3
    warmup: int = 200
    decay: float = 0.3  # the last part of all steps, in which the learning rate falls to zero
    ema: float = 0.998
    noise: float = 0.0  # mean of the logit of σ; higher: more pictures that are nearly noise
    empty: float = 0.1  # captions left out, for guidance (Ho & Salimans 2022); FLUX.1-schnell's kind needs none
    scenes: int = 8192  # painted at a time, see LatentPools
    epochs: int = 4
    seed: int = 0
    muon: bool = True
    compile: bool = True
    alone: int = 0  # the first so many pools of scenes hold one thing each
    reading: int = 0  # steps in which the T5 learns to read before, see train_reader.py
    taught_from: int | None = None  # from this step on, the velocities of its teacher (data/models.yaml) are learned


# FLUX and SD3 have the whole prompt beside the timestep in every layer. AuraFlow must find each word by attention, with
# logits that are bounded (see models.py). With a text encoder that learns to read at the same time it finds backgrounds
# and colours, but no objects in hours; with one that reads single words only it never tells whose colour is whose: two
# colours exchanged in a caption changed its loss at no noise level. The original's text encoder could read before, so
# the mini's can; at first there is only one thing to look for; and more pictures are nearly noise, where only the
# caption says what will be where.
#
# FLUX mini's T5 was as blind, and its CLIP says in one vector only which things and colours there are: attribution and
# places were its weakest tasks. So it learns to read first too.
#
# FLUX mini paints worse than SD3 mini after as many steps, so that one teaches it at the end: what it predicts is the
# mean of what the scenes' own velocities scatter around, and a target without scatter is learned in fewer steps. It is
# the guided velocity, in which what the caption changes is the larger part; so FLUX mini needs no guidance, as
# FLUX.1-schnell and dev, distilled too, need none. AuraFlow mini learned little in this way.
RECIPES = {
    "flux-mini": Recipe(steps=9600, taught_from=5150, reading=900, noise=1.0),
    "auraflow-mini": Recipe(steps=10000, alone=1, reading=900, noise=1.5),
}


def train_mini(
    name: str, folder: Path, vae_folder: Path, checkpoint: Path, recipe: Recipe,
    device: str = "cpu", save_minutes: float = 15, further: bool = False,
) -> None:  # fmt: skip
    """Train the mini `name` and save it to `folder` as a complete pipeline; resumes from `checkpoint` if it exists.

    `further`: without a checkpoint, go on from the pipeline in `folder` and the step its record ends with; only the
    optimizers begin anew.

    The transformer and its text encoders learn together; `smooth` is their moving average, which is what is kept.
    Loss, speed and now and then a score (`look_at`) go to the checkpoint's .jsonl, with a strip of samples beside it.
    """
    torch.manual_seed(recipe.seed)
    torch.set_flush_denormal(True)  # tiny numbers take a processor a hundred times longer
    where = torch.device(device)
    vae = AutoencoderKL.from_pretrained(vae_folder).to(where)
    pipe, average = (MINIS[name](vae) for _ in range(2))
    average.set_progress_bar_config(disable=True)
    model = trained_parts(pipe).to(where).train()
    smooth = trained_parts(average).to(where).eval().requires_grad_(False)
    smooth.load_state_dict(model.state_dict())
    optimizers = build_optimizers(model, recipe)
    modules = {"model": model, "smooth": smooth}
    if checkpoint.exists():
        start, warm = load_checkpoint(checkpoint, modules, optimizers), 0
    elif further:
        start = warm = load_finished(pipe, folder)
        smooth.load_state_dict(model.state_dict())
    else:
        start = warm = 0
        if recipe.reading:
            learn_to_read(*reader_of(pipe), recipe.reading, seed=recipe.seed)
            smooth.load_state_dict(model.state_dict())
    if recipe.compile:
        compile_blocks(pipe.transformer)

    log = checkpoint.with_suffix(".jsonl")
    record = read_record(log if checkpoint.exists() else folder / "training.jsonl") if start else []
    record = [row for row in record if row["step"] <= start]
    progress = tqdm(total=recipe.steps, initial=start, desc=name, unit="step", smoothing=0.05)
    losses, saved, began = [], time.monotonic(), time.monotonic()
    guided = call_settings(name)["guidance_scale"] > 1
    teach = None
    if recipe.taught_from is not None and recipe.steps > recipe.taught_from:
        teach = Teacher(folder.with_name(model_row(name)["teacher"]), vae, recipe)
    for step, latents, captions in batches(recipe, vae, start):
        set_rate(optimizers, recipe, step, warm)
        if guided:
            rng = random.Random(f"{recipe.seed}/empty/{step}")
            captions = ["" if rng.random() < recipe.empty else words for words in captions]
        taught = teach is not None and step >= recipe.taught_from
        seed = recipe.seed * 1_000_003 + step
        target = teach if taught else None
        loss = flow_matching_loss(pipe, latents, captions, seed, target=target, noisiness=recipe.noise).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        blend(smooth, model, min(recipe.ema, (step + 1) / (step + 10)))
        progress.update()

        losses.append(loss.detach())
        if (step + 1) % LOG_EVERY and step + 1 < recipe.steps:
            continue
        row = {
            "step": step + 1,
            "loss to teacher" if taught else "loss": round(torch.stack(losses).mean().item(), 5),
            "images_per_s": round(recipe.batch * len(losses) / (time.monotonic() - began), 1),
        }
        losses, began = [], time.monotonic()
        record.append(row)
        progress.set_postfix(row)
        over = step + 1 == recipe.steps
        if over or time.monotonic() - saved > save_minutes * 60:
            record.append({"step": step + 1} | look_at(name, average, strip_of(checkpoint, step + 1)))
            save_checkpoint(checkpoint, step + 1, modules, optimizers)
            log.write_text("".join(json.dumps(row) + "\n" for row in record))
            saved = began = time.monotonic()
    progress.close()
    save_pipeline(average, folder, checkpoint)


def read_record(path: Path) -> list[dict[str, float]]:
    """The rows of a training's .jsonl; none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def reader_of(pipe: DiffusionPipeline) -> tuple[nn.Module, PreTrainedTokenizerFast]:
    """The pipeline's T5 and its tokenizer: FLUX's second text encoder, AuraFlow's only one."""
    if isinstance(pipe, FluxPipeline):
        return pipe.text_encoder_2, pipe.tokenizer_2
    return pipe.text_encoder, pipe.tokenizer


def load_finished(pipe: DiffusionPipeline, folder: Path) -> int:
    """Give the pipeline the weights of the trained one in `folder`; returns the step that one was trained to."""
    record = read_record(folder / "training.jsonl")
    if not record:
        raise InputError(f"no trained pipeline in {folder}: leave --further out to train one from nothing")
    for name, part in trained_parts(pipe).items():
        part.load_state_dict(type(part).from_pretrained(folder / name).state_dict())
    return record[-1]["step"]


class Teacher:
    """The velocities of the trained mini in `folder`, with its usual guidance."""

    def __init__(self, folder: Path, vae: AutoencoderKL, recipe: Recipe) -> None:
        self.pipe = MINIS[folder.name](vae)
        load_finished(self.pipe, folder)
        trained_parts(self.pipe).to(vae.device).eval().requires_grad_(False)
        if recipe.compile:
            compile_blocks(self.pipe.transformer)
        self.guidance = call_settings(folder.name)["guidance_scale"]

    @torch.no_grad()
    def __call__(self, mixed: Tensor, sigmas: Tensor, captions: list[str]) -> Tensor:
        """The velocity at `mixed` (B, 8, h, w); guidance after Ho & Salimans 2022. An empty caption has none."""
        said, unsaid = (velocity(self.pipe, mixed, sigmas, words).float() for words in (captions, [""] * len(captions)))
        return unsaid + self.guidance * (said - unsaid)


def export_mini(name: str, folder: Path, vae_folder: Path, checkpoint: Path) -> None:
    """Write the averaged weights of a checkpoint to `folder` as a pipeline, whether the training is over or not."""
    if not checkpoint.exists():
        raise InputError(f"no checkpoint {checkpoint}: train {name} first")
    vae = AutoencoderKL.from_pretrained(vae_folder)
    average = MINIS[name](vae)
    step = load_checkpoint(checkpoint, {"smooth": trained_parts(average)}, [])
    save_pipeline(average, folder, checkpoint)
    print(f"{name} after {step} steps: {folder}")


def save_pipeline(pipe: DiffusionPipeline, folder: Path, checkpoint: Path) -> None:
    """The pipeline in bf16, with its training's record beside it."""
    for name, part in pipe.components.items():
        if part is not None and name.startswith("tokenizer"):
            part.backend_tokenizer.no_padding()  # it remembers its last call
    pipe.to(torch.bfloat16).save_pretrained(folder)
    for config in folder.glob("*/config.json"):
        values = json.loads(config.read_text())
        values.pop("_name_or_path", None)  # where a part was loaded from is this machine's business
        if "dtype" in values:  # unless told otherwise, transformers loads a part in this one and diffusers in float32
            values["dtype"] = "float32"
        config.write_text(json.dumps(values, indent=2) + "\n")
    log = checkpoint.with_suffix(".jsonl")
    if log.exists():
        shutil.copy(log, folder / "training.jsonl")


def batches(recipe: Recipe, vae: AutoencoderKL, start: int) -> Iterator[tuple[int, Tensor, list[str]]]:
    """(step, latents, captions) from step `start` on."""
    with LatentPools(vae, recipe.batch, recipe.scenes, recipe.epochs, recipe.seed, recipe.alone) as pools:
        for step in range(start, recipe.steps):
            yield step, *pools.batch_of(step)


def compile_blocks(transformer: nn.Module) -> None:
    """Compile each block: dozens of blocks of a few kinds take few compilations. (`compile_repeated_blocks` of
    diffusers does the same, but not for SD3.)"""
    for stack in transformer.children():
        if isinstance(stack, nn.ModuleList):
            for block in stack:
                block.compile(fullgraph=True)


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


def set_rate(optimizers: list[torch.optim.Optimizer], recipe: Recipe, step: int, warm: int = 0) -> None:
    """Warm up from step `warm` on, hold, fall linearly to zero."""
    left = (recipe.steps - step) / (recipe.decay * recipe.steps)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min(1.0, (step + 1 - warm) / recipe.warmup, left)


def flow_matching_loss(
    pipe: DiffusionPipeline, latents: Tensor, captions: list[str], seed: int, sigma: float | None = None,
    target: Callable[[Tensor, Tensor, list[str]], Tensor] | None = None, noisiness: float = 0.0,
) -> Tensor:  # fmt: skip
    """The loss of each picture of a batch: latents (B, 8, h, w) and their captions; returns (B,).

    The mean square error of the velocity noise - latents at (1 - σ) latents + σ noise, σ logit-normal around
    `noisiness` (Esser et al. 2024, section 3.1) unless given; or of what `target` says at the same place (a Teacher).
    Noise and σ are drawn on the CPU from `seed`.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    if sigma is None:
        sigmas = (torch.randn(len(latents), generator=generator) + noisiness).sigmoid().to(latents.device)
    else:
        sigmas = torch.full((len(latents),), sigma, device=latents.device)
    mixed = torch.lerp(latents, noise, sigmas[:, None, None, None])
    # The fused attention's backward pass is slow for a hundred tokens on a CPU: plain products train 1.5 times faster.
    fused = sdpa_kernel(SDPBackend.MATH) if latents.device.type == "cpu" else nullcontext()
    with autocast(latents.device), fused:
        predicted = velocity(pipe, mixed, sigmas, captions)
        wanted = noise - latents if target is None else target(mixed, sigmas, captions)
    return (predicted.float() - wanted).square().mean(dim=(1, 2, 3))


def velocity(pipe: DiffusionPipeline, mixed: Tensor, sigmas: Tensor, captions: list[str]) -> Tensor:
    """What the transformer says at `mixed` (B, 8, h, w), called as its pipeline calls it."""
    batch, channels, height, width = mixed.shape
    device = mixed.device
    if isinstance(pipe, FluxPipeline):
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
    if isinstance(pipe, StableDiffusion3Pipeline):
        text, _, pooled, _ = pipe.encode_prompt(
            captions, None, None, device=device, do_classifier_free_guidance=False, max_sequence_length=1
        )
        return pipe.transformer(
            mixed, encoder_hidden_states=text, pooled_projections=pooled, timestep=sigmas * 1000
        ).sample
    text, *_ = pipe.encode_prompt(
        captions, do_classifier_free_guidance=False, device=device, max_sequence_length=TEXT_TOKENS
    )
    return pipe.transformer(mixed, encoder_hidden_states=text, timestep=sigmas).sample


def strip_of(checkpoint: Path, step: int) -> Path:
    """Where the samples of a step are kept."""
    return checkpoint.with_name(f"{checkpoint.stem}-{step:05d}.webp")


def save_samples(name: str, pipe: DiffusionPipeline, strip: Path) -> None:
    """One picture of each of SAMPLE_PROMPTS, side by side, always with the same noise."""
    pictures = paint(pipe, SAMPLE_PROMPTS, seeds=[0], **call_settings(name))
    save_grid([picture.image for picture in pictures], strip, columns=len(SAMPLE_PROMPTS))


def look_at(name: str, pipe: DiffusionPipeline, strip: Path) -> dict[str, float]:
    """Samples into `strip`; and how every third prompt of the suite is met.

    The score is the checker's; without a trained checker there is none.
    """
    save_samples(name, pipe, strip)
    if not WEIGHTS.exists():
        return {}
    prompts = [prompt for task in load_suite().values() for prompt in task][::3]
    pictures = paint(pipe, prompts, seeds=[0], **call_settings(name))
    found = read([picture.image for picture in pictures])
    verdicts = [judge(picture.prompt, scene) for picture, scene in zip(pictures, found, strict=True)]
    return {
        "strict": round(sum(verdict.strict for verdict in verdicts) / len(verdicts), 3),
        "adherence": round(sum(verdict.share() for verdict in verdicts) / len(verdicts), 3),
    }
