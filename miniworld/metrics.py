"""What was measured of the checker and the minis, read from beside their weights.

`python -m miniworld.training.evaluate` measures and writes; notebooks, cards and tables read it here.
"""

import json
from pathlib import Path

import pandas as pd
import yaml

from painters_utils.errors import InputError, unknown
from painters_utils.paths import DATA, ROOT

NEAR_BEST = 0.02  # of the strict score: what fewer steps may cost
LEAST_STEPS = 4  # FLUX.1-schnell's number; with fewer, nothing can be said of the first, middle and last steps
CHECKER = DATA / "checker" / "metrics.json"


def mini_rows() -> dict[str, dict]:
    """The minis' rows of data/models.yaml, by name."""
    rows = yaml.safe_load((DATA / "models.yaml").read_text())
    return {name: row for name, row in rows.items() if row.get("mini")}


def mini_folder(name: str) -> Path:
    """Where a mini's weights and scores lie; `InputError` for what is no mini."""
    rows = mini_rows()
    if name not in rows:
        raise unknown("mini", name, rows)
    return ROOT / rows[name]["path"]


def checker_metrics() -> dict:
    """What was measured of the checker: shares read right, confusions, errors of the VAE."""
    return _read(CHECKER, "checker")


def mini_scores(name: str) -> dict:
    """What was measured of the mini: scores by task and by fact, chance, distances and losses."""
    return _read(mini_folder(name) / "scores.json", name)


def fewest_steps(name: str) -> int:
    """The fewest steps, LEAST_STEPS at least, with which the mini scores within NEAR_BEST of its best."""
    below = {int(steps): score["below best"]["mean"] for steps, score in mini_scores(name)["by steps"].items()}
    return min(steps for steps, mean in below.items() if steps >= LEAST_STEPS and mean <= NEAR_BEST)


def measured_minis() -> list[str]:
    """The minis that are trained and measured."""
    return [name for name in mini_rows() if (mini_folder(name) / "scores.json").exists()]


def minis_table() -> pd.DataFrame:
    """A row for each measured mini: blocks, size, steps, suite score, the gap of unseen pairs, quality and loss."""
    return pd.DataFrame([_summary(name) for name in measured_minis()])


def _summary(name: str) -> dict[str, object]:
    scores, folder = mini_scores(name), mini_folder(name)
    tasks = {task: value["mean"] for task, value in scores["tasks"].items()}
    weakest = min(tasks, key=lambda task: tasks[task])
    return {
        "mini": name,
        "blocks": " + ".join(map(str, mini_rows()[name]["depths"].values())),
        "MiB": f"{sum(path.stat().st_size for path in folder.glob('*/*.safetensors')) / 2**20:.1f}",
        "steps": scores["steps"],
        "guidance": scores["guidance"],
        "everything right": "{mean:.2f} ({low:.2f} – {high:.2f})".format(**scores["strict"]),
        "weakest task": f"{weakest} {tasks[weakest]:.2f}",
        "facts right": f"{scores['adherence']:.2f}",
        "unseen − seen colours": f"{tasks['unseen pairs'] - tasks['colours']:+.2f}",
        "kernel distance": f"{scores['kernel distance']:.3f}",
        "denoising loss": f"{scores['denoising loss']['mean']:.3f}",
    }


def _read(path: Path, what: str) -> dict:
    if not path.exists():
        raise InputError(f"no measurements of {what!r}: run `python -m miniworld.training.evaluate {what}`")
    return json.loads(path.read_text())
