"""The one table of experiments: what is tried, under which title and colour, in which notebook, and as what variants.

Notebooks, plan, claims, charts and page all read it. A new experiment is a function that builds an order
(`engine/strategies.py`), a row here, and a notebook.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from painters_utils.engine.strategies import TITLES
from painters_utils.errors import InputError, require_positive, unknown
from painters_utils.models.model import Model

from .variants import (
    PRESETS,
    MatchedBands,
    Variant,
    article_variants,
    control_variants,
    custom_variant,
    edge_variants,
    in_article,
    matched_variants,
    on_stack,
    require_stack,
    single_skips,
    sweep_variants,
)

FEW = 9  # prompts of the suite, one of each task


@dataclass(frozen=True)
class Experiment:
    """A row. `name` is that of a strategy, unless the experiment combines several."""

    name: str
    says: str  # what happens to the layers
    notebook: str = ""
    heading: str = ""  # its question, as a heading
    colour: str = "#8a8f98"  # Okabe & Ito's colours: told apart by the colour-blind too
    marker: str = "o"
    example: Mapping[str, Any] | None = None  # options of the strategy, to be drawn on a stack of eight layers
    build: Callable[..., list[Variant]] = field(default=lambda *_, **__: [], repr=False)
    few: bool = False  # so many variants that each has few pictures: one seed, at most FEW prompts of the suite

    @property
    def title(self) -> str:
        """Its name in people's words: "looped parallel"."""
        return TITLES.get(self.name, self.name.replace("_", " "))

    @property
    def swept(self) -> bool:
        """Whether the sweep runs it: a strategy that changes a band."""
        return self.name in TITLES and "band" in (self.example or {})

    def variants(self, model: Model, bands: MatchedBands, **options: Any) -> list[Variant]:
        """Everything that the experiment paints of a model; `bands` are the matched bands of its stacks.

        `options` go to the row's `build`. `InputError` for what contradicts itself or does not fit the model.
        """
        name = [self.name] if self.name in TITLES else []  # a strategy's own
        return self.build(*name, model, bands, **options)


def experiment(name: str) -> Experiment:
    """The row of a name; `InputError` names the nearest if there is none."""
    rows = {row.name: row for row in EXPERIMENTS}
    if name not in rows:
        raise unknown("experiment", name, rows)
    return rows[name]


def in_presets(
    strategy: str, model: Model, bands: MatchedBands, presets: Sequence[str] = PRESETS, stack: str | None = None,
    band: list[int] | None = None, **options: Any,
) -> list[Variant]:  # fmt: skip
    """A strategy under `presets` on every stack, or on `stack` alone, or on one `band` of it.

    Where the article ran nothing on such a model, "matched" stands alone.
    """
    if isinstance(presets, str) or not presets:
        raise InputError(f"presets is {presets!r}: give a list of {' and '.join(PRESETS)}")
    for preset in presets:
        if preset not in PRESETS:
            raise unknown("preset", preset, PRESETS)
    require_stack(model, stack)
    if band is not None:
        if stack is None and len(model.depths) > 1:
            raise InputError(f"band {band} without its stack: name one of {', '.join(model.depths)}")
        stack = stack or next(iter(model.depths))
        return [custom_variant(stack, model.depths[stack], strategy, band=band, **options)]
    article = "article" in presets and (in_article(model) or "matched" not in presets)
    variants = article_variants(model, [strategy]) if article else []
    if "matched" in presets:
        variants += matched_variants(bands, model.depths, strategy, **options)
    variants = on_stack(variants, stack)
    return sorted(variants, key=lambda variant: list(model.depths).index(variant.stack))


def random_draws(
    strategy: str,
    model: Model,
    bands: MatchedBands,
    draws: int = 10,
    stack: str | None = None,
    band: list[int] | None = None,
) -> list[Variant]:
    """Each matched band, or one `band`, in `draws` random orders, band by band; the paper draws ten.

    A draw that gives an order once more is left out: a band of two layers has but one other order.
    """
    require_positive("draws", draws)
    found: dict[tuple, dict[str, Variant]] = {}
    for seed in range(draws):
        for variant in in_presets(strategy, model, bands, ["matched"], stack, band, seed=seed):
            of_band = found.setdefault((variant.stack, str(variant.band), variant.place), {})
            of_band.setdefault(str(variant.order), variant)
    return [variant for of_band in found.values() for variant in of_band.values()]


