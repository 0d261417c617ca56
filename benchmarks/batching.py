"""Pictures a second when the prompts of a study are painted together, beside one prompt at a time.

    python -m benchmarks.batching --model flux-mini

The prompts of the default study, its own steps, number type and batch; only the batch differs.
"""

from typing import Annotated

from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.painting import paint, remember_texts
from painters_utils.study.studio import Studio
from workflow.config import load_study

from .timing import Found, command, ratio, take_turns


def measure(
    model: Annotated[str, "a row of data/models.yaml"] = "sd3-mini",
    steps: Annotated[int, "denoising steps (0: the study's own)"] = 0,
    repeats: Annotated[int, "repetitions of each"] = 5,
) -> Found:
    settings = load_study().settings
    named = Model.named(model, steps=steps or settings.steps)
    prompts = Studio(named, settings.prompts, [0], "results", suite=settings.suite).prompts
    pipe = remember_texts(load_pipeline(named))
    together = lambda: paint(pipe, prompts, [0], batch=named.loading.batch, **named.call)  # noqa: E731
    alone = lambda: [paint(pipe, [prompt], [0], **named.call) for prompt in prompts]  # noqa: E731
    seconds = take_turns({"alone": alone, "together": together}, repeats)
    gained = [a / b for a, b in zip(seconds["alone"], seconds["together"], strict=True)]
    note = f"{model}, {len(prompts)} prompts, {named.steps} steps, {named.loading.dtype}"
    what = "pictures a second with all prompts in a batch, relative to one at a time"
    return [ratio("batch", what, gained, ("≥", 2), note)], []


if __name__ == "__main__":
    command(measure, __doc__)
