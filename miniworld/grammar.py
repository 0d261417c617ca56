"""Read a prompt of the minis' world back into what it asks for, and imagine that; undoes `scenes.caption`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from painters_utils.errors import InputError

from .scenes import (
    BACKGROUNDS,
    COLOURS,
    NUMBERS,
    OBJECTS,
    PAIRS,
    PATTERNS,
    RELATIONS,
    SIZES,
    SLOTS,
    Scene,
    Thing,
    plural,
)


@dataclass(frozen=True)
class Wish:
    """One thing that a prompt asks for; None means: not said."""

    kind: str
    colour: str | None = None
    hat: str | None = None
    sunglasses: str | None = None


@dataclass(frozen=True)
class Request:
    """A prompt in parts. `counted` is True for 'three red apples': the number is then exact, not a minimum."""

    wishes: tuple[Wish, ...]
    background: str
    pattern: str = "plain"
    relation: str | None = None
    counted: bool = False


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))  # longest first


_COLOUR = _any(COLOURS)
_NOUN = re.compile(
    rf"an? (?:(?P<colour>{_COLOUR}) )?(?P<kind>{_any(OBJECTS)})\b"
    rf"(?: wearing (?:an? (?P<hat>{_COLOUR}) hat(?: and (?P<both>{_COLOUR}) sunglasses)?"
    rf"|(?P<sunglasses>{_COLOUR}) sunglasses))?"
)
_SINGULAR = {plural(kind): kind for kind in OBJECTS}
_COUNT = re.compile(
    rf"(?P<number>{_any(NUMBERS.values())}) (?:(?P<colour>{_COLOUR}) )?(?P<kind>{_any(_SINGULAR)})(?= on )"
)
_JOIN = re.compile(rf", | and | (?P<relation>{_any(RELATIONS)}) ")
_WALL = re.compile(rf" on a (?:(?P<pattern>{_any(p for p in PATTERNS if p != 'plain')}) )?"
                   rf"(?P<background>{_any(BACKGROUNDS)}) background")  # fmt: skip


def parse(prompt: str) -> Request:
    """What the prompt asks for. An empty prompt or one outside the grammar of `scenes.caption` is an `InputError`."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"prompt {prompt!r} is empty or no text: write what to paint")
    text = " ".join(prompt.lower().replace(" ,", ",").split())
    count = _COUNT.match(text)
    relation = None
    if count:
        number = {word: n for n, word in NUMBERS.items()}[count["number"]]
        wishes, at = [Wish(_SINGULAR[count["kind"]], count["colour"])] * number, count.end()
    else:
        wishes, at = [], 0
        while True:
            noun = _NOUN.match(text, at)
            if not noun:
                raise _outside(prompt, text, at, "an object such as 'a red dog wearing a blue hat'")
            wishes.append(Wish(noun["kind"], noun["colour"], noun["hat"], noun["both"] or noun["sunglasses"]))
            at = noun.end()
            join = _JOIN.match(text, at)
            if not join:
                break
            relation = join["relation"] or relation
            at = join.end()
    wall = _WALL.fullmatch(text, at)
    if not wall:
        raise _outside(prompt, text, at, "' on a striped gray background' or another background, and then the end")
    if relation and len(wishes) != 2:
        raise InputError(f"prompt {prompt!r} places {len(wishes)} things by {relation!r}: name exactly two")
    return Request(tuple(wishes), wall["background"], wall["pattern"] or "plain", relation, bool(count))


def imagine(prompt: str) -> Scene:
    """A scene that is all that the prompt asks for; `InputError` for a prompt outside the grammar."""
    request = parse(prompt)
    number = len(request.wishes)
    if number not in SIZES:
        raise InputError(f"prompt {prompt!r} asks for {number} things: a scene has room for {max(SIZES)}")
    places = PAIRS[request.relation or "left of"] if number == 2 else SLOTS[number][0]
    things = tuple(
        Thing(wish.kind, wish.colour, x, y, sum(SIZES[number]) / 2, wish.hat, wish.sunglasses)
        for wish, (x, y) in zip(request.wishes, places, strict=True)
    )
    return Scene(things, request.background, request.pattern)


def _outside(prompt: str, text: str, at: int, expected: str) -> InputError:
    rest = text[at : at + 30] or "the end"
    return InputError(f"prompt {prompt!r} is outside the minis' grammar at {rest!r}: expected {expected}")
