"""Scenes: a small dataclass from which both the picture (`render.py`) and the caption are made.

Because a scene is written down before it is painted, what a prompt asks for is always known exactly:
which objects, how many, in which colours, wearing what, where, on what background.
"""

import random
from dataclasses import dataclass

# Every subject of the article's prompts is here. Those in WEARERS have a face that can wear a hat and sunglasses.
WEARERS = ("dog", "cat", "fox", "owl", "parrot", "robot", "teddy bear", "frog", "speaker")
OBJECTS = WEARERS + (
    "mushroom", "bridge", "balloon", "apple", "car", "house", "microphone", "tree", "monitor", "fish", "flower",
)  # fmt: skip
PLURALS = {"fox": "foxes", "fish": "fish"}  # all others take an s
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "gray")
BACKGROUNDS = ("white", "black", "gray", "blue", "green", "yellow", "pink")
PATTERNS = ("plain", "striped", "dotted", "checkered")
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = {2: "two", 3: "three", 4: "four"}
TEXT_TOKENS = 24  # what a mini's text encoder reads: the longest caption has 22 words, and an end mark follows

# A tenth of the (object, colour) pairs, never painted in training: can a model put together what it only saw apart?
UNSEEN_PAIRS = frozenset(
    {
        ("dog", "purple"), ("cat", "green"), ("fox", "blue"), ("owl", "red"),
        ("parrot", "gray"), ("robot", "pink"), ("teddy bear", "yellow"), ("frog", "orange"),
        ("mushroom", "blue"), ("bridge", "pink"), ("balloon", "gray"), ("apple", "purple"),
        ("car", "green"), ("house", "orange"), ("tree", "red"), ("fish", "yellow"),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One object: `x`, `y` (its centre) and `size` are fractions of the canvas, y grows downwards.

    `colour` None means the object's natural colours; `hat` and `sunglasses` hold a colour or None.
    """

    kind: str
    colour: str | None
    x: float
    y: float
    size: float
    hat: str | None = None
    sunglasses: str | None = None


@dataclass(frozen=True)
class Scene:
    """Up to four things on a background. `phrase` is how the caption joins them: 'and', 'count' or a relation."""

    things: tuple[Thing, ...]
    background: str = "white"
    pattern: str = "plain"
    phrase: str = "and"


def caption(scene: Scene) -> str:
    """The scene in words: 'a red dog wearing a blue hat left of a yellow cat on a striped gray background'."""
    first = scene.things[0]
    if scene.phrase == "count":
        words = f"{NUMBERS[len(scene.things)]} {_with_colour(first.colour, plural(first.kind))}"
    elif scene.phrase in RELATIONS:
        words = f"{_noun_phrase(first)} {scene.phrase} {_noun_phrase(scene.things[1])}"
    else:
        phrases = [_noun_phrase(thing) for thing in scene.things]
        words = " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
    pattern = "" if scene.pattern == "plain" else f"{scene.pattern} "
    return f"{words} on a {pattern}{scene.background} background"


def plural(kind: str) -> str:
    """'apples', 'foxes', 'teddy bears', 'fish'."""
    return PLURALS.get(kind, f"{kind}s")


def _with_colour(colour: str | None, noun: str) -> str:
    return f"{colour} {noun}" if colour else noun


def _noun_phrase(thing: Thing) -> str:
    noun = _with_colour(thing.colour, thing.kind)
    article = "an" if noun[0] in "aeiou" else "a"
    worn = []
    if thing.hat:
        worn.append(f"{'an' if thing.hat[0] in 'aeiou' else 'a'} {thing.hat} hat")
    if thing.sunglasses:
        worn.append(f"{thing.sunglasses} sunglasses")
    return f"{article} {noun}" + (f" wearing {' and '.join(worn)}" if worn else "")


def vocabulary() -> list[str]:
    """Every word that a caption can hold, sorted; the comma is a word of its own."""
    words = {"a", "an", "and", ",", "on", "background", "wearing", "hat", "sunglasses"}
    phrases = (*OBJECTS, *map(plural, OBJECTS), *COLOURS, *BACKGROUNDS, *PATTERNS, *RELATIONS, *NUMBERS.values())
    for phrase in phrases:
        words.update(phrase.split())
    return sorted(words - {"plain"})


# Where things stand, as (x, y) centres, before jitter; and how large they may be.
SLOTS = {
    1: [[(0.5, 0.52)]],
    3: [[(0.26, 0.3), (0.74, 0.3), (0.5, 0.74)], [(0.5, 0.28), (0.26, 0.72), (0.74, 0.72)]],
    4: [[(0.27, 0.28), (0.73, 0.28), (0.27, 0.74), (0.73, 0.74)]],
}
PAIRS = {
    "left of": [(0.26, 0.52), (0.74, 0.52)],
    "right of": [(0.74, 0.52), (0.26, 0.52)],
    "above": [(0.5, 0.27), (0.5, 0.76)],
    "below": [(0.5, 0.76), (0.5, 0.27)],
}
# Nearly one scale for all: a small model then learns each object once, not anew for every number of things.
SIZES = {1: (0.5, 0.56), 2: (0.43, 0.48), 3: (0.41, 0.46), 4: (0.41, 0.46)}


def sample_scene(rng: random.Random, unseen: bool = False, alone: bool = False, natural: float = 0.15) -> Scene:
    """Draw a scene; it depends on the state of `rng` alone.

    Training scenes never hold a pair of UNSEEN_PAIRS; with `unseen`, the first thing has one. `alone`: one thing only.
    `natural`: how many things, of all, have their own colours.
    """
    count = 1 if alone else rng.choices((1, 2, 3, 4), weights=(30, 44, 13, 13))[0]
    same = count > 1 and rng.random() < 0.3
    relation = rng.choice(RELATIONS)
    slots = PAIRS[relation] if count == 2 else rng.choice(SLOTS[count])
    if count != 2:
        slots = rng.sample(slots, len(slots))

    kinds = [rng.choice(OBJECTS)] * count if same else rng.sample(OBJECTS, count)
    colours = [_sample_colour(rng, kind, natural) for kind in kinds]
    if unseen:
        pair = rng.choice(sorted(UNSEEN_PAIRS))
        kinds[0], colours[0] = pair
        if same:
            kinds = [pair[0]] * count
    if same:
        colours = [colours[0]] * count

    shared = rng.uniform(*SIZES[count])
    things = []
    for kind, colour, (x, y) in zip(kinds, colours, slots, strict=True):
        size = shared * rng.uniform(0.94, 1.0)
        hat = sunglasses = None
        # Two things wear one accessory each at most, so that no caption outgrows the text encoder's 24 tokens.
        if kind in WEARERS and count <= 2 and not same and rng.random() < 0.5:
            worn = rng.choice(("hat", "sunglasses", "both")[: 3 if count == 1 else 2])
            hat = rng.choice(COLOURS) if worn in ("hat", "both") else None
            sunglasses = rng.choice(COLOURS) if worn in ("sunglasses", "both") else None
        jitter = 0.04 if count == 1 else 0.02
        x, y = x + rng.uniform(-jitter, jitter), y + rng.uniform(-jitter, jitter)
        things.append(Thing(kind, colour, round(x, 4), round(y, 4), round(size, 4), hat, sunglasses))

    phrase = "count" if same else relation if count == 2 and rng.random() < 0.7 else "and"
    pattern = "plain" if rng.random() < 0.6 else rng.choice(PATTERNS[1:])
    return Scene(tuple(things), rng.choice(BACKGROUNDS), pattern, phrase)


def unseen_scenes(count: int, seed: str = "checker test") -> list[Scene]:
    """Scenes from a seed that no training uses, a fifth of them with a pair that minis never saw."""
    rng = random.Random(seed)
    return [sample_scene(rng, unseen=rng.random() < 0.2) for _ in range(count)]


def _sample_colour(rng: random.Random, kind: str, natural: float) -> str | None:
    if rng.random() < natural:
        return None
    return rng.choice([colour for colour in COLOURS if (kind, colour) not in UNSEEN_PAIRS])
