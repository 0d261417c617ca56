"""Load a model's stock diffusers pipeline. Only safetensors are read, and no code of a repository is run."""

from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, PipelineQuantizationConfig
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError

from painters_utils.errors import InputError

from .hub import explain_errors
from .memory import quantised_parts, require_memory, too_large
from .model import Loading, Model
from .skeleton import check_supported, parts

diffusers_logging.set_verbosity_error()


def load_pipeline(model: Model | str, **loading: Any) -> DiffusionPipeline:
    """The model's pipeline, ready to paint: `load_pipeline("flux-mini")`. `loading` goes to `Model.named`.

    What is on the model hub is downloaded once, at the model's commit. The GPU is used if there is one.
    - `offload`: "model" keeps on the GPU only the part that computes (text encoder, transformer, VAE), "sequential"
      only its layer: slow, and least memory.
    - `quantize`: "8bit" and "4bit" (bitsandbytes) or "int8" (torchao) for the transformer and every part of more than
      a billion parameters: less memory, other pictures.

    Raises `InputError`, with the remedy, if the name is unknown, the model cannot be had or is not supported, a package
    is missing, memory is too little, or weights are missing or damaged.
    """
    model = Model.named(model, **loading)
    how, source = model.loading, model.source
    check_machine(how)
    place = model.folder if source.folder else source.repo
    if not model.mini:
        check_supported(source)
        require_memory(model)
    # What a pipeline was saved without (SD3's T5) must be named when it is loaded.
    absent = {part: None for part, where in source.read_json("model_index.json").items() if where == [None, None]}
    try:
        with explain_errors(source.repo, source.commit) if source.repo else nullcontext():
            pipe = DiffusionPipeline.from_pretrained(
                place, revision=source.commit or None, dtype=getattr(torch, how.dtype or "float32"),
                use_safetensors=True, local_files_only=not source.repo, quantization_config=quantization(model),
                **absent,
            )  # fmt: skip
        pipe.set_progress_bar_config(disable=True)
        if not model.mini and hasattr(getattr(pipe, "vae", None), "enable_slicing"):
            pipe.vae.enable_slicing()  # large pictures are decoded one at a time
        return put_on_device(pipe, how)
    except InputError:
        raise
    except torch.OutOfMemoryError as error:
        raise too_large(model.name) from error
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        remedy = (
            f"the weights of {model.name!r} are damaged ({reason}): check them out again or retrain"
            if model.mini
            else f"{model.name!r} cannot be loaded ({reason}): safetensors files are needed, whole and of this "
            "diffusers' classes"
        )
        raise InputError(remedy) from error


def chosen_device(how: Loading) -> str:
    """The device that was asked for, else the GPU if there is one."""
    return how.device or ("cuda" if torch.cuda.is_available() else "cpu")


def put_on_device(pipe: DiffusionPipeline, how: Loading) -> DiffusionPipeline:
    """The pipeline on its device, or waiting in memory where it is offloaded."""
    device = chosen_device(how)
    if how.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif how.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    return pipe


def check_machine(how: Loading) -> None:
    """`InputError` if what was asked for needs a package or a GPU that is not here."""
    device, gpu = chosen_device(how), torch.cuda.is_available()
    kind, _, number = device.partition(":")
    if (kind == "cuda" and not gpu) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise InputError(f"device {device!r} is not here: leave it out or choose cpu")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r} is not here: there are {torch.cuda.device_count()} GPUs, from 0")
    if how.offload and kind == "cpu":
        raise InputError(f"offload {how.offload!r} moves parts between a GPU and memory: without a GPU leave it out")
    if how.quantize in ("8bit", "4bit") and kind != "cuda":
        raise InputError(f"quantize {how.quantize!r} needs an NVIDIA GPU: choose int8, or leave it out")
    if how.quantize and how.offload == "sequential":
        raise InputError("offload 'sequential' cannot move quantised layers: offload 'model', or do not quantise")
    needed = {"8bit": ["accelerate", "bitsandbytes"], "4bit": ["accelerate", "bitsandbytes"],
              "int8": ["accelerate", "torchao"], None: ["accelerate"] if how.offload else []}[how.quantize]  # fmt: skip
    if missing := [package for package in needed if find_spec(package) is None]:
        asked = f"quantize {how.quantize!r}" if how.quantize else f"offload {how.offload!r}"
        raise InputError(
            f"{asked} needs {' and '.join(missing)}: install them with `.venv/bin/pip install --editable '.[gpu]'`"
        )


def quantization(model: Model) -> PipelineQuantizationConfig | None:
    """What `quantize` means to diffusers: the transformer and every large part, each by its own library's class."""
    how = model.loading
    if not how.quantize:
        return None
    if how.quantize == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        of_diffusers, of_transformers, options = (
            diffusers.TorchAoConfig, transformers.TorchAoConfig, dict(quant_type=Int8WeightOnlyConfig())
        )  # fmt: skip
    else:
        of_diffusers, of_transformers = diffusers.BitsAndBytesConfig, transformers.BitsAndBytesConfig
        compute = getattr(torch, how.dtype or "float32")
        nf4 = dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)
        options = nf4 if how.quantize == "4bit" else dict(load_in_8bit=True)
    kinds = parts(model.source)
    return PipelineQuantizationConfig(
        quant_mapping={
            part: (of_diffusers if issubclass(kinds[part], diffusers.ModelMixin) else of_transformers)(**options)
            for part in quantised_parts(model.source)
        }
    )
