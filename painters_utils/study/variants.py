"""Ways to run a model: a stack, an order, and the controls under which it runs.

Two presets. `article`: the layer orders that the article's author ran, slips included and flagged (data/article.yaml).
`matched`: the same share of every stack, in bands found by the same rule, so that models can be compared. And the
paper's sweep: ever more of a stack's middle (Sun et al. 2024, section 3). What an experiment runs of these is in
`experiments.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import yaml

from painters_utils.engine.describe import describe
from painters_utils.engine.orders import Order, check_order, unchanged_ends
from painters_utils.engine.strategies import STRATEGIES, TITLES, build_order, middle_band
from painters_utils.errors import InputError, unknown
from painters_utils.models.model import Model
from painters_utils.paths import DATA

MatchedBands = Mapping[str, Mapping[str, list[int]]]  # of each stack: "low", "high" or "middle" → [first, last]
PRESETS = ("article", "matched")
SHARE = 0.25  # of a stack that a matched band takes


@dataclass(frozen=True)
class Variant:
    """One way to run a model: `order` on `stack`. `combine`, `affected` and `steps` are those of `layer_order`."""

    name: str
    stack: str
    order: Order
    depth: int  # of the stack
    strategy: str
    preset: str = "custom"
    place: str = ""  # "low", "high" or "middle" for a matched band, "first", "before low" … for an edge
    band: list[int] | None = None
    slip: str = ""  # what the article's author ran beside what he wrote
    combine: str = "mean"
    affected: str = "both"
    steps: list[int] | None = None
    turn: tuple[int, int] | None = None  # which of how many variants that share a study's seeds; None: it has all

    @property
    def share(self) -> float:
        """The share of the stack's layers that no longer run as they did: 0 to 1."""
        before, after = unchanged_ends(self.order, self.depth)
        return max(self.depth - before - after, 0) / self.depth

    @property
    def words(self) -> str:
        """What happens to the layers: "layers 7–10 are skipped"."""
        return describe(self.order, self.depth)

    @property
    def run(self) -> dict[str, Any]:
        """All that its pictures depend on beside the model: what it is called and why it is run change nothing."""
        return {name: getattr(self, name) for name in ("stack", "order", "combine", "affected", "steps", "turn")}

    def seeds_of(self, seeds: Sequence[int]) -> list[int]:
        """Those of a study's seeds that it is painted with: all, or what is its turn, one at least."""
        if self.turn is None:
            return list(seeds)
        which, many = self.turn
        return list(seeds[which::many]) or [seeds[which % len(seeds)]]


def custom_variant(
    stack: str, depth: int, strategy: str, suffix: str = "", about: Mapping[str, Any] | None = None, **options: Any
) -> Variant:
    """One variant by name of its strategy and its options, checked; `about` holds further fields of it."""
    order, name = build_order(strategy, depth, **options), variant_name(strategy, **options) + suffix
    fields: dict[str, Any] = {"band": options.get("band")} | dict(about or {})
    return Variant(name, stack, order, depth, strategy, **fields)


def variant_name(strategy: str, **options: Any) -> str:
    """ "skip 7–10", "repeat 9 over 3–16", "looped parallel 3–15 × 13", "without first 2", "swap 4 and 5"."""
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    name, band = TITLES[strategy], options.get("band")
    over = "" if band is None else f"{band[0]}–{band[1]}" if band[0] != band[1] else f"{band[0]}"
    if strategy == "middle_repeat" and band is not None:
        layer = options.get("layer")
        return f"{name} {(band[0] + band[1]) // 2 if layer is None else layer} over {over}"
    if strategy == "looped_parallel":
        return f"{name} {over} × {options.get('loops', 3)}"
    if strategy == "random_order":
        return f"{name} {over}, draw {options.get('seed', 0)}"
    if strategy in ("remove_first", "remove_last"):
        return name if options["k"] == 1 else f"{name} {options['k']}"
    if strategy == "swap_neighbours":
        return f"{name} {options['i']} and {options['i'] + 1}"
    return f"{name} {over}".strip()


