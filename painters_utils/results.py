"""What a notebook leaves for others: numbers as JSON, recordings and sentences. Files appear whole or not at all.

A relative `out` is taken from the repository's root, so that JupyterLab and papermill find the same files.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from IPython.display import Markdown, display
from PIL import Image

from .catalog import ROOT
from .errors import InputError
from .pipelines import Picture, load_pipeline, paint
from .recorder import Recording, record_activations


def say(text: str) -> None:
    """Show a sentence as prose, for what is only known once the notebook has run."""
    display(Markdown(text))


def save_numbers(out: str | Path, notebook: str, numbers: dict) -> None:
    """Write what a notebook found to `{out}/{notebook}.json`; the page's prose and other notebooks read it there."""
    path = ROOT / out / f"{notebook}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(numbers, indent=1, ensure_ascii=False))
    os.replace(unfinished, path)


def read_numbers(out: str | Path, notebook: str) -> dict:
    """Read what `save_numbers` wrote; `InputError` if that notebook has not run here yet or the file is damaged."""
    path = ROOT / out / f"{notebook}.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"no numbers of {notebook} in {out}: run that notebook first, with the same `out`") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is damaged ({error}): delete it and run {notebook} again") from error


def recorded(model: str, prompts: Sequence[str], seeds: Sequence[int], out: str | Path, **call: object) -> Recording:
    """The model's activations on these pictures, recorded once and read from `{out}/similarity.npz` afterwards.

    All prompts of one seed are in flight together, so that "averaged over inputs" means over all prompts.
    A file that was made with other settings, or is damaged, is recorded anew.
    """
    path, note = ROOT / out / "similarity.npz", ROOT / out / "similarity.json"
    asked = json.loads(json.dumps({"model": model, "prompts": list(prompts), "seeds": list(seeds), **call}))
    if path.exists() and note.exists():
        try:
            if json.loads(note.read_text()) == asked:
                return Recording.load(path)
        except (ValueError, OSError, KeyError):
            pass  # half-written or damaged: what is on disk is no result
    pipe = load_pipeline(model)
    # FLUX reads its guidance scale as a number; SD3 and AuraFlow join an unconditional half to the batch.
    guided = call.get("guidance_scale", 0) > 1 and "guidance_embeds" not in pipe.transformer.config
    with record_activations(pipe.transformer, guided=guided) as recording:
        for seed in seeds:
            paint(pipe, prompts, [seed], batch=len(prompts), desc=f"recording seed {seed}", **call)
    path.parent.mkdir(parents=True, exist_ok=True)
    note.unlink(missing_ok=True)
    recording.save(path)
    save_numbers(out, "similarity", asked)
    return recording


def similarity_by_stack(recording: Recording) -> dict[str, np.ndarray]:
    """The similarity matrix of each stack, in the stream that carries the picture: image, or joint where it is one."""
    matrices = {}
    for stream in ("image", "joint"):
        if stream in recording.streams:
            for stack in dict(recording.layers(stream)):
                matrices.setdefault(stack, recording.similarity(stream, stack=stack))
    return matrices


def save_strips(out: str | Path, notebook: str, strips: Mapping[str, Sequence[Picture]]) -> None:
    """Pictures side by side, a strip for each name, as `{out}/strips/{notebook}/…webp`; the page compares them."""
    folder = ROOT / out / "strips" / notebook
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = {}
    for number, (name, pictures) in enumerate(strips.items()):
        width, height = pictures[0].image.size
        strip = Image.new("RGB", (width * len(pictures), height))
        for column, picture in enumerate(pictures):
            strip.paste(picture.image, (column * width, 0))
        names[name] = f"{number:02}.webp"
        strip.save(folder / names[name], quality=80, method=6)
    (folder / "names.json").write_text(json.dumps(names, ensure_ascii=False))
