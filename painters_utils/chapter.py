"""What every strategy's notebook shows, in the same way: the orders, the pictures, what is kept, and that in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from .charts import CATASTROPHIC, kept_chart, kept_table, variant_labels
from .figures import PICTURE_DPI, draw_order, picture_rows, short, show, show_table
from .pipelines import Picture
from .results import recorded, save_strips, similarity_by_stack
from .studio import Studio
from .variants import Variant, matched_bands


def bands_to_change(
    model: str, prompts: Sequence[str], out: str | Path, **call: object
) -> dict[str, dict[str, list[int]]]:
    """The matched bands of every stack, from the model's activations (recorded once, see `recorded`)."""
    recording = recorded(model, prompts, out, **call)["cosine"]
    return {stack: matched_bands(matrix) for stack, matrix in similarity_by_stack(recording).items()}


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
            dpi=PICTURE_DPI,
            caption=f"The same prompts and noise, with the {short(stack)} layers run in other ways. None was picked.",
            alt=f"Grid of pictures. Rows: {', '.join(rows)}. Columns: {'; '.join(studio.shown)}.",
        )
    save_strips(out, name, strips)


def show_kept(table: pd.DataFrame, name: str, out: str | Path) -> None:
    """What each variant keeps, as a chart and as numbers."""
    summary = "; ".join(f"{label} {kept:.2f}" for label, kept in zip(variant_labels(table), table["kept"], strict=True))
    pictures = int(table["pictures"].iloc[0])
    show(
        kept_chart(table),
        f"{name}-kept",
        out=out,
        caption=f"What is left of {pictures} pictures under each variant, with 95 % bootstrap intervals over prompts "
        f"and seeds. 1: as good as the untouched model; 0: chance; shaded, below {CATASTROPHIC}: catastrophic.",
        alt=f"Dot chart of what each variant keeps overall: {summary}.",
    )
    show_table(
        kept_table(table),
        "The same as numbers. Broad concepts: objects, counts, places, background; fine detail: colours of objects, "
        "accessories and their colours. Coarse and fine picture: correlation with the baseline's, below and above a "
        "blur.",
    )


def in_words(table: pd.DataFrame) -> str:
    """One line for each variant: what it keeps, and whether that is catastrophic."""
    lines = []
    for label, row in zip(variant_labels(table), table.to_dict("records"), strict=True):
        lines.append(
            f"- **{label}** keeps {row['kept']:.2f} ({row['kept low']:.2f} – {row['kept high']:.2f}): "
            f"{verdict(row['kept low'], row['kept high'])}."
        )
    return "\n".join(lines)


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
