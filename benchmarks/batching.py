"""Pictures a second when the prompts of a study are painted together, beside one prompt at a time.

    python -m benchmarks.batching --model flux-mini

The prompts of the default study, its own steps, number type and batch; only the batch differs.
"""

from typing import Annotated

from painters_utils.models.catalog import call_settings
from workflow.config import load_study
from painters_utils.models.pipelines import load_pipeline, paint, remember_texts
from painters_utils.study.studio import Studio, default_dtype

from .timing import Found, command, ratio, take_turns


def measure(
    model: Annotated[str, "a row of data/models.yaml"] = "sd3-mini",
    steps: Annotated[int, "denoising steps (0: the study's own)"] = 0,
    repeats: Annotated[int, "repetitions of each"] = 5,
) -> Found:
    study = load_study()
    call = call_settings(model, num_inference_steps=steps or study.steps)
    studio = Studio(model, study.prompts, [0], "results", suite=study.suite)
    pipe = remember_texts(load_pipeline(model, dtype=default_dtype()))
    together = lambda: paint(pipe, studio.prompts, [0], batch=studio.batch, **call)  # noqa: E731
    alone = lambda: [paint(pipe, [prompt], [0], **call) for prompt in studio.prompts]  # noqa: E731
    seconds = take_turns({"alone": alone, "together": together}, repeats)
    gained = [a / b for a, b in zip(seconds["alone"], seconds["together"], strict=True)]
    count = len(studio.prompts)
    note = f"{model}, {count} prompts, {call['num_inference_steps']} steps, {studio.dtype}".replace("torch.", "")
    what = "pictures a second with all prompts in a batch, relative to one at a time"
    return [ratio("batch", what, gained, ("≥", 2), note)], []


if __name__ == "__main__":
    command(measure, __doc__)
