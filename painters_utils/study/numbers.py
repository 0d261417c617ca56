"""What a notebook leaves for others: numbers as JSON, and its pictures in strips. Files appear whole or not at all.

A relative `out` is taken from the repository's root, so that JupyterLab and papermill find the same files.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from painters_utils.errors import InputError
from painters_utils.files import file_digest, write_whole
from painters_utils.models.model import Model
from painters_utils.paths import DATA, ROOT

STRIP = 3  # pictures to a row: large enough on a phone
QUALITY = 30  # of WebP: the page holds hundreds, and each is small
STRIP_SIDE = 192  # px: larger pictures are shrunk, the page holds hundreds


def save_numbers(out: str | Path, notebook: str, numbers: dict) -> None:
    """Write what a notebook found to `{out}/{notebook}.json`; the page's prose and other notebooks read it there."""
    with write_whole(ROOT / out / f"{notebook}.json") as unfinished:
        unfinished.write_text(json.dumps(numbers, indent=1, ensure_ascii=False))


def read_numbers(out: str | Path, notebook: str) -> dict:
    """Read what `save_numbers` wrote; `InputError` if that notebook has not run here yet or the file is damaged."""
    path = ROOT / out / f"{notebook}.json"
    if not path.exists():
        raise InputError(f"no numbers of {notebook} in {out}: run that notebook first, with the same `out`")
    return read_json(path, f"delete it and run {notebook} again")


def read_json(path: Path, remedy: str) -> dict:
    """A file's values; `InputError` with the remedy if it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): {remedy}") from error


def read_search(search: str, model: Model) -> tuple[dict | None, str]:
    """What a search (`python -m workflow.{search}`) found of a model, from data/{search}/, or None and why there is
    nothing of these weights; `InputError` if the file is damaged."""
    path = DATA / search / f"{model.name}.json"
    if not path.exists():
        return None, f"no search of {model.title} has run"
    found = read_json(path, f"check it out again, or run `python -m workflow.{search} {model.name}`")
    return (found, "") if found["weights"] == model.weights else (None, "it was found with earlier weights")


def searched_alone(model: Model, pictures: int) -> dict | None:
    """What the search for layers' worth has scored without each layer of this model, as it is called and loaded; None
    where that is nothing, or less than so many `pictures` a layer."""
    found, _ = read_search("worth", model)
    fits = found and found.get("scored") == as_scored(model) and found["pictures a layer"] >= pictures
    return found if fits else None


def as_scored(model: Model) -> dict[str, Any]:
    """What a mini's scores depend on beside its weights, the prompts and our code."""
    how, checker = model.loading, DATA / "checker" / "checker.safetensors"
    return {"call": dict(model.call), "settings": model.settings, "dtype": how.dtype, "quantize": how.quantize,
            "checker": file_digest(checker)}  # fmt: skip


def as_numbers(table: pd.DataFrame) -> list[dict]:
    """A table for `save_numbers`: a dictionary for each row, None where there is no number."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def save_strips(
    out: str | Path, notebook: str, strips: Mapping[str, Sequence[Image.Image]],
    kept: Mapping[str, Sequence[float]] | None = None,
) -> None:  # fmt: skip
    """Pictures in rows of STRIP, one file for each name, in `{out}/strips/{notebook}/`; the page compares them.

    `kept` says what each picture keeps of its score, for the names that have one.
    """
    folder = ROOT / out / "strips" / notebook
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    about = {}
    for number, (name, pictures) in enumerate(strips.items()):
        shrink = min(1, STRIP_SIDE / max(pictures[0].size))
        width, height = (round(side * shrink) for side in pictures[0].size)
        columns, rows = min(STRIP, len(pictures)), -(-len(pictures) // STRIP)
        strip = Image.new("RGB", (width * columns, height * rows), "white")
        for i, picture in enumerate(pictures):
            small = picture.resize((width, height), Image.Resampling.LANCZOS)
            strip.paste(small, (i % STRIP * width, i // STRIP * height))
        about[name] = {
            "file": f"{number:02}.webp", "width": strip.width, "height": strip.height, "columns": columns,
            "kept": [round(value, 3) for value in (kept or {}).get(name, ())],
        }  # fmt: skip
        strip.save(folder / about[name]["file"], quality=QUALITY, method=6)
    (folder / "names.json").write_text(json.dumps(about, ensure_ascii=False))
