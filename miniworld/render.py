"""Paint a scene: sprites, tinted in named colours, composed on a background."""

from functools import cache

import numpy as np
from PIL import Image

from painters_utils.errors import InputError
from painters_utils.paths import DATA

from .scenes import Scene, Thing

SIDE = 96  # px: the minis' pictures
SPRITES = DATA / "sprites"

PAINT = {
    "red": (222, 36, 40), "orange": (247, 132, 20), "yellow": (250, 212, 30), "green": (44, 165, 66),
    "blue": (40, 96, 226), "purple": (132, 60, 190), "pink": (246, 122, 184), "gray": (140, 142, 146),
    "black": (34, 34, 40),  # none of COLOURS: no mini was shown it, LoRA teaches it (training/lora.py)
}  # fmt: skip
# Backgrounds are pale, so that a blue dog stands out from a blue background.
WALL = {
    "white": (250, 250, 250), "black": (28, 28, 32), "gray": (186, 188, 192), "blue": (178, 208, 246),
    "green": (188, 230, 190), "yellow": (250, 238, 178), "pink": (248, 212, 226),
}  # fmt: skip

# Where a face wears its hat (centre x, brim y, width) and its sunglasses (centre x, y, width), in fractions of it.
HEAD = {
    "dog": (0.50, 0.16, 0.62), "cat": (0.50, 0.24, 0.56), "fox": (0.50, 0.26, 0.56), "owl": (0.50, 0.14, 0.56),
    "parrot": (0.34, 0.13, 0.44), "robot": (0.50, 0.15, 0.60), "teddy bear": (0.50, 0.15, 0.46),
    "frog": (0.50, 0.20, 0.56), "speaker": (0.50, 0.18, 0.66),
}  # fmt: skip
EYES = {
    "dog": (0.49, 0.40, 0.62), "cat": (0.50, 0.46, 0.66), "fox": (0.50, 0.56, 0.66), "owl": (0.50, 0.30, 0.70),
    "parrot": (0.34, 0.20, 0.54), "robot": (0.50, 0.47, 0.66), "teddy bear": (0.50, 0.24, 0.56),
    "frog": (0.50, 0.22, 0.80), "speaker": (0.50, 0.50, 0.66),
}  # fmt: skip


@cache
def sprite(kind: str, colour: str | None = None) -> Image.Image:
    """The object alone as an RGBA picture of 256 × 256 px, tinted unless `colour` is None."""
    path = SPRITES / f"{kind.replace(' ', '_')}.webp"
    if not path.exists():
        raise InputError(f"no sprite for {kind!r}: expected {path.name} in data/sprites")
    rgba = np.asarray(Image.open(path).convert("RGBA")).astype(np.float32) / 255
    if colour is None:
        return Image.fromarray((rgba * 255).astype(np.uint8), "RGBA")
    # Colour by brightness: shadows fall to a dark shade of the paint, highlights rise towards white.
    light = rgba[..., :3] @ np.float32([0.299, 0.587, 0.114])
    low, high = np.percentile(light[rgba[..., 3] > 0.5], (3, 97))
    # Hats and sunglasses are small and dark: brightened, their colours can be told apart.
    gamma = 0.4 if kind in ("hat", "sunglasses") else 0.8
    light = np.clip((light - low) / max(high - low, 1e-3), 0, 1)[..., None] ** gamma
    paint = np.float32(PAINT[colour]) / 255
    shade, glow = paint * 0.3, paint + (1 - paint) * 0.45
    tinted = np.where(light < 0.6, shade + (paint - shade) * light / 0.6, paint + (glow - paint) * (light - 0.6) / 0.4)
    return Image.fromarray((np.dstack([tinted, rgba[..., 3]]) * 255).astype(np.uint8), "RGBA")


@cache
def wall(background: str, pattern: str, size: int) -> Image.Image:
    """The background as an RGB picture: plain, or two shades of its colour as stripes, dots or checks."""
    if background not in WALL:
        raise InputError(f"unknown background {background!r}: choose one of {', '.join(WALL)}")
    base = np.float32(WALL[background])
    other = base + 60 if background == "black" else base * 0.84
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    if pattern == "striped":
        mask = np.floor(x * 6) % 2
    elif pattern == "checkered":
        mask = (np.floor(x * 6) + np.floor(y * 6)) % 2
    elif pattern == "dotted":
        mask = (np.hypot(x * 6 % 1 - 0.5, y * 6 % 1 - 0.5) < 0.28).astype(float)
    else:
        mask = np.zeros_like(x)
    return Image.fromarray((base + (other - base) * mask[..., None]).astype(np.uint8), "RGB")


def render(scene: Scene, size: int = SIDE) -> Image.Image:
    """The scene as an RGB picture of `size` × `size` px."""
    if size < 16:
        raise InputError(f"a picture of {size} px is too small to show a scene: give 16 or more")
    picture = wall(scene.background, scene.pattern, size).copy()
    for thing in scene.things:
        side = thing.size * size
        # A worn hat rises above the head: paint the whole a little smaller and lower, so that it keeps its place.
        if thing.hat:
            side *= 0.84
        left, top = thing.x * size - side / 2, thing.y * size - side / 2
        if thing.hat:
            top += 0.16 * thing.size * size / 2
        _paste(picture, sprite(thing.kind, thing.colour), left, top, side)
        if thing.sunglasses:
            x, y, width = EYES[thing.kind]
            _paste(picture, sprite("sunglasses", thing.sunglasses),
                   left + (x - width / 2) * side, top + (y - width / 2) * side, width * side)  # fmt: skip
        if thing.hat:
            x, y, width = HEAD[thing.kind]
            # The hat's brim lies near the bottom of its sprite.
            _paste(picture, sprite("hat", thing.hat),
                   left + (x - width / 2) * side, top + (y - width * 0.88) * side, width * side)  # fmt: skip
    return picture


def _paste(picture: Image.Image, rgba: Image.Image, left: float, top: float, side: float) -> None:
    pixels = max(2, round(side))
    small = rgba.resize((pixels, pixels), Image.Resampling.BOX)
    picture.paste(small, (round(left), round(top)), small)


def layout_box(thing: Thing) -> tuple[float, float, float, float]:
    """The thing's (left, top, right, bottom) as fractions of the canvas, hat included."""
    half = thing.size / 2
    return thing.x - half, thing.y - half, thing.x + half, thing.y + half
