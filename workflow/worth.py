"""Which cheap measure tells what a layer is worth?

    python -m workflow.worth sd3-mini

Each layer of each stack is left out on its own, and some hundred pictures of the suite say what that costs. Cheap
measures are taken on other prompts and on held-out scenes (`painters_utils/study/proxies.py`); whether they rank the
layers as the pictures do, `painters_utils/measure/ranks.py` says. It takes some quarter of an hour a model on one
core, once; what was painted is kept in results/worth/, so a run that was stopped goes on. What it finds is kept in
data/worth/, where notebooks 12_layer_by_layer and 19_worth read it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from miniworld.suite import load_suite
from painters_utils.engine.describe import short
from painters_utils.engine.starts import Starts
from painters_utils.errors import InputError
from painters_utils.measure.intervals import Interval
from painters_utils.measure.ranks import ceiling, over_layers, over_prompts, spearman, split_halves
from painters_utils.measure.world import Scenes
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.painting import remember_texts
from painters_utils.study.alone import leave_out_each
from painters_utils.study.numbers import as_scored
from painters_utils.study.proxies import cheap_measures
from painters_utils.study.studio import Studio
from painters_utils.study.variants import single_skips

from .plan import guides
from .search import command

MEASURING, SCORED = slice(0, 2), slice(2, 13)  # which of each task's 20 prompts; the rest is left for workflow/fewer.py
EACH = SCORED.stop - SCORED.start  # so many of each task
SCENES = 32  # of the denoising loss, as in the study
BATCH = 33
WINNER, PRESENT = "velocity error, second step", "denoising loss"
OUTCOMES = {"score lost": "kept", "facts lost": "adherence", "layout lost": "layout"}
ALL = "all layers"


def prompts_of(which: slice) -> list[str]:
    """Those prompts of each of the suite's tasks."""
    return [prompt for task in load_suite().values() for prompt in task[which]]


def studio_of(name: str, each: int = EACH) -> Studio:
    """The model's studio for `each` of every task's scored prompts; `InputError` for a model whose pictures cannot be
    read, and for more prompts than are there."""
    if not 0 < each <= EACH:
        raise InputError(f"--each is {each}: give 1 to {EACH}, the number of prompts of each task that are scored")
    model = Model.named(name, batch=BATCH)
    if not model.mini:
        raise InputError(f"{name!r} is no mini: only minis' pictures can be read by the checker")
    pipe = remember_texts(load_pipeline(model))
    scored = slice(SCORED.start, SCORED.start + each)
    return Studio(model, prompts_of(scored), [0], f"results/worth/{model.key}", pipe=pipe)


def costs(studio: Studio) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """What leaving each layer out costs: the means, a row for each layer, and each outcome (pictures, layers)."""
    skips = [(stack, layer, skip) for stack, some in single_skips(studio.model.depths).items()
             for layer, skip in enumerate(some)]  # fmt: skip
    pictures: dict[str, list[np.ndarray]] = {name: [] for name in (*OUTCOMES, "picture changed")}
    for _, _, skip in tqdm(skips, desc=f"{studio.model.name}: painting", unit="layer"):
        scaled = studio.scaled(skip)
        for name, score in OUTCOMES.items():
            pictures[name].append(1 - scaled[score].to_numpy(float))
        pictures["picture changed"].append(studio.scores(skip)["change"].fillna(1).to_numpy(float))
    scores = {name: np.stack(of, 1) for name, of in pictures.items()}
    index = pd.MultiIndex.from_tuples([place[:2] for place in skips], names=["stack", "layer"])
    return pd.DataFrame({name: of.mean(0) for name, of in scores.items()}, index=index), scores


def kept(studio: Studio) -> dict[str, Any]:
    """What is left of each score without each layer, which is needed most, and roles, all for notebook 12."""
    alone = leave_out_each(studio, anew=True)
    names = [name + end for name in ("kept", *studio.score_names) for end in ("", " low", " high")]
    table = alone.table[names].round(3)
    return {"kept": table.astype(object).where(table.notna(), None).to_dict("split", index=False),
            "least": alone.least[alone.least > 0].to_dict(), "roles": alone.roles}  # fmt: skip


def search(name: str, each: int = EACH) -> dict:
    """Paint without each layer, measure cheaply, and hold the one against the other."""
    studio = studio_of(name, each)
    outcomes, scores = costs(studio)
    pipe = studio.pipe
    with Starts(pipe.transformer):  # many orders of the same inputs, each of which changes one layer
        measures, passes = cheap_measures(pipe, prompts_of(MEASURING), studio.model.call, Scenes(pipe, SCENES).loss)
    layers = outcomes.join(measures).map(three_digits)  # judged as they are saved
    stacks = {short(stack): layers.index.get_level_values("stack") == stack for stack in studio.model.depths}
    parts = {ALL: np.ones(len(layers), bool)} | (stacks if len(stacks) > 1 else {})
    painted, rows = len(studio.prompts), layers.reset_index().astype(object)
    return {
        "command": f"python -m workflow.worth {name} --each {each}", "weights": studio.model.weights,
        "scored": as_scored(studio.model),
        "pictures a layer": painted, "prompts of the measures": len(prompts_of(MEASURING)),
        "passes of the pictures": (len(layers) + 1) * painted * studio.model.steps * (1 + guides(studio.model)),
        "passes": passes,
        "layers": rows.where(rows.notna(), None).to_dict("split", index=False), **kept(studio),
        "ceiling": {part: {what: named(over_layers(ceiling, split_halves(of[:, where]))) for what, of in scores.items()}
                    for part, where in parts.items()},
        "over prompts": {part: {what: named(over_prompts(layers[WINNER][where].to_numpy(), of[:, where]))
                                for what, of in scores.items()} for part, where in parts.items()},
        "found": judged(layers, scores["score lost"]),
    }  # fmt: skip


def judged(layers: Mapping, lost: np.ndarray) -> dict[str, dict[str, float]]:
    """The numbers of the claims, over all layers of the model, with intervals over layers."""
    winner, present, worth = (np.asarray(layers[name], float) for name in (WINNER, PRESENT, "score lost"))
    statistics: dict[str, tuple[Callable[..., np.ndarray], tuple[np.ndarray, ...]]] = {
        "rank correlation of the velocity error with the score lost": (spearman, (winner, worth)),
        "rank correlation of the denoising loss with the score lost": (spearman, (present, worth)),
        "rank correlation of the velocity error less that of the denoising loss": (
            lambda one, other, of: spearman(one, of) - spearman(other, of), (winner, present, worth)),
        "share of the possible rank correlation that the velocity error reaches": (
            lambda one, of, halves: spearman(one, of) / ceiling(halves), (winner, worth, split_halves(lost))),
    }  # fmt: skip
    return {name: named(over_layers(statistic, *values)) for name, (statistic, values) in statistics.items()}


def three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def named(of: Interval) -> dict[str, float]:
    """A number with its interval, as it is saved."""
    return dict(zip(("mean", "low", "high"), of, strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    command(search, "worth", __doc__, arguments, each=(EACH, "prompts of each task"))


if __name__ == "__main__":
    main()
