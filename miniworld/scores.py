"""What a picture is worth: what of the prompt is there, what of the baseline is kept, how well it is painted.

The checker (`checker.py`) reads a picture back into a scene; these functions compare scenes with prompts and with
each other. Every score is 1 at best.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment

from painters_utils.errors import InputError

from .checker import features
from .grammar import Request, Wish, parse
from .pictures import correlation
from .render import layout_box, render
from .scenes import Scene, Thing, sample_scene

# Facts that a prompt can state. Broad concepts are what a glance tells; fine detail takes a second look.
BROAD = ("object", "count", "position", "background", "pattern")
FINE = ("colour", "accessory", "accessory colour")


@dataclass(frozen=True)
class FactCheck:
    """How one picture meets its prompt: every stated fact as (name, found or not), and how many things are surplus."""

    facts: tuple[tuple[str, bool], ...]
    duplicates: int

    def share(self, names: Sequence[str] = BROAD + FINE) -> float:
        """The share of the stated facts of these names that are found; NaN if the prompt states none of them."""
        found = [right for name, right in self.facts if name in names]
        return float(np.mean(found)) if found else float("nan")

    @property
    def strict(self) -> bool:
        """GenEval's score of a picture (Ghosh et al. 2023): everything right, or nothing."""
        return all(right for _, right in self.facts)


def check_facts(prompt: str | Request, found: Scene) -> FactCheck:
    """Compare what a prompt asks for with what a picture shows.

    Wishes and things are paired so that as many facts as possible are right. Each wish states an object; where said,
    its colour, and for each accessory that it is worn and its colour. Each kind states a number: exact in 'three red
    apples', else a minimum as in GenEval. Things beyond the wishes of their kind are `duplicates`.
    """
    request = parse(prompt) if isinstance(prompt, str) else prompt
    pairs = _pair(request.wishes, found.things)
    facts: list[tuple[str, bool]] = []
    for wish, thing in pairs:
        facts.append(("object", thing is not None))
        if wish.colour:
            facts.append(("colour", thing is not None and thing.colour == wish.colour))
        for asked, worn in (
            (wish.hat, thing.hat if thing else None),
            (wish.sunglasses, thing.sunglasses if thing else None),
        ):
            if asked:
                facts += [("accessory", worn is not None), ("accessory colour", worn == asked)]
    duplicates = 0
    for kind in dict.fromkeys(wish.kind for wish in request.wishes):
        wanted = sum(wish.kind == kind for wish in request.wishes)
        there = sum(thing.kind == kind for thing in found.things)
        duplicates += max(there - wanted, 0)
        if request.counted:
            facts.append(("count", there == wanted))
    if request.relation:
        one, two = pairs[0][1], pairs[1][1]
        facts.append(("position", one is not None and two is not None and _stands(one, request.relation, two)))
    facts += [("background", found.background == request.background), ("pattern", found.pattern == request.pattern)]
    return FactCheck(tuple(facts), duplicates)


def _pair(wishes: Sequence[Wish], things: Sequence[Thing]) -> list[tuple[Wish, Thing | None]]:
    """Each wish with its best thing of the same kind, no thing twice (Hungarian assignment); None if there is none."""
    if not things:
        return [(wish, None) for wish in wishes]

    def worth_of(wish: Wish, thing: Thing) -> int:
        if wish.kind != thing.kind:
            return 0
        right = wish.colour is not None and wish.colour == thing.colour  # facts of the prompt
        right += sum(
            (worn is not None) + (worn == asked)
            for asked, worn in ((wish.hat, thing.hat), (wish.sunglasses, thing.sunglasses))
            if asked
        )
        alike = 2 * (wish.colour == thing.colour) + (wish.hat == thing.hat) + (wish.sunglasses == thing.sunglasses)
        return 100 + 10 * right + alike

    worth = np.array([[worth_of(wish, thing) for thing in things] for wish in wishes])
    chosen = dict(zip(*linear_sum_assignment(-worth), strict=True))
    return [(wish, things[chosen[i]] if i in chosen and worth[i, chosen[i]] else None) for i, wish in enumerate(wishes)]


def _stands(one: Thing, relation: str, two: Thing) -> bool:
    """Is `one` there, seen from `two`? Further along that axis than a tenth of the canvas, and mostly along it."""
    dx, dy = one.x - two.x, one.y - two.y
    along = {"left of": -dx, "right of": dx, "above": -dy, "below": dy}[relation]
    across = abs(dy) if relation in ("left of", "right of") else abs(dx)
    return along > 0.1 and along > across


