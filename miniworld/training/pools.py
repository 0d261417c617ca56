"""What trainings learn from: scenes without end, painted by worker processes. No torch: a worker starts in a moment."""

import random
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from typing import Any, Self

import numpy as np

from miniworld.render import SIDE, render
from miniworld.scenes import (
    BACKGROUNDS,
    COLOURS,
    OBJECTS,
    PATTERNS,
    RELATIONS,
    WEARERS,
    Scene,
    Thing,
    caption,
    sample_scene,
)


class Pools:
    """Pool after pool of painted scenes: the next is painted while the present one is learned from.

    Painting costs a fraction of a training step on a CPU, but would starve a GPU. A subclass has `jobs(number)`, the
    calls by which workers paint a pool, as (function, arguments …), and `finish(number, parts)`, which makes the pool
    of what they returned.
    """

    def __init__(self) -> None:
        self.workers = ProcessPoolExecutor(min(cpu_count() or 1, 16), mp_context=get_context("spawn"))
        self.painted: dict[int, list[Future]] = {}
        self.ready: tuple[int, Any] | None = None

    def pool(self, number: int) -> Any:
        """The pool of that number; only the last one is kept."""
        if self.ready is None or self.ready[0] != number:
            self._start(number)
            parts = self.painted.pop(number)
            self._start(number + 1)
            self.ready = number, self.finish(number, (part.result() for part in parts))
        return self.ready[1]

    def _start(self, number: int) -> None:
        if number not in self.painted:
            self.painted[number] = [self.workers.submit(*job) for job in self.jobs(number)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the painters, also when the training was."""
        self.workers.shutdown(wait=False, cancel_futures=True)


def paint_scenes(seed: str, count: int, kind: str = "any") -> tuple[np.ndarray, list[str]]:
    """`count` training scenes as uint8 pictures (count, SIDE, SIDE, 3) and their captions.

    `kind`: "any", "alone" (of one thing) or "hard" (`sample_hard_scene`).
    """
    rng = random.Random(seed)
    draw = sample_hard_scene if kind == "hard" else partial(sample_scene, alone=kind == "alone")
    scenes = [draw(rng) for _ in range(count)]
    return np.stack([np.asarray(render(scene)) for scene in scenes]), [caption(scene) for scene in scenes]


def sample_hard_scene(rng: random.Random) -> Scene:
    """A training scene, most often one of those that painters learn last.

    These are hats and sunglasses, in every second scene; things beside each other, several things, and things in their
    own colours, of which a caption says the least.
    """
    while True:
        scene = sample_scene(rng, natural=rng.choice((0.15, 0.7)))
        worn = any(thing.hat or thing.sunglasses for thing in scene.things)
        kept = 0.5 if scene.phrase in RELATIONS else 0.25 if len(scene.things) > 2 else 0.1
        if worn or rng.random() < kept:
            return scene


def paint_lessons(seed: str, count: int) -> tuple[np.ndarray, list[Scene | None]]:
    """`count` pictures for the checker (count, SIDE, SIDE, 3), uint8, and what they show."""
    rng = random.Random(seed)
    noise = np.random.default_rng(rng.getrandbits(32))
    scenes = [sample_lesson(rng) for _ in range(count)]
    return np.stack([np.asarray(render(scene)) if scene else nothing(noise) for scene in scenes]), scenes


def sample_lesson(rng: random.Random) -> Scene | None:
    """What the checker learns from: training scenes, things strewn anywhere, and a tenth of nothing (None)."""
    draw = rng.random()
    if draw < 0.1:
        return None
    if draw < 0.5:
        return sample_scene(rng, unseen=rng.random() < 0.2)
    things: list[Thing] = []
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 3, 4, 5))):
        size = rng.uniform(0.3, 0.6)
        x, y = (rng.uniform(size * 0.45, 1 - size * 0.45) for _ in range(2))
        if any(max(abs(x - other.x), abs(y - other.y)) < 0.45 * (size + other.size) for other in things):
            continue
        kind = rng.choice(OBJECTS)
        colour = rng.choice((None, *COLOURS))
        hat, sunglasses = (rng.choice(COLOURS) if kind in WEARERS and rng.random() < 0.5 else None for _ in range(2))
        things.append(Thing(kind, colour, x, y, size, hat, sunglasses))
    return Scene(tuple(things), rng.choice(BACKGROUNDS), rng.choice(PATTERNS))


def nothing(rng: np.random.Generator) -> np.ndarray:
    """A picture of no object: one colour, or noise, fine or coarse."""
    grain = int(rng.choice([0, 1, 2, 4, 8, 16]))
    if grain == 0:
        return np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), (SIDE, SIDE, 3)).copy()
    side = -(-SIDE // grain)
    coarse = rng.normal(rng.uniform(60, 200), rng.uniform(10, 90), (side, side, 3)).clip(0, 255).astype(np.uint8)
    return coarse.repeat(grain, 0).repeat(grain, 1)[:SIDE, :SIDE]
