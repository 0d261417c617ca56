"""Pictures of the minis that were looked at by eye before the checker read them: does it see what people see?

They lie on one sheet, data/checker/labelled.webp; what was seen in them is in labels.json beside it, in the words of
the minis' prompts. `python -m miniworld.training.labels` paints a sheet, notebooks/17_label is where one looks at it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from painters_utils.errors import InputError
from painters_utils.files import write_whole
from painters_utils.paths import DATA

from .grammar import imagine
from .pictures import save_grid
from .render import SIDE
from .scenes import Scene
from .scores import check_facts

FOLDER = DATA / "checker"
COLUMNS = 15  # of the sheet
NOTHING = "nothing"


@dataclass
class Label:
    """What was seen in a picture, "a red dog left of a cat on a blue background"; None: nobody has looked yet."""

    model: str
    order: str  # how the layers ran: "untouched" or in words
    prompt: str
    seed: int
    seen: str | None = None


def scene_seen(words: str) -> Scene:
    """What a label says, as a scene; "nothing on a white background" is one without things.

    `InputError` for words outside the minis' grammar.
    """
    first, _, rest = words.strip().partition(" ")
    if first.lower() != NOTHING:
        return imagine(words)
    wall = imagine(f"a dog {rest}")
    return Scene((), wall.background, wall.pattern)


def load_labels(folder: Path = FOLDER) -> tuple[list[Label], list[Image.Image]]:
    """The labels and their pictures; `InputError` if there is no sheet."""
    try:
        labels = [Label(**row) for row in json.loads((folder / "labels.json").read_text())]
        sheet = Image.open(folder / "labelled.webp").convert("RGB")
    except OSError as error:
        raise InputError(f"no labels in {folder}: paint a sheet with `python -m miniworld.training.labels`") from error
    corners = [(i % COLUMNS * SIDE, i // COLUMNS * SIDE) for i in range(len(labels))]
    return labels, [sheet.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners]


def save_labels(labels: Sequence[Label], folder: Path = FOLDER) -> None:
    """Write the labels, one a line."""
    rows = ",\n".join(json.dumps(asdict(label)) for label in labels)
    with write_whole(folder / "labels.json") as unfinished:
        unfinished.write_text(f"[\n{rows}\n]\n")


def save_sheet(labels: Sequence[Label], pictures: Sequence[Image.Image], folder: Path = FOLDER) -> None:
    """Write a new sheet with its labels."""
    save_grid(pictures, folder / "labelled.webp", COLUMNS, gap=0, quality=95, method=6)
    save_labels(labels, folder)


def compare(labels: Sequence[Label], found: Sequence[Scene]) -> pd.DataFrame:
    """A row for each fact that a labelled picture's prompt states: is it there, to the eye and to the checker?

    Columns: picture (its number), model, order, prompt, fact, eye, checker. "everything right" is the strict score.
    """
    rows = []
    for i, (label, scene) in enumerate(zip(labels, found, strict=True)):
        if label.seen is None:
            continue
        eye, checker = check_facts(label.prompt, scene_seen(label.seen)), check_facts(label.prompt, scene)
        judged = ([*check.facts, ("everything right", check.strict)] for check in (eye, checker))
        for (fact, seen), (_, read) in zip(*judged, strict=True):
            rows.append((i, label.model, label.order, label.prompt, fact, seen, read))
    return pd.DataFrame(rows, columns=["picture", "model", "order", "prompt", "fact", "eye", "checker"])
