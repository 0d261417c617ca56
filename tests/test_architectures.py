"""The engine on the transformer classes of diffusers that run lists of blocks: image, video, audio."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers.models import transformers
from torch import Tensor, nn

from painters_utils.errors import InputError
from painters_utils.orders import layer_order, takes_skip
from painters_utils.stacks import find_stacks

TOYS = yaml.safe_load((Path(__file__).parent / "architectures.yaml").read_text())

# Lists that are not run one after the other but looked up by number: they can be reordered, not shortened.
BY_NUMBER = {("ConsisIDTransformer3DModel", "perceiver_cross_attention")}


def class_named(name: str) -> type[nn.Module]:
    for module in pkgutil.iter_modules(transformers.__path__):
        found = getattr(importlib.import_module(f"{transformers.__name__}.{module.name}"), name, None)
        if found is not None:
            return found
    pytest.skip(f"this diffusers has no {name}")


def value(written: Any, draw: torch.Generator) -> Any:
    """What an entry of architectures.yaml stands for."""
    if isinstance(written, dict) and "value" not in written:
        return {key: value(entry, draw) for key, entry in written.items()}
    if isinstance(written, dict):
        return torch.tensor(written["value"], dtype=getattr(torch, written["type"]))
    if isinstance(written, list):
        whole = all(isinstance(entry, int) for entry in written)
        return tuple(written) if whole else [value(entry, draw) for entry in written]
    if not isinstance(written, str) or written.split()[0].split("<")[0] not in ("float", "int", "bool"):
        return written
    kind, *shape = written.split()
    shape = [int(side) for side in shape]
    if kind == "float":
        return torch.randn(shape, generator=draw)
    if kind == "bool":
        return torch.ones(shape, dtype=torch.bool)
    return torch.randint(0, int(kind.split("<")[1]), shape, generator=draw)


def first_tensor(output: Any) -> Tensor:
    while not isinstance(output, Tensor):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output


@torch.no_grad()
def run(transformer: nn.Module, inputs: dict) -> Tensor:
    torch.manual_seed(0)
    return first_tensor(transformer(**inputs))


def toy(name: str) -> tuple[nn.Module, dict]:
    """The class at toy size with random weights, and the arguments of its forward."""
    draw = torch.Generator().manual_seed(0)
    transformer = class_named(name)(**TOYS[name]["config"]).eval()
    with torch.no_grad():
        for parameter in transformer.parameters():
            if parameter.dtype.is_floating_point:
                parameter.normal_(0, 0.05, generator=draw)
    return transformer, {key: value(entry, draw) for key, entry in TOYS[name]["inputs"].items()}


@pytest.mark.parametrize("name", TOYS)
def test_orders_run_on_every_architecture(name):
    transformer, inputs = toy(name)
    untouched = run(transformer, inputs)
    assert untouched.isfinite().all()
    for stack, blocks in find_stacks(transformer).items():
        with layer_order(transformer, {stack: list(range(len(blocks)))}):
            assert torch.equal(run(transformer, inputs), untouched), f"{stack}: the identity order changes nothing"
        if len(blocks) < 3 or (name, stack) in BY_NUMBER or any(takes_skip(blocks)):
            continue
        with layer_order(transformer, {stack: [0, *range(2, len(blocks))]}):
            skipped = run(transformer, inputs)
        setattr(transformer, stack, nn.ModuleList([blocks[0], *blocks[2:]]))
        deleted = run(transformer, inputs)
        setattr(transformer, stack, blocks)
        assert torch.equal(skipped, deleted), f"{stack}: to skip a layer is to delete it"
    assert torch.equal(run(transformer, inputs), untouched), "nothing stays behind"


def test_a_u_shaped_stack_refuses_what_would_break_its_pairs():
    transformer, inputs = toy("HunyuanDiT2DModel")
    untouched = run(transformer, inputs)
    with layer_order(transformer, {"blocks": [1, 0, 2, 3, 5, 4]}):  # within the halves
        assert not torch.equal(run(transformer, inputs), untouched)
    for order, message in (
        ([0, 1, 2, 4, 5], "blocks is U-shaped, .* give 6 single ones"),
        ([0, 1, 2, 3, [4, 5], 5], "blocks is U-shaped, .* give 6 single ones"),
        ([4, 1, 2, 3, 0, 5], "layer 4 cannot stand at position 0, in the other half; keep layers 4–5 at the end"),
    ):
        with pytest.raises(InputError, match=message):
            with layer_order(transformer, {"blocks": order}):
                pass
    assert torch.equal(run(transformer, inputs), untouched)


def test_there_are_forty_architectures_at_least():
    assert len(TOYS) >= 40
