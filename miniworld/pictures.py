"""Pictures as tensors and back, how alike two of them are, and grids of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_tensor(picture: Image.Image) -> Tensor:
    """An RGB picture as (3, height, width), values in [-1, 1]."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1


def to_pictures(tensor: Tensor) -> list[Image.Image]:
    """(batch, 3, height, width) in [-1, 1] as RGB pictures; values outside are cut."""
    values = ((tensor.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(value.permute(1, 2, 0).numpy()) for value in values]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two pictures' values (h, w, 3), each less its mean; NaN if neither has structure, 0 if one."""
    a, b = a - a.mean((0, 1)), b - b.mean((0, 1))
    norms = np.sqrt((a**2).sum()), np.sqrt((b**2).sum())
    if max(norms) < 1:
        return float("nan")
    return float((a * b).sum() / (norms[0] * norms[1])) if min(norms) >= 1 else 0.0


def save_grid(
    pictures: Sequence[Image.Image], path: Path, columns: int, gap: int = 2, **options: int
) -> None:  # fmt: skip
    """Write pictures of one size side by side, `columns` to a row, `gap` px apart; `options` are the format's."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    grid = Image.new("RGB", (columns * (width + gap), rows * (height + gap)), "white")
    for i, picture in enumerate(pictures):
        grid.paste(picture, (i % columns * (width + gap), i // columns * (height + gap)))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.save(path, **options)
