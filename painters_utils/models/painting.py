"""Paint prompts with a pipeline: the same noise for the same prompt and seed, always."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from PIL import Image, ImageDraw
from tqdm.auto import tqdm

from originals.machine import too_large
from originals.skeleton import pipeline_kwargs
from originals.words import check_prompts
from painters_utils.engine.noise import noise_generator
from painters_utils.errors import InputError, check_seeds, require_positive, unknown

from .quick import is_quick


def remember_texts(pipe: DiffusionPipeline) -> DiffusionPipeline:
    """Let a pipeline encode each list of prompts once; returns the pipeline.

    The same prompts are painted under every variant, and a text encoder such as T5 costs as much as several steps.
    """
    if not hasattr(pipe, "encode_prompt"):
        return pipe
    encode, known = pipe.encode_prompt, {}

    def encode_once(*args: object, **kwargs: object) -> object:
        key = repr((args, kwargs))
        if any(isinstance(value, torch.Tensor) for value in (*args, *kwargs.values())):
            return encode(*args, **kwargs)  # printed, two of them can look alike
        if key not in known:
            known[key] = encode(*args, **kwargs)
        return known[key]

    pipe.encode_prompt = encode_once
    return pipe


@dataclass(frozen=True)
class Picture:
    """One painted picture; `finite` is False if the model returned NaN or infinity, `image` then says so."""

    prompt: str
    seed: int
    image: Image.Image
    finite: bool = True


def paint(
    pipe: DiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int], batch: int = 16, desc: str = "painting",
    **call: object,
) -> list[Picture]:  # fmt: skip
    """Paint every prompt with every seed, prompt after prompt; `call` goes to the pipeline (see `Model.call`).

    A picture is the same whatever the batch and the order of the prompts, up to rounding: matrix products of
    another shape add up in another order (differences of at most 2 of 255 grey levels, see the tests).
    """
    check_readable(pipe, prompts)
    check_call(pipe, call)
    seeds = check_seeds(seeds)
    require_positive("batch", batch)
    jobs = [(prompt, seed) for prompt in prompts for seed in seeds]
    pictures = []
    lean = is_quick(pipe)  # tensors whose changes nobody counts: 3 % less time
    with tqdm(total=len(jobs), desc=desc, unit="picture", leave=False, disable=len(jobs) <= batch) as progress:
        for start in range(0, len(jobs), batch):
            part = jobs[start : start + batch]
            generators = [noise_generator(prompt, seed) for prompt, seed in part]
            given = pipeline_kwargs([prompt for prompt, _ in part], call)
            try:
                with torch.inference_mode(lean):
                    output = pipe(**given, generator=generators, output_type="pt")
            except torch.OutOfMemoryError as error:
                raise too_large(type(pipe).__name__) from error
            if not isinstance(images := getattr(output, "images", None), torch.Tensor) or images.ndim != 4:
                raise InputError(f"{type(pipe).__name__} returned no pictures but {', '.join(output)}: choose another")
            pictures += [_picture(*job, image) for job, image in zip(part, images, strict=True)]
            progress.update(len(part))
    return pictures


def check_call(pipe: DiffusionPipeline, call: Mapping[str, Any]) -> None:
    """Refuse settings that a pipeline does not know, with those that it does, and numbers that are none."""
    for key in ("num_inference_steps", "height", "width"):
        if call.get(key) is not None:
            require_positive(key, call[key])
    known = inspect.signature(type(pipe).__call__).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for key in call:
        if key not in known:
            raise unknown(f"setting of {type(pipe).__name__}", key, [name for name in known if name != "self"])


def _picture(prompt: str, seed: int, image: torch.Tensor) -> Picture:
    if not image.isfinite().all():
        return Picture(prompt, seed, _not_a_number(image.shape[-1], image.shape[-2]), finite=False)
    pixels = (image.float().cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Picture(prompt, seed, Image.fromarray(pixels))


def _not_a_number(width: int, height: int) -> Image.Image:
    """What stands where there is no picture: nobody should take it for a black one."""
    sign = Image.new("RGB", (width, height), (228, 224, 220))
    draw = ImageDraw.Draw(sign)
    for corners in ((0, 0, width, height), (0, height, width, 0)):
        draw.line(corners, fill=(200, 60, 50), width=max(1, width // 64))
    draw.text((width / 2, height / 2), "not finite", "black", anchor="mm", stroke_width=2, stroke_fill="white")
    return sign


def check_readable(pipe: DiffusionPipeline, prompts: Sequence[str]) -> None:
    """`words.check_prompts` for a loaded pipeline."""
    tokenizer = getattr(pipe, "tokenizer_2", None) or getattr(pipe, "tokenizer", None)
    check_prompts(prompts, getattr(tokenizer, "backend_tokenizer", None), getattr(tokenizer, "model_max_length", 0))
