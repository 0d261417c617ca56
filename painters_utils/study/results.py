"""What a notebook leaves for others: numbers as JSON, recordings and sentences. Files appear whole or not at all.

A relative `out` is taken from the repository's root, so that JupyterLab and papermill find the same files.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from html import escape
from pathlib import Path

import numpy as np
from IPython.display import Markdown, display
from PIL import Image

from painters_utils.models.catalog import ROOT, fingerprint, loading, model_depths
from painters_utils.errors import InputError
from painters_utils.files import whole
from painters_utils.models.pipelines import Picture, load_pipeline, paint
from painters_utils.engine.recorder import AVERAGES, MEASURES, Recording, record_activations
from .store import DAMAGED

SEEDS = [0, 1, 2]  # of the pictures that are recorded
MOST_TOKENS = 512  # that are compared: all of a mini's, an eighth of FLUX's at one megapixel, whose memory they are


def say(text: str) -> None:
    """Show a sentence as prose, for what is only known once the notebook has run: Markdown without HTML and links.

    A model's name or a prompt may be in it, and neither may run a script on the page.
    """
    display(Markdown(escape(text, quote=False).replace("[", "&#91;")))


def save_numbers(out: str | Path, notebook: str, numbers: dict) -> None:
    """Write what a notebook found to `{out}/{notebook}.json`; the page's prose and other notebooks read it there."""
    with whole(ROOT / out / f"{notebook}.json") as unfinished:
        unfinished.write_text(json.dumps(numbers, indent=1, ensure_ascii=False))


def read_numbers(out: str | Path, notebook: str) -> dict:
    """Read what `save_numbers` wrote; `InputError` if that notebook has not run here yet or the file is damaged."""
    path = ROOT / out / f"{notebook}.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"no numbers of {notebook} in {out}: run that notebook first, with the same `out`") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is damaged ({error}): delete it and run {notebook} again") from error


def recorded(model: str, prompts: Sequence[str], out: str | Path, **call: object) -> dict[str, Recording]:
    """The model's activations, recorded once and read from `{out}/recordings/` afterwards: a recording by measure.

    Three pictures of each prompt (SEEDS). All prompts of one seed are in flight together, so that "averaged over
    inputs" means over all prompts. "cosine" holds all four averages, the other measures only "after". Files that were
    made with other settings, or are damaged, are recorded anew.
    """
    folder, note = ROOT / out / "recordings", ROOT / out / "recordings/about.json"
    paths = {measure: folder / f"{measure.replace(' ', '-')}.npz" for measure in MEASURES}
    asked = {"model": model, "weights": fingerprint(model), "prompts": list(prompts), "seeds": SEEDS, **call}
    asked |= {key: value for key in ("dtype", "quantize") if (value := loading(model)[key])}
    asked = json.loads(json.dumps(asked))
    try:
        if json.loads(note.read_text()) == asked:
            return {measure: Recording.load(path) for measure, path in paths.items()}
    except DAMAGED:
        pass  # not there, half-written or damaged: what is on disk is no result
    pipe = load_pipeline(model)
    options = dict(guided=None, stacks=list(model_depths(model)), most_tokens=MOST_TOKENS)
    with ExitStack() as open_now:
        recordings = {
            measure: open_now.enter_context(
                record_activations(
                    pipe.transformer, averages=AVERAGES if measure == "cosine" else ("after",), measure=measure,
                    **options,
                )  # fmt: skip
            )
            for measure in MEASURES
        }
        for seed in SEEDS:
            paint(pipe, prompts, [seed], batch=len(prompts), desc=f"recording seed {seed}", **call)
    folder.mkdir(parents=True, exist_ok=True)
    note.unlink(missing_ok=True)
    for measure, recording in recordings.items():
        recording.save(paths[measure])
    save_numbers(Path(out) / "recordings", "about", asked)
    return recordings


def streams_by_stack(recording: Recording) -> dict[str, str]:
    """The stream of each stack that carries the picture: image, or joint where it is one with the text.

    A stack that shares no stream with others has one of its own name.
    """
    streams: dict[str, str] = {}
    for stream in sorted(recording.streams, key=lambda name: {"image": 0, "text": 2}.get(name, 1)):
        for stack in dict(recording.layers(stream)):
            streams.setdefault(stack, stream)
    return streams


def similarity_by_stack(recording: Recording) -> dict[str, np.ndarray]:
    """The similarity matrix of each stack, in the stream that carries the picture: image, or joint where it is one."""
    return {stack: recording.similarity(stream, stack=stack) for stack, stream in streams_by_stack(recording).items()}


STRIP = 3  # pictures to a row: large enough on a phone
STRIP_SIDE = 192  # px: larger pictures are shrunk, the page holds hundreds


def save_strips(out: str | Path, notebook: str, strips: Mapping[str, Sequence[Picture]]) -> None:
    """Pictures in rows of STRIP, one file for each name, in `{out}/strips/{notebook}/`; the page compares them."""
    folder = ROOT / out / "strips" / notebook
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = {}
    for number, (name, pictures) in enumerate(strips.items()):
        shrink = min(1, STRIP_SIDE / max(pictures[0].image.size))
        width, height = (round(side * shrink) for side in pictures[0].image.size)
        columns, rows = min(STRIP, len(pictures)), -(-len(pictures) // STRIP)
        strip = Image.new("RGB", (width * columns, height * rows), "white")
        for i, picture in enumerate(pictures):
            strip.paste(picture.image.resize((width, height), Image.LANCZOS), (i % STRIP * width, i // STRIP * height))
        names[name] = f"{number:02}.webp"
        strip.save(folder / names[name], quality=80, method=6)
    (folder / "names.json").write_text(json.dumps(names, ensure_ascii=False))
