"""What can be known of a model without its weights: its pipeline's class, its parts on the meta device, its stacks.

Code that a repository brings along is never run.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from torch import nn

from painters_utils.engine.stacks import find_stacks
from painters_utils.errors import InputError

from .hub import Source

LEAST_LAYERS = 4  # of a stack that is studied: shorter ones, such as Lumina's refiners, have no middle
OF_VIDEOS = ("num_frames", "video_length", "frames", "video")  # what only their pipelines take


def pipeline_class(source: Source) -> type[DiffusionPipeline]:
    """The class of diffusers that a model's pipeline is of; `InputError` if it is none."""
    found = source.read_json("model_index.json").get("_class_name")
    cls = getattr(diffusers, found, None) if isinstance(found, str) else None
    if not (isinstance(cls, type) and issubclass(cls, DiffusionPipeline)):
        raise InputError(
            f"'{source}' is a {found}, which diffusers {diffusers.__version__} does not have: code that comes with a "
            "model is not run; choose a model with a pipeline of diffusers"
        )
    return cls


def parts(source: Source) -> dict[str, type]:
    """The parts of a model's pipeline that are there, and their classes. `InputError` for a class of someone else."""
    found, homes = {}, {"diffusers": diffusers, "transformers": transformers}
    for part, where in source.read_json("model_index.json").items():
        if not isinstance(where, list) or len(where) != 2 or where[0] is None:
            continue  # a setting, or a part that the pipeline was saved without
        library, cls = where
        home = homes.get(library) or getattr(diffusers.pipelines, str(library), None)
        if not isinstance(found_class := getattr(home, str(cls), None), type):
            raise InputError(
                f"the {part} of '{source}' is {library}.{cls}, no class of diffusers or transformers: code that comes "
                "with a model is not run; choose another"
            )
        found[part] = found_class
    return found


@cache
def empty_part(source: Source, part: str) -> nn.Module:
    """One part of a pipeline, such as "transformer", from its configuration, on the meta device: it takes no memory."""
    cls: Any = parts(source)[part]
    config = source.read_json(f"{part}/config.json")
    with torch.device("meta"):
        return cls.from_config(config) if hasattr(cls, "from_config") else cls(cls.config_class.from_dict(config))


@cache
def parameters(source: Source) -> dict[str, int]:
    """How many parameters each trained part of a model has, the largest first."""
    trained = [part for part, cls in parts(source).items() if issubclass(cls, nn.Module)]
    counts = {part: sum(p.numel() for p in empty_part(source, part).parameters()) for part in trained}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def stack_depths(source: Source) -> dict[str, int]:
    """How many layers each stack of a model's transformer has, from its configuration; LEAST_LAYERS at least."""
    check_supported(source)
    found = {stack: len(blocks) for stack, blocks in find_stacks(empty_part(source, "transformer")).items()}
    if studied := {stack: depth for stack, depth in found.items() if depth >= LEAST_LAYERS}:
        return studied
    raise InputError(f"the stacks of '{source}' are too short to study: {found}; {LEAST_LAYERS} layers are needed")


def default_call(source: Source) -> dict:
    """Steps and guidance as a model's pipeline has them, and an empty negative prompt where it guides by one."""
    known = inspect.signature(pipeline_class(source).__call__).parameters
    wanted = ("num_inference_steps", "guidance_scale", "true_cfg_scale")
    call = {key: known[key].default for key in wanted if key in known and known[key].default is not None}
    if call.get("true_cfg_scale", 1) > 1 and "negative_prompt" in known:
        call["negative_prompt"] = " "
    return call


def pipeline_kwargs(prompts: Sequence[str], call: Mapping[str, Any]) -> dict[str, Any]:
    """How a pipeline is called for some prompts: one negative prompt stands for as many."""
    negative = call.get("negative_prompt")
    many = {"negative_prompt": [negative] * len(prompts)} if isinstance(negative, str) else {}
    return {**call, **many, "prompt": list(prompts)}


@cache
def check_supported(source: Source) -> None:
    """Raise `InputError`, with the reason, unless a model paints pictures of prompts with one transformer of stacks."""
    cls, found = pipeline_class(source), parts(source)
    known = inspect.signature(cls.__call__).parameters
    listed = ", ".join(f"{part} ({kind.__name__})" for part, kind in found.items() if issubclass(kind, nn.Module))
    if "unet" in found:
        raise InputError(
            f"'{source}' denoises with a U-Net ({found['unet'].__name__}): its blocks differ in width and are joined "
            "across it, so none can stand for another; choose a model with a transformer"
        )
    if "transformer" not in found:
        raise InputError(f"'{source}' has no transformer, only {listed}: choose a model with one")
    for part, kind in found.items():
        other = part != "transformer" and issubclass(kind, diffusers.ModelMixin)
        if other and ("Transformer" in kind.__name__ or "ControlNet" in kind.__name__):
            raise InputError(
                f"'{source}' has a {part} ({kind.__name__}) beside its transformer: orders of one of them would "
                "not say what the layers do; choose a model with one"
            )
    if any(key in known for key in OF_VIDEOS):
        raise InputError(f"'{source}' makes videos ({cls.__name__}): the study reads pictures; choose such a model")
    if "height" not in known:
        raise InputError(f"'{source}' makes no pictures ({cls.__name__}): choose a model that does")
    for key in ("prompt", "num_inference_steps", "generator", "output_type"):
        if key not in known:
            raise InputError(f"{cls.__name__} of '{source}' takes no {key}, which is needed: choose another model")
    mandatory = [key for key, p in known.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if needed := [key for key in mandatory if key not in ("self", "prompt")]:
        raise InputError(f"{cls.__name__} of '{source}' needs more than a prompt ({', '.join(needed)}): choose another")
    find_stacks(empty_part(source, "transformer"))
