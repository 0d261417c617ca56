"""Write the minis' cards and their table from what was measured: `python -m miniworld.training.card`.

The words are in card.md.j2, the numbers in `scores.json` and `training.jsonl` beside the weights, and what only people
knew in data/models/history.yaml.
"""

import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from torch import nn

from miniworld import scenes
from miniworld.metrics import (
    LEAST_STEPS,
    NEAR_BEST,
    checker_metrics,
    fewest_steps,
    measured_minis,
    mini_folder,
    mini_scores,
    minis_table,
)
from miniworld.suite import load_suite
from painters_utils.engine.describe import short
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.paths import DATA, ROOT
from painters_utils.show.figures import BLUE, ORANGE

from .evaluate import CARDS, GALLERY
from .loop import LOG_EVERY, read_record
from .mini import RECIPES, SAMPLE_PROMPTS, Recipe, prompts_looked_at, strip_of
from .vae import WIDE

PAGE = ROOT / "docs/minis.md"  # the table stands between the markers
MARKERS = re.compile(r"(<!-- minis -->).*(<!-- /minis -->)", re.S)


def write_card(name: str) -> Path:
    """README.md in the mini's folder and its picture of the training in CARDS; returns the card's path."""
    card = mini_folder(name) / "README.md"
    card.write_text(card_text(name))
    draw_training(read_log(name), CARDS / f"{name}-training.webp")
    return card


def card_text(name: str) -> str:
    """A mini's card, in Markdown with front matter."""
    folder, log = mini_folder(name), read_log(name)
    model, pipe = Model.named(name), load_pipeline(name)
    told, recipe = yaml.safe_load((DATA / "models" / "history.yaml").read_text()), RECIPES.get(name, Recipe())
    parts = {part: module for part, module in pipe.components.items() if isinstance(module, nn.Module)}
    sizes = {part.replace("_", " "): sum(p.numel() for p in module.parameters()) for part, module in parts.items()}
    history = {"story": "", "settings came later": False} | told[name]
    return template().render(
        model=model, pipe=pipe, recipe=recipe, world=scenes, told=told, history=history,
        scores=mini_scores(name), checker=checker_metrics(), title=model.title.removesuffix(" mini"),
        path=folder.relative_to(ROOT),
        depths=" and ".join(f"{depth} {short(stack)}" for stack, depth in model.depths.items()),
        parts=dict(sorted(sizes.items(), key=lambda item: -item[1])),
        teacher=Model.named(model.teacher) if model.teacher else None,
        fewest=fewest_steps(name), near_best=NEAR_BEST, least_steps=LEAST_STEPS, heeds=last_of(log, "heeds places"),
        reads={name.removeprefix("reads "): last_of(log, name) for name in log if name.startswith("reads ")},
        loss=last(log, "loss"), taught=last(log, "loss to teacher"), jumps=last(log, "loss of jumps"),
        steps=int(log["step"].max()),
        hours=float((LOG_EVERY * recipe.batch / log["images_per_s"].dropna()).sum() / 3600),
        strips=kept_strips(name, log), looked_at=len(prompts_looked_at()), sample_prompts=SAMPLE_PROMPTS,
        suite=sum(map(len, load_suite().values())), gallery=GALLERY, log_every=LOG_EVERY, wide=WIDE,
    )  # fmt: skip


def read_log(name: str) -> pd.DataFrame:
    """The record of a mini's training: step, loss, images_per_s, and here and there strict and adherence."""
    return pd.DataFrame(read_record(mini_folder(name) / "training.jsonl"))


def template() -> Template:
    """The card's words; a fact that is missing is an error."""
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    jinja.filters |= {
        "two": "{:.2f}".format,
        "thousands": "{:,}".format,
        "percent": lambda share: f"{100 * share:.0f} %",
    }
    return jinja.get_template("card.md.j2")


def last(log: pd.DataFrame, loss: str) -> float:
    """The mean of the last five rows of a loss; 0 if there is none."""
    return float(log[loss].dropna().iloc[-5:].mean()) if loss in log else 0.0


def last_of(log: pd.DataFrame, name: str) -> float:
    """The last row of what is looked at now and then; 0 if there is none."""
    return float(log[name].dropna().iloc[-1]) if name in log else 0.0


def kept_strips(name: str, log: pd.DataFrame, work: Path = ROOT / "results/training") -> list[tuple[int, float, str]]:
    """Steps with their scores and strips of samples in CARDS; new ones are taken over from `work`."""
    scores = log.dropna(subset=["strict"]).set_index("step")["strict"] if "strict" in log else {}
    for step in scores.keys():
        if (new := strip_of(work / name, step)).exists():
            shutil.copy(new, CARDS)
    strips = [(step, score, strip_of(CARDS / name, step)) for step, score in scores.items()]
    return [(step, score, strip.name) for step, score, strip in strips if strip.exists()]


def draw_training(log: pd.DataFrame, path: Path) -> None:
    """Loss (smoothed) and, where measured, the share of facts right, over the steps."""
    figure, axis = plt.subplots(figsize=(8, 2.8))
    for key, line in (("loss", "-"), ("loss to teacher", ":"), ("loss of jumps", "-.")):
        if key in log:
            losses = log.dropna(subset=[key])
            axis.plot(losses["step"], losses[key].rolling(9, center=True, min_periods=1).median(), line, color=BLUE)
    beside = " (dotted: to teacher" * ("loss to teacher" in log) + ", dashed: of jumps" * ("loss of jumps" in log)
    axis.set(xlabel="step", ylabel="loss" + (f"{beside})" if beside else ""), ylim=(0, 1.2))
    axis.yaxis.label.set_color(BLUE)
    if "adherence" in log:
        scored = log.dropna(subset=["adherence"])
        right = axis.twinx()
        right.plot(scored["step"], scored["adherence"], "o-", color=ORANGE, label="facts right")
        right.plot(scored["step"], scored["strict"], "s--", color=ORANGE, label="everything right")
        right.set(ylim=(0, 1), ylabel=f"share of {len(prompts_looked_at())} pictures")
        right.yaxis.label.set_color(ORANGE)
        right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 35, "method": 6})
    plt.close(figure)


def write_table(page: Path = PAGE) -> None:
    """The minis' table between a page's markers."""
    table = f"\n{minis_table().to_markdown(index=False)}\n"
    page.write_text(MARKERS.sub(lambda found: found[1] + table + found[2], page.read_text()))


def main() -> None:
    for name in measured_minis():
        print(write_card(name).relative_to(ROOT))
    write_table()
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
