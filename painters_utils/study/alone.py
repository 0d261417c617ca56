"""Every layer left out on its own: what is left of each score without it.

The search for layers' worth (`python -m workflow.worth`) has painted that of each mini once, with more pictures than a
study gives to any other order. Where its scores do not fit, a study paints its own.
"""

from dataclasses import dataclass

import pandas as pd

from painters_utils.engine.describe import short
from painters_utils.measure.intervals import chance_of_least

from .experiments import experiment
from .numbers import searched_alone
from .studio import Studio


@dataclass(frozen=True)
class Alone:
    """What is left without each layer of a model, and the studio that has the pictures that are shown."""

    table: pd.DataFrame  # a row for each layer: stack, name and words of its variant, scores with intervals, pictures
    least: pd.Series  # by layer ("MM-DiT 7"): how often it is the one needed most when the prompts are drawn anew
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
        kept = {f"{short(one.stack)} {one.name.split()[-1]}": studio.scaled(one)["kept"] for one in variants}
        return Alone(table, chance_of_least(pd.DataFrame(kept), studio.full["prompt"]), studio, False)
    about = pd.DataFrame([{"name": one.name, "stack": one.stack, "strategy": "skip", "words": one.words}
                          for one in variants])  # fmt: skip
    table = about.join(pd.DataFrame(**found["kept"], dtype=float)).assign(pictures=found["pictures a layer"])
    shown = Studio(studio.model, studio.shown, studio.seeds[:1], studio.out)
    return Alone(table, pd.Series(found["least"]), shown, True)
