"""What every strategy's notebook shows, in the same way: the orders, the pictures, what is kept, and that in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from .charts import CATASTROPHIC, kept_chart, kept_table, variant_labels
from painters_utils.measure.pictures import with_interval
from .figures import draw_order, picture_dpi, picture_rows, short, show, show_table
from painters_utils.models.pipelines import Picture
from painters_utils.study.results import recorded, save_strips, say, similarity_by_stack
from painters_utils.study.studio import JUDGED, SCORES, Studio
from painters_utils.study.variants import Variant, matched_bands


def bands_to_change(
    model: str, prompts: Sequence[str], out: str | Path, **call: object
) -> dict[str, dict[str, list[int]]]:
    """The matched bands of every stack, from the model's activations (recorded once, see `recorded`)."""
    recording = recorded(model, prompts, out, **call)["cosine"]
    return {stack: matched_bands(matrix) for stack, matrix in similarity_by_stack(recording).items()}


def stacks_apart(model: str, prompts: Sequence[str], out: str | Path, **call: object) -> set[str]:
    """The stacks whose blocks return text and image apart, so that a change can reach one of them alone."""
    recording = recorded(model, prompts, out, **call)["cosine"]
    return {stack for stack, _ in recording.layers("text")} if "text" in recording.streams else set()


def show_orders(variants: Sequence[Variant], name: str, out: str | Path) -> None:
    """Which layer runs when: a drawing for each stack, the untouched order on top."""
    for stack, some in by_stack(variants).items():
        depth = some[0].depth
        orders = {"untouched": list(range(depth))} | {variant.name: variant.order for variant in some}
        slips = "; ".join(f"{v.name}: {v.slip}" for v in some if v.slip)
        show(
            draw_order(orders, depth),
            f"{name}-orders-{short(stack).lower()}",
            out=out,
            dpi=90,
            caption=f"Which {short(stack)} layer runs when, from left to right; the colour is the layer's number; "
            "layers above each other run in parallel."
            + (f" As the article's author ran them ({slips})." if slips else ""),
            alt="Rows of numbered tiles. " + "; ".join(f"{v.name}: {v.words}" for v in some) + ".",
        )


def show_pictures(studio: Studio, variants: Sequence[Variant], name: str, out: str | Path) -> None:
    """The prompts' pictures under each variant, below the baseline's, from the same noise; the first seed."""
    first = lambda pictures: [p for p in pictures if p.seed == studio.seeds[0]]  # noqa: E731
    baseline = first(studio.pictures())
    strips: dict[str, list[Picture]] = {"baseline": baseline}
    for stack, some in by_stack(variants).items():
        rows = {"untouched": baseline} | {variant.name: first(studio.pictures(variant)) for variant in some}
        strips |= {f"{stack}/{variant.name}": rows[variant.name] for variant in some}
        show(
            picture_rows(rows, titles=studio.shown),
            f"{name}-pictures-{short(stack).lower()}",
            out=out,
            dpi=picture_dpi(baseline),
            caption=f"The same prompts and noise, with the {short(stack)} layers run in other ways. None was picked.",
            alt=f"Grid of pictures. Rows: {', '.join(rows)}. Columns: {'; '.join(studio.shown)}.",
        )
    save_strips(out, name, strips)


# What the columns of the table mean, said where it has them.
MEANS = {
    "broad": "Broad concepts: objects, counts, places, background; fine detail: colours of objects, accessories and "
    "their colours.",
    "clip": "Fit to the prompt: CLIPScore.",
    "dino": "Look kept: likeness to the untouched model's picture in the eyes of DINOv2.",
    "coarse": "Coarse and fine picture: correlation with the baseline's, below and above a blur.",
    "distance": "Kernel distance: of these pictures to rendered scenes in the eyes of the checker, 0 if it cannot tell "
    "them apart; the untouched model's is {distance untouched:.3f}.",
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
    """Who scores the model's pictures, what the numbers mean, and which scores are left out and why."""
    parts = " and ".join(f"“{SCORES[score]}” ({ASKED[score]})" for score in studio.overall)
    who = "The checker reads every picture." if studio.mini else "The checker reads minis' pictures only."
    left_out = [f" There is no score “{JUDGED[name]}”: {why}." for name in JUDGED if (why := studio.lacks(name))]
    return (
        f"{who} Scores run from 0, what another prompt's picture would get, to 1, what the untouched model gets. "
        f"“Kept overall” is the mean of {parts}.{'' if studio.mini else ''.join(left_out)}"
    )


def show_kept(studio: Studio, table: pd.DataFrame, name: str, out: str | Path) -> None:
    """What each variant keeps, as a chart and as numbers."""
    say(how_scored(studio))
    drawn = once(table)
    summary = "; ".join(f"{label} {kept:.2f}" for label, kept in zip(variant_labels(drawn), drawn["kept"], strict=True))
    pictures = int(table["pictures"].iloc[0])
    show(
        kept_chart(drawn),
        f"{name}-kept",
        out=out,
        caption=f"What is left of {pictures} pictures under each variant, with 95 % bootstrap intervals over prompts "
        f"and seeds. 1: as good as the untouched model; 0: chance; shaded, below {CATASTROPHIC}: catastrophic.",
        alt=f"Dot chart of what each variant keeps overall: {summary}.",
    )
    means = " ".join(text.format_map(table.iloc[0]) for column, text in MEANS.items() if column in table)
    show_table(kept_table(table), f"The same as numbers. {means}")


def in_words(table: pd.DataFrame) -> str:
    """One line for each variant: what it keeps, and whether that is catastrophic."""
    table, lines = once(table), []
    for label, row in zip(variant_labels(table), table.to_dict("records"), strict=True):
        lines.append(
            f"- **{label}** keeps {with_interval(row['kept'], row['kept low'], row['kept high'])}: "
            f"{verdict(row['kept low'], row['kept high'])}."
        )
    return "\n".join(lines)


def once(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the variants that a second preset has too: the same order, so the same pictures."""
    return table.drop_duplicates(["stack", "name"])


def verdict(low: float, high: float) -> str:
    """What an interval says of `CATASTROPHIC`: catastrophic, tolerable, or neither with 95 % certainty."""
    if high < CATASTROPHIC:
        return "catastrophic"
    return "tolerable" if low >= CATASTROPHIC else "between tolerable and catastrophic"


def by_stack(variants: Sequence[Variant]) -> Mapping[str, list[Variant]]:
    """The variants of each stack, in their order."""
    stacks = dict.fromkeys(variant.stack for variant in variants)
    return {stack: [variant for variant in variants if variant.stack == stack] for stack in stacks}


def as_numbers(table: pd.DataFrame) -> list[dict]:
    """The table for `save_numbers`: a dictionary for each row."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
