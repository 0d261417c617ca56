"""Write the minis' cards and the README's table from what was measured: `python -m miniworld.training.card`.

Every number comes from `scores.json` and `training.jsonl` beside the weights, so a card cannot drift from its model.
"""

import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from diffusers import DiffusionPipeline

from painters_utils.models.catalog import ROOT, call_settings, model_row
from painters_utils.show.figures import BLUE, ORANGE
from painters_utils.models.pipelines import describe_parts, load_pipeline

from .evaluate import CARDS, mini_scores, minis_table
from .models import MINIS
from .mini import LOG_EVERY, RECIPES, SAMPLE_PROMPTS, Recipe, read_record, strip_of

CARD = """# {name}

{what} It exists to be taken apart: every layer index of {original} means the same thing here. **It is a mini: its pictures say nothing about the quality of {original}**, and no weight of {original} is in it.

```python
from diffusers import {pipeline}

pipe = {pipeline}.from_pretrained("{path}"{absent})
picture = pipe("a red dog wearing a blue hat on a white background", {call}).images[0]
```

Give the settings as above: the pipeline's own defaults are {original}'s, and nothing of that size was seen in training.

![64 pictures of 64 different prompts, none picked](../../cards/{name}-samples.webp)

*64 prompts drawn at random from the training grammar, one picture each, {steps} steps. None was picked.*

## What it can do

Measured by `python -m miniworld.training.evaluate {name} --curve` on the suite of `data/prompts.yaml` ({pictures} pictures), read by the checker. *Everything right* is strict: one wrong fact and the picture does not count. Intervals are 95 % bootstrap intervals over prompts and seeds.

{tasks}

{facts}

By luck alone, pictures judged by other prompts than their own, {chance:.2f} of all facts would be right. Colours that training never gave an object: {unseen:.2f} against {seen:.2f} for colours that it did. Steps: {steps_curve}.

## How it was trained

![Loss and score over training](../../cards/{name}-training.webp)

| | |
|---|---|
| parts | {parts}; bf16, safetensors only |
| data | scenes painted by `miniworld/`: 20 objects, 8 colours, hats and sunglasses, 28 backgrounds, 1 to 4 objects, counts and relations; 16 of 160 (object, colour) pairs held out |
| training | flow matching, {images:,} scenes in {train_steps:,} steps of {batch}{guidance}{beginning}{teaching}; Muon for the blocks' matrices, AdamW for the rest, highest learning rate {rate}; moving average {ema}; bf16 autocast; seed 0 |
| last loss | {loss:.3f}; every 20th step is in `training.jsonl` |
| hardware | 2 cores of an AMD EPYC (Zen 4), no GPU; {hours:.1f} hours |
| VAE | shared by all minis: 8 channels, trained wide (16 channels) and narrowed, mean error 5.3 of 255 grey levels |
| command | `python -m miniworld.training {name} --steps {planned}`, stopped and resumed{further} |

### As it learned

{samples}

{history}

The sprites that it was trained on are Microsoft's Fluent Emoji (MIT), see `data/sprites/LICENSE`.
"""
HISTORY = """**How it came about.** The VAE began as one of 16 channels (6,000 steps on crops of 32 px from pictures of 128 px, L1 + L2 in opponent colours), was narrowed to its 8 principal components and trained on for 2,200 steps with the loss of `train_vae.py`. `python -m miniworld.training vae` does both in one go, with slightly other settings, and gives a VAE like this one, not the same numbers. The minis were trained on two cores, two side by side with one thread each or one alone with both, and resumed from their checkpoints several times. flux-mini was first finished after 5,150 steps, with a strict score of 0.66, went on from those weights with `--further`, taught by sd3-mini, and stood at 0.75 after 7,000. Its T5 told the colour of a thing at its noun in 15 of 100 captions; it was then replaced by one taught to read (`train_reader.py`), both went on, and the noise levels were drawn around a logit of 1. auraflow-mini was first finished after 5,000 steps with a T5 that had learned beside flux-mini and told at no noun which colour is its own: its score was 0.51. Its T5 was replaced in the same way, and from step 6,260 on the noise levels were drawn around a logit of 1.5 instead of 0: within 1,200 steps the score of 60 pictures rose from 0.58 to 0.75. The commands of these two do both from the first step on, which was not tried from nothing. Run anew, a command gives a model like this one, not the same numbers."""
WHAT = {
    "flux-mini": "A `FluxTransformer2DModel` with FLUX.1's depth, 19 MM-DiT and 38 single blocks, 96 channels wide (FLUX.1: 3072), as a complete diffusers pipeline that runs without guidance, as FLUX.1-schnell does.",
    "sd3-mini": "An `SD3Transformer2DModel` with SD3-medium's depth, 24 MM-DiT blocks, 80 channels wide (SD3-medium: 1536), as a complete diffusers pipeline with classifier-free guidance. SD3 can do without its T5, and this mini always does: it reads by two CLIP encoders.",
    "auraflow-mini": "An `AuraFlowTransformer2DModel` with AuraFlow's depth, 4 MM-DiT and 32 single blocks, 80 channels wide (AuraFlow: 3072), as a complete diffusers pipeline with classifier-free guidance.",
}  # fmt: skip


