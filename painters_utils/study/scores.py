"""What a picture's scores mean: their names, and the paper's scale from 0, chance, to 1, the full model.

Two scorers give them: the checker reads minis' pictures (`measure/world.py`), judges look at any other model's
(`originals/judges.py`). What comparing pictures says is always there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from painters_utils.measure.intervals import interval

# What the scores are called; all are 1 at best.
CHECKED = {
    "adherence": "facts of the prompt",
    "broad": "broad concepts",
    "fine": "fine detail",
    "quality": "likeness to sprites",
    "layout": "layout kept",
}
JUDGED = {"clip": "fit to the prompt", "dino": "look kept"}
COMPARED = {"coarse": "coarse picture kept", "detail": "fine picture kept"}
SCORES = CHECKED | JUDGED | COMPARED
NAMES = {"kept": "score kept", "duplicates": "surplus objects"} | SCORES
MARGIN = 0.05  # two things that differ by less are called equal
CATASTROPHIC = 0.5  # a variant that keeps less than half of the way from chance to the full model
LEAST_REACH = 0.02  # a full model no further above chance has nothing that could be lost


class Scorer(Protocol):
    """Who looks at the pictures of a model."""

    names: Sequence[str]  # of SCORES, those that it gives
    overall: Sequence[str]  # those whose mean is `kept`: is it the right picture, and is it well painted?
    floor_zero: Sequence[str]  # those that are 0 at chance: nothing is found
    fingerprint: str  # of the weights that it looks with

    def score(self, prompts: Sequence[str], pictures: Sequence[Any], before: Sequence[Any]) -> pd.DataFrame:
        """A row for each picture; `before` are the untouched model's pictures of those prompts."""
        ...

    def lacks(self, score: str) -> str:
        """Why it does not give a score; "" if it does."""
        ...


def reach(full: pd.DataFrame, floor: Mapping[str, float]) -> dict[str, float]:
    """How far the full model is above chance, score by score; NaN where it hardly is."""
    above = full[list(floor)].mean().to_numpy() - list(floor.values())
    return dict(zip(floor, np.where(above > LEAST_REACH, above, np.nan).tolist(), strict=True))


def scale(table: pd.DataFrame, full: pd.DataFrame, floor: Mapping[str, float], overall: Sequence[str]) -> pd.DataFrame:
    """Each picture's scores so scaled that 1 is what the untouched model's picture of that prompt and seed has, and
    that the mean of all pictures is 0 at chance (Sun et al. 2024, section 3). `kept` is the mean of those in `overall`.

    `table` and `full` have a row for each picture, `table` perhaps of some of them only; `floor` holds the mean of each
    score at chance. A score in which the full model itself is hardly above chance is NaN.
    """
    names, above = list(floor), np.array(list(reach(full, floor).values()))
    values = 1 + (table[names].to_numpy(float) - beside(table, full)[names].to_numpy(float)) / above
    scaled = table[["prompt", "seed"]].assign(**dict(zip(names, values.T, strict=True)))
    return scaled.assign(kept=scaled[list(overall)].mean(axis=1))


def beside(table: pd.DataFrame, full: pd.DataFrame) -> pd.DataFrame:
    """The untouched model's row of each of the table's prompts and seeds."""
    return table[["prompt", "seed"]].merge(full, how="left", on=["prompt", "seed"])


def summarise(table: pd.DataFrame, scaled: pd.DataFrame, full: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Means with 95 % intervals over prompts and seeds, paired with the untouched model's pictures.

    A prompt and seed that stand in several rows, as of the draws of a random order, are averaged first: another draw is
    no further picture of chance. {"kept": mean, "kept low": …, "kept high": …, "adherence": …, …, "change": …,
    "pictures": how many prompts and seeds, "not finite": rows}; where the scorer counts them
    also "duplicates", the surplus over the untouched model's, and "distance" and "distance untouched", the kernel
    distances of the variant's and of the untouched model's pictures to rendered ones.
    """
    row: dict[str, float] = {}
    told = scaled[["kept", *names]].assign(change=table["change"])
    told = told.groupby([table["prompt"], table["seed"]], sort=False).mean()
    for name, values in told.items():
        ends = interval(values, told.index.get_level_values("prompt"))
        row |= {name + end: value for end, value in zip(("", " low", " high"), ends, strict=True)}
    if "duplicates" in table:
        own = beside(table, full)
        row["duplicates"] = float(table["duplicates"].mean() - own["duplicates"].mean())
        row["distance"], row["distance untouched"] = (float(one["distance"].mean()) for one in (table, own))
    return row | {"pictures": len(told), "not finite": int((~table["finite"]).sum())}


def without_broken(table: pd.DataFrame) -> pd.DataFrame:
    """The table with 0 for every score of a picture that is not finite."""
    names = [name for name in SCORES if name in table]
    broken = ~table["finite"]
    table.loc[broken, names] = table.loc[broken, names].mask(lambda values: values.notna(), 0.0)
    return table


def verdict(low: float, high: float) -> str:
    """What an interval says of `CATASTROPHIC`: catastrophic, tolerable, or neither with 95 % certainty."""
    if high < CATASTROPHIC:
        return "catastrophic"
    return "tolerable" if low >= CATASTROPHIC else "between tolerable and catastrophic"
