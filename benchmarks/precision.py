"""How wide the study's intervals are by the number of prompts: what the default profile's `suite` was chosen by.

    python -m benchmarks.precision --model sd3-mini

Paints a few variants with many prompts, then draws fewer again and again: how wide is the 95 % interval of what is
kept, and how often is the verdict that of all prompts? What it finds of the default's number of prompts is kept in
data/precision.json, where the page reads it.
"""

import json
from typing import Annotated

import numpy as np

from miniworld.suite import article_prompts
from painters_utils.measure.intervals import interval
from painters_utils.models.model import Model
from painters_utils.paths import DATA
from painters_utils.study.experiments import experiment
from painters_utils.study.scores import verdict
from painters_utils.study.studio import Studio

from .timing import Found, command, row

KEPT = DATA / "precision.json"
STRATEGIES = ("skip", "reverse", "parallel")


def measure(
    model: Annotated[str, "a row of data/models.yaml"] = "sd3-mini",
    suite: Annotated[int, "prompts of each task"] = 10,
    seeds: Annotated[int, "pictures of each prompt"] = 2,
    draws: Annotated[int, "smaller sets drawn of each size"] = 40,
) -> Found:
    named = Model.named(model)
    studio = Studio(named, article_prompts(), list(range(seeds)), f"results/precision/{model}", suite=suite)
    variants = [v for it in STRATEGIES for v in experiment(it).variants(named, studio.bands, presets=["matched"])]
    kept = [studio.scaled(variant).groupby("prompt")["kept"].mean() for variant in variants]
    most, rng, rows, shares = len(kept[0]), np.random.default_rng(0), [], {}
    for count in sorted({*range(6, most, 9), most}):
        widths, same = [], []
        for values in kept:
            whole = interval(values, values.index)
            for _ in range(draws):
                some = values.iloc[rng.choice(most, count, replace=False)]
                _, low, high = interval(some, some.index, draws=400)
                widths.append(high - low)
                same.append(verdict(low, high) == verdict(*whole[1:]))
        shares[count] = {"width": round(float(np.mean(widths)), 3), "same": round(float(np.mean(same)), 3)}
        note = f"{len(variants)} variants; the verdict of all {most} prompts in {np.mean(same):.0%} of the draws"
        what = f"{model}: width of the interval with {count} prompts"
        rows.append(row(f"{model} {count}", what, float(np.mean(widths)), "", note=note))
    found = {
        "command": f"python -m benchmarks.precision --model {model} --suite {suite} --seeds {seeds}",
        "model": named.title, "variants": len(variants), "prompts": most, "seeds": seeds, "by prompts": shares,
    }  # fmt: skip
    KEPT.write_text(json.dumps(found, indent=1) + "\n")
    return rows, []


if __name__ == "__main__":
    command(measure, __doc__)
