"""What a study will take, told before anything is downloaded or computed. Memory and time are estimates.

python -m workflow.plan --models flux-schnell --seeds 2
"""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import huggingface_hub
import torch

from originals.hub import is_here, missing_gib
from originals.machine import GIB, PICTURE, gib_resident, memory_free, require_memory
from originals.skeleton import check_supported, empty_part, parameters
from painters_utils.engine.stacks import find_stacks, keeps_places
from painters_utils.engine.starts import MOST
from painters_utils.errors import InputError
from painters_utils.models.model import Model
from painters_utils.study.recordings import MOST_TOKENS, SEEDS
from painters_utils.study.variants import neighbour_swaps
from painters_utils.study.velocity import PROMPTS

from .arguments import read_arguments
from .config import Study
from .flop import count_flop

GALLERY = 4  # pictures per prompt in 01_models
GRID = 15  # cells of 10_looped_parallel for each stack, of which the velocity error is taken
SHARE_OF_PEAK = 0.4  # of the speed of a large matrix product that a forward pass reaches


class Plan:
    """What one model of a study takes; `elsewhere`: it will not run on this machine. No `errors`: it can be run."""

    def __init__(self, study: Study, model: Model, elsewhere: bool = False) -> None:
        self.study, self.model, self.elsewhere = study, model, elsewhere
        self.lines: list[str] = []
        found: dict[str, None] = {}
        # Of a model that is no mini, more has to be known; and after an error, what else can be said is said.
        steps = [self.add_work] if model.mini else [self.check, self.add_work, self.add_memory, self.add_download]
        for find_out in steps:
            try:
                find_out()
            except InputError as error:
                found[str(error)] = None
        self.errors = list(found)

    def __str__(self) -> str:
        said = [f"{self.model.name}: {self.model.title}", *self.lines, *(f"error: {text}" for text in self.errors)]
        return "\n  ".join(said)

    def check(self) -> None:
        """`InputError` for a model that cannot be studied."""
        check_supported(self.model.source)
        if keeps_places(empty_part(self.model.source, "transformer")):
            raise InputError(
                f"layers of {self.model.name!r} can be left out but not moved (docs/architectures.md), and the study "
                "moves them: use `layer_order` in a notebook of your own"
            )

    def add_work(self) -> None:
        """How many pictures and forward passes, and how long they may take."""
        study, model, call = self.study, self.model, self.model.call
        notebooks, prompts, seeds = study.notebooks_of(model), len(study.prompts_of(model)), study.settings.seeds
        runs = {name: {str(variant.run) for variant in study.variants_of(model, name)} for name in notebooks}
        each = {name: study.pictures_each(model, name) for name in notebooks}
        suite, twice = study.settings.suite if model.mini else 0, guides(model)
        scored = prompts + suite
        orders = set().union(*(some for name, some in runs.items() if each[name] == scored * seeds))
        more = len(SEEDS) * prompts + (GALLERY * prompts if "01_models" in notebooks else 0)
        for fewer in set(each.values()) - {scored * seeds}:
            others = set().union(*(some for name, some in runs.items() if each[name] == fewer))
            more += (len(others) + 1) * fewer
        pictures = (len(orders) + 1) * scored * seeds + more - self.not_painted(notebooks) * scored
        size = f"{call['width']} × {call['height']} px" if "width" in call else "its own size"
        self.lines.append(
            f"paints     about {pictures:,} pictures: {len(orders)} orders and the untouched model × {scored} "
            f"prompts × {seeds} seeds, and {more:,} more; {size}, {model.steps} steps"
        )
        errors = error_passes(notebooks, model) * (PROMPTS if model.mini else prompts) * (1 + twice)
        passes = pictures * model.steps * (1 + twice) + errors
        self.lines.append(
            f"passes     about {passes:,} through the transformer, one picture each"
            + (", guidance counted twice" if twice else "")
            + (f"; {errors:,} of them for velocity errors" if errors else "")
        )
        if not model.mini and not self.elsewhere:
            device, dtype = model.loading.on_device(), model.loading.dtype or "float32"
            work, rate = work_of_pass(model), measure_rate(device, getattr(torch, dtype))
            self.lines.append(
                f"time       about {in_words(passes * work / (SHARE_OF_PEAK * rate))} ({work / 1e12:.1f} TFLOP a pass "
                f"at {SHARE_OF_PEAK:.0%} of the {rate / 1e12:.2f} TFLOP/s that this machine's {device} multiplies "
                f"{dtype} matrices with just now; without text encoders, VAE and scores)"
            )

    def not_painted(self, notebooks: Sequence[str]) -> int:
        """How many seeds the variants that share them leave to one another."""
        seeds = range(self.study.settings.seeds)
        some = (variant for name in notebooks for variant in self.study.variants_of(self.model, name))
        return sum(len(seeds) - len(variant.seeds_of(seeds)) for variant in some)

    def add_memory(self) -> None:
        """Parameters, and what they, a picture and the recording take, beside what is free."""
        model, how = self.model, self.model.loading
        if not self.elsewhere:
            how.check()
        device = "cuda" if self.elsewhere and not how.device else how.on_device()
        gpu, counts = device.startswith("cuda"), parameters(model.source)
        large = ", ".join(f"{part} {count / 1e9:.1f}" for part, count in counts.items() if count > 5e7)
        self.lines.append(
            f"model      {sum(counts.values()) / 1e9:.1f} billion parameters{f' ({large})' if large else ''}; layers: "
            + ", ".join(f"{stack} {depth}" for stack, depth in model.depths.items())
        )
        prompts, weights = len(self.study.prompts_of(model)), gib_resident(model.source, how)
        in_flight = PICTURE * pixels(model) / 1e6
        painting = in_flight * (how.batch or 1) + MOST / GIB  # so much is remembered for the velocity error
        recording = in_flight * prompts + gib_recorded(model, prompts)
        chosen = [f"{key} {value}" for key, value in asdict(how).items() if value and key != "device"]
        self.lines.append(
            f"memory     about {weights + painting:.1f} GiB of {'the GPU' if gpu else 'this machine'} to paint, "
            f"{weights + recording:.1f} GiB to record {prompts} prompts together (weights {weights:.1f}; "
            f"{', '.join(chosen)}; {PICTURE:g} GiB for a megapixel in flight)"
        )
        if self.elsewhere:
            return
        free = memory_free(device)
        self.lines[-1] += f"; {free:.1f} GiB are free"
        if not gpu and sum(counts.values()) > 1e9:
            self.lines.append("warning: no GPU: it runs, but see the time above")
        if gpu and weights + max(painting, recording) > free:
            self.lines.append("warning: memory may run out: consider OFFLOAD=model, QUANTIZE=8bit or fewer prompts")
        require_memory(model.source, how)

    def add_download(self) -> None:
        """What has to be downloaded, beside the free disk space."""
        source, folder = self.model.source, Path(huggingface_hub.constants.HF_HUB_CACHE)
        if not source.repo:
            return
        while not folder.exists():
            folder = folder.parent
        wanted, says, free = missing_gib(source), "the model hub lists it", shutil.disk_usage(folder).free / GIB
        if wanted is None:
            wanted, says = self.model.download, "data/models.yaml says"
        about = "unknown" if wanted is None else f"about {wanted:.1f} GiB (as {says})"
        self.lines.append(f"download   {about}; {free:.0f} GiB of disk are free")
        if self.model.gated and not is_here(source, "model_index.json"):
            remedy = "accept its licence, and run `hf auth login` here"
            self.lines.append(f"warning: gated: sign in at https://huggingface.co/{source.repo}, {remedy}")
        if (wanted or 0) > free:
            remedy = "free some space, or set HF_HOME to a larger disk"
            raise InputError(f"{wanted:.0f} GiB do not fit on the disk, {free:.0f} GiB are free: {remedy}")


