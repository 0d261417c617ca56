"""What the benchmarks share: time things in turn, say what a ratio is worth, name the machine, be called.

A benchmark is a function `measure` that returns (rows, points) as workflow/page/costs.py describes them.
"""

import argparse
import inspect
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import get_type_hints

import diffusers
import numpy as np
import torch
import transformers
from numpy.random import default_rng

from workflow.page.costs import cost_table

Work = Callable[[], object]
Found = tuple[list[dict], list[dict]]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

PROCESSOR = perf_counter if DEVICE == "cuda" else process_time  # a GPU works while its process waits

for library in (diffusers, transformers):  # their bars would run through the tables
    library.utils.logging.disable_progress_bar()


def take_turns(
    works: Mapping[str, Work], repeats: int, minutes: float = float("inf"), warm: bool = False,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Seconds of each repetition of each piece of work, after one that only warms up unless all is `warm`.

    They take turns and lead in turn, so that what else the machine does falls on all alike; no round begins after
    `minutes`. `clock`: `PROCESSOR` counts only while this process runs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names, started = list(works), perf_counter()
    for repetition in range(0 if warm else -1, repeats):
        if repetition > 0 and perf_counter() - started > 60 * minutes:
            break
        start = repetition % len(names)
        for name in names[start:] + names[:start]:
            finish()
            began = clock()
            works[name]()
            finish()
            if repetition >= 0:
                seconds[name].append(clock() - began)
    return {name: np.array(taken) for name, taken in seconds.items()}


def finish() -> None:
    """Wait until all that an accelerator was given to do is done."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def ratio(
    id: str, what: str, values: Sequence[float], goal: tuple[str, float] | None = None, note: str = "", unit: str = "×"
) -> dict:
    """A row: the median of one value a repetition, with the bootstrap 95 % interval of the median."""
    draws = np.median(default_rng(0).choice(np.asarray(values), (2000, len(values))), axis=1)
    low, high = np.percentile(draws, (2.5, 97.5)).tolist() if len(values) > 2 else (None, None)
    return row(id, what, float(np.median(values)), unit, goal, note, low, high)


def row(
    id: str, what: str, value: float, unit: str, goal: tuple[str, float] | None = None, note: str = "",
    low: float | None = None, high: float | None = None,
) -> dict:  # fmt: skip
    """A row of plain numbers, for JSON."""
    return dict(id=id, what=what, value=value, low=low, high=high, unit=unit, goal=goal, note=note)


def machine() -> dict:
    """What the numbers depend on, and no more: a person is not told by it."""
    about = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", about.read_text(), re.M) if about.exists() else None
    named = model.group(1) if model else platform.processor() or platform.machine()
    vectors = torch.backends.cpu.get_cpu_capability()  # twice as long, they multiply twice as fast
    found = {
        "processor": named if vectors == "DEFAULT" else f"{named} with {vectors}",
        "cores": os.cpu_count(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "busy": round(os.getloadavg()[0], 1),  # processes that wanted a core when it began
    }
    words = f"{found['accelerator'] or ''} {found['processor']} {found['cores']} cores torch {found['torch']}"
    return {"name": re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-"), **found}


def command(measure: Callable[..., Found], doc: str) -> None:
    """The command line of a benchmark: an option for each parameter of `measure`; prints what it found."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    hints = get_type_hints(measure, include_extras=True)
    for name, parameter in inspect.signature(measure).parameters.items():
        help = f"{hints[name].__metadata__[0]} (default %(default)s)"
        parser.add_argument(f"--{name}", type=hints[name].__origin__, default=parameter.default, help=help)
    show(measure(**vars(parser.parse_args()))[0])


def show(rows: Sequence[Mapping]) -> None:
    print(cost_table(rows).to_string(index=False, justify="left"))
