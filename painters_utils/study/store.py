"""Keep what was painted and measured, each thing once, in a file named after everything that it depends on."""

import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from PIL import Image

from painters_utils.files import write_whole
from painters_utils.models.painting import Picture

# What numpy and json raise on a file that is missing, cut short or no archive at all.
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error)


class Store:
    """Pictures and tables in `folder`, each under a key of plain values; nothing in a file is executed.

    What does not lie under its key, or is damaged, is computed and written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pictures(self, key: object, compute: Callable[[], list[Picture]]) -> list[Picture]:
        """Pictures of one size, with their prompts and seeds and whether they are finite."""
        try:
            with np.load(self.path(key), allow_pickle=False) as file:
                rows = zip(json.loads(str(file["about"])), file["pixels"], strict=True)
                return [Picture(prompt, seed, Image.fromarray(image), finite) for (prompt, seed, finite), image in rows]
        except DAMAGED:
            pictures = compute()
        about = json.dumps([[picture.prompt, picture.seed, picture.finite] for picture in pictures])
        self.write(key, pixels=np.stack([np.asarray(picture.image) for picture in pictures]), about=about)
        return pictures

    def table(self, key: object, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """A table of numbers and text."""
        try:
            with np.load(self.path(key), allow_pickle=False) as file:
                return pd.DataFrame(json.loads(str(file["columns"])))
        except DAMAGED:
            columns = {str(name): values.tolist() for name, values in compute().items()}
        self.write(key, columns=json.dumps(columns))
        return pd.DataFrame(columns)

    def write(self, key: object, **arrays: object) -> None:
        """One .npz of plain numbers and text; it appears whole or not at all."""
        with write_whole(self.path(key)) as unfinished, open(unfinished, "wb") as file:
            np.savez_compressed(file, **arrays)

    def path(self, key: object) -> Path:
        """Where a key's file lies, there or not."""
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        return self.folder / f"{name}.npz"
