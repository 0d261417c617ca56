"""How much memory a model's weights need, and what to do where that is more than there is.

Estimates rest on the parameters, counted from the configuration without weights, and on PICTURE; they say "about".
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

import psutil
import torch

from painters_utils.errors import InputError

from .hub import Source
from .model import Model
from .skeleton import parameters

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a parameter
QUANTISED = {"8bit": 1.05, "int8": 1.05, "4bit": 0.56}  # of a parameter, with the scales of its group
LARGE = 1e9  # parameters: parts of more are quantised, and so is the transformer
PICTURE = 2.0  # GiB beside the weights for every megapixel that is painted at a time, in 16 bits


def quantised_parts(source: Source) -> list[str]:
    """The parts of a model that `quantize` makes smaller."""
    return [part for part, count in parameters(source).items() if part == "transformer" or count > LARGE]


def part_sizes(model: Model) -> dict[str, float]:
    """GiB of each part's weights as they are loaded, the largest first."""
    how = model.loading
    small = quantised_parts(model.source) if how.quantize else []
    sizes = {
        part: count * (QUANTISED[how.quantize or ""] if part in small else BYTES[how.dtype or "float32"]) / GIB
        for part, count in parameters(model.source).items()
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def gib_resident(model: Model) -> float:
    """GiB of weights that are on the device together: all parts, the largest, or a layer of it."""
    sizes = part_sizes(model)
    largest = max(sizes.values(), default=0.0)
    return {None: sum(sizes.values()), "model": largest, "sequential": 0.05 * largest}[model.loading.offload]


def gib_to_load(sizes: Mapping[str, float]) -> float:
    """GiB of memory that loading takes; without accelerate, diffusers makes each part before it reads it."""
    return sum(sizes.values()) + (0.0 if find_spec("accelerate") else max(sizes.values(), default=0.0))


def memory_free(device: str) -> float:
    """GiB that are free on a GPU, or of the machine's memory."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0] / GIB
    return psutil.virtual_memory().available / GIB


def require_memory(model: Model) -> None:
    """`InputError` if a model's weights alone do not fit, with the settings under which they would."""
    device = model.loading.device or ("cuda" if torch.cuda.is_available() else "cpu")
    ram, needed = memory_free("cpu"), gib_to_load(part_sizes(model))
    if needed > ram:
        ways = ways_out(model, device, lambda other: gib_to_load(part_sizes(other)) < ram)
        raise InputError(f"{model.name!r} needs about {needed:.0f} GiB of memory, {ram:.0f} GiB are free: {ways}")
    if device.startswith("cuda") and (on_gpu := gib_resident(model)) > (free := memory_free(device)):
        ways = ways_out(model, device, lambda other: gib_resident(other) + PICTURE < free)
        raise InputError(f"{model.name!r} needs about {on_gpu:.0f} GiB of the GPU, {free:.0f} GiB are free: {ways}")


def ways_out(model: Model, device: str, fits: Callable[[Model], bool]) -> str:
    """Which settings would do instead, the fastest first."""
    choices = [{"dtype": "bfloat16"}, {"quantize": "int8"}]
    if device.startswith("cuda"):
        both = {"offload": "model", "quantize": "4bit"}
        choices = [{"offload": "model"}, {"quantize": "8bit"}, {"quantize": "4bit"}, both, {"offload": "sequential"}]
    good = [other for other in choices if model.changed(**other) != model and fits(model.changed(**other))]
    if not good:
        return "close other programs, or choose a smaller model or a larger machine"
    listed = " or ".join(" ".join(f"{key.upper()}={value}" for key, value in other.items()) for other in good[:3])
    return f"try {listed} (make report, or the arguments of load_pipeline)"


def too_large(name: str) -> InputError:
    """The error for memory that ran out after all."""
    return InputError(
        f"{name!r} ran out of the GPU's memory: set batch to 1, offload to model or sequential, or quantize to 8bit or "
        "4bit (config.yaml, or OFFLOAD= and QUANTIZE= of make report); `python -m workflow.plan` estimates them"
    )
