"""What every chapter shows: an opening by hand, the orders, the pictures, what is kept, and that in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from painters_utils.engine.bands import Bands
from painters_utils.engine.describe import short
from painters_utils.measure.intervals import percent
from painters_utils.measure.world import as_asked
from painters_utils.models.painting import Picture
from painters_utils.study.experiments import experiment
from painters_utils.study.numbers import save_strips
from painters_utils.study.scores import CATASTROPHIC, JUDGED, SCORES, verdict
from painters_utils.study.studio import Studio
from painters_utils.study.variants import Variant

from .charts import kept_chart, kept_table, variant_labels
from .drawings import order_svg
from .figures import heatmaps, picture_rows, say, show, show_table, wrapped


def example_band(studio: Studio, stack: str | None = None, band: list[int] | None = None) -> tuple[str, int, list[int]]:
    """A stack, its depth, and the band of it on which a chapter shows its change by hand.

    What the notebook was given, else the last matched band of the first stack that has bands of more than two layers.
    """
    wide = [name for name, places in studio.bands.items() if any(last - first > 1 for first, last in places.values())]
    stack = stack or (wide or list(studio.bands))[0]
    return stack, studio.model.depths[stack], band or list(studio.bands[stack].values())[-1]


def show_side_by_side(columns: Mapping[str, Sequence[Picture]], name: str, out: str | Path) -> None:
    """Pictures of the same prompts and noise: a column for each way to run the layers, a row for each prompt."""
    shown = list(columns.values())
    prompts = [picture.prompt for picture in shown[0]]
    show(
        picture_rows({wrapped(p, 24): [some[row] for some in shown] for row, p in enumerate(prompts)}, list(columns)),
        name,
        out=out,
        caption="From left to right: " + "; ".join(columns) + ". The prompts and the noise are the same.",
        alt=f"Pictures in columns: {'; '.join(columns)}. Rows: {'; '.join(prompts)}.",
    )


def expect(statement: str, holds: bool, found: str = "") -> None:
    """Say whether what a chapter expects came out. If not, that is a finding too, and the notebook goes on."""
    say(f"Expected: {statement}. **{'As expected' if holds else 'Not as expected'}**{found and ': '}{found}.")


def show_orders(variants: Sequence[Variant], name: str, out: str | Path) -> None:
    """Which layer runs when: a drawing for each stack, the untouched order on top."""
    for stack, some in by_stack(distinct(variants)).items():
        depth = some[0].depth
        drawing = order_svg(
            {"untouched": list(range(depth))} | {variant.name: variant.order for variant in some}, depth
        )
        slips = "; ".join(f"{variant.name}: {variant.slip}" for variant in some if variant.slip)
        show(
            drawing,
            f"{name}-orders-{short(stack).lower()}",
            out=out,
            caption=f"Which {short(stack)} layer runs when, from left to right. The darker a tile, the later its layer "
            "stands in the stack; layers in one frame run in parallel."
            + (f" As the article's author ran them ({slips})." if slips else ""),
            alt=drawing.alt,
        )


def show_pictures(studio: Studio, variants: Sequence[Variant], name: str, out: str | Path) -> None:
    """The prompts' pictures under each variant, below the baseline's, from the same noise; the first seed."""
    first = lambda pictures: [p for p in pictures if p.seed == studio.seeds[0]]  # noqa: E731
    baseline = first(studio.pictures())
    for stack, some in by_stack(distinct(variants)).items():
        rows = asked(studio) | {"untouched": baseline}
        rows |= {variant.name: first(studio.pictures(variant)) for variant in some}
        show(
            picture_rows(rows, titles=studio.shown),
            f"{name}-pictures-{short(stack).lower()}",
            out=out,
            caption=f"The same prompts and noise, with the {short(stack)} layers run in other ways. None was picked.",
            alt=f"Grid of pictures. Rows: {', '.join(rows)}. Columns: {'; '.join(studio.shown)}.",
        )
    leave_strips(studio, variants, name, out)


def leave_strips(
    studio: Studio, variants: Sequence[Variant], name: str, out: str | Path, scored: bool = True
) -> None:  # fmt: skip
    """Leave the shown pictures for the page, untouched and under each variant; where `scored`, with what each keeps."""
    first = lambda pictures: [p.image for p in pictures if p.seed == studio.seeds[0]]  # noqa: E731
    strips, kept = {"baseline": first(studio.pictures())}, {}
    for variant in variants:
        key = f"{variant.stack}/{variant.name}"
        strips[key] = first(studio.pictures(variant))
        if scored:
            scores = studio.scaled(variant)
            shown = scores[scores["prompt"].isin(studio.shown) & (scores["seed"] == studio.seeds[0])]
            kept[key] = list(shown["kept"])
    save_strips(out, name, strips, kept)


def asked(studio: Studio) -> dict[str, list[Picture]]:
    """A row of what a mini's prompts ask for, to hold its pictures against; none for a model that is no mini."""
    return {"as it should be": as_asked(studio.shown)} if studio.model.mini else {}


