"""A model's activations, recorded once and read from disk afterwards; which stream of them carries the picture."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import numpy as np

from painters_utils.engine.measures import MEASURES
from painters_utils.engine.recorder import record_activations
from painters_utils.engine.recording import AVERAGES, Recording
from painters_utils.files import file_digest, folder_digest, write_whole
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.painting import paint
from painters_utils.paths import CODE, DATA, ROOT

from .settings import shown_prompts
from .store import DAMAGED
from .variants import matched_bands

SEEDS = [0, 1, 2]  # pictures of each prompt
MOST_TOKENS = 512  # that are compared: all of a mini's, an eighth of FLUX's at one megapixel, whose memory they are


def load_or_record(model: Model, prompts: Sequence[str] | None, out: str | Path) -> dict[str, Recording]:
    """A recording for each measure, from `{out}/recordings/` or else recorded there.

    All prompts of one seed are in flight together, so that "averaged over inputs" means over all prompts. "cosine"
    holds all four averages, the other measures only "after". Files that were made with other settings, or are damaged,
    are recorded anew.
    """
    prompts = shown_prompts(model, prompts)
    folder = ROOT / out / "recordings"
    paths = {measure: folder / f"{measure.replace(' ', '-')}.npz" for measure in MEASURES}
    how = model.loading
    about = {
        "weights": model.weights, "settings": model.settings, "call": dict(model.call), "prompts": prompts,
        "seeds": SEEDS, "dtype": how.dtype, "quantize": how.quantize, "code": code_digests(),
    }  # fmt: skip
    try:
        if json.loads((folder / "about.json").read_text()) == about:
            return {measure: Recording.load(path) for measure, path in paths.items()}
    except DAMAGED:
        pass  # not there, half-written or damaged: what is on disk is no result
    recordings = record(model, prompts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").unlink(missing_ok=True)
    for measure, recording in recordings.items():
        recording.save(paths[measure])
    with write_whole(folder / "about.json") as unfinished:
        unfinished.write_text(json.dumps(about, ensure_ascii=False))
    return recordings


def code_digests() -> list[str]:
    """What pictures and recordings depend on beside the model: digests of our code, and the libraries' versions."""
    folders = ("painters_utils/engine", "painters_utils/models", "originals")
    return [*(folder_digest(CODE / folder, "*.py") for folder in folders), *map(version, ("torch", "diffusers"))]


def looks_digests() -> list[str]:
    """Digests of what scores depend on beside the pictures and the weights of who looks at them."""
    places = {CODE / "painters_utils/measure": "*.py", CODE / "miniworld": "*.py", DATA / "sprites": "*.webp"}
    own = [file_digest(CODE / "painters_utils/study" / name) for name in ("studio.py", "scores.py", "velocity.py")]
    return [*(folder_digest(folder, pattern) for folder, pattern in places.items()), *own]


def recorded_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompt of each recorded picture, in the order of a recording's `per_picture`."""
    return [prompt for _ in SEEDS for prompt in prompts]


def record(model: Model, prompts: Sequence[str]) -> dict[str, Recording]:
    """Paint the prompts from each of SEEDS while all measures are recorded at once."""
    pipe = load_pipeline(model)
    with ExitStack() as open_now:
        recordings = {}
        for measure in MEASURES:
            averages = AVERAGES if measure == "cosine" else ("after",)
            recorder = record_activations(
                pipe.transformer, guided=None, averages=averages, measure=measure, stacks=list(model.depths),
                most_tokens=MOST_TOKENS,
            )  # fmt: skip
            recordings[measure] = open_now.enter_context(recorder)
        for seed in SEEDS:
            paint(pipe, prompts, [seed], batch=len(prompts), desc=f"recording seed {seed}", **model.call)
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
    """The similarity matrix of each stack, in the stream that carries the picture."""
    return {stack: recording.similarity(stream, stack=stack) for stack, stream in streams_by_stack(recording).items()}


def matched_bands_of(recording: Recording) -> dict[str, dict[str, list[int]]]:
    """The matched bands of every stack."""
    return {stack: matched_bands(matrix) for stack, matrix in similarity_by_stack(recording).items()}


def stacks_apart(recording: Recording) -> set[str]:
    """The stacks whose blocks return text and image apart, so that a change can reach one of them alone."""
    return {stack for stack, _ in recording.layers("text")} if "text" in recording.streams else set()
