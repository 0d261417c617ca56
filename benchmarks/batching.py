"""Pictures a second when the prompts of a study are painted together, beside one prompt at a time.

python -m benchmarks.batching --model flux-mini        the default study's prompts, steps and number type
"""

from typing import Annotated

from painters_utils.models.loading import load_pipeline
from painters_utils.models.painting import paint, remember_texts

from .cores import study_of
from .timing import Found, command, ratio, take_turns


def measure(
    model: Annotated[str, "a row of data/models.yaml"] = "sd3-mini",
    steps: Annotated[int, "denoising steps (0: the study's own)"] = 0,
    repeats: Annotated[int, "repetitions of each"] = 5,
) -> Found:
    studio = study_of(model, steps, "results")
    named, prompts = studio.model, studio.prompts
    pipe = remember_texts(load_pipeline(named))
    works = {
        "alone": lambda: [paint(pipe, [prompt], [0], **named.call) for prompt in prompts],
        "together": lambda: paint(pipe, prompts, [0], batch=named.loading.batch, **named.call),
    }
    seconds = take_turns(works, repeats)
    note = f"{model}, {len(prompts)} prompts, {named.steps} steps, {named.loading.dtype}"
    what = "pictures a second with all prompts in a batch, relative to one at a time"
    return [ratio("batch", what, seconds["alone"] / seconds["together"], ("≥", 2), note)], []


if __name__ == "__main__":
    command(measure, __doc__)
