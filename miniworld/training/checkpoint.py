"""A training's state on disk, as safetensors: nothing is unpickled, a half-written file never replaces a good one."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn, optim

from painters_utils.errors import InputError
from painters_utils.files import write_whole


def save_checkpoint(path: Path, step: int, modules: dict[str, nn.Module], optimizers: list[optim.Optimizer]) -> None:
    """Write weights and optimizer moments after `step` steps."""
    tensors = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{key}": value.detach().contiguous() for key, value in module.state_dict().items()}
    groups = []
    for i, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        for j, values in state["state"].items():
            tensors |= {f"optimizer/{i}/{j}/{key}": torch.as_tensor(value) for key, value in values.items()}
        groups.append(state["param_groups"])
    # Tied weights are one tensor under two names, and some lie with their channels last: safetensors wants them plain.
    tensors = {key: value.clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    with write_whole(path) as unfinished:
        save_file(tensors, unfinished, metadata={"step": str(step), "groups": json.dumps(groups)})


def load_checkpoint(path: Path, modules: dict[str, nn.Module], optimizers: list[optim.Optimizer]) -> int:
    """Read what `save_checkpoint` wrote into the same modules and optimizers; returns the step to go on from."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        for name, module in modules.items():
            module.load_state_dict(
                {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
            )
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(f"checkpoint {path} does not fit this training ({error}): delete it to start anew") from error
    groups = json.loads(metadata["groups"])
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimizer/{i}/"):
                _, _, j, name = key.split("/")
                state.setdefault(int(j), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": groups[i]})
    return int(metadata["step"])
