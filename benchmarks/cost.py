"""What another order and recording cost a pipeline: whole calls, untouched and with each laid over the model.

    python -m benchmarks.cost --model sd3-mini

Calls are the study's, many and on one thread, and what is counted is the processor's time: two threads wait for each
other whenever the system interrupts one of them. The order is laid over the model anew for each call.
"""

from typing import Annotated

import torch

from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.recorder import record_activations
from painters_utils.engine.stacks import find_stacks
from painters_utils.engine.strategies import build_order, middle_band
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model

from .timing import PROCESSOR, Found, command, ratio, take_turns


def measure(
    model: Annotated[str, "a row of data/models.yaml"] = "flux-mini",
    batch: Annotated[int, "pictures a call"] = 15,
    steps: Annotated[int, "denoising steps a call"] = 4,
    repeats: Annotated[int, "repetitions of each; a quarter of it while recording"] = 150,
) -> Found:
    named = Model.named(model, steps=steps)
    pipe = load_pipeline(named)
    depths = {stack: len(blocks) for stack, blocks in find_stacks(pipe.transformer).items()}
    identity = {stack: build_order("identity", depth) for stack, depth in depths.items()}
    backwards = {stack: build_order("reverse", depth, middle_band(depth, 1)) for stack, depth in depths.items()}
    prompts = ["a red dog wearing a blue hat"] * batch
    paint = lambda: pipe(prompts, generator=torch.Generator().manual_seed(0), **named.call)  # noqa: E731
    works = {
        "untouched": paint,
        "identity": layer_order(pipe.transformer, identity)(paint),
        "reverse": layer_order(pipe.transformer, backwards)(paint),
    }
    recorded = {"untouched": paint, "recording": record_activations(pipe.transformer)(paint)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    orders = take_turns(works, repeats, clock=PROCESSOR)
    others = take_turns(recorded, max(1, repeats // 4), clock=PROCESSOR)
    torch.set_num_threads(threads)
    note = f"{model}, {batch} pictures, {steps} steps, one thread, whole pipeline calls"
    what = {
        "identity": ("under the identity order", 1.005, orders),
        "reverse": ("with the middle reversed", 1.005, orders),
        "recording": ("while recording", 1.03, others),
    }
    return [
        ratio(name, f"time {how}, relative to the untouched pipeline", seconds[name] / seconds["untouched"],
              ("≤", goal), note)
        for name, (how, goal, seconds) in what.items()
    ], []  # fmt: skip


if __name__ == "__main__":
    command(measure, __doc__)
