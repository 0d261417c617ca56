"""Files are looked at before they are believed, and folders before they are written to."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from safetensors import SafetensorError, safe_open

from painters_utils.errors import InputError

FAILED = ".failed"  # in the names of notebooks up to the cell that failed


def check_weights(paths: Iterable[Path]) -> None:
    """`InputError` for a safetensors file that is no such file or cut short; reads the headers only."""
    for path in paths:
        try:
            with safe_open(path, "np"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"the weights {path} are damaged ({error}): check them out again or retrain") from error


def is_readable(path: Path) -> bool:
    """Whether a file that a notebook left (JSON, a notebook, a picture) can be read to its end."""
    try:
        if path.suffix in (".json", ".ipynb"):
            json.loads(path.read_bytes())
        elif path.suffix == ".svg":
            return path.read_text().rstrip().endswith("</svg>")
        else:
            with Image.open(path) as picture:
                picture.load()
    except (OSError, ValueError, SyntaxError):  # Pillow raises SyntaxError for some broken files
        return False
    return True


def require_own(folder: Path, mark: str) -> None:
    """Refuse a folder of other things, without the file that marks a study's: a run deletes what earlier runs made."""
    made_first = {"report", "figures", "run.lock", mark}
    if folder.is_dir() and not (folder / mark).exists() and {path.name for path in folder.iterdir()} - made_first:
        raise InputError(f"{folder} holds other files: choose a folder that is new, empty or of an earlier run")


def require_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder} ({error.strerror}): choose another with OUT=") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write to the folder {folder}: change its permissions or choose another with OUT=")
