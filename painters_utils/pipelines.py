"""Load a model by name and paint prompts with it: the same noise for the same prompt and seed, always."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image, ImageDraw
from safetensors import SafetensorError
from tqdm.auto import tqdm

from .catalog import ROOT, check_words, model_row, require_positive
from .errors import InputError

diffusers_logging.set_verbosity_error()


def load_pipeline(name: str, dtype: torch.dtype = torch.float32, device: str | None = None) -> DiffusionPipeline:
    """The model's stock diffusers pipeline, on the GPU if there is one. Reads safetensors only, never a model hub.

    Raises `InputError` if the name is unknown or the weights are missing or damaged.
    """
    folder = ROOT / model_row(name)["path"]
    if not (folder / "model_index.json").exists():
        raise InputError(f"no weights of {name!r} in {folder.relative_to(ROOT)}: train them with `make minis`")
    try:
        # What a pipeline was saved without (SD3's T5) must be named when it is loaded.
        parts = json.loads((folder / "model_index.json").read_text()).items()
        absent = {part: None for part, where in parts if where == [None, None]}
        pipe = DiffusionPipeline.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, **absent
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the weights of {name!r} are damaged ({reason}): check them out again or retrain") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def remember_texts(pipe: DiffusionPipeline) -> DiffusionPipeline:
    """Let a pipeline encode each list of prompts once; returns the pipeline.

    The same prompts are painted under every variant, and a text encoder such as T5 costs as much as several steps.
    """
    encode, known = pipe.encode_prompt, {}

    def encode_once(*args: object, **kwargs: object) -> object:
        key = repr((args, kwargs))
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


def noise_generator(prompt: str, seed: int) -> torch.Generator:
    """A CPU generator for one picture: its noise depends on the prompt and the seed and on nothing else."""
    digest = hashlib.sha256(f"{seed}/{prompt}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "big"))


def paint(
    pipe: DiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int], batch: int = 16, desc: str = "painting",
    **call: object,
) -> list[Picture]:  # fmt: skip
    """Paint every prompt with every seed, prompt after prompt; `call` goes to the pipeline (see `call_settings`).

    A picture is the same whatever the batch and the order of the prompts, up to rounding: matrix products of
    another shape add up in another order (differences of at most 2 of 255 grey levels, see the tests).
    """
    check_prompts(pipe, prompts)
    if not seeds:
        raise InputError("no seeds: give at least one, as in [0]")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"seed {seed!r} is not a whole number from 0 upwards")
    require_positive("batch", batch)
    jobs = [(prompt, seed) for prompt in prompts for seed in seeds]
    pictures = []
    with tqdm(total=len(jobs), desc=desc, unit="picture", leave=False, disable=len(jobs) <= batch) as progress:
        for start in range(0, len(jobs), batch):
            part = jobs[start : start + batch]
            generators = [noise_generator(prompt, seed) for prompt, seed in part]
            images = pipe(prompt=[prompt for prompt, _ in part], generator=generators, output_type="pt", **call).images
            pictures += [_picture(*job, image) for job, image in zip(part, images, strict=True)]
            progress.update(len(part))
    return pictures


def _picture(prompt: str, seed: int, image: torch.Tensor) -> Picture:
    if not image.isfinite().all():
        return Picture(prompt, seed, _not_a_number(image.shape[-1], image.shape[-2]), finite=False)
    pixels = (image.float().cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Picture(prompt, seed, Image.fromarray(pixels))


def _not_a_number(width: int, height: int) -> Image.Image:
    """What stands where there is no picture: nobody should take it for a black one."""
    sign = Image.new("RGB", (width, height), (228, 224, 220))
    draw = ImageDraw.Draw(sign)
    draw.line([(0, 0), (width, height)], fill=(200, 60, 50), width=max(1, width // 64))
    draw.line([(0, height), (width, 0)], fill=(200, 60, 50), width=max(1, width // 64))
    draw.text(
        (width / 2, height / 2), "not finite", fill=(60, 20, 20), anchor="mm", stroke_width=2, stroke_fill="white"
    )
    return sign


def check_prompts(pipe: DiffusionPipeline, prompts: Sequence[str]) -> None:
    """Refuse what a model cannot read: an empty prompt; for a mini also unknown words and too long a prompt."""
    tokenizer = getattr(pipe, "tokenizer_2", None) or pipe.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    check_words(prompts, backend)


def describe_parts(pipe: DiffusionPipeline) -> pd.DataFrame:
    """One row per trained part of a pipeline: its role, class and number of parameters."""
    rows = [
        (role.replace("_", " "), type(part).__name__, sum(p.numel() for p in part.parameters()))
        for role, part in pipe.components.items()
        if isinstance(part, torch.nn.Module)
    ]
    return pd.DataFrame(rows, columns=["part", "class", "parameters"])
