"""What a study will take, told before anything is downloaded or computed: `python -m workflow.plan`.

    python -m workflow.plan --models flux-schnell --seeds 2

Pictures and passes are counted from the notebooks' own variants, parameters from the configuration. Memory and time are
estimates, and say what they rest on. What makes the study impossible is an error, with the remedy.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from painters_utils.models.catalog import loading, model_depths, model_row
from .config import Study
from painters_utils.errors import InputError
from painters_utils.models.hub import download, is_here
from painters_utils.models.machine import PICTURE, check_machine, disk_free, memory_free, part_sizes, require_memory, resident
from painters_utils.study.results import MOST_TOKENS, SEEDS
from painters_utils.models.skeleton import check_supported, empty_part, parameters
from painters_utils.engine.stacks import keeps_places
from painters_utils.study.variants import (
    Variant,
    article_variants,
    control_variants,
    edge_variants,
    in_article,
    matched_bands,
    neighbour_swaps,
    single_skips,
    sweep_variants,
)
from painters_utils.study.variants import plan as notebook_plan

GALLERY = 4  # pictures per prompt in 01_models
DRAWS, REMOVED, SHARES, GRID, LEVELS = 10, 0.1, (0.25, 0.5, 0.75), 15, 5  # as the notebooks have them
STRATEGIES = {
    "05_skip": "skip", "06_repeat": "middle_repeat", "07_reverse": "reverse", "09_parallel": "parallel",
    "10_looped_parallel": "looped_parallel",
}  # fmt: skip
SHARE_OF_PEAK = 0.4  # of the speed of a large matrix product that a forward pass reaches
TOKEN = 16  # pixels along a side of an image token: eight by the VAE, two by the patch, as in most models


@dataclass
class Plan:
    """What one model of a study takes. Empty `errors`: it can be run."""

    model: str
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = [f"{self.model}: {model_row(self.model)['title']}", *(f"  {line}" for line in self.lines)]
        said += [f"  warning: {text}" for text in self.warnings] + [f"  error: {text}" for text in self.errors]
        return "\n".join(said)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep what makes the study impossible, and go on with what else can be said."""
        try:
            yield
        except InputError as error:
            if str(error) not in self.errors:
                self.errors.append(str(error))


def make_plan(study: Study, model: str, elsewhere: bool = False) -> Plan:
    """Everything that can be said of a model of a study beforehand; `elsewhere`: it will not run on this machine."""
    plan = Plan(model)
    mini = bool(model_row(model).get("mini"))
    if not mini:
        with plan.noting():
            check_supported(model)
            if keeps_places(empty_part(model, "transformer")):
                raise InputError(
                    f"layers of {model!r} can be left out but not moved (docs/architectures.md), and the study moves "
                    "them: use `layer_order` in a notebook of your own"
                )
    with plan.noting():
        add_work(plan, study, model, elsewhere)
    if not mini:
        with plan.noting():
            add_memory(plan, study, model, elsewhere)
        with plan.noting():
            add_download(plan, model)
    return plan


# -- work ---------------------------------------------------------------------------------------------------


def variants_of(notebooks: Sequence[str], model: str, steps: int) -> list[Variant]:
    """What these notebooks paint, each variant once. Where the bands lie is not known yet, how many there are is."""
    depths = model_depths(model)
    bands = {stack: matched_bands(np.eye(depth)) for stack, depth in depths.items()}
    found: list[Variant] = []
    for notebook in notebooks:
        if notebook in STRATEGIES:
            found += notebook_plan(model, STRATEGIES[notebook], bands)
        elif notebook == "08_random_order":
            for draw in range(DRAWS):
                found += notebook_plan(model, "random_order", bands, ["matched"], seed=draw)
        elif notebook == "11_edges":
            found += article_variants(model, ["remove_first", "remove_last"]) if in_article(model) else []
            found += edge_variants(bands, depths, REMOVED)
        elif notebook == "12_layer_by_layer":
            found += [variant for some in single_skips(depths).values() for variant in some]
        elif notebook == "13_sweep":
            for strategy in [*STRATEGIES.values(), "random_order"]:
                found += sweep_variants(depths, strategy, SHARES)
        elif notebook == "14_controls":
            found += control_variants(bands, depths, steps, [stack for stack in depths if "single" not in stack])
    return list({str((v.stack, v.order, v.combine, v.affected, v.steps)): v for v in found}.values())


