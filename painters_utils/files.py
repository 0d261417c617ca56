"""Files that are whole: written whole or not at all, and looked at before they are believed."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from safetensors import SafetensorError, safe_open

from .errors import InputError

# In the names of what is being written, and of notebooks up to the cell that failed.
PART, FAILED = ".part", ".failed"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; what lies there at the end takes its place, and after an error nothing does.

    Every writer has a path of its own, of the same kind (suffix), so that two of them are as good as the later one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{secrets.token_hex(4)}{PART}{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """Of a file's content; empty if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def check_weights(paths: Iterable[Path]) -> None:
    """`InputError` for a safetensors file that is no such file or cut short; reads the headers only."""
    for path in paths:
        try:
            with safe_open(path, "np"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"the weights {path} are damaged ({error}): check them out again or retrain") from error


def readable(path: Path) -> bool:
    """Whether a file that a notebook left (JSON, a notebook, a picture) can be read to its end."""
    try:
        if path.suffix in (".json", ".ipynb"):
            json.loads(path.read_bytes())
        else:
            with Image.open(path) as picture:
                picture.load()
    except (OSError, ValueError, SyntaxError):  # Pillow raises SyntaxError for some broken files
        return False
    return True
