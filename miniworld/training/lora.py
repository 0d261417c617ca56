"""Teach a mini one new thing with LoRA, in chosen blocks.

    python -m miniworld.training.lora sd3-mini colour --blocks 10 11

The adapter is loaded as any other:

    from painters_utils import load_pipeline
    pipe = load_pipeline("sd3-mini")
    pipe.load_lora_weights("results/training/lora/sd3-mini-colour-10-11")

Only adapters learn, of low rank and on the attention of the chosen blocks (Hu et al. 2021); everything else stays as it
is. The same blocks, steps and seed give the same adapter, so that two choices of blocks differ in nothing else.
"""

import argparse
import copy
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn, optim

from miniworld.denoising import flow_matching_loss
from miniworld.pictures import to_tensor
from miniworld.render import render
from miniworld.scenes import caption, sample_scene
from painters_utils.engine.orders import check_index
from painters_utils.engine.stacks import find_stacks, get_stack
from painters_utils.errors import InputError, require_positive
from painters_utils.models.loading import load_pipeline
from painters_utils.paths import ROOT

from .lessons import LESSONS
from .loop import Loop, begin, cosine

NAME = "new"  # of the adapter
# Attention alone: oneDNN applies the feed-forward networks' activation in their first layer (`models/quick.py`), and
# what LoRA adds must come before it.
ADAPTED = r"attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
SCENES = 1024  # painted once, and drawn from in every step
Shown = tuple[Tensor, list[str]]  # latents (scenes, 8, h, w) and captions


def train_lora(
    model: str, lesson: str, blocks: Sequence[int], folder: Path, stack: str | None = None, steps: int = 300,
    batch: int = 16, rank: int = 4, rate: float = 2e-3, seed: int = 0, scenes: int = SCENES, save_minutes: float = 1,
    shown: Shown | None = None,
) -> Path:  # fmt: skip
    """Train the adapter and save it under `folder`; goes on from its checkpoint there. Returns its own folder.

    `blocks` are layers of `stack`, the model's first unless named. `shown` is what `painted` gives for this lesson,
    number of scenes and seed, if it is there already. Everything is checked before the mini is trained.
    """
    for name, value in {"steps": steps, "batch": batch, "rank": rank, "scenes": scenes}.items():
        require_positive(name, value)
    if lesson not in LESSONS:
        raise InputError(f"lesson {lesson!r} is unknown: choose {', '.join(LESSONS)}")
    if not blocks or len(set(blocks)) < len(blocks):
        raise InputError(f"blocks {list(blocks)} must be named, each once: as in --blocks 10 11 12 13")
    peft = need_peft()
    begin(seed)
    pipe = load_pipeline(model)
    stack = stack or next(iter(find_stacks(pipe.transformer)))
    depth = len(get_stack(pipe.transformer, stack))
    for block in blocks:
        check_index(block, depth, stack)
    name = "-".join([Path(model).name, lesson, *map(str, sorted(blocks))])
    name += "" if stack == next(iter(find_stacks(pipe.transformer))) else f"-{stack}"
    adapters, learner = add_adapter(pipe, peft, stack, blocks, rank)
    average = copy.deepcopy(learner).requires_grad_(False)
    about = f"{name}-{steps}-{batch}-{rank}-{rate}-{seed}-{scenes}"  # other settings are another training
    rates = cosine(rate, warmup=max(1, steps // 15), steps=steps)
    loop = Loop(
        name, folder / "checkpoints" / f"{about}.safetensors", {"model": learner, "smooth": average},
        [optim.AdamW(learner.parameters(), lr=rate, weight_decay=0.0)], rates, steps,
        batch, ema=0.98, save_minutes=save_minutes,
    )  # fmt: skip
    loop.resume()
    latents, captions = shown or painted(pipe, lesson, scenes, seed)
    pipe.transformer.train()

    def loss_of(step: int) -> Tensor:
        chosen = random.Random(f"{seed}/{step}").sample(range(scenes), min(batch, scenes))
        words = [captions[i] for i in chosen]
        return flow_matching_loss(pipe, latents[chosen], words, seed * 1_000_003 + step, quick=False).mean()

    loop.run(loss_of)
    with torch.no_grad():
        for key, parameter in adapters.items():
            parameter.copy_(average[key])
    pipe.transformer.eval()
    layers = peft.get_peft_model_state_dict(pipe.transformer, adapter_name=NAME)
    pipe.save_lora_weights(folder / name, transformer_lora_layers=layers)
    return folder / name


def add_adapter(
    pipe: DiffusionPipeline, peft: Any, stack: str, blocks: Sequence[int], rank: int
) -> tuple[dict[str, nn.Parameter], nn.ParameterDict]:
    """Freeze the pipeline, add an adapter that does nothing yet; returns its parameters by name, and as a module."""
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
    where = rf"{stack}\.({'|'.join(map(str, blocks))})\.{ADAPTED}"
    pipe.transformer.add_adapter(peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=where), adapter_name=NAME)
    adapters = {
        key.replace(".", "/"): parameter
        for key, parameter in pipe.transformer.named_parameters()
        if parameter.requires_grad
    }
    return adapters, nn.ParameterDict(adapters)


@torch.no_grad()
def painted(pipe: DiffusionPipeline, lesson: str, scenes: int, seed: int) -> Shown:
    """Latents (scenes, 8, h, w) and captions of what is taught, with old scenes among them."""
    about, rng = LESSONS[lesson], random.Random(f"lora/{lesson}/{seed}")
    pictures, captions, latents = [], [], []
    for _ in range(scenes):
        old = rng.random() < about.old
        scene = sample_scene(rng) if old else about.scene(rng, False)
        pictures.append(render(scene) if old else about.show(scene))
        captions.append(caption(scene))
    for start in range(0, scenes, 64):
        pixels = torch.stack([to_tensor(picture) for picture in pictures[start : start + 64]])
        latents.append(pipe.vae.encode(pixels).latent_dist.mean.float() * pipe.vae.config.scaling_factor)
    return torch.cat(latents), captions


def need_peft() -> Any:
    """The library of adapters, which only this needs."""
    try:
        import peft
    except ImportError:
        raise InputError("peft is not installed: .venv/bin/python -m pip install -r requirements/lora.txt") from None
    return peft


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m miniworld.training.lora", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a mini: flux-mini, sd3-mini, auraflow-mini")
    parser.add_argument(
        "lesson", choices=list(LESSONS), help="thing: a panda, for the word bear; colour: black; style: lines"
    )
    parser.add_argument("--blocks", type=int, nargs="+", required=True, help="which layers learn")
    parser.add_argument("--stack", help="of which list of blocks (default: the model's first)")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--out", type=Path, default=ROOT / "results/training/lora", help="folder for adapters")
    given = vars(parser.parse_args(arguments))
    try:
        torch.set_num_threads(given.pop("threads"))
        print(train_lora(folder=given.pop("out"), **given))
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from the last checkpoint")


if __name__ == "__main__":
    main()
