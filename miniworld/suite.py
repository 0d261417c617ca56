"""The prompt suite: GenEval's six tasks in the minis' words, and three of our own; `python -m miniworld.suite`.

GenEval (Ghosh et al. 2023) asks for a single object, two objects, a count, a colour, a position, and two objects
each in its colour. Accessories, backgrounds and pairs never seen in training are added. The file is committed and
versioned: scores of different versions must not be compared.
"""

import random

import yaml

from painters_utils.paths import DATA

from .scenes import BACKGROUNDS, COLOURS, OBJECTS, PATTERNS, RELATIONS, UNSEEN_PAIRS, WEARERS, Scene, Thing, caption

FILE = DATA / "prompts.yaml"
VERSION = 1
EACH = 20  # prompts a task

TASKS = {
    "single object": "one object, in its natural colours",
    "two objects": "two objects, in their natural colours",
    "counting": "two to four of one object, exactly",
    "colours": "one object in a colour",
    "position": "one object beside, above or below another",
    "colour attribution": "two objects, each in its own colour",
    "accessories": "a coloured hat, coloured sunglasses, or both",
    "backgrounds": "an object on a patterned background",
    "unseen pairs": "an object in a colour that training never gave it",
}


def build_suite(seed: int = 0) -> dict[str, list[str]]:
    """Task → EACH different prompts, drawn by `seed`."""
    rng = random.Random(seed)
    seen = [(kind, colour) for kind in OBJECTS for colour in COLOURS if (kind, colour) not in UNSEEN_PAIRS]
    unseen = sorted(UNSEEN_PAIRS)
    suite: dict[str, list[str]] = {task: [] for task in TASKS}
    for task, prompts in suite.items():
        turn = 0
        while len(prompts) < EACH:
            one, two = rng.sample(OBJECTS, 2)
            wall, pattern, phrase = rng.choice(BACKGROUNDS), "plain", "and"
            if task == "single object":
                things = [_thing(OBJECTS[turn % len(OBJECTS)])]
            elif task == "two objects":
                things = [_thing(one), _thing(two)]
            elif task == "counting":
                things, phrase = [_thing(one, rng.choice(_seen_colours(one)))] * (2 + turn % 3), "count"
            elif task == "colours":
                things = [_thing(*rng.choice(seen))]
            elif task == "position":
                things, phrase = [_thing(one), _thing(two)], RELATIONS[turn % len(RELATIONS)]
            elif task == "colour attribution":
                first = rng.choice(_seen_colours(one))
                things = [_thing(one, first), _thing(two, rng.choice([c for c in _seen_colours(two) if c != first]))]
            elif task == "accessories":
                hat, sunglasses = ((True, False), (False, True), (True, True))[turn % 3]
                wearer = rng.choice(WEARERS)
                things = [_thing(wearer, rng.choice(_seen_colours(wearer)), rng.choice(COLOURS) if hat else None,
                                 rng.choice(COLOURS) if sunglasses else None)]  # fmt: skip
            elif task == "backgrounds":
                things, pattern = [_thing(one, rng.choice(_seen_colours(one)))], PATTERNS[1 + turn % 3]
                wall = BACKGROUNDS[turn % len(BACKGROUNDS)]
            else:
                things = [_thing(*unseen[turn % len(unseen)])]
            words = caption(Scene(tuple(things), wall, pattern, phrase))
            if words not in prompts:
                prompts.append(words)
                turn += 1
    return suite


def _seen_colours(kind: str) -> list[str]:
    return [colour for colour in COLOURS if (kind, colour) not in UNSEEN_PAIRS]


def _thing(kind: str, colour: str | None = None, hat: str | None = None, sunglasses: str | None = None) -> Thing:
    return Thing(kind, colour, 0.5, 0.5, 0.5, hat, sunglasses)


def load_suite() -> dict[str, list[str]]:
    """The committed suite: task → prompts."""
    return yaml.safe_load(FILE.read_text())["suite"]


def article_prompts(words: str = "mini") -> list[str]:
    """The article's prompts: its own words 'intended' or 'as run' (for the real models), or 'mini' (for the minis)."""
    return yaml.safe_load(FILE.read_text())["article"][words]


def showcase_prompts() -> list[str]:
    """Prompts whose pictures a visitor recognises at once."""
    return yaml.safe_load(FILE.read_text())["showcase"]


if __name__ == "__main__":
    # The article's prompts were written by people and stay as they are; the suite is made anew.
    text = FILE.read_text()
    head = text[: text.index("# --- suite")]
    body = yaml.safe_dump({"version": VERSION, "suite": build_suite()}, sort_keys=False, width=1000)
    FILE.write_text(f"{head}# --- suite: made by `python -m miniworld.suite`, do not edit\n{body}")
    print(f"{sum(map(len, build_suite().values()))} prompts in {FILE}")