@cache
def article_table() -> dict[str, dict[str, list[dict]]]:
    """The author's orders by family and stack, as data/article.yaml has them."""
    return yaml.safe_load((DATA / "article.yaml").read_text())


def in_article(model: Model) -> bool:
    """Whether the article ran orders on models of this family."""
    return model.family in article_table()


def article_variants(model: Model, strategies: Collection[str] = tuple(STRATEGIES)) -> list[Variant]:
    """What the article ran on the original of `model`, with the slips: all of it, or certain strategies.

    `InputError` if the model's family is none of the article's three.
    """
    if not in_article(model):
        raise InputError(f"the article ran no orders on {model.name!r}: use the matched preset, or a band of your own")
    variants = []
    for stack, entries in article_table()[model.family].items():
        if stack not in model.depths:
            raise InputError(f"{model.name!r} has no {stack}, which the article's orders need: use the matched preset")
        for entry in (entry for entry in entries if entry["strategy"] in strategies):
            options = {key: value for key, value in entry.items() if key not in ("strategy", "drop", "slip")}
            about = {"preset": "article", "slip": entry.get("slip", "")}
            variant = custom_variant(stack, model.depths[stack], entry["strategy"], about=about, **options)
            order = [step for step in variant.order if step not in entry.get("drop", ())]
            check_order(order, variant.depth, stack)
            variants.append(replace(variant, order=order))
    return variants


