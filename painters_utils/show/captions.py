"""Figures that several notebooks show, with the captions and alternative texts that go with them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from painters_utils.engine.bands import Bands
from painters_utils.study.studio import Studio

from .figures import heatmaps, picture_dpi, picture_rows, show


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
    show(
        picture_rows({f"seed {s}": [p for p in pictures if p.seed == s] for s in studio.seeds}, titles=studio.shown),
        name,
        out=out,
        dpi=picture_dpi(pictures),
        caption=f"Pictures of the untouched {model.title}: {model.steps} steps, {size} px. None was picked.",
        alt=f"Grid of {len(pictures)} pictures painted by {model.title} for the prompts: {'; '.join(studio.shown)}.",
    )
