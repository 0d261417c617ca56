"""A search: what takes too long for a notebook, computed once by a command of its own and kept in data/.

`drift`, `fewer`, `loras`, `weaker` and `worth` are searches; a notebook reads what each has left
(`painters_utils/study/numbers.py`).
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from miniworld.checker import WEIGHTS
from painters_utils.errors import InputError, require_positive
from painters_utils.files import file_digest, write_whole
from painters_utils.models.model import Model
from painters_utils.paths import DATA
from painters_utils.study.recordings import code_digests, looks_digests


def command(
    search: Callable[..., Mapping | Iterable[Mapping]], folder: str, about: str | None,
    arguments: Sequence[str] | None, **options: tuple[int, str],
) -> None:  # fmt: skip
    """A search of the models that the command line names, each into data/<folder>/<model>.json.

    What is found is written at the end, or stage after stage if the search is a generator. `options` of the search,
    each with its usual number and what it means, can be given on the command line too.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="minis of data/models.yaml")
    for option, (usual, what) in options.items():
        parser.add_argument(f"--{option}", type=int, default=usual, help=f"{what}, {usual} if not given")
    given = vars(parser.parse_args(arguments))
    for name in given.pop("models"):
        try:
            for option, number in given.items():
                require_positive(option, number)
            found = search(name, **given)
            for stage in [found] if isinstance(found, Mapping) else found:
                with write_whole(DATA / folder / f"{name}.json") as unfinished:
                    unfinished.write_text(json.dumps(rounded(stage), ensure_ascii=False, separators=(",", ":")) + "\n")
        except InputError as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit("stopped")


def made_by(model: Model) -> list[Any]:
    """What a mini's pictures and scores depend on beside how it is run: its weights and call, the checker's, the code.

    Part of the key under which a search keeps what it has computed, so that a stopped one goes on.
    """
    return [model.weights, model.settings, dict(model.call), *code_digests(), file_digest(WEIGHTS), *looks_digests()]


def rounded(value: Any) -> Any:
    """A tree of plain values with four digits of each number; None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.4g}") if isfinite(value) else None
    return value