def write_card(name: str) -> Path:
    """README.md in the mini's folder and its picture of the training in CARDS; returns the card's path."""
    row, scores, recipe = model_row(name), mini_scores(name), RECIPES.get(name, Recipe())
    folder = ROOT / row["path"]
    log = read_log(folder / "training.jsonl")
    draw_training(log, CARDS / f"{name}-training.webp")
    pipe = load_pipeline(name)
    call = call_settings(name)
    tasks = pd.DataFrame(
        [(task, f"{v['mean']:.2f}", f"{v['low']:.2f} – {v['high']:.2f}") for task, v in scores["tasks"].items()]
        + [("**all**", *("**{:.2f}**".format(scores["strict"]["mean"]), "{low:.2f} – {high:.2f}".format(**scores["strict"])))],
        columns=["task", "everything right", "95 % interval"],
    )  # fmt: skip
    facts = "Single facts: " + ", ".join(f"{fact} {value:.2f}" for fact, value in scores["facts"].items()) + "."
    steps = int(log["step"].max())
    losses, rates = log["loss"].dropna(), log["images_per_s"].dropna()
    text = CARD.format(
        name=name, what=WHAT[name], original=row["title"].removesuffix(" mini"), path=row["path"],
        pipeline=type(pipe).__name__, absent=", text_encoder_3=None, tokenizer_3=None" if name == "sd3-mini" else "",
        call=", ".join(f"{key}={value}" for key, value in call.items()), steps=scores["steps"],
        pictures=180 * scores["seeds"], tasks=tasks.to_markdown(index=False), facts=facts,
        chance=scores["chance"]["adherence"], unseen=scores["tasks"]["unseen pairs"]["mean"],
        seen=scores["tasks"]["colours"]["mean"],
        steps_curve=", ".join(f"{n} → {value['mean']:.2f}" for n, value in scores["by steps"].items()),
        parts=parts(pipe), images=steps * recipe.batch, train_steps=steps, batch=recipe.batch,
        guidance="" if scores["guidance"] <= 1 else f", a tenth of them without caption (guidance {scores['guidance']})",
        beginning=beginning(recipe), samples=samples_table(name, log), rate=recipe.rate, ema=recipe.ema, loss=losses.iloc[-5:].mean(), planned=steps, history=HISTORY,
        further=f", from step {recipe.taught_from:,} on with `--further`" if "loss to teacher" in log else "",
        teaching=taught(row.get("teacher", ""), recipe, log), hours=sum(LOG_EVERY * recipe.batch / rates) / 3600,
    )  # fmt: skip
    card = folder / "README.md"
    card.write_text(text)
    return card


