"""How many layers can go together, and still the model paints as well?

    python -m workflow.fewer sd3-mini

All layers of all stacks are ranked by what a cheap measure says of them (`python -m workflow.worth` comes first), and
the least are left out together. How many, is chosen on some prompts of the suite; others, with other noise, say what
it is worth. It takes some five minutes a model on one core, once. What it finds is kept in data/fewer/, where notebook
19_worth reads it.
"""

from collections.abc import Sequence
from math import ceil

import pandas as pd
from tqdm.auto import tqdm

from painters_utils.engine.rearrange import layer_order
from painters_utils.errors import InputError
from painters_utils.measure.intervals import ends
from painters_utils.models.painting import paint
from painters_utils.study.numbers import read_search
from painters_utils.study.proxies import EARLY, Place, places_of, without
from painters_utils.study.scores import scale
from painters_utils.study.studio import Studio
from painters_utils.study.velocity import Trajectory

from .search import command
from .worth import BATCH, MEASURING, WINNER, prompts_of, studio_of

CHOOSING, JUDGING = slice(2, 6), slice(13, 20)  # which of each task's 20 prompts; no measure has seen the latter
CHOOSING_SEEDS, JUDGING_SEEDS = [1], [2, 3]
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # of all layers, left out together
GOAL, KEPT = 0.3, 0.98  # this share of the layers, at this share of the score
EACH, TOGETHER, CONTROL = "velocity error, each alone", "velocity error, one after the other", "score lost, each alone"


def rankings(studio: Studio, layers: pd.DataFrame, most: int) -> dict[str, list[Place]]:
    """The layers from the least worth on: by what they cost alone, or by what they cost beside those already gone."""
    by = {column: layers.sort_values(column)[["stack", "layer"]].to_numpy() for column in (WINNER, "score lost")}
    each, control = ([(str(stack), int(layer)) for stack, layer in some] for some in by.values())
    return {EACH: each, TOGETHER: one_after_the_other(studio, each, most), CONTROL: control}


def one_after_the_other(studio: Studio, each: Sequence[Place], most: int) -> list[Place]:
    """`most` layers, each of them the one without which the velocity errs least when those before it are gone.

    Only the better half of the layers is asked, and some more: what costs much alone costs much in company.
    """
    way = Trajectory(studio.pipe, prompts_of(MEASURING)[:: MEASURING.stop], studio.model.call)
    gone: list[Place] = []
    asked = list(each[: max(most, round(0.6 * len(each)))])

    def error(place: Place) -> float:
        with layer_order(way.transformer, without(way.transformer, *gone, place)):
            return float(way.error(min(EARLY, len(way.given) - 1)).mean())

    for _ in tqdm(range(most), desc=f"{studio.model.name}: one after the other", unit="layer"):
        gone.append(min((place for place in asked if place not in gone), key=error))
    return gone


def kept_without(studio: Studio, left_out: Sequence[Place]) -> pd.DataFrame:
    """The scaled scores of the studio's pictures when these layers are gone."""
    pipe = studio.pipe
    with layer_order(pipe.transformer, without(pipe.transformer, *left_out)):
        pictures = paint(
            pipe, studio.prompts, studio.seeds, BATCH, desc=f"without {len(left_out)}", **studio.model.call
        )
    return scale(studio.score(pictures), studio.full, studio.floor, studio.overall)


def search(name: str) -> dict:
    """Choose on CHOOSING, judge on JUDGING."""
    usual = studio_of(name)
    model, pipe = usual.model, usual.pipe
    worth, why = read_search("worth", model)
    if worth is None:
        raise InputError(f"{name!r} has no ranking ({why}): run `python -m workflow.worth {name}` first")
    places, layers = places_of(pipe.transformer), pd.DataFrame(**worth["layers"])
    counts = {share: ceil(share * len(places)) for share in SHARES}
    choosing, judging = (
        Studio(model, prompts_of(which), seeds, f"results/fewer/{model.key}", pipe=pipe)
        for which, seeds in ((CHOOSING, CHOOSING_SEEDS), (JUDGING, JUDGING_SEEDS))
    )
    ranked = rankings(usual, layers, max(counts.values()))

    def row(studio: Studio, by: str, count: int) -> dict:
        scaled = kept_without(studio, ranked[by][:count])
        told = {what: ends(scaled[score], scaled["prompt"])
                for what, score in (("kept", "kept"), ("facts", "adherence"), ("layout", "layout"))}  # fmt: skip
        return {"by": by, "left out": count, "share": round(count / len(places), 3)} | told

    front = [row(choosing, by, count) for by in tqdm(ranked, desc=f"{name}: choosing", unit="ranking")
             for count in counts.values()]  # fmt: skip
    cheap = [one for one in front if one["by"] != CONTROL]
    enough = [one for one in cheap if one["kept"]["mean"] >= KEPT] or cheap[:1]
    most = max(enough, key=lambda one: (one["left out"], one["kept"]["mean"]))
    goal = max((one for one in cheap if one["left out"] == counts[GOAL]), key=lambda one: one["kept"]["mean"])
    judged = [row(judging, one["by"], one["left out"]) | {"layers": ranked[one["by"]][: one["left out"]]}
              for one in ([most] if most == goal else [most, goal])]  # fmt: skip
    return {
        "command": f"python -m workflow.fewer {name}", "weights": model.weights, "layers": len(places),
        "chosen on": len(choosing.baseline), "judged on": len(judging.baseline),
        "wanted": KEPT, "chosen among": front, "judged": judged,
        "found": {
            "score kept without as many layers as could go on the choosing prompts": judged[0]["kept"],
            f"score kept without {GOAL:.0%} of the layers".replace("%", " %"): judged[-1]["kept"],
        },
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    command(search, "fewer", __doc__, arguments)


if __name__ == "__main__":
    main()
