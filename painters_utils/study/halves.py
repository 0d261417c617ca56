"""Every strategy on one and the same half of a stack: what each keeps, and how far one is ahead of another.

The middle half is where strategies can be compared: the same stack, the same layers, the same pictures, and of a random
order as many draws as were painted. Differences are paired, picture by picture.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from painters_utils.measure.intervals import ends
from painters_utils.models.model import Model

from .experiments import halves
from .scores import beside
from .studio import Studio
from .variants import Variant

# The score of the whole, whether the picture is still laid out as it was, and whether everything asked for is there: in
# a variant's picture, and in the untouched model's from that noise.
SAID = ("kept", "layout", "right", "right untouched")


def on_halves(model: Model, variants: Sequence[Variant]) -> list[Variant]:
    """Those of the sweep's variants that change the middle half of a stack."""
    bands = halves(model)
    return [variant for variant in variants if variant.band is not None and variant.band == bands.get(variant.stack)]


def scores_on_halves(studio: Studio, variants: Sequence[Variant]) -> pd.DataFrame:
    """A row for each stack, strategy, prompt and seed: model, stack, strategy, prompt, seed, and what SAID names.

    `variants` are those of `on_halves`. Several of one strategy, the draws of a random order, are averaged.
    """
    names = ["model", "stack", "strategy", "prompt", "seed"]
    tables = []
    for variant in variants:
        scaled, facts = studio.scaled(variant), studio.scores(variant).get("adherence")
        if facts is not None:
            untouched = beside(scaled, studio.full)["adherence"].to_numpy()
            scaled = scaled.assign(**{"right": facts == 1, "right untouched": untouched == 1})
        about = {"model": studio.model.key, "stack": variant.stack, "strategy": variant.strategy}
        tables.append(scaled.assign(**about)[[*names, *(score for score in SAID if score in scaled)]])
    if not tables:
        return pd.DataFrame(columns=[*names, "kept"])
    return pd.concat(tables).groupby(names, sort=False, as_index=False).mean()


def compare_strategies(table: pd.DataFrame) -> dict[str, Any]:
    """What each strategy keeps on average over the stacks, and by how much each is ahead of those behind it.

    `table` holds rows of `scores_on_halves`, of one model or of several. Every stack has the same weight; prompts and
    pictures are drawn anew for the intervals.

    {"stacks": n, "pictures": n, "kept": {strategy: {"mean", "low", "high"}}, "layout": {…}, "right": {…},
    "right untouched": {"mean", "low", "high"}, "ahead": {"reverse": {"skip": {"mean", "low", "high"}}}}, strategies
    from the most harmless to the most harmful.
    """
    if table.empty:
        return {}
    found: dict[str, Any] = {
        "stacks": len(table[["model", "stack"]].drop_duplicates()),
        "pictures": int(table.groupby("strategy").size().median()),
    }
    for score in (score for score in SAID if score in table):
        if score == "right untouched":
            found[score] = ends(table[score], table["prompt"])
            continue
        wide = table.pivot_table(score, ["prompt", "seed"], "strategy", aggfunc="mean")
        order = wide.mean().sort_values(ascending=False).index
        prompts = wide.index.get_level_values("prompt")
        found[score] = {name: ends(wide[name], prompts) for name in order}
        if score == "kept":
            found["ahead"] = {name: {} for name in order[:-1]}
            for one, other in combinations(order, 2):
                found["ahead"][one][other] = ends(wide[one] - wide[other], prompts)
    return found
