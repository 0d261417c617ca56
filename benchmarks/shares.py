"""What the time of a study goes to: of a variant, painted and scored as the study does it, by part of the work and by
kind of operation, and of a notebook's start.

    python -m benchmarks.shares --model sd3-mini

Shares of one thread's seconds.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from miniworld.metrics import mini_rows
from painters_utils.models.model import Model
from painters_utils.models.painting import paint
from painters_utils.show import chapter
from painters_utils.study.experiments import experiment
from painters_utils.study.studio import Studio
from workflow.warm import START, warm

from .timing import Found, command, ratio, row

IMPORTS = "import painters_utils.show.chapter, painters_utils.study.studio"  # what every chapter imports


def measure(
    model: Annotated[str, "a row of data/models.yaml (all: every mini)"] = "all",
    steps: Annotated[int, "denoising steps a picture; 0: the model's own number"] = 0,
    repeats: Annotated[int, "repetitions of each"] = 5,
) -> Found:
    minis = list(mini_rows())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [row for name in (minis if model == "all" else [model]) for row in of_a_variant(name, steps, repeats)]
    torch.set_num_threads(threads)
    return [*rows, *of_a_start(repeats)], []


def of_a_variant(name: str, steps: int, repeats: int) -> list[dict]:
    """A row for each part of the work on one variant, and what that takes as a whole."""
    with TemporaryDirectory() as folder:
        studio = Studio(Model.named(name, steps=steps or None), out=folder, suite=9)
        variant = experiment("skip").variants(studio.model, studio.bands)[0]
        pipe, call, seconds = studio.pipe, studio.model.call, []
        studio.full, studio.floor  # noqa: B018  what is computed once
        for _ in range(repeats):
            spent: Counter[str] = Counter()
            with (
                timed(spent, "text", pipe, "encode_prompt"),
                timed(spent, "transformer", pipe.transformer, "forward"),
                timed(spent, "VAE's decoder", pipe.vae, "decode"),
                timed(spent, "checker and other scores", studio, "score"),
            ):
                began = perf_counter()
                with studio.order(variant):
                    pictures = paint(pipe, studio.prompts, studio.seeds, studio.model.loading.batch or 1, **call)
                studio.score(pictures)
                whole = perf_counter() - began
            studio.scores(variant)
            began = perf_counter()
            studio.summary(variant)
            spent["intervals"] = perf_counter() - began
            began = perf_counter()
            chapter.kept_chart(studio.table([variant]))
            spent["a chart"] = perf_counter() - began
            spent["all else"] = whole - sum(spent[part] for part in list(spent)[:-2])
            seconds.append(spent | Counter(whole=whole))
        note = f"of {np.median([spent['whole'] for spent in seconds]):.2f} s for {len(pictures)} pictures"
        whole = [
            ratio(f"{name} {part}", f"{name}, a variant: {part}", [100 * s[part] / s["whole"] for s in seconds],
                  None, f"{note}, {studio.model.steps} steps", "%")
            for part in seconds[0] if part != "whole"
        ]  # fmt: skip
        with studio.order(variant), profile(activities=[ProfilerActivity.CPU]) as profiled:
            paint(pipe, studio.prompts, studio.seeds, studio.model.loading.batch or 1, **call)
        return whole + of_operations(name, {event.key: event.self_cpu_time_total for event in profiled.key_averages()})


KINDS = {  # of operations, by what PyTorch calls them
    "products with weights": ("linear_pointwise", "addmm", "aten::mm"),
    "attention": ("scaled_dot_product", "bmm"),
    "convolutions": ("conv",),
    "norms": ("norm", "pow", "rsqrt"),
    "sums, products, copies and activations, a number at a time": (
        "aten::mul", "aten::add", "aten::cat", "aten::copy_", "silu", "gelu", "aten::neg", "aten::sum", "aten::div",
        "upsample",
    ),
}  # fmt: skip


def of_operations(name: str, taken: Mapping[str, float]) -> list[dict]:
    """A row for each kind of operation: its share of the time that all took while a variant was painted."""
    spent: Counter[str] = Counter()
    for operation, microseconds in taken.items():
        kinds = (kind for kind, parts in KINDS.items() if any(part in operation for part in parts))
        spent[next(kinds, "calling them")] += microseconds
    return [
        row(f"{name} {kind}", f"{name}, painting: {kind}", 100 * spent[kind] / spent.total(), "%")
        for kind in [*KINDS, "calling them"]
    ]


@contextmanager
def timed(spent: Counter, part: str, owner: Any, method: str) -> Iterator[None]:
    """Add the seconds in an object's method to a part's."""
    plain = getattr(owner, method)

    def called(*args: Any, **kwargs: Any) -> Any:
        began = perf_counter()
        try:
            return plain(*args, **kwargs)
        finally:
            spent[part] += perf_counter() - began

    with patch.object(owner, method, called):
        yield


def of_a_start(repeats: int) -> list[dict]:
    """What a notebook waits for until its first line can run: a process and its imports, cold and forked."""

    def start(command: list[str]) -> float:
        began = perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return perf_counter() - began

    cold = [start([sys.executable, "-c", IMPORTS]) for _ in range(repeats)]
    with warm():
        start([*START, "this"])  # waits until everything is imported
        forked = [start([*START, "this"]) for _ in range(repeats)]
    what = {"cold": cold, "forked": forked}
    return [
        row(f"start {how}", f"start of a notebook, {how}", float(np.median(taken)), "s") for how, taken in what.items()
    ]


if __name__ == "__main__":
    command(measure, __doc__)
