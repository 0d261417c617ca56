"""What a second core brings a study, whose notebooks run side by side with a thread each.

    python -m benchmarks.cores --model flux-mini

A new variant is painted and scored: by a process with one thread, by two at once (as `make report` does on two cores),
and by one with two threads.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import count
from multiprocessing import get_context
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch

from painters_utils.models.model import Model
from painters_utils.study.studio import Studio
from painters_utils.study.variants import custom_variant
from workflow.config import load_study

from .timing import Found, command, ratio, take_turns

UNUSED = count()  # draws of a random order: every call has one of its own, so that nothing was painted before


def measure(
    model: Annotated[str, "a row of data/models.yaml"] = "sd3-mini",
    steps: Annotated[int, "denoising steps (0: the study's own)"] = 0,
    repeats: Annotated[int, "repetitions of each"] = 5,
) -> Found:
    with TemporaryDirectory() as folder:
        settings = model, steps, folder
        one, two = (ProcessPoolExecutor(1, get_context("spawn")) for _ in range(2))
        with one, two:

            def at_once(threads: int, *processes: ProcessPoolExecutor) -> None:
                for work in [process.submit(score_variant, next(UNUSED), threads, *settings) for process in processes]:
                    work.result()

            ways = {"one core": (1, one), "side by side": (1, one, two), "two threads": (2, one)}
            seconds = take_turns({name: partial(at_once, *way) for name, way in ways.items()}, repeats)
    twice, once = 2 * seconds["one core"] / seconds["side by side"], seconds["one core"] / seconds["two threads"]
    points = [
        dict(
            panel="variants a minute by cores", line="untouched", x=cores, y=60 * cores / float(np.median(seconds[way]))
        )
        for cores, way in ((1, "one core"), (2, "side by side"))
    ]
    note = f"{model}, variants of the default study painted and scored"
    return [
        ratio("cores", "work of two notebooks on two cores, relative to one on one", twice, ("≥", 1.6), note),
        ratio("threads", "work of one notebook with two threads, relative to one", once, note=note),
    ], points


def score_variant(draw: int, threads: int, *settings: str | int) -> None:
    """Paint and score one variant, in a process that keeps the model and its baseline."""
    torch.set_num_threads(threads)
    studio = study_of(*settings)
    stack, depth = next(iter(studio.model.depths.items()))
    studio.scores(custom_variant(stack, depth, "random_order", band=[1, depth - 2], seed=draw))


@cache
def study_of(model: str, steps: int, folder: str) -> Studio:
    """The default study of one model, with the study's own steps or other ones, in a folder."""
    settings = load_study().settings
    named = Model.named(model, steps=steps or settings.steps)
    return Studio(named, settings.prompts, [0], folder, suite=settings.suite)


if __name__ == "__main__":
    command(measure, __doc__)