def guides(model: Model) -> bool:
    """Whether every step runs twice, with the prompt and without; FLUX reads its guidance as a number instead."""
    if model.call.get("true_cfg_scale", 1) > 1 or model.call.get("guidance_scale", 0) <= 1:
        return model.call.get("true_cfg_scale", 1) > 1
    if model.family:
        return model.family != "flux"
    return "guidance_embeds" not in empty_part(model.source, "transformer").config


def error_passes(notebooks: list[str], model: Model) -> int:
    """Passes of a prompt for velocity errors: of every skipped and every swapped layer, and of a grid of loops.

    Each notebook paints the prompts first, asks every step once more, and one of them a third time. That layers before
    a change do not run again is not counted.
    """
    first = 2 * model.steps + 1
    grid = GRID * len(model.depths) + first
    singles = sum(model.depths.values()) + sum(map(len, neighbour_swaps(model.depths).values())) + first
    return grid * ("10_looped_parallel" in notebooks) + singles * ("12_layer_by_layer" in notebooks)


def count_tokens(model: Model) -> int:
    """About how many tokens a picture and its prompt have: of 16 pixels a side, as in most models."""
    return pixels(model) // 16**2 + model.call.get("max_sequence_length", 256)


def pixels(model: Model) -> int:
    """Of a picture; of a size that the pipeline chooses itself, about."""
    return model.call.get("height", 1024) * model.call.get("width", 1024)


def work_of_pass(model: Model) -> float:
    """FLOP of one forward pass of one picture: counted, or estimated where a pipeline takes other texts than most."""
    size = {key: model.call[key] for key in ("height", "width") if key in model.call}
    counted = count_flop(model.source, model.call.get("max_sequence_length", 256), **size)
    return counted or 2.0 * parameters(model.source)["transformer"] * count_tokens(model)


def gib_recorded(model: Model, prompts: int) -> float:
    """GiB that the recorder holds: of all layers and some tokens what is compared, for each measure and average."""
    blocks = next(iter(find_stacks(empty_part(model.source, "transformer")).values()))
    channels = next(p.shape[-1] for p in blocks.parameters() if p.ndim == 2)  # a layer reads what the last one wrote
    values = sum(model.depths.values()) * min(count_tokens(model), 2 * MOST_TOKENS) * channels
    return values * (prompts * (4 * 2 + 4) + 2 * 4) / GIB


def measure_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, measured for a moment."""
    side, seconds = 8192 if device.startswith("cuda") else 2048, []
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    for _ in range(3):
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the GPU
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


def in_words(seconds: float) -> str:
    """ "3 minutes", "2.5 hours", "12 days"."""
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}" if seconds >= 10 * size else f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} seconds"


def main(arguments: list[str] | None = None) -> None:
    try:
        study, args = read_arguments(arguments, "python -m workflow.plan", __doc__)
    except InputError as error:
        sys.exit(f"error: {error}")
    plans = [Plan(study, model, args.on is not None) for model in study.models]
    print("\n".join(map(str, plans)))
    sys.exit(any(plan.errors for plan in plans))


if __name__ == "__main__":
    main()
