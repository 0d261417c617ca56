"""Can a model beat itself? Guidance by a weaker self, chosen on some prompts and judged on others.

    python -m workflow.weaker sd3-mini

For each way to weaken a model (bands that are left out, one layer in place of a band), weight and window of steps, a
fifth of the suite's prompts is painted. Those that do best are painted with more seeds, and the best of them is taken.
The other prompts say what it is worth, beside what as many forward passes buy otherwise: more steps, and more
classifier-free guidance. It takes some twenty minutes a model on one core, once; scores are kept in results/weaker/, so
that a stopped run goes on. What it finds is kept in data/weaker/, where notebook 18_weaker_self reads it.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from miniworld import checker
from miniworld.scores import check_facts
from miniworld.suite import load_suite
from painters_utils.engine.describe import short
from painters_utils.engine.guidance import weaker_self
from painters_utils.engine.orders import Order
from painters_utils.errors import InputError
from painters_utils.measure.intervals import ends
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.painting import paint, remember_texts
from painters_utils.paths import ROOT
from painters_utils.study.experiments import experiment, halves
from painters_utils.study.recordings import load_or_record, matched_bands_of
from painters_utils.study.store import Store
from painters_utils.study.variants import Variant, custom_variant

from .search import command, made_by

WEIGHTS = (0.5, 1.5)
CHOOSING = 4  # prompts of each of the suite's tasks on which is chosen; the others judge
FINALISTS, MORE_SEEDS = 8, [4, 5, 6, 7]  # so many ways are painted with so many further seeds before one is chosen
SCALES = (1.4, 2.0)  # times the model's own classifier-free guidance


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to paint: the model as it is, guided by a weaker self, or with other settings of its pipeline."""

    name: str
    passes: float  # forward passes of a picture, relative to the untouched model's
    stack: str = ""
    order: Order | None = None
    weight: float = 0.0
    steps: list[int] | None = None
    call: dict[str, Any] | None = None


def weak_selves(model: Model, bands: Any) -> list[Variant]:
    """The orders that are tried: the article's skipped bands, matched bands and halves left out, one layer in place."""
    found = experiment("skip").variants(model, bands) + experiment("middle_repeat").variants(
        model, bands, presets=["matched"]
    )
    for stack, band in halves(model).items():
        found.append(custom_variant(stack, model.depths[stack], "skip", band=band))
    return list({str((one.stack, one.order)): one for one in found}.values())


def guided_arms(model: Model, bands: Any) -> Iterator[Arm]:
    """Every weak self with every weight, in the first half of the steps and in all."""
    half = model.steps // 2
    for one in weak_selves(model, bands):
        for weight in WEIGHTS:
            for steps, when in (([0, half - 1], "first half"), (None, "all steps")):
                passes = 1.5 if steps else 2.0
                name = f"away from {short(one.stack)} {one.name}, weight {weight:g}, {when}"
                yield Arm(name, passes, one.stack, one.order, weight, steps)


def other_arms(model: Model, passes: float) -> list[Arm]:
    """What as many forward passes buy otherwise."""
    steps = round(passes * model.steps)
    arms = [Arm(f"{steps} steps", steps / model.steps, call={"num_inference_steps": steps})]
    if (scale := model.call.get("guidance_scale", 0)) > 1:
        arms += [Arm(f"guidance {scale * more:g}", 1.0, call={"guidance_scale": scale * more}) for more in SCALES]
        arms.append(Arm(f"{steps} steps, guidance {scale * SCALES[0]:g}", steps / model.steps,
                        call={"num_inference_steps": steps, "guidance_scale": scale * SCALES[0]}))  # fmt: skip
    return arms


