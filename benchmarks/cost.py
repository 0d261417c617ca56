"""What reordering and recording cost: a denoising loop untouched, under the identity order, and while recording.

    python -m benchmarks.cost
    python -m benchmarks.cost --model flux-mini --check

All variants run in one process and take turns; a ratio is the median over the repetitions of one variant's time by the
untouched loop's time in the same repetition, so that what else the machine does falls on all alike.
"""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from time import perf_counter

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import nn

from painters_utils.orders import layer_order
from painters_utils.recorder import record_activations
from painters_utils.stacks import find_stacks

TEXT, SIDE = 24, 8  # text tokens, image tokens along one side
GOALS = {"identity order": 1.01, "recorder": 1.10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=96, help="channels, a multiple of 32 (default %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="pictures per call (default %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="denoising steps per call (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="repetitions of each variant (default %(default)s)")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own choice)")
    parser.add_argument(
        "--model", help="time this model of data/models.yaml in place of FLUX's depth with random weights"
    )
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a goal is missed")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    transformer, denoise = trained(options) if options.model else untrained(options)
    identity = {stack: list(range(len(blocks))) for stack, blocks in find_stacks(transformer).items()}
    variants = {
        "untouched": nullcontext,
        "identity order": lambda: layer_order(transformer, identity),
        "recorder": lambda: record_activations(transformer),
    }
    seconds = take_turns(denoise, variants, options.repeats)

    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads", end=", ")
    print(f"batch {options.batch}, {options.steps} steps, {options.repeats} repetitions")
    print(f"{'':16}{'s per call':>12}{'ratio':>9}{'goal':>9}")
    missed = False
    for name, times in seconds.items():
        ratio = median(own / base for own, base in zip(times, seconds["untouched"], strict=True))
        goal = GOALS.get(name)
        missed |= goal is not None and ratio > goal
        print(f"{name:16}{median(times):12.4f}{ratio:9.3f}" + (f"   ≤ {goal:.2f}" if goal else ""))
    if options.check and missed:
        sys.exit("a goal was missed")


def take_turns(
    denoise: Callable[[], object], variants: dict[str, Callable[[], AbstractContextManager]], repeats: int
) -> dict[str, list[float]]:
    """Seconds of each repetition of each variant. Each leads in turn, as the first after a pause is the slowest."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for repetition in range(-1, repeats):  # the first one only warms up
        start = repetition % len(names)
        for name in names[start:] + names[:start]:
            began = perf_counter()
            with variants[name]():
                denoise()
            if repetition >= 0:
                seconds[name].append(perf_counter() - began)
    return seconds


def untrained(options: argparse.Namespace) -> tuple[nn.Module, Callable[[], object]]:
    """FLUX at its real depth, narrow, with random weights; and a plain denoising loop."""
    torch.manual_seed(0)
    heads, channels = options.width // 32, 16
    transformer = FluxTransformer2DModel(
        in_channels=channels, num_layers=19, num_single_layers=38, num_attention_heads=heads, attention_head_dim=32,
        joint_attention_dim=options.width, pooled_projection_dim=options.width, axes_dims_rope=(8, 12, 12),
    ).eval()  # fmt: skip
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    inputs = dict(
        encoder_hidden_states=torch.randn(options.batch, TEXT, options.width),
        pooled_projections=torch.randn(options.batch, options.width),
        img_ids=torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float(),
        txt_ids=torch.zeros(TEXT, 3),
    )
    noise = torch.randn(options.batch, SIDE * SIDE, channels)
    scheduler = FlowMatchEulerDiscreteScheduler()

    @torch.no_grad()
    def denoise() -> torch.Tensor:
        scheduler.set_timesteps(options.steps)
        latents = noise
        for t in scheduler.timesteps:
            timestep = (t / 1000).expand(options.batch)
            velocity = transformer(latents, timestep=timestep, return_dict=False, **inputs)[0]
            latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
        return latents

    return transformer, denoise


def trained(options: argparse.Namespace) -> tuple[nn.Module, Callable[[], object]]:
    """A model of the study, and a whole call of its pipeline: text encoders, denoising and decoding."""
    from painters_utils import call_settings, load_pipeline  # imports transformers: the default run need not wait

    pipe = load_pipeline(options.model)
    call = call_settings(options.model, num_inference_steps=options.steps)
    prompts = ["a red dog wearing a blue hat"] * options.batch

    def denoise() -> object:
        return pipe(prompts, generator=torch.Generator().manual_seed(0), **call)

    return pipe.transformer, denoise


if __name__ == "__main__":
    main()
