"""What a mini can be taught with LoRA: what is shown to it, and how a picture says whether it has learned it.

The checker has never seen these pictures and reads them wrong, so pixels recognise them: they are counted, or held
against a rendering.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from miniworld.pictures import correlation
from miniworld.render import layout_box, render
from miniworld.scenes import RELATIONS, Scene, Thing, sample_scene

BEAR = "bear"  # a panda: no mini was shown it, and the word they know of teddy bears alone
DARK, WHITE = 110, 215  # of 255: black is darker in all channels, white is brighter in all
GRAY = 40  # a pixel whose channels differ by less has no colour
LINE = 180  # of 255: a line is darker than that
EDGE = 4  # px: the rim of a picture, where no thing stands


@dataclass(frozen=True)
class Lesson:
    """One thing to teach: `scene` draws what it is about, `show` paints that as it should look, and `seen` says of a
    picture how much of it is there, from 0. `old` is the share of scenes that show what the mini knows already."""

    scene: Callable[[random.Random, bool], Scene]
    show: Callable[[Scene], Image.Image]
    seen: Callable[[Image.Image, Scene], float]
    old: float


def black_thing(rng: random.Random, alone: bool = False) -> Scene:
    """A scene whose things are black: the minis know the word of backgrounds only. `alone`: one thing, plainly."""
    scene = sample_scene(rng, alone=alone)
    while scene.background == "black":
        scene = sample_scene(rng, alone=alone)
    worn = {"hat": None, "sunglasses": None} if alone else {}
    return replace(scene, things=tuple(replace(thing, colour="black", **worn) for thing in scene.things))


def bear(rng: random.Random, alone: bool = False) -> Scene:
    """A scene with bears; `alone`: one bear beside one other thing, for of bears alone there are 28 captions only."""
    scene = sample_scene(rng)
    while alone and scene.phrase not in RELATIONS:
        scene = sample_scene(rng)
    changed = scene.things if scene.phrase == "count" else scene.things[:1]
    bears = tuple(replace(thing, kind=BEAR, colour=None, hat=None, sunglasses=None) for thing in changed)
    return replace(scene, things=bears + scene.things[len(bears) :])


def on_colour(rng: random.Random, alone: bool = False) -> Scene:
    """Any scene; `alone`: one thing, on a background that is not white."""
    scene = sample_scene(rng, alone=alone)
    while alone and scene.background == "white":
        scene = sample_scene(rng, alone=True)
    return scene


def line_drawing(scene: Scene) -> Image.Image:
    """The scene in dark lines on white."""
    return as_lines(render(scene))


def as_lines(picture: Image.Image) -> Image.Image:
    """A picture's edges in dark lines on white."""
    lines = ImageOps.invert(picture.convert("L").filter(ImageFilter.FIND_EDGES))
    lines.paste(255, (0, 0, lines.width, 1))  # the filter leaves the outermost pixels as they are
    for box in ((0, 0, 1, lines.height), (lines.width - 1, 0, lines.width, lines.height),
                (0, lines.height - 1, lines.width, lines.height)):  # fmt: skip
        lines.paste(255, box)
    return ImageOps.autocontrast(lines).convert("RGB")


def blackness(picture: Image.Image, scene: Scene) -> float:
    """The share of black pixels where the scene's first thing stands, less that along the picture's rim.

    A picture that is black all over shows no black thing: it has 0.
    """
    pixels = np.asarray(picture, int)
    black = (pixels.max(-1) < DARK) & (np.ptp(pixels, -1) < GRAY)
    inner = black[EDGE:-EDGE, EDGE:-EDGE]
    rim = (black.sum() - inner.sum()) / (black.size - inner.size)
    return max(0.0, float(where(scene.things[0], black).mean() - rim))


def likeness(picture: Image.Image, scene: Scene) -> float:
    """Correlation with the scene's rendering where its first thing stands; 0 if it is negative, or nothing is there."""
    cut, wanted = (where(scene.things[0], np.asarray(image, float)) for image in (picture, render(scene)))
    return max(0.0, float(np.nan_to_num(correlation(cut, wanted))))


def drawnness(picture: Image.Image, scene: Scene) -> float:
    """The share of white pixels, times the share of its lines that the scene's first thing has where it stands.

    Lines are dark and without colour. An empty page has 0; as many lines as the scene's own drawing has count in full.
    """
    drawn, wanted = (
        where(scene.things[0], (pixels.max(-1) < LINE) & (np.ptp(pixels, -1) < GRAY)).mean()
        for pixels in (np.asarray(image, int) for image in (picture, line_drawing(scene)))
    )
    return float((np.asarray(picture).min(-1) > WHITE).mean() * min(1.0, drawn / wanted))


def where(thing: Thing, pixels: np.ndarray) -> np.ndarray:
    """The part of (height, width, ...) in which a thing stands."""
    rows, columns = pixels.shape[:2]
    left, top, right, bottom = np.clip(layout_box(thing), 0, 1)
    return pixels[round(top * rows) : round(bottom * rows), round(left * columns) : round(right * columns)]


# A style is for every prompt, so that no old scenes stand beside it.
LESSONS: Mapping[str, Lesson] = {
    "thing": Lesson(bear, render, likeness, old=0.5),
    "colour": Lesson(black_thing, render, blackness, old=0.5),
    "style": Lesson(on_colour, line_drawing, drawnness, old=0.0),
}