class Search:
    """A model, and how its pictures of some prompts are scored under an arm."""

    def __init__(self, model: Model) -> None:
        self.model, self.pipe = model, remember_texts(load_pipeline(model))
        self.store, self.key = Store(ROOT / "results/weaker"), made_by(model)

    def context(self, arm: Arm) -> AbstractContextManager:
        if arm.order is None:
            return nullcontext()
        return weaker_self(self.pipe.transformer, {arm.stack: arm.order}, arm.weight, arm.steps, of=self.model.steps)

    def scores(self, arm: Arm, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """(pictures, 2): is everything right, and which share of the facts; prompt after prompt."""

        def look() -> pd.DataFrame:
            call = dict(self.model.call) | (arm.call or {})
            with self.context(arm):
                pictures = paint(self.pipe, prompts, seeds, self.model.loading.batch or 32, desc=arm.name, **call)
            seen = checker.read([picture.image for picture in pictures])
            checks = [check_facts(picture.prompt, scene) for picture, scene in zip(pictures, seen, strict=True)]
            return pd.DataFrame([(float(check.strict), check.share()) for check in checks], columns=["strict", "facts"])

        return self.store.table([*self.key, asdict(arm), list(prompts), list(seeds)], look).to_numpy(float)


def search(name: str, seeds: int = 3) -> dict:
    """Choose on CHOOSING prompts a task, judge on the others with `seeds` seeds of their own."""
    model = Model.named(name)
    if not model.mini:
        raise InputError(f"{name!r} is no mini: only minis' pictures can be read by the checker")
    bands = matched_bands_of(load_or_record(model, None, f"results/weaker/{model.key}")["cosine"])
    look, suite = Search(model), load_suite().values()
    choosing = [prompt for task in suite for prompt in task[:CHOOSING]]
    judging = [prompt for task in suite for prompt in task[CHOOSING:]]
    untouched = Arm("untouched", 1.0)
    ways = list(guided_arms(model, bands))

    def gained(some: Sequence[Arm], seeds: Sequence[int], desc: str) -> list[np.ndarray]:
        """Of each way what its pictures gain over the untouched model's: (pictures, 2)."""
        before = look.scores(untouched, choosing, seeds)
        return [look.scores(arm, choosing, seeds) - before for arm in tqdm(some, desc=f"{name}: {desc}", unit="way")]

    found = dict(zip(ways, gained(ways, [0], "choosing"), strict=True))
    best = sorted(ways, key=lambda arm: (-found[arm].mean(0).sum(), arm.passes))[:FINALISTS]
    for arm, more in zip(best, gained(best, MORE_SEEDS, "choosing among the best"), strict=True):
        found[arm] = np.concatenate([found[arm], more])
    chosen = max(best, key=lambda arm: (found[arm].mean(0).sum(), -arm.passes))
    tried = [
        {"name": arm.name, "pictures": len(own)}
        | {score: float(mean) for score, mean in zip(("strict", "facts"), own.mean(0), strict=True)}
        for arm, own in found.items()
    ]
    judges, prompts = [*range(1, seeds + 1)], [prompt for prompt in judging for _ in range(seeds)]
    full = look.scores(untouched, judging, judges)
    judged = []
    for arm in tqdm([chosen, *other_arms(model, chosen.passes)], desc=f"{name}: judging", unit="way"):
        own = look.scores(arm, judging, judges)
        row = asdict(arm) | {"pictures": len(own)}
        for column, score in enumerate(("strict", "facts")):
            row[score] = ends(own[:, column], prompts)
            row[f"{score} gained"] = ends(own[:, column] - full[:, column], prompts)
        judged.append(row)
    of_full = {score: ends(full[:, column], prompts) for column, score in enumerate(("strict", "facts"))}
    return {
        "command": f"python -m workflow.weaker {name}", "weights": model.weights, "chosen on": len(found[chosen]),
        "judged on": len(full), "untouched": of_full, "tried": tried, "judged": judged,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    command(search, "weaker", __doc__, arguments, seeds=(3, "pictures of each prompt that judges"))


if __name__ == "__main__":
    main()
