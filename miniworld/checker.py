"""The checker: a small detector that reads a picture back into a scene. It knows nothing of any prompt or model.

A fully convolutional network in the manner of CenterNet (Zhou et al. 2019): at each cell of a coarse grid it says
whether an object's centre lies there, and if so which object, how large, in which colour and wearing what.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from painters_utils.errors import InputError
from painters_utils.paths import DATA

from .pictures import to_tensor
from .render import SIDE
from .scenes import BACKGROUNDS, COLOURS, OBJECTS, PATTERNS, WEARERS, Scene, Thing

WEIGHTS = DATA / "checker" / "checker.safetensors"
STRIDE = 8  # px a grid cell
# What the network says of each cell: (name, numbers). Class 0 of a colour is 'natural', of an accessory 'none'.
HEADS = (("centre", 1), ("offset", 2), ("size", 1), ("kind", len(OBJECTS)),
         ("colour", 1 + len(COLOURS)), ("hat", 1 + len(COLOURS)), ("sunglasses", 1 + len(COLOURS)))  # fmt: skip
SURE = 0.5  # a centre below this is none


class Checker(nn.Module):
    """Pictures (B, 3, SIDE, SIDE) in [-1, 1] → cells (B, numbers, 12, 12), background (B, 7), pattern (B, 4) and
    their `summary`."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.features = nn.Sequential(
            _conv(3, w, stride=2), _conv(w, 2 * w, stride=2), _Residual(2 * w),
            _conv(2 * w, 3 * w, stride=2), _Residual(3 * w), _Residual(3 * w), _Residual(3 * w), _Residual(3 * w),
        )  # fmt: skip
        self.cells = nn.Sequential(_conv(3 * w, 3 * w), nn.Conv2d(3 * w, sum(n for _, n in HEADS), 1))
        self.whole = nn.Linear(6 * w, len(BACKGROUNDS) + len(PATTERNS))
        nn.init.constant_(self.cells[-1].bias[0], -4.0)  # centres are rare

    def forward(self, pictures: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        features = self.features(pictures)
        summary = self.summary(features)
        cells = self.cells(features).split([n for _, n in HEADS], dim=1)
        background, pattern = self.whole(summary).split([len(BACKGROUNDS), len(PATTERNS)], dim=1)
        return dict(zip([name for name, _ in HEADS], cells, strict=True)), background, pattern, summary

    @staticmethod
    def summary(features: Tensor) -> Tensor:
        """Mean and spread of each channel over the picture: (B, 2 · channels)."""
        return torch.cat([features.mean((2, 3)), features.std((2, 3))], dim=1)


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


@cache
def load_checker(path: Path = WEIGHTS) -> Checker:
    """The trained checker; `InputError` if its weights are missing."""
    if not path.exists():
        raise InputError(f"no checker in {path}: train it with `python -m miniworld.training checker`")
    checker = Checker()
    checker.load_state_dict({key: value.float() for key, value in load_file(path).items()}, strict=False)
    return checker.eval()


def as_batch(pictures: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of SIDE × SIDE px as (B, 3, SIDE, SIDE); anything else is an `InputError`."""
    if not pictures:
        raise InputError("no pictures to read: give at least one")
    for picture in pictures:
        if not isinstance(picture, Image.Image) or picture.mode != "RGB" or picture.size != (SIDE, SIDE):
            what = f"{picture.mode} of {picture.size}" if isinstance(picture, Image.Image) else type(picture).__name__
            raise InputError(f"the checker reads RGB pictures of {SIDE} × {SIDE} px, not {what}: convert or resize it")
    return torch.stack([to_tensor(picture) for picture in pictures])


def read(pictures: Sequence[Image.Image], checker: Checker | None = None, batch: int = 64) -> list[Scene]:
    """What each picture shows, as a `Scene`: objects (surest first) with place, colour and accessories; background.

    Raises `InputError` for pictures of another size or mode.
    """
    return look(pictures, checker, batch)[0]


def features(pictures: Sequence[Image.Image], checker: Checker | None = None, batch: int = 64) -> Tensor:
    """The checker's own summary of each picture, (B, 192): the space in which `scores.kernel_distance` compares."""
    return look(pictures, checker, batch)[1]


@torch.inference_mode()
def look(
    pictures: Sequence[Image.Image], checker: Checker | None = None, batch: int = 64
) -> tuple[list[Scene], Tensor]:
    """`read` and `features` of pictures in one go."""
    checker = checker or load_checker()
    scenes: list[Scene] = []
    summaries = []
    for part in as_batch(pictures).split(batch):
        cells, background, pattern, summary = checker(part)
        summaries.append(summary)
        heat = cells["centre"].sigmoid()
        # Of neighbouring cells only the surest is a centre: two objects are never closer than a third of the canvas.
        peaks = (heat == nn.functional.max_pool2d(heat, 5, stride=1, padding=2)) & (heat > SURE)
        for i in range(len(part)):
            places = peaks[i, 0].nonzero().tolist()
            things = [_thing(cells, i, y, x) for y, x in sorted(places, key=lambda p: -heat[i, 0, p[0], p[1]])]
            scenes.append(
                Scene(tuple(things), BACKGROUNDS[int(background[i].argmax())], PATTERNS[int(pattern[i].argmax())])
            )
    return scenes, torch.cat(summaries)


def _thing(cells: dict[str, Tensor], i: int, y: int, x: int) -> Thing:
    """The thing whose centre lies in cell (y, x) of picture i."""
    dx, dy = cells["offset"][i, :, y, x].tolist()
    choice = {name: int(cells[name][i, :, y, x].argmax()) for name in ("kind", "colour", "hat", "sunglasses")}
    colour = {name: COLOURS[choice[name] - 1] if choice[name] else None for name in ("colour", "hat", "sunglasses")}
    kind = OBJECTS[choice["kind"]]
    if kind not in WEARERS:  # what has no face wears nothing
        colour["hat"] = colour["sunglasses"] = None
    scale = STRIDE / SIDE
    return Thing(
        kind, x=(x + 0.5 + dx) * scale, y=(y + 0.5 + dy) * scale,
        size=cells["size"][i, 0, y, x].item(), **colour,
    )  # fmt: skip
