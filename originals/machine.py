"""How a pipeline is loaded on this machine: what may be chosen, what that needs, and what to do where it is too much.

Estimates rest on the parameters, counted from the configuration without weights, and on PICTURE; they say "about".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from painters_utils.errors import InputError, require_positive, unknown

if TYPE_CHECKING:
    from diffusers import PipelineQuantizationConfig

    from .hub import Source

CHOICES = {
    "dtype": ("float32", "bfloat16", "float16"),
    "device": ("cuda", "cpu", "mps", "cuda:1"),  # or any other GPU by its number
    "offload": ("none", "model", "sequential"),
    "quantize": ("none", "8bit", "4bit", "int8"),
}
PACKAGES = {"8bit": "bitsandbytes", "4bit": "bitsandbytes", "int8": "torchao"}
GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a parameter
QUANTISED = {"8bit": 1.05, "int8": 1.05, "4bit": 0.56}  # of a parameter, with the scales of its group
LARGE = 1e9  # parameters: parts of more are quantised, and so is the transformer
PICTURE = 2.0  # GiB beside the weights for every megapixel that is painted at a time, in 16 bits


@dataclass(frozen=True)
class Loading:
    """How a model is loaded and painted; None: as it suits the machine. `InputError` for what cannot be chosen."""

    dtype: str | None = None
    device: str | None = None
    offload: str | None = None  # "model": only the part that computes is on the GPU; "sequential": only its layer
    quantize: str | None = None  # "8bit", "4bit", "int8": less memory, other pictures
    batch: int | None = None  # pictures painted at a time

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            value = getattr(self, key)
            gpu = key == "device" and re.fullmatch(r"cuda:\d+", str(value))
            if value is not None and value not in choices and not gpu:
                raise unknown(key, value, choices)
            if value == "none":
                object.__setattr__(self, key, None)
        if self.batch is not None:
            require_positive("batch", self.batch)

    def on_device(self) -> str:
        """The device that was asked for, else the GPU if there is one."""
        import torch

        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def check(self) -> None:
        """`InputError` if what was asked for needs a package or a GPU that is not here."""
        import torch

        device, gpu = self.on_device(), torch.cuda.is_available()
        kind, _, number = device.partition(":")
        if (kind == "cuda" and not gpu) or (kind == "mps" and not torch.backends.mps.is_available()):
            raise InputError(f"device {device!r} is not here: leave it out or choose cpu")
        if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
            raise InputError(f"device {device!r} is not here: there are {torch.cuda.device_count()} GPUs, from 0")
        if self.offload and kind == "cpu":
            raise InputError(f"offload {self.offload!r} moves parts to and from a GPU, and there is none: leave it out")
        if self.quantize in ("8bit", "4bit") and kind != "cuda":
            raise InputError(f"quantize {self.quantize!r} needs an NVIDIA GPU: choose int8, or leave it out")
        if self.quantize and self.offload == "sequential":
            raise InputError("offload 'sequential' cannot move quantised layers: offload 'model', or do not quantise")
        if self.quantize and find_spec(package := PACKAGES[self.quantize]) is None:
            remedy = "`.venv/bin/pip install -r requirements/gpu.txt`"
            raise InputError(f"quantize {self.quantize!r} needs {package}: {remedy}")


def quantised_parts(source: "Source") -> list[str]:
    """The parts of a pipeline that `quantize` makes smaller."""
    from .skeleton import parameters

    return [part for part, count in parameters(source).items() if part == "transformer" or count > LARGE]


def quantization(source: "Source", how: Loading) -> "PipelineQuantizationConfig | None":
    """What `quantize` means to diffusers: the transformer and every large part, each by its own library's class."""
    if not how.quantize:
        return None
    import diffusers
    import torch
    import transformers

    from .skeleton import parts

    config, options = "BitsAndBytesConfig", dict[str, Any](load_in_8bit=True)
    if how.quantize == "4bit":
        compute = getattr(torch, how.dtype or "float32")
        options = dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)
    if how.quantize == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        config, options = "TorchAoConfig", dict(quant_type=Int8WeightOnlyConfig())
    kinds = parts(source)
    libraries = {part: diffusers if issubclass(kinds[part], diffusers.ModelMixin) else transformers
                 for part in quantised_parts(source)}  # fmt: skip
    mapping = {part: getattr(library, config)(**options) for part, library in libraries.items()}
    return diffusers.PipelineQuantizationConfig(quant_mapping=mapping)


# -- memory -------------------------------------------------------------------------------------------------


def part_sizes(source: "Source", how: Loading) -> dict[str, float]:
    """GiB of each part's weights as they are loaded."""
    from .skeleton import parameters

    small = quantised_parts(source) if how.quantize else []
    return {
        part: count * (QUANTISED[how.quantize or ""] if part in small else BYTES[how.dtype or "float32"]) / GIB
        for part, count in parameters(source).items()
    }


def gib_resident(source: "Source", how: Loading) -> float:
    """GiB of weights that are on the device together: all parts, the largest, or a layer of it."""
    sizes = part_sizes(source, how).values()
    return {None: sum(sizes), "model": max(sizes), "sequential": 0.05 * max(sizes)}[how.offload]


def memory_free(device: str) -> float:
    """GiB that are free on a GPU, or of the machine's memory."""
    import psutil
    import torch

    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0] / GIB
    return psutil.virtual_memory().available / GIB


def require_memory(source: "Source", how: Loading) -> None:
    """`InputError` if a pipeline's weights alone do not fit, with the settings under which they would."""
    device, ram, needed = how.on_device(), memory_free("cpu"), sum(part_sizes(source, how).values())
    if needed > ram:
        ways = ways_out(how, device, lambda other: sum(part_sizes(source, other).values()) < ram)
        raise InputError(f"'{source}' needs about {needed:.0f} GiB of memory, {ram:.0f} GiB are free: {ways}")
    if device.startswith("cuda") and (on_gpu := gib_resident(source, how)) > (free := memory_free(device)):
        ways = ways_out(how, device, lambda other: gib_resident(source, other) + PICTURE < free)
        raise InputError(f"'{source}' needs about {on_gpu:.0f} GiB of the GPU, {free:.0f} GiB are free: {ways}")


def ways_out(how: Loading, device: str, fits: Callable[[Loading], bool]) -> str:
    """Which settings would do instead, the fastest first."""
    choices: list[dict[str, Any]] = [{"dtype": "bfloat16"}, {"quantize": "int8"}]
    if device.startswith("cuda"):
        both = {"offload": "model", "quantize": "4bit"}
        choices = [{"offload": "model"}, {"quantize": "8bit"}, {"quantize": "4bit"}, both, {"offload": "sequential"}]
    good = [other for other in choices if (changed := replace(how, **other)) != how and fits(changed)]
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
