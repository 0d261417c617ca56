"""Paint with a LoRA adapter, by adding it to the weights: W + B A. Needs no library of adapters."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from painters_utils.errors import InputError

PART = "transformer."  # diffusers' keys begin with the part of the pipeline that they belong to
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


@contextmanager
def adapter(transformer: nn.Module, file: str | Path, weight: float = 1.0) -> Iterator[None]:
    """Add `weight` × B A of a diffusers LoRA file to a transformer's weights; taken off on exit, also on error.

    A is (rank, inputs) and B (outputs, rank). `InputError`, before anything is changed, for a file that cannot be read,
    belongs to another model, or asks for more than B A: its alpha must be its rank.
    """
    found = [(layer.weight, up @ down) for layer, down, up in read_adapter(transformer, file)]
    before = [own.detach().clone() for own, _ in found]
    try:
        with torch.no_grad():
            for own, more in found:
                own += weight * more.to(own)
        yield
    finally:
        with torch.no_grad():
            for (own, _), was in zip(found, before, strict=True):
                own.copy_(was)


def read_adapter(transformer: nn.Module, file: str | Path) -> list[tuple[nn.Linear, Tensor, Tensor]]:
    """The layers that an adapter changes, each with its A and B in float32."""
    try:
        with safe_open(file, "pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  it is no dict
            about = json.loads((opened.metadata() or {}).get("lora_adapter_metadata", "{}"))
            if not isinstance(about, dict):
                raise ValueError("its metadata is no JSON object")
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"no adapter can be read from {file} ({error}): train one with `make loras`") from None
    layers, found = dict(transformer.named_modules()), []
    if more := [key for key in tensors if not key.endswith((DOWN, UP))]:
        raise InputError(
            f"adapter {Path(file).name} holds {more[0]} as well: only A and B are known here, save it anew"
        )
    alphas, ranks = ([value for key, value in about.items() if key.endswith(end)] for end in ("lora_alpha", ".r"))
    if alphas and alphas != ranks:
        raise InputError(f"adapter {Path(file).name} has alpha {alphas[0]} and rank {ranks}: save it with alpha = rank")
    for key in (key for key in tensors if key.endswith(DOWN)):
        name = key.removeprefix(PART).removesuffix(DOWN)
        down, up = tensors[key].float(), tensors.get(key.removesuffix(DOWN) + UP, torch.empty(0)).float()
        layer = layers.get(name)
        if not isinstance(layer, nn.Linear):
            raise InputError(f"adapter {Path(file).name} belongs to another model: this one has no layer {name}")
        fits = down.ndim == up.ndim == 2 and down.shape[0] == up.shape[1]
        if not fits or (up.shape[0], down.shape[1]) != tuple(layer.weight.shape):
            raise InputError(
                f"adapter {Path(file).name} belongs to another model: its B {tuple(up.shape)} and A "
                f"{tuple(down.shape)} do not fit the weight {tuple(layer.weight.shape)} of {name}"
            )
        found.append((layer, down, up))
    if not found:
        raise InputError(f"{Path(file).name} holds no LoRA adapter in diffusers' names (…{DOWN}): choose another file")
    return found
