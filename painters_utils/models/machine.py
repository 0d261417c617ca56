"""What this machine has, what a model needs of it, and what to do where that is more.

Estimates rest on the parameters, counted from the configuration without weights, and on PICTURE; they say "about".
"""

import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub
import psutil
import torch
import transformers
from diffusers import PipelineQuantizationConfig

from painters_utils.errors import InputError
from .skeleton import parameters, parts

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a parameter
QUANTISED = {"8bit": 1.05, "int8": 1.05, "4bit": 0.56}  # of a parameter, with the scales of its group
LARGE = 1e9  # parameters: parts of more are quantised, and so is the transformer
PICTURE = 2.0  # GiB beside the weights for every megapixel that is painted at a time, in 16 bits


def quantised_parts(name: str) -> list[str]:
    """The parts of a model that `quantize` makes smaller."""
    return [part for part, count in parameters(name).items() if part == "transformer" or count > LARGE]


def part_sizes(name: str, how: Mapping[str, Any]) -> dict[str, float]:
    """GiB of each part's weights as they are loaded, the largest first."""
    usual = BYTES[how["dtype"] or "float32"]
    small = quantised_parts(name) if how["quantize"] else []
    sizes = {
        part: count * (QUANTISED[how["quantize"]] if part in small else usual) / GIB
        for part, count in parameters(name).items()
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def resident(sizes: Mapping[str, float], offload: str | None) -> float:
    """GiB of weights that are on the GPU together: all parts, the largest, or a layer of it."""
    largest = max(sizes.values(), default=0.0)
    return {None: sum(sizes.values()), "model": largest, "sequential": 0.05 * largest}[offload]


def memory_free(device: str) -> float:
    """GiB that are free on a GPU, or of the machine's memory."""
    if str(device).startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0] / GIB
    return psutil.virtual_memory().available / GIB


def disk_free(folder: Path | None = None) -> float:
    """GiB that are free where a folder lies or will lie; by default the model hub's cache."""
    folder = Path(folder or huggingface_hub.constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / GIB


def require_memory(name: str, how: Mapping[str, Any]) -> None:
    """`InputError` if a model's weights alone do not fit, with the settings under which they would."""
    sizes, device = part_sizes(name, how), str(how["device"])
    needed, ram = to_load(sizes), memory_free("cpu")
    if needed > ram:
        smaller = ways_out(name, how, lambda other: to_load(part_sizes(name, other)) < ram)
        raise InputError(f"{name!r} needs about {needed:.0f} GiB of memory, {ram:.0f} GiB are free: {smaller}")
    if device.startswith("cuda") and (on_gpu := resident(sizes, how["offload"])) > (free := memory_free(device)):
        smaller = ways_out(
            name, how, lambda other: resident(part_sizes(name, other), other["offload"]) + PICTURE < free
        )
        raise InputError(f"{name!r} needs about {on_gpu:.0f} GiB of the GPU, {free:.0f} GiB are free: {smaller}")


def to_load(sizes: Mapping[str, float]) -> float:
    """GiB of memory that loading takes; without accelerate, diffusers makes each part before it reads it."""
    return sum(sizes.values()) + (0.0 if find_spec("accelerate") else max(sizes.values(), default=0.0))


def ways_out(name: str, how: Mapping[str, Any], fits: Callable[[dict], bool]) -> str:
    """Which settings would do instead, the fastest first."""
    choices = [{"quantize": "8bit"}, {"quantize": "4bit"}, {"quantize": "int8"}]
    if str(how["device"]).startswith("cuda"):
        both = {"offload": "model", "quantize": "4bit"}
        choices = [{"offload": "model"}, *choices[:2], both, {"offload": "sequential"}]
    else:
        choices = [{"dtype": "bfloat16"}, choices[2]]
    good = [other for other in choices if {**how, **other} != how and fits({**how, **other})]
    if not good:
        return "close other programs, or choose a smaller model or a larger machine"
    listed = " or ".join(" ".join(f"{key.upper()}={value}" for key, value in other.items()) for other in good[:3])
    return f"try {listed} (make report, or the arguments of load_pipeline)"


def check_machine(how: Mapping[str, Any]) -> None:
    """`InputError` if what was asked for needs a package or a GPU that is not here."""
    kind, gpu = str(how["device"]).partition(":")[0], torch.cuda.is_available()
    if (kind == "cuda" and not gpu) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise InputError(f"device {how['device']!r} is not here: leave it out or choose cpu")
    if kind == "cuda" and int(how["device"].partition(":")[2] or 0) >= torch.cuda.device_count():
        raise InputError(f"device {how['device']!r} is not here: there are {torch.cuda.device_count()} GPUs, from 0")
    if how["offload"] and kind == "cpu":
        raise InputError(f"offload {how['offload']!r} moves parts between a GPU and memory: without a GPU leave it out")
    if how["quantize"] in ("8bit", "4bit") and kind != "cuda":
        raise InputError(f"quantize {how['quantize']!r} needs an NVIDIA GPU: choose int8, or leave it out")
    if how["quantize"] and how["offload"] == "sequential":
        raise InputError("offload 'sequential' cannot move quantised layers: offload 'model', or do not quantise")
    needed = {"8bit": ["accelerate", "bitsandbytes"], "4bit": ["accelerate", "bitsandbytes"],
              "int8": ["accelerate", "torchao"], None: ["accelerate"] if how["offload"] else []}  # fmt: skip
    if missing := [package for package in needed[how["quantize"]] if find_spec(package) is None]:
        asked = f"quantize {how['quantize']!r}" if how["quantize"] else f"offload {how['offload']!r}"
        raise InputError(
            f"{asked} needs {' and '.join(missing)}: install them with `.venv/bin/pip install --editable '.[gpu]'`"
        )


def quantization(name: str, how: Mapping[str, Any]) -> PipelineQuantizationConfig | None:
    """What `quantize` means to diffusers: the transformer and every large part, each by its own library's class."""
    if not how["quantize"]:
        return None
    if how["quantize"] == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        of_diffusers, of_transformers, options = (
            diffusers.TorchAoConfig, transformers.TorchAoConfig, dict(quant_type=Int8WeightOnlyConfig())
        )  # fmt: skip
    else:
        of_diffusers, of_transformers = diffusers.BitsAndBytesConfig, transformers.BitsAndBytesConfig
        compute = getattr(torch, how["dtype"] or "float32")
        nf4 = dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)
        options = nf4 if how["quantize"] == "4bit" else dict(load_in_8bit=True)
    kinds = parts(name)
    return PipelineQuantizationConfig(
        quant_mapping={
            part: (of_diffusers if issubclass(kinds[part], diffusers.ModelMixin) else of_transformers)(**options)
            for part in quantised_parts(name)
        }
    )


def too_large(name: str) -> InputError:
    """The error for memory that ran out after all."""
    return InputError(
        f"{name!r} ran out of the GPU's memory: set batch to 1, offload to model or sequential, or quantize to 8bit or "
        "4bit (config.yaml, or OFFLOAD= and QUANTIZE= of make report); `python -m workflow.plan` estimates them"
    )
