"""Every layer left out on its own: what is left of each score without it.

The search for layers' worth (`python -m workflow.worth`) has painted that of each mini once, with more pictures than a
study gives to any other order. Where its scores do not fit, a study paints its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from painters_utils.engine.describe import short
from painters_utils.measure.intervals import chance_of_least, ends, holm, p_value

from .experiments import experiment
from .numbers import searched_alone
from .studio import Studio

ROLES = ("broad", "fine", "quality", "layout", "clip", "dino")  # scores of which each could have a layer of its own
MISSED = 0.1  # of a score: what a layer costs at least that it is said to need


@dataclass(frozen=True)
class Alone:
    """What is left without each layer of a model, and the studio that has the pictures that are shown."""

    table: pd.DataFrame  # a row for each layer: stack, name and words of its variant, scores with intervals, pictures
    least: pd.Series  # by layer ("MM-DiT 7"): how often it is the one needed most when the prompts are drawn anew
    roles: Mapping[str, list[dict[str, Any]]]  # of each stack, the pairs of `with_surety`
    studio: Studio
    searched: bool


def leave_out_each(studio: Studio, anew: bool = False) -> Alone:
    """Every layer of the studio's model left out on its own; `anew`: painted, even where the search has done it.

    Of what the search has scored, only the shown prompts are painted, with one seed and when they are asked for.
    """
    variants = experiment("layer_by_layer").variants(studio.model, {})
    found = None if anew else searched_alone(studio.model, len(studio.prompts) * len(studio.seeds))
    if found is None:
        table = studio.table(variants, desc="layers")
        names = [f"{short(one.stack)} {one.name.split()[-1]}" for one in variants]
        kept = pd.DataFrame({name: studio.scaled(one)["kept"] for name, one in zip(names, variants, strict=True)})
        roles = {stack: find_roles([studio.scaled(one) for one in variants if one.stack == stack])
                 for stack in studio.model.depths}  # fmt: skip
        return Alone(table, chance_of_least(kept, studio.full["prompt"]), with_surety(roles), studio, False)
    about = pd.DataFrame([{"name": one.name, "stack": one.stack, "strategy": "skip", "words": one.words}
                          for one in variants])  # fmt: skip
    table = about.join(pd.DataFrame(**found["kept"], dtype=float)).assign(pictures=found["pictures a layer"])
    shown = Studio(studio.model, studio.shown, studio.seeds[:1], studio.out)
    return Alone(table, pd.Series(found["least"]), with_surety(found["roles"]), shown, True)


def find_roles(scaled: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """The pairs of scores that miss different layers most, and whether each surely needs its own.

    `scaled` holds the pictures without each layer of a stack. Which layer a score misses most is chosen on every other
    prompt, and tested on the rest, picture by picture: {"scores": [one, other], "layers": [a, b], "own": [{"mean",
    "low", "high"}, …]}, how much more of each score is kept without the other's layer than without its own.
    """
    prompts = scaled[0]["prompt"].to_numpy()
    choosing = np.isin(prompts, list(dict.fromkeys(prompts))[::2])
    kept = {score: np.stack([of[score] for of in scaled], 1) for score in ROLES if score in scaled[0]}
    lost = {score: 1 - pd.DataFrame(of[choosing]).mean() for score, of in kept.items()}
    most = {score: int(of.idxmax()) for score, of in lost.items() if of.max() > MISSED}
    found = []
    for pair in combinations(most, 2):
        layers = [most[score] for score in pair]
        if layers[0] != layers[1]:
            tested = [kept[score][~choosing][:, layers] for score in pair]
            own = [tested[0][:, 1] - tested[0][:, 0], tested[1][:, 0] - tested[1][:, 1]]
            found.append({"scores": list(pair), "layers": layers, "own": [ends(of, prompts[~choosing]) for of in own]})
    return found


def with_surety(roles: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The pairs of `find_roles`, each with "sure": whether both scores need their own layer, corrected for many pairs.

    Both have to, so a pair's p value is the larger of the two; Holm's correction is over the pairs of all stacks.
    """
    values = [max(p_value(**own) if own["mean"] > 0 else 1.0 for own in pair["own"])
              for pairs in roles.values() for pair in pairs]  # fmt: skip
    sure = iter(holm(values).tolist())
    return {stack: [pair | {"sure": next(sure)} for pair in pairs] for stack, pairs in roles.items()}