def add_work(plan: Plan, study: Study, model: str, elsewhere: bool) -> None:
    """How many pictures and forward passes, and how long they may take."""
    call, notebooks = study.call(model), study.notebooks_of(model)
    steps, prompts = call["num_inference_steps"], len(study.prompts_of(model))
    suite = 9 * study.suite if model_row(model).get("mini") else 0
    variants = variants_of(notebooks, model, steps)
    each = (prompts + suite) * study.seeds
    painted = {"baseline": each, "variants": len(variants) * each}
    if "01_models" in notebooks:
        painted["gallery"] = GALLERY * prompts
    if {"03_similarity", "04_clustering"} & set(notebooks):
        painted["recording"] = len(SEEDS) * prompts
    pictures, guided = sum(painted.values()), guides(model, call)
    passes = pictures * steps * (2 if guided else 1)
    size = f"{call['width']} × {call['height']} px" if "width" in call else "its own size"
    plan.lines.append(
        f"paints     about {pictures:,} pictures: {len(variants)} orders and the untouched model × {prompts + suite} "
        f"prompts × {study.seeds} seeds, and {pictures - each - len(variants) * each} more; {size}, {steps} steps"
    )
    loss = loss_passes(notebooks, model_depths(model), min(study.scenes, each))
    plan.lines.append(
        f"passes     about {passes + loss:,} through the transformer, one picture each"
        + (", guidance counted twice" if guided else "")
        + (f"; {loss:,} of them for the denoising loss" if loss else "")
    )
    if not model_row(model).get("mini") and not elsewhere:
        seconds, rests_on = pass_time(model, call, loading(model, **study.loading))
        plan.lines.append(f"time       about {hours(seconds * (passes + loss))} ({rests_on})")


def guides(model: str, call: Mapping[str, Any]) -> bool:
    """Whether every step runs twice, with the prompt and without; FLUX reads its guidance as a number instead."""
    if call.get("true_cfg_scale", 1) > 1:
        return True
    reads_it = model_row(model).get("family") == "flux"
    if not reads_it and "depths" not in model_row(model):
        reads_it = "guidance_embeds" in empty_part(model, "transformer").config
    return call.get("guidance_scale", 0) > 1 and not reads_it


def loss_passes(notebooks: Sequence[str], depths: Mapping[str, int], pictures: int) -> int:
    """Passes for the denoising loss: of every skipped and every swapped layer, and of a grid of loops."""
    orders = 1 if {"10_looped_parallel", "12_layer_by_layer"} & set(notebooks) else 0
    if "12_layer_by_layer" in notebooks:
        orders += sum(map(len, single_skips(depths).values())) + sum(map(len, neighbour_swaps(depths).values()))
    if "10_looped_parallel" in notebooks:
        orders += GRID * len(depths)
    return orders * LEVELS * pictures


def tokens(call: Mapping[str, Any]) -> int:
    """About how many tokens a picture and its prompt have."""
    image = call.get("height", 1024) * call.get("width", 1024) // TOKEN**2
    return image + call.get("max_sequence_length", 256)


def pass_time(model: str, call: Mapping[str, Any], how: Mapping[str, Any]) -> tuple[float, str]:
    """Seconds of one forward pass of one picture on this machine, and what that rests on."""
    device = how["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    count, n = parameters(model)["transformer"], tokens(call)
    depth, width = sum(model_depths(model).values()), stream_width(model)
    work = 2 * count * n + 4 * depth * n**2 * width
    rate = product_rate(device, getattr(torch, how["dtype"]))
    return work / (SHARE_OF_PEAK * rate), (
        f"{work / 1e12:.1f} TFLOP a pass at {SHARE_OF_PEAK:.0%} of the {rate / 1e12:.2f} TFLOP/s that this machine's "
        f"{device} multiplies {how['dtype']} matrices with just now; without text encoders, VAE and scores"
    )


def product_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, measured for a moment."""
    side = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the GPU
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def stream_width(model: str) -> int:
    """Channels of the transformer's tokens."""
    config = empty_part(model, "transformer").config
    if "num_attention_heads" in config and "attention_head_dim" in config:
        return config["num_attention_heads"] * config["attention_head_dim"]
    return next((config[key] for key in ("hidden_size", "dim", "model_dim") if key in config), 2048)


def hours(seconds: float) -> str:
    """ "3 minutes", "2.5 hours", "12 days"."""
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}" if seconds >= 10 * size else f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} seconds"


