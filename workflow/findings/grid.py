"""All verdicts at a glance."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .claims import FAILS, HOLDS, OPEN, PART, SAME, UNMEASURED, Verdict

# Of each verdict: its sign, and a colour that can be read on its own tint.
SIGNS = {
    HOLDS: ("✓", "#00694d"),
    PART: ("½", "#6a3f7d"),
    FAILS: ("✗", "#9c3300"),
    SAME: ("=", "#3a4a78"),
    OPEN: ("?", "#6e4e00"),
    UNMEASURED: ("·", "#4d525b"),
}
TINT = 0.16  # of a verdict's cell


def verdict_grid(found: Sequence[Verdict]) -> Figure:
    """Claims down, models and presets across: a sign for each of the verdicts, over both columns without a preset."""
    claims, models = (list(dict.fromkeys(getattr(one, what) for one in found)) for what in ("claim", "model"))
    presets = ("article", "matched")
    figure, axis = plt.subplots(figsize=(1.0 + 1.9 * len(models), 0.3 * len(claims) + 0.9))
    for one in found:
        sign, colour = SIGNS[one.verdict]
        wide = 1 if one.preset in presets else 2
        x, y = 2 * models.index(one.model) + (one.preset == "matched"), claims.index(one.claim)
        axis.add_patch(Rectangle((x + 0.04, y + 0.06), wide - 0.08, 0.88, color=colour, alpha=TINT, lw=0))
        axis.text(x + wide / 2, y + 0.5, sign, ha="center", va="center", color=colour, fontsize=12, weight="bold")
    axis.set(xlim=(0, 2 * len(models)), ylim=(len(claims), 0), ylabel="claim")
    axis.set_yticks(np.arange(len(claims)) + 0.5, claims)
    columns = [f"{model.removesuffix('-mini')}\n{preset}" for model in models for preset in presets]
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    sns.despine(ax=axis, left=True, bottom=True)
    figure.tight_layout()
    return figure