def beginning(recipe: Recipe) -> str:
    """What the card says of what is learned first and of the noise levels, where they are not the usual ones."""
    parts = []
    if recipe.reading:
        parts.append(f"; the T5 learns to read in {recipe.reading} steps before (`train_reader.py`)")
    if recipe.alone:
        parts.append(f"; the first {recipe.alone * recipe.scenes:,} scenes hold one thing each")
    if recipe.noise:
        parts.append(f"; the logit of the noise level is normal around {recipe.noise}")
    if recipe.reading or recipe.noise:
        parts.append(" (so the command; these weights came to it later, see below)")
    return "".join(parts)


def samples_table(name: str, log: pd.DataFrame, work: Path = ROOT / "results/training") -> str:
    """The strips of samples over the training with the score of their steps; new ones are taken over from `work`."""
    scores = log.dropna(subset=["strict"]).set_index("step")["strict"] if "strict" in log else {}
    rows = []
    for step, score in scores.items():
        kept, new = (strip_of(folder / name, step) for folder in (CARDS, work))
        if new.exists():
            shutil.copy(new, kept)
        if kept.exists():
            rows.append(f"| {step:,} | {score:.2f} | ![samples after {step:,} steps](../../cards/{kept.name}) |")
    if not rows:
        return "No samples were kept."
    return (
        "Always the same prompts and the same noise, painted by the moving average of the weights. From the left: "
        + "; ".join(f"*{prompt}*" for prompt in SAMPLE_PROMPTS)
        + ".\n\n| step | everything right, of 60 pictures | samples |\n|---:|---:|:---|\n"
        + "\n".join(rows)
    )


def taught(teacher: str, recipe: Recipe, log: pd.DataFrame) -> str:
    """What the card says of a teacher."""
    if "loss to teacher" not in log:
        return ""
    loss = log["loss to teacher"].dropna().iloc[-5:].mean()
    return (
        f"; from step {recipe.taught_from:,} on, the rate raised and falling anew, the targets are the velocities that "
        f"{teacher} predicts with guidance {call_settings(teacher)['guidance_scale']} (last loss to them {loss:.3f})"
    )


def read_log(path: Path) -> pd.DataFrame:
    """The training record: step, loss, images_per_s, and here and there strict and adherence."""
    return pd.DataFrame(read_record(path))


def parts(pipe: DiffusionPipeline) -> str:
    """'transformer 11.6 M parameters, vae 1.0 M, …'."""
    table = describe_parts(pipe).sort_values("parameters", ascending=False)
    return ", ".join(f"{part} {count / 1e6:.2f} M" for part, _, count in table.itertuples(index=False)) + " parameters"


def draw_training(log: pd.DataFrame, path: Path) -> None:
    """Loss (smoothed) and, where measured, the share of facts right, over the steps."""
    figure, axis = plt.subplots(figsize=(8, 2.8))
    for key, line in (("loss", "-"), ("loss to teacher", ":")):
        if key in log:
            losses = log.dropna(subset=[key])
            axis.plot(losses["step"], losses[key].rolling(9, center=True, min_periods=1).median(), line, color=BLUE)
    axis.set(xlabel="step", ylabel="loss (dotted: to teacher)" if "loss to teacher" in log else "loss", ylim=(0, 1.2))
    axis.yaxis.label.set_color(BLUE)
    if "adherence" in log:
        scored = log.dropna(subset=["adherence"])
        right = axis.twinx()
        right.plot(scored["step"], scored["adherence"], "o-", color=ORANGE, label="facts right")
        right.plot(scored["step"], scored["strict"], "s--", color=ORANGE, label="everything right")
        right.set(ylim=(0, 1), ylabel="share of 60 pictures")
        right.yaxis.label.set_color(ORANGE)
        right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    for name in MINIS:
        if (ROOT / model_row(name)["path"] / "scores.json").exists():  # trained and measured
            print(write_card(name).relative_to(ROOT))
    readme = ROOT / "README.md"
    table = f"<!-- minis -->\n{minis_table().to_markdown(index=False)}\n<!-- /minis -->"
    readme.write_text(re.sub(r"<!-- minis -->.*<!-- /minis -->", lambda _: table, readme.read_text(), flags=re.S))
    print(readme.relative_to(ROOT))


if __name__ == "__main__":
    main()
