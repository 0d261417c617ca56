"""Train a mini on scenes by flow matching: `python -m miniworld.training flux-mini`."""

import dataclasses
import json
import math
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from miniworld.checker import WEIGHTS, read
from miniworld.denoising import encoded, flow_matching_loss, velocity
from miniworld.pictures import save_grid
from miniworld.scenes import RELATIONS, Scene, caption, sample_scene
from miniworld.scores import check_facts
from miniworld.suite import load_suite
from painters_utils.errors import InputError
from painters_utils.models.model import Model
from painters_utils.models.painting import paint

from .checkpoint import load_checkpoint
from .latents import LatentPools
from .loop import Loop, begin, read_record
from .models import MINIS, trained_parts
from .reader import learn_to_read

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
    hard_from: float = math.inf  # from this step on, what painters learn last is drawn more often
    reading: int = 900  # steps in which the T5 learns to read before, see reader.py
    taught_from: int | None = None  # from this step on, the velocities of its teacher (data/models.yaml) are learned
    jumps_from: int | None = None  # from this step on, what it learns is where its teacher gets in a step of the study

    def rate_at(self, step: int, warm: int = 0) -> float:
        """The learning rate: it warms up from step `warm` on, holds, and falls linearly to zero."""
        left = (self.steps - step) / (self.decay * self.steps)
        return self.rate * min(1.0, (step + 1 - warm) / self.warmup, left)

    def jumps(self, step: int) -> bool:
        """Whether a whole step of the study is learned in this step."""
        return self.jumps_from is not None and step >= self.jumps_from

    def taught(self, step: int) -> bool:
        """Whether the teacher's velocities are learned in this step."""
        return self.taught_from is not None and step >= self.taught_from


# FLUX and SD3 have the whole prompt beside the timestep in every layer. AuraFlow must find each word by attention, with
# logits that are bounded (see models.py). With a text encoder that learns to read at the same time it finds backgrounds
# and colours, but no objects in hours; with one that reads single words only it never tells whose colour is whose: two
# colours exchanged in a caption changed its loss at no noise level. The original's text encoder could read before, so
# the mini's can; at first there is only one thing to look for; and more pictures are nearly noise, where only the
# caption says what will be where.
#
# FLUX mini's T5 was as blind, and its CLIP says in one vector only which things and colours there are: attribution and
# places were its weakest tasks. So every mini's T5 learns to read first, and is not touched afterwards: trained on
# beside the painter it forgot which of two things is the left one, since no painter asked for it yet.
#
# FLUX mini paints worse than SD3 mini after as many steps, so that one teaches it at the end: what it predicts is the
# mean of what the scenes' own velocities scatter around, and a target without scatter is learned in fewer steps. It is
# the guided velocity, in which what the caption changes is the larger part; so FLUX mini needs no guidance, as
# FLUX.1-schnell and dev, distilled too, need none. AuraFlow mini learned little in this way.
#
# At last FLUX mini learns to take four steps instead of twelve, as schnell did: from the noise levels that it will meet
# to where its teacher gets in three steps for each of its own (progressive distillation, Salimans & Ho 2022).
RECIPES = {
    "flux-mini": Recipe(steps=15300, taught_from=5150, hard_from=9600, jumps_from=14500, noise=1.5),
    "sd3-mini": Recipe(steps=6800, hard_from=5200),
    "auraflow-mini": Recipe(steps=15900, alone=1, hard_from=10000, noise=1.5),
}


