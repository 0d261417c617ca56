"""One error for bad input: it says what was wrong and what to do."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class InputError(ValueError):
    """Raised before any expensive work starts. The message is one line: the bad value, then the remedy."""


def unknown(kind: str, value: object, known: Iterable[str]) -> InputError:
    """The error for a name nobody knows, with the nearest known names first."""
    known = [str(name) for name in known]
    near = get_close_matches(str(value), known, n=3) or known
    return InputError(f"unknown {kind} {value!r}: choose one of {', '.join(near)}")


def require_positive(name: str, value: object) -> None:
    """Refuse anything but a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}: give a whole number above 0")


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds, if they are a list of whole numbers from 0 upwards, each once; `InputError` otherwise."""
    if isinstance(seeds, str) or not isinstance(seeds, Sequence) or not seeds:
        raise InputError(f"seeds is {seeds!r}: give a list of one at least, as in [0]")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"seed {seed!r} is not a whole number from 0 upwards")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds {list(seeds)} name one twice: its pictures would be counted twice")
    return list(seeds)