# What the columns of the table mean, said where it has them.
MEANS = {
    "broad": "Broad concepts: objects, counts, places, background; fine detail: colours of objects, accessories and "
    "their colours.",
    "clip": "Fit to the prompt: CLIPScore.",
    "dino": "Look kept: likeness to the untouched model's picture in the eyes of DINOv2.",
    "coarse": "Coarse and fine picture: correlation with the baseline's, below and above a blur.",
    "distance": "Kernel distance: of these pictures to rendered scenes in the eyes of the checker, 0 if it cannot tell "
    "them apart; the untouched model's is {distance untouched:.3f}. That is not 0 either, for a few prompts painted "
    "again and again are no fair sample of scenes: compare within one table only.",
}
ASKED = {
    "adherence": "is it the right picture?",
    "quality": "is it well painted?",
    "clip": "CLIPScore: is it the right picture?",
    "dino": "DINOv2: does it look like the untouched model's?",
    "coarse": "is it laid out like the untouched model's?",
    "detail": "is its detail the untouched model's?",
}


def how_scored(studio: Studio) -> str:
    """Who scores the model's pictures, what the numbers and words mean, and which scores are left out and why."""
    mini = studio.model.mini
    parts = " and ".join(f"“{SCORES[score]}” ({ASKED[score]})" for score in studio.overall)
    who = "The checker reads every picture." if mini else "The checker reads minis' pictures only."
    left_out = [f" There is no score “{JUDGED[name]}”: {why}." for name in JUDGED if (why := studio.lacks(name))]
    return (
        f"{who} Scores run from 0 %, what another prompt's picture would get, to 100 %, what the "
        f"untouched model gets. “Score kept” is the mean of {parts}. A change is “catastrophic” if surely less than "
        f"{percent(CATASTROPHIC)} is kept and “tolerable” if surely at least {percent(CATASTROPHIC)} is kept; it is "
        f"between the two if the 95 % interval does not say which.{'' if mini else ''.join(left_out)}"
    )


def show_kept(studio: Studio, table: pd.DataFrame, name: str, out: str | Path) -> None:
    """What each variant keeps, as a chart and as numbers."""
    say(how_scored(studio))
    drawn = once(table)
    summary = "; ".join(
        f"{label} {percent(kept)}" for label, kept in zip(variant_labels(drawn), drawn["kept"], strict=True)
    )
    few, many = int(table["pictures"].min()), int(table["pictures"].max())
    show(
        kept_chart(drawn),
        f"{name}-kept",
        out=out,
        caption=f"What is left of {few if few == many else f'{few} to {many}'} pictures under each variant, with 95 % "
        "bootstrap intervals over prompts and seeds. 100 %: as good as the untouched model; 0 %: chance; "
        f"shaded, below {percent(CATASTROPHIC)}: catastrophic.",
        alt=f"Dot chart of the score that each variant keeps: {summary}.",
    )
    means = " ".join(text.format_map(table.iloc[0]) for column, text in MEANS.items() if column in table)
    show_table(kept_table(drawn), f"The numbers of the chart, and more. {means}")


def in_words(table: pd.DataFrame) -> str:
    """One line for each variant: what it keeps, and whether that is catastrophic."""
    table = once(table)
    rows = zip(variant_labels(table), table[["kept", "kept low", "kept high"]].to_numpy(), strict=True)
    return "\n".join(f"- **{label}** keeps {percent(*ends)}: {verdict(*ends[1:])}." for label, ends in rows)


