"""How wide the study's intervals are by the number of prompts: what the default profile's `suite` was chosen by.

    python -m benchmarks.precision

Paints the matched bands of every mini with many prompts, as the full profile does, then draws fewer again and again:
how wide is the 95 % interval of what is kept, and how often is the verdict that of all prompts? It takes a quarter of
an hour on one core, once; what was painted is kept in results/precision/. What it finds is kept in
data/precision.json, where the page reads it.
"""

import json
from typing import Annotated

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from miniworld.metrics import mini_rows
from miniworld.suite import article_prompts
from painters_utils.measure.intervals import interval
from painters_utils.models.model import Model
from painters_utils.paths import DATA
from painters_utils.study.experiments import experiment
from painters_utils.study.scores import verdict
from painters_utils.study.studio import Studio

from .timing import Found, command, row

KEPT = DATA / "precision.json"
STRATEGIES = ("skip", "middle_repeat", "reverse", "parallel")


def measure(
    model: Annotated[str, "a row of data/models.yaml (all: every mini)"] = "all",
    suite: Annotated[int, "prompts of the suite"] = 90,
    seeds: Annotated[int, "pictures of each prompt"] = 2,
    draws: Annotated[int, "smaller sets drawn of each size"] = 40,
) -> Found:
    names = list(mini_rows()) if model == "all" else [model]
    models = [Model.named(name) for name in names]
    kept = [values for one in models for values in kept_of(one, suite, seeds)]
    wholes = [verdict(*interval(values, values.index)[1:]) for values in kept]
    most, rng, rows, shares = len(kept[0]), np.random.default_rng(0), [], {}
    for count in sorted({*range(10, most, 5), most}):
        widths, same = [], []
        for values, whole in zip(kept, wholes, strict=True):
            for _ in range(draws):
                some = values.iloc[rng.choice(most, count, replace=False)]
                _, low, high = interval(some, some.index, draws=400)
                widths.append(high - low)
                same.append(verdict(low, high) == whole)
        shares[count] = {"width": round(float(np.mean(widths)), 3), "same": round(float(np.mean(same)), 3)}
        note = f"{len(kept)} variants; the verdict of all {most} prompts in {np.mean(same):.0%} of the draws"
        what = f"width of the interval with {count} prompts"
        rows.append(row(str(count), what, float(np.mean(widths)), "", note=note))
    found = {
        "command": f"python -m benchmarks.precision --model {model} --suite {suite} --seeds {seeds}",
        "models": [one.title for one in models], "variants": len(kept), "prompts": most, "seeds": seeds,
        "by prompts": shares,
    }  # fmt: skip
    KEPT.write_text(json.dumps(found, indent=1) + "\n")
    return rows, []


def kept_of(model: Model, suite: int, seeds: int) -> list[pd.Series]:
    """What every variant keeps of a model, prompt by prompt."""
    out = f"results/precision/{model.key}"
    studio = Studio(model, article_prompts(), list(range(seeds)), out, suite=suite)
    variants = [v for it in STRATEGIES for v in experiment(it).variants(model, studio.bands, presets=["matched"])]
    tables = [studio.scaled(variant) for variant in tqdm(variants, desc=model.title, unit="variant")]
    return [table.groupby("prompt")["kept"].mean() for table in tables]


if __name__ == "__main__":
    command(measure, __doc__)