def train_mini(
    name: str, folder: Path, vae_folder: Path, checkpoint: Path, recipe: Recipe,
    device: str = "cpu", save_minutes: float = 15, further: bool = False,
) -> None:  # fmt: skip
    """Train the mini `name` and save it to `folder` as a complete pipeline; resumes from `checkpoint` if it exists.

    `further`: without a checkpoint, go on from the pipeline in `folder` and the step its record ends with; only the
    optimizers begin anew.

    The T5 learns to read first and nothing more then. The transformer and the CLIP encoders learn together; `smooth` is
    their moving average, which is what is kept.
    Loss, speed and now and then a score (`look_at`) go to the checkpoint's .jsonl, with a strip of samples beside it.
    """
    begin(recipe.seed)
    call = Model.named(name).call
    vae = AutoencoderKL.from_pretrained(vae_folder).to(device)
    pipe, average = (MINIS[name](vae) for _ in range(2))
    average.set_progress_bar_config(disable=True)
    model = trained_parts(pipe).to(device).train()
    reader, tokenizer = reader_of(pipe)
    smooth = trained_parts(average).to(device).eval().requires_grad_(False)
    loop = Loop(
        name, checkpoint, {"model": model, "smooth": smooth},
        build_optimizers(nn.ModuleList(part for part in model.values() if part is not reader), recipe), recipe.rate_at,
        recipe.steps, recipe.batch, recipe.ema, save_minutes=save_minutes,
        look=lambda step: look_at(average, call, strip_of(checkpoint, step)),
    )  # fmt: skip
    if not loop.resume():
        known = False
        if further:
            loop.start, loop.record = load_finished(pipe, folder)
            loop.rate = partial(recipe.rate_at, warm=loop.start)
            known = any(part is reader for name, part in model.items() if (folder / name).exists())
        read = learn_to_read(reader, tokenizer, recipe.reading, seed=recipe.seed, mend=known)
        loop.record.append({"step": loop.start} | {f"reads {fact}": round(share, 3) for fact, share in read.items()})
        smooth.load_state_dict(model.state_dict())
    reader.requires_grad_(False)
    if recipe.compile:
        compile_blocks(pipe.transformer)
    teacher = None
    if recipe.taught(recipe.steps - 1):
        teacher = Teacher(folder.with_name(Model.named(name).teacher), vae, recipe)
    with LatentPools(vae, recipe.batch, recipe.scenes, recipe.epochs, recipe.seed, recipe.alone,
                     recipe.hard_from) as pools:  # fmt: skip

        def loss_of(step: int) -> Tensor:
            latents, captions = pools.batch_of(step)
            if call["guidance_scale"] > 1:
                rng = random.Random(f"{recipe.seed}/empty/{step}")
                captions = ["" if rng.random() < recipe.empty else words for words in captions]
            seed, how = recipe.seed * 1_000_003 + step, dict[str, Any]()
            if teacher and recipe.jumps(step):
                how["target"] = partial(teacher.jump, width=1 / call["num_inference_steps"])
                how["sigma"] = noise_levels(call["num_inference_steps"], len(latents), seed)
            elif recipe.taught(step):
                how["target"] = teacher
            return flow_matching_loss(pipe, latents, captions, seed, noisiness=recipe.noise, **how).mean()

        names = {True: "loss of jumps", False: "loss to teacher"}
        loop.run(loss_of, called=lambda step: names[recipe.jumps(step)] if recipe.taught(step) else "loss")
    save_pipeline(average, folder, checkpoint)


def reader_of(pipe: DiffusionPipeline) -> tuple[nn.Module, PreTrainedTokenizerFast]:
    """The pipeline's T5 and its tokenizer: FLUX's second text encoder, SD3's third, AuraFlow's only one."""
    number = {"FluxPipeline": "_2", "StableDiffusion3Pipeline": "_3"}.get(type(pipe).__name__, "")
    return getattr(pipe, f"text_encoder{number}"), getattr(pipe, f"tokenizer{number}")


def load_finished(pipe: DiffusionPipeline, folder: Path) -> tuple[int, list[dict[str, float]]]:
    """Give the pipeline the weights of the trained one in `folder`; returns its last step and its record.

    A part that the trained one lacks stays as it is.
    """
    record = read_record(folder / "training.jsonl")
    if not record:
        raise InputError(f"no trained pipeline in {folder}: leave --further out to train one from nothing")
    for name, part in trained_parts(pipe).items():
        if not (folder / name).exists():
            continue
        part.load_state_dict(type(part).from_pretrained(folder / name).state_dict())
    return int(record[-1]["step"]), record


class Teacher:
    """The velocities of the trained mini in `folder`, with its usual guidance."""

    def __init__(self, folder: Path, vae: AutoencoderKL, recipe: Recipe) -> None:
        self.pipe = MINIS[folder.name](vae)
        load_finished(self.pipe, folder)
        trained_parts(self.pipe).to(vae.device).eval().requires_grad_(False)
        if recipe.compile:
            compile_blocks(self.pipe.transformer)
        self.guidance = Model.named(folder.name).call["guidance_scale"]

    @torch.no_grad()
    def __call__(self, mixed: Tensor, sigmas: Tensor, captions: list[str]) -> Tensor:
        """The velocity at `mixed` (B, 8, h, w); guidance after Ho & Salimans 2022. An empty caption has none."""
        said, unsaid = (velocity(self.pipe, mixed, sigmas, words).float() for words in (captions, [""] * len(captions)))
        return unsaid + self.guidance * (said - unsaid)

    def jump(self, mixed: Tensor, sigmas: Tensor, captions: list[str], width: float, hops: int = 3) -> Tensor:
        """The mean velocity on the way from σ to σ - `width`, which the teacher takes in `hops` steps."""
        x = mixed
        for hop in range(hops):
            x = x - width / hops * self(x, sigmas - width * hop / hops, captions)
        return (mixed - x) / width