def layout_kept(before: Scene, after: Scene) -> float:
    """Agreement of the objects' boxes in two pictures, whatever is in them: mean overlap (IoU) of paired boxes.

    Boxes without a partner count as 0; two empty pictures agree.
    """
    if not before.things and not after.things:
        return 1.0
    if not before.things or not after.things:
        return 0.0
    overlap = np.array([[_iou(layout_box(a), layout_box(b)) for b in after.things] for a in before.things])
    rows, columns = linear_sum_assignment(-overlap)
    return float(overlap[rows, columns].sum() / max(len(before.things), len(after.things)))


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(across, 0) * max(down, 0)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])  # noqa: E731
    return both / (area(a) + area(b) - both)


def sprite_likeness(picture: Image.Image, found: Scene) -> float:
    """How much the found objects look like their sprites: mean correlation, box by box, with a clean rendering of
    what the checker read. NaN where it found nothing."""
    if not found.things:
        return float("nan")
    clean = np.asarray(render(found, picture.width), float)
    painted = np.asarray(picture, float)
    scores = []
    for thing in found.things:
        box = np.round(np.clip(layout_box(thing), 0, 1) * picture.width).astype(int)
        a, b = (x[box[1] : box[3], box[0] : box[2]] for x in (painted, clean))
        if a.size:
            scores.append(correlation(a, b))
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def score_pictures(
    prompts: Sequence[str], pictures: Sequence[Image.Image], seen: Sequence[Scene], before: Sequence[Scene]
) -> pd.DataFrame:
    """Everything that can be said of pictures in which the checker has `seen` scenes, a row for each picture; `before`
    are the scenes that it saw in their baselines.

    adherence, broad, fine: shares of the prompt's facts that are found. quality: likeness of what is found to its
    sprites, 0 where nothing is found. layout: agreement of the boxes with the baseline's. duplicates: things beyond
    those asked for.
    """
    rows = []
    for prompt, picture, found, was in zip(prompts, pictures, seen, before, strict=True):
        check = check_facts(prompt, found)
        rows.append((
            check.share(), check.share(BROAD), check.share(FINE), np.nan_to_num(sprite_likeness(picture, found)),
            layout_kept(was, found), float(check.duplicates),
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=["adherence", "broad", "fine", "quality", "layout", "duplicates"])


def kernel_distance(painted: torch.Tensor, real: torch.Tensor) -> float:
    """Distance between two sets of feature vectors, (n, d) and (m, d): 0 if they come from one distribution.

    The unbiased squared maximum mean discrepancy with a Gaussian kernel, as CMMD (Jayasumana et al. 2024) on CLIP's
    features; here on the checker's (`checker.features`), each divided by its spread over `real`. The kernel's width
    is the median distance within `real`.
    """
    if len(painted) < 2 or len(real) < 2:
        raise InputError("a kernel distance needs two pictures a side at least")
    middle, spread = real.mean(0), real.std(0).clamp(min=1e-6)
    x, y = ((side - middle).double() / spread for side in (painted, real))
    within = torch.cdist(y, y)
    width = within[~torch.eye(len(y), dtype=torch.bool)].median()
    kernel = lambda distance: torch.exp(-((distance / width) ** 2) / 2)  # noqa: E731
    xx, yy, xy = kernel(torch.cdist(x, x)), kernel(within), kernel(torch.cdist(x, y))
    off = lambda k: (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))  # noqa: E731
    return float(off(xx) + off(yy) - 2 * xy.mean())


@cache
def rendered_features(scenes: int = 256) -> torch.Tensor:
    """The checker's features of `scenes` freshly rendered scenes: what painted pictures are held against."""
    rng = random.Random("real")
    return features([render(sample_scene(rng)) for _ in range(scenes)])


def chance(prompts: Sequence[str], found: Sequence[Scene], names: Sequence[str] = BROAD + FINE) -> float:
    """The measured floor of `FactCheck.share`: every picture held against all prompts but its own.

    What a picture gets right then, it gets right by luck.
    """
    requests = {prompt: parse(prompt) for prompt in dict.fromkeys(prompts)}
    shares = [
        check_facts(request, scene).share(names)
        for own, scene in zip(prompts, found, strict=True)
        for other, request in requests.items()
        if other != own
    ]
    if not shares:
        raise InputError("all pictures show one prompt: two prompts at least are needed to measure chance")
    return float(np.nanmean(shares))