# -- memory and disk ----------------------------------------------------------------------------------------


def add_memory(plan: Plan, study: Study, model: str, elsewhere: bool) -> None:
    """Parameters, and what they, a picture and the recording take, beside what is free."""
    how, call = loading(model, **study.loading), study.call(model)
    how["device"] = how["device"] or ("cuda" if elsewhere or torch.cuda.is_available() else "cpu")
    if not elsewhere:
        check_machine(how)
    counts, sizes = parameters(model), part_sizes(model, how)
    listed = ", ".join(f"{part} {count / 1e9:.1f}" for part, count in counts.items() if count > 5e7)
    layers = ", ".join(f"{stack} {depth}" for stack, depth in model_depths(model).items())
    plan.lines.append(
        f"model      {sum(counts.values()) / 1e9:.1f} billion parameters"
        + (f" ({listed})" if listed else "")
        + f"; layers: {layers}"
    )
    megapixels = call.get("height", 1024) * call.get("width", 1024) / 1e6
    prompts, batch = len(study.prompts_of(model)), how["batch"] or 1
    weights = resident(sizes, how["offload"])
    painting = PICTURE * megapixels * batch
    recording = PICTURE * megapixels * prompts + recorded_gib(model, call, prompts)
    where = "the GPU" if str(how["device"]).startswith("cuda") else "this machine"
    chosen = ", ".join(f"{key} {how[key]}" for key in ("dtype", "offload", "quantize", "batch") if how[key])
    plan.lines.append(
        f"memory     about {weights + painting:.1f} GiB of {where} to paint, {weights + recording:.1f} GiB to record "
        f"{prompts} prompts together (weights {weights:.1f}; {chosen}; {PICTURE:g} GiB for a megapixel in flight)"
    )
    if elsewhere:
        return
    free = memory_free(how["device"])
    plan.lines[-1] += f"; {free:.1f} GiB are free"
    if where != "the GPU":
        if sum(counts.values()) > 1e9:
            plan.warnings.append("no GPU: it runs, but see the time above")
    elif weights + max(painting, recording) > free:
        plan.warnings.append("memory may run out: consider OFFLOAD=model, QUANTIZE=8bit or fewer prompts")
    require_memory(model, how)


def recorded_gib(model: str, call: Mapping[str, Any], prompts: int) -> float:
    """GiB that the recorder holds: of all layers and some tokens what is compared, for each measure and average."""
    n = min(tokens(call), 2 * MOST_TOKENS)
    values = sum(model_depths(model).values()) * n * stream_width(model)
    return values * (prompts * (4 * 2 + 4) + 2 * 4) / 2**30


def add_download(plan: Plan, model: str) -> None:
    """What has to be downloaded, beside the free disk space."""
    row = model_row(model)
    if "repo" not in row:
        return
    if row.get("gated") and not is_here(row["repo"], row["revision"], "model_index.json"):
        plan.warnings.append(
            f"gated: sign in at https://huggingface.co/{row['repo']}, accept its licence, and run `hf auth login` here"
        )
    wanted, source = download(row)
    free = disk_free()
    if wanted is None:
        plan.lines.append(f"download   unknown; {free:.0f} GiB of disk are free")
        return
    plan.lines.append(f"download   about {wanted:.1f} GiB ({source}); {free:.0f} GiB of disk are free")
    if wanted > free:
        plan.errors.append(
            f"{wanted:.0f} GiB do not fit on the disk, {free:.0f} GiB are free: free some space, or set HF_HOME to a "
            "larger disk"
        )


# -- said ---------------------------------------------------------------------------------------------------


def show_plans(study: Study, elsewhere: bool = False) -> list[str]:
    """Print the plan of every model of a study that is no mini; returns what makes it impossible."""
    errors = []
    for model in study.models:
        if not model_row(model).get("mini"):
            plan = make_plan(study, model, elsewhere)
            print(plan, flush=True)
            errors += plan.errors
    return errors


def main(arguments: list[str] | None = None) -> None:
    from .run import read_arguments

    try:
        study, args = read_arguments(arguments, "python -m workflow.plan", __doc__)
        plans = [make_plan(study, model, args.on is not None) for model in study.models]
    except InputError as error:
        sys.exit(f"error: {error}")
    print("\n".join(map(str, plans)))
    sys.exit(any(plan.errors for plan in plans))


if __name__ == "__main__":
    main()