def noise_levels(steps: int, count: int, seed: int) -> Tensor:
    """`count` of the noise levels that a pipeline of so many steps meets, drawn from `seed`; all are equally likely."""
    return 1 - torch.randint(steps, (count,), generator=torch.Generator().manual_seed(seed)) / steps


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
    own, shared = folder / "vae", folder.with_name("vae")  # one VAE for all minis
    if not own.is_symlink():
        shutil.rmtree(shared, ignore_errors=True)
        own.rename(shared)
        own.symlink_to("../vae")
    for config in folder.glob("*/config.json"):
        values = json.loads(config.read_text())
        values.pop("_name_or_path", None)  # where a part was loaded from is this machine's business
        if "dtype" in values:  # unless told otherwise, transformers loads a part in this one and diffusers in float32
            values["dtype"] = "float32"
        config.write_text(json.dumps(values, indent=2) + "\n")
    log = checkpoint.with_suffix(".jsonl")
    if log.exists():
        shutil.copy(log, folder / "training.jsonl")


def compile_blocks(transformer: nn.Module) -> None:
    """Compile each block: dozens of blocks of a few kinds take few compilations. (`compile_repeated_blocks` of
    diffusers does the same, but not for SD3.)"""
    for stack in transformer.children():
        if isinstance(stack, nn.ModuleList):
            for block in stack:
                block.compile(fullgraph=True)


def build_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' weight matrices, AdamW for everything else (Jordan et al. 2024)."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, value in model.named_parameters():
        hidden = recipe.muon and value.ndim == 2 and "transformer_blocks" in name and ".norm" not in name
        (matrices if hidden else others).append(value)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=recipe.rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    ]
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, lr=recipe.rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def strip_of(checkpoint: Path, step: int) -> Path:
    """Where the samples of a step are kept."""
    return checkpoint.with_name(f"{checkpoint.stem}-{step:05d}.webp")


def save_samples(pipe: DiffusionPipeline, call: Mapping[str, Any], strip: Path) -> None:
    """One picture of each of SAMPLE_PROMPTS, side by side, always with the same noise."""
    pictures = paint(pipe, SAMPLE_PROMPTS, seeds=[0], **call)
    save_grid([picture.image for picture in pictures], strip, columns=len(SAMPLE_PROMPTS))


def look_at(pipe: DiffusionPipeline, call: Mapping[str, Any], strip: Path) -> dict[str, float]:
    """Samples into `strip`; and how far the prompts of `prompts_looked_at` are met.

    The score is the checker's; without a trained checker there is none.
    """
    save_samples(pipe, call, strip)
    if not WEIGHTS.exists():
        return {}
    pictures = paint(pipe, prompts_looked_at(), seeds=[0], **call)
    found = read([picture.image for picture in pictures])
    checks = [check_facts(picture.prompt, scene) for picture, scene in zip(pictures, found, strict=True)]
    return {
        "strict": round(sum(check.strict for check in checks) / len(checks), 3),
        "adherence": round(sum(check.share() for check in checks) / len(checks), 3),
        "heeds places": round(heeds_places(pipe), 3),
    }


@torch.no_grad()
def heeds_places(pipe: DiffusionPipeline, pairs: int = 32, sigma: float = 0.9) -> float:
    """How much a painter uses what a caption says of places: its loss with the two things exchanged, over its loss.

    1.0: it doesn't matter which of the two is on the left.
    """
    rng = random.Random("places")
    scenes: list[Scene] = []
    while len(scenes) < pairs:
        scene = sample_scene(rng)
        scenes += [scene] if scene.phrase in RELATIONS else []
    latents = encoded(pipe, scenes).latents
    exchanged = [dataclasses.replace(scene, things=scene.things[::-1]) for scene in scenes]
    said, wrong = (
        flow_matching_loss(pipe, latents, [caption(scene) for scene in some], seed=0, sigma=sigma).mean().item()
        for some in (scenes, exchanged)
    )
    return wrong / said


def prompts_looked_at() -> list[str]:
    """The prompts that tell during a training how far it is: every third of the suite."""
    return [prompt for task in load_suite().values() for prompt in task][::3]
