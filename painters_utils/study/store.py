"""Keep what was painted and measured, each thing once, in a file named after everything that it depends on."""

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from PIL import Image

from painters_utils.files import whole
from painters_utils.models.pipelines import Picture

# What numpy and json raise on a file that is missing, cut short or no archive at all.
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error)
Kept = tuple[list[Picture], pd.DataFrame]


class Store:
    """Pictures and tables in `folder`, each under a key of plain values; nothing in a file is executed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: object, compute: Callable[[], Kept]) -> Kept:
        """What lies under `key`, computed and written if it is not there or damaged: (pictures, table)."""
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        path = self.folder / f"{name}.npz"
        try:
            return read(path)
        except DAMAGED:
            pictures, table = compute()
            write(path, pictures, table)
            return pictures, table


def write(path: Path, pictures: Sequence[Picture], table: pd.DataFrame) -> None:
    """One .npz of plain numbers and text; it appears whole or not at all."""
    about = {
        "pictures": [[p.prompt, p.seed, p.finite] for p in pictures],
        "columns": {str(name): table[name].tolist() for name in table},
    }
    pixels = np.stack([np.asarray(p.image) for p in pictures]) if pictures else np.zeros(0, np.uint8)
    with whole(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(file, pixels=pixels, about=json.dumps(about))


def read(path: Path) -> Kept:
    """What `write` wrote; one of DAMAGED if it is missing or damaged."""
    with np.load(path, allow_pickle=False) as file:
        about, pixels = json.loads(str(file["about"])), file["pixels"]
    pictures = [
        Picture(prompt, seed, Image.fromarray(image), finite)
        for (prompt, seed, finite), image in zip(about["pictures"], pixels, strict=True)
    ]
    return pictures, pd.DataFrame(about["columns"])