def in_sweep(
    model: Model, bands: MatchedBands, shares: Sequence[float] = (0.25, 0.5, 0.75),
    strategies: Sequence[str] | None = None, draws: int = 10,
) -> list[Variant]:  # fmt: skip
    """Every strategy of the table on ever larger middles of each stack; a random order in so many `draws` on the half.

    On the half, where strategies are compared, one draw would not do; elsewhere it is one. Those of a half share the
    seeds: so many orders of all prompts are pictures enough.
    """
    require_positive("draws", draws)
    chosen = [row.name for row in EXPERIMENTS if row.swept] if strategies is None else strategies
    variants = [variant for strategy in chosen for variant in sweep_variants(model.depths, strategy, shares)]
    half, found = halves(model), []
    for variant in variants:
        if variant.strategy != "random_order" or variant.band != half.get(variant.stack):
            found.append(variant)
            continue
        orders = {str(variant.order): variant}
        for seed in range(1, draws):
            about = {"preset": variant.preset}
            draw = custom_variant(variant.stack, variant.depth, "random_order", "", about, band=variant.band, seed=seed)
            orders.setdefault(str(draw.order), draw)
        found += [replace(draw, turn=(at, len(orders))) for at, draw in enumerate(orders.values())]
    return found


def halves(model: Model) -> dict[str, list[int]]:
    """The middle half of each stack, [first, last], as the sweep cuts it: on it all strategies are compared.

    A stack of which no band is about a half (0.4 to 0.6 of its layers) is left out.
    """
    found = {}
    for stack, depth in model.depths.items():
        for variant in sweep_variants({stack: depth}, "skip", [0.5]):
            if abs(variant.share - 0.5) <= 0.1 and variant.band:
                found[stack] = variant.band
    return found


BAND = {"band": [2, 5]}
EXPERIMENTS: list[Experiment] = [
    Experiment("identity", "every layer once, in order", example={}),
    Experiment("skip", "a band is left out: are all layers necessary?", "05_skip", "Are all layers necessary?",
               "#0072B2", "o", BAND, in_presets),
    Experiment("middle_repeat", "one layer stands in for all of the band: do they do the same?", "06_repeat",
               "Do they all do the same?", "#D55E00", "X", BAND, in_presets),
    Experiment("reverse", "the band runs backwards: does the order matter?", "07_reverse", "Does the order matter?",
               "#E69F00", "^", BAND, in_presets),
    Experiment("random_order", "the band is shuffled: is any order as good?", "08_random_order",
               "Is any order as good?", "#CC79A7", "D", BAND | {"seed": 1}, random_draws, few=True),
    Experiment("parallel", "the band's layers all see the same canvas, and what they return is averaged",
               "09_parallel", "Can they run in parallel?", "#009E73", "s", BAND, in_presets),
    Experiment("looped_parallel", "run in parallel and fed back into themselves, here three times",
               "10_looped_parallel", "Does looping help?", "#56B4E9", "P", BAND | {"loops": 3}, in_presets),
    Experiment("edges", "layers are removed at the ends of a stack and just before a band", "11_edges",
               "What do the layers at the edges do?", build=edge_variants),
    Experiment("layer_by_layer", "each layer is skipped on its own", "12_layer_by_layer", "Which layer carries what?",
               build=lambda model, _: sum(single_skips(model.depths).values(), [])),
    Experiment("sweep", "every strategy on ever larger middles of each stack", "13_sweep",
               "Which change harms least?", build=in_sweep),
    Experiment("controls", "layers summed, random bands, one stream, some steps", "14_controls",
               "What the damage is made of", build=control_variants),
]  # fmt: skip
