"""Files are looked at before they are believed."""

import json
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
