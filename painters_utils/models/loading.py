"""Load a model's stock diffusers pipeline. Only safetensors are read, and no code of a repository is run."""

from contextlib import nullcontext
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError

from originals.hub import explain_errors
from originals.machine import quantization, require_memory, too_large
from originals.skeleton import check_supported
from painters_utils.errors import InputError

from .model import Model
from .quick import quicken

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
    how.check()
    place = model.folder if source.folder else source.repo
    if not model.mini:
        check_supported(source)
        require_memory(source, how)
    # What a pipeline was saved without (SD3's T5) must be named when it is loaded.
    absent = {part: None for part, where in source.read_json("model_index.json").items() if where == [None, None]}
    try:
        with explain_errors(source.repo, source.commit) if source.repo else nullcontext():
            pipe = DiffusionPipeline.from_pretrained(
                place, revision=source.commit or None, dtype=getattr(torch, how.dtype or "float32"),
                use_safetensors=True, local_files_only=not source.repo,
                quantization_config=quantization(source, how), **absent,
            )  # fmt: skip
        pipe.set_progress_bar_config(disable=True)
        if model.mini:
            quicken(pipe.vae).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on processors
            quicken(pipe.transformer)
        if not model.mini and hasattr(getattr(pipe, "vae", None), "enable_slicing"):
            pipe.vae.enable_slicing()  # large pictures are decoded one at a time
        if how.offload == "model":
            pipe.enable_model_cpu_offload(device=how.on_device())
        elif how.offload == "sequential":
            pipe.enable_sequential_cpu_offload(device=how.on_device())
        else:
            pipe.to(how.on_device())
    except InputError:
        raise
    except torch.OutOfMemoryError as error:
        raise too_large(model.name) from error
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        if model.mini:
            remedy = f"the weights of {model.name!r} are damaged ({reason}): check them out again or retrain"
        else:
            remedy = f"{model.name!r} cannot be loaded ({reason}): whole safetensors of diffusers' classes are needed"
        raise InputError(remedy) from error
    return pipe