def least_and_most(compared: Mapping[str, Any], means: Mapping[str, float]) -> str:
    """Which strategy harms least and which most: on the middle halves, where they can be compared, then over all bands.

    `compared` is what `halves.compare_strategies` finds; `means` say what each strategy keeps over all bands.
    """
    title = lambda name: experiment(name).title  # noqa: E731
    over_all = ", ".join(f"{title(name)} {percent(mean)}" for name, mean in means.items())
    kept = compared.get("kept", {})
    if len(kept) < 2:
        return f"Over all bands, the mean of what is kept is: {over_all}."
    order, ahead = list(kept), compared["ahead"]
    best, worst = order[0], order[-1]
    unsure = [title(name) for name in order[1:] if ahead[best][name]["low"] <= 0]
    least = f"harms least, not surely less than {', '.join(unsure)}" if unsure else "surely harms least"
    unsure = [title(name) for name in order[:-1] if ahead[name][worst]["low"] <= 0]
    most = f"most, not surely more than {', '.join(unsure)}" if unsure else "surely most"
    listed = ", ".join(f"{title(name)} {percent(*ends.values())}" for name, ends in kept.items())
    return (
        "On the middle half of each stack that has one, where all strategies change the same layers, the share that is "
        f"kept is: {listed}. **{title(best).capitalize()}** {least}, and **{title(worst)}** {most}. The mean over all "
        f"bands is: {over_all}. It mixes bands of different sizes and has no interval, so the halves are the fair "
        "comparison."
    )


def once(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each order in one row, under all of its presets: the same order gives the same pictures."""
    names = ["stack", "words" if "words" in table else "name", "combine", "affected", "steps"]
    orders = table[[name for name in names if name in table]].map(repr).agg("/".join, axis=1)
    presets = table.groupby(orders)["preset"].transform(lambda some: " and ".join(dict.fromkeys(some)))
    return table.assign(preset=presets)[~orders.duplicated()].reset_index(drop=True)


def distinct(variants: Sequence[Variant]) -> list[Variant]:
    """The variants without those whose order an earlier one has too."""
    found: dict[str, Variant] = {}
    for variant in variants:
        found.setdefault(str(variant.run), variant)
    return list(found.values())


def by_stack(variants: Sequence[Variant]) -> Mapping[str, list[Variant]]:
    """The variants of each stack, in their order."""
    stacks = dict.fromkeys(variant.stack for variant in variants)
    return {stack: [variant for variant in variants if variant.stack == stack] for stack in stacks}


def mean_of_pairs(similarity: np.ndarray) -> float:
    """The mean similarity of two layers; of a layer with itself it is 1, and left out."""
    return float(similarity[~np.eye(len(similarity), dtype=bool)].mean())


def show_similarity(
    matrices: Mapping[str, np.ndarray], name: str, out: str | Path, caption: str, unit: str = "cosine",
    bands: Mapping[str, Bands] | None = None,
) -> None:  # fmt: skip
    """Similarity matrices side by side; what two layers have on average is said below them, bands where given."""
    told = "; ".join(f"{title} {mean_of_pairs(matrix):.2f}" for title, matrix in matrices.items())
    told = f"Two different layers have on average: {told}."
    if bands:
        told = "; ".join(f"{title}: {spans(found)}" for title, found in bands.items()) + "."
    show(
        heatmaps(matrices, bands, unit),
        name,
        out=out,
        caption=f"{caption} {told}",
        alt=f"{len(matrices)} heat map{'s' * (len(matrices) > 1)}. {caption} {told}",
    )


def spans(found: Bands) -> str:
    """ "first 0–18, last 19–23"."""
    return ", ".join(f"{band.name} {band.span[0]}–{band.span[1]}" for band in found.bands)


def show_baseline(studio: Studio, name: str, out: str | Path) -> None:
    """The untouched model's pictures: a column for each prompt, a row for each seed."""
    pictures, model = studio.pictures(), studio.model
    size = " × ".join(map(str, pictures[0].image.size))
    seeds = {f"seed {seed}": [p for p in pictures if p.seed == seed] for seed in studio.seeds}
    show(
        picture_rows(asked(studio) | seeds, titles=studio.shown),
        name,
        out=out,
        caption=f"Pictures of the untouched {model.title}: {model.steps} steps, {size} px. None was picked."
        + " Above them, the scenes that the prompts ask for, rendered." * model.mini,
        alt=f"Grid of {len(pictures)} pictures painted by {model.title} for the prompts: {'; '.join(studio.shown)}.",
    )