def matched_bands(similarity: np.ndarray, share: float = SHARE) -> dict[str, list[int]]:
    """The two bands of a stack that the matched preset uses: [first, last] of "low" and "high".

    The run of round(share × layers) neighbours that are most alike (mean of the similarity matrix over the run), in the
    lower and in the upper half, the stack's first and last layer left out. A stack too short for two has one, "middle".
    """
    depth = len(similarity)
    size = max(2, round(share * depth))
    if depth < 4:
        raise InputError(f"a stack of {depth} layers has no middle to take a band from: give a band of your own")
    if depth - 2 < 2 * size:
        first = max(1, (depth - size) // 2)
        return {"middle": [first, first + size - 1]}

    def most_alike(start: int, stop: int) -> list[int]:
        alike = {first: similarity[first : first + size, first : first + size].mean() for first in range(start, stop)}
        first = max(alike, key=lambda start: alike[start])
        return [first, first + size - 1]

    half = depth // 2
    return {"low": most_alike(1, max(half - size + 1, 2)), "high": most_alike(half, depth - size)}


def matched_variants(bands: MatchedBands, depths: Mapping[str, int], strategy: str, **options: Any) -> list[Variant]:
    """A strategy on every matched band of every stack."""
    return [
        custom_variant(
            stack, depths[stack], strategy, f" ({place})", {"preset": "matched", "place": place}, band=band, **options
        )
        for stack, places in bands.items()
        for place, band in places.items()
    ]


def edge_variants(
    model: Model, bands: MatchedBands, presets: Sequence[str] = PRESETS, removed: float = 0.1, stack: str | None = None
) -> list[Variant]:
    """The same number of layers, a share of a stack, removed at its ends, just before each band and inside it.

    For the article's claim 2, that the layers before a group translate into its space. What its author removed at the
    ends stands before.
    """
    require_stack(model, stack)
    own = "article" in presets and in_article(model)
    variants = article_variants(model, ["remove_first", "remove_last"]) if own else []
    for name, depth in model.depths.items() if "matched" in presets else ():
        k = max(1, round(removed * depth))
        for strategy, place in (("remove_first", "first"), ("remove_last", "last")):
            variants.append(custom_variant(name, depth, strategy, about={"preset": "matched", "place": place}, k=k))
        for place, (first, last) in bands.get(name, {}).items():
            inside = (first + last + 1 - k) // 2
            # A band that begins early has fewer layers before it; it never begins with the stack's first.
            for where, cut in (("before", [max(0, first - k), first - 1]), ("inside", [inside, inside + k - 1])):
                about = {"preset": "matched", "place": f"{where} {place}"}
                variants.append(custom_variant(name, depth, "skip", f" ({where} {place})", about, band=cut))
    return on_stack(variants, stack)


def require_stack(model: Model, stack: str | None) -> None:
    """`InputError` for a stack that the model has not; None means all of them."""
    if stack is not None and stack not in model.depths:
        raise unknown(f"stack of {model.name}", stack, model.depths)


def on_stack(variants: Sequence[Variant], stack: str | None) -> list[Variant]:
    """Those on one stack; all of them if it is None."""
    return [variant for variant in variants if stack in (None, variant.stack)]


def sweep_variants(depths: Mapping[str, int], strategy: str, shares: Sequence[float], **options: Any) -> list[Variant]:
    """The paper's sweep: the strategy on ever larger middles of each stack, about `shares` of it."""
    variants = []
    for stack, depth in depths.items():
        sides = [min(max(round((depth - 1 - share * depth) / 2), 0), (depth - 2) // 2) for share in shares]
        for band in (middle_band(depth, s) for s in dict.fromkeys(sides)):
            if band[1] > band[0] or strategy == "skip":  # of one layer nothing else is a change
                variants.append(custom_variant(stack, depth, strategy, about={"preset": "sweep"}, band=band, **options))
    return variants


def single_skips(depths: Mapping[str, int]) -> dict[str, list[Variant]]:
    """Each layer of each stack skipped on its own."""
    return {
        stack: [custom_variant(stack, depth, "skip", band=[layer, layer]) for layer in range(depth)]
        for stack, depth in depths.items()
    }


def neighbour_swaps(
    depths: Mapping[str, int], last_only: Mapping[str, Sequence[int]] | None = None
) -> dict[str, list[Variant]]:
    """Each layer of each stack in the place of the next; those that may only stand last (SD3's) are left alone."""
    return {
        stack: [
            custom_variant(stack, depth, "swap_neighbours", i=layer)
            for layer in range(depth - 1)
            if layer + 1 not in (last_only or {}).get(stack, ())
        ]
        for stack, depth in depths.items()
    }


def control_variants(
    model: Model,
    bands: MatchedBands,
    random_bands: int = 4,
    apart: Collection[str] | None = None,
    stack: str | None = None,
) -> list[Variant]:
    """What an effect comes from, on the highest matched band of each stack.

    Parallel averaged and summed; the band and random ones of its size skipped; the band reversed for both streams, the
    image alone and the text alone (on the stacks `apart`, whose blocks return the two apart; None: those that do so in
    the article's three families); and skipped early, in the middle or late only, each time in a third of the steps
    (rounded down).
    """
    require_stack(model, stack)
    apart = [name for name in model.depths if "single" not in name] if apart is None else apart
    variants, steps = [], model.steps
    for name, places in bands.items():
        depth, (place, band) = model.depths[name], list(places.items())[-1]
        size = band[1] - band[0] + 1

        def add(strategy: str, over: list[int], what: str, **control: Any) -> None:
            about = {"preset": "control", "place": place} | control  # noqa: B023
            variants.append(custom_variant(name, depth, strategy, f", {what}", about, band=over))  # noqa: B023

        add("parallel", band, "averaged")
        add("parallel", band, "summed", combine="sum")
        add("skip", band, "the band")
        draw, tried = np.random.default_rng(0), {band[0]}
        for _ in range(min(random_bands, depth - size - 1)):
            free = [first for first in range(1, depth - size) if first not in tried]
            if free:
                first = int(draw.choice(free))
                tried.add(first)
                add("skip", [first, first + size - 1], "at random")
        if name in apart:
            for affected in ("both", "image", "text"):
                add("reverse", band, f"{affected} stream{'s' * (affected == 'both')}", affected=affected)
        if steps >= 3:
            third = steps // 3
            for when, start in (("early", 0), ("middle", (steps - third) // 2), ("late", steps - third)):
                add("skip", band, f"{when} steps", steps=[start, start + third - 1])
    return on_stack(variants, stack)
