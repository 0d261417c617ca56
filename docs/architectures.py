"""Which transformers of diffusers the layer orders work on: `python docs/architectures.py` builds every class of
tests/architectures.yaml at toy size, runs it in every kind of order, records it and writes docs/architectures.md."""

import re
import warnings
from typing import Any

import diffusers
import torch
import yaml
from torch import Tensor, nn

from painters_utils.engine.orders import Order
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.recorder import record_activations
from painters_utils.engine.stacks import find_stacks
from painters_utils.errors import InputError
from painters_utils.paths import ROOT

PAGE = ROOT / "docs/architectures.md"
TOYS: dict[str, dict] = yaml.safe_load((ROOT / "tests/architectures.yaml").read_text())
# What is tried on a stack of three layers or more; the rest of the stack follows.
ORDERS: dict[str, Order] = {
    "skip": [0, 2],
    "swap": [1, 0, 2],
    "repeat": [0, 0, 2],
    "loop": [0, 1, 1, 2],
    "parallel": [[0, 1], 2],
}

HEAD = """# Which transformers it works on

Written by `python docs/architectures.py`: each of these {count} classes of diffusers {version} was built at
toy size with random weights, its stacks were found and run in every kind of order, and its streams were recorded. The
untouched order gives the untouched result bit for bit on all of them, and a test holds it.

*Stacks* are what an order names. *Streams* are what is recorded of each stack, in the same sequence: the image's and
the text's tokens, or both as one (joint); a stack that has no stream in common with another has one of its own name.
*Orders* that are tried: skip a layer, swap two, repeat one in another's place, loop (more layers than there are),
parallel. Transformers of video, sound and speech are here because the engine takes them; the study paints pictures.

| class | stacks | streams | orders |
|---|---|---|---|
"""


def toy(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """A class of diffusers at toy size with random weights, and the arguments of its forward."""
    draw = torch.Generator().manual_seed(0)
    transformer = getattr(diffusers, name)(**TOYS[name]["config"]).eval()
    with torch.no_grad():
        for parameter in transformer.parameters():
            if parameter.dtype.is_floating_point:
                parameter.normal_(0, 0.05, generator=draw)
    return transformer, {key: value(entry, draw) for key, entry in TOYS[name]["inputs"].items()}


def value(written: Any, draw: torch.Generator) -> Any:
    """What an entry of architectures.yaml stands for."""
    if isinstance(written, dict) and "value" in written:
        return torch.tensor(written["value"], dtype=getattr(torch, written["type"]))
    if isinstance(written, dict):
        return {key: value(entry, draw) for key, entry in written.items()}
    if isinstance(written, list):
        whole = all(isinstance(entry, int) for entry in written)
        return tuple(written) if whole else [value(entry, draw) for entry in written]
    if not (tensor := re.fullmatch(r"(float|bool|int<(\d+))(( \d+)+)", str(written))):
        return written
    shape = [int(side) for side in tensor[3].split()]
    if tensor[2]:
        return torch.randint(0, int(tensor[2]), shape, generator=draw)
    return torch.randn(shape, generator=draw) if tensor[1] == "float" else torch.ones(shape, dtype=torch.bool)


@torch.no_grad()
def run(transformer: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """The first tensor that a forward returns."""
    torch.manual_seed(0)
    output = transformer(**inputs)
    while not isinstance(output, Tensor):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output


def refusals(transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, dict[str, None]]:
    """Why orders do not run, each reason with the kinds of order (ORDERS) that it keeps from running."""
    found: dict[str, dict[str, None]] = {}
    for stack, blocks in find_stacks(transformer).items():
        for kind, order in ORDERS.items() if len(blocks) > 2 else ():
            try:
                with layer_order(transformer, {stack: order + list(range(3, len(blocks)))}):
                    run(transformer, inputs)
            except InputError as error:
                found.setdefault(str(error).split(",")[0].replace(f" of {stack}", ""), {})[kind] = None
    return found


def recorded_streams(transformer: nn.Module, inputs: dict[str, Any]) -> dict[str, list[str]]:
    """The streams of each stack as the recorder names them; `InputError` if it cannot record."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with record_activations(transformer) as recording:
            run(transformer, inputs)
    carried = {name: dict(layers) for name, layers in recording.streams.items()}
    return {stack: [name for name in carried if stack in carried[name]] for stack in find_stacks(transformer)}


def row(name: str, transformer: nn.Module, inputs: dict[str, Any]) -> str:
    """One line of the table: a class, its stacks, their streams, and which orders do not run."""
    try:
        streams = "; ".join(" and ".join(some) for some in recorded_streams(transformer, inputs).values())
    except InputError as error:
        streams = f"not recorded: {str(error).split(':')[0]}"
    refused = "; ".join(f"no {', '.join(kinds)}: {why}" for why, kinds in refusals(transformer, inputs).items())
    stacks = ", ".join(f"`{stack}`" for stack in find_stacks(transformer))
    return f"| {name} | {stacks} | {streams} | {refused or 'all'} |"


def page(rows: list[str]) -> str:
    """The whole page."""
    return HEAD.format(count=len(rows), version=diffusers.__version__) + "\n".join(rows) + "\n"


if __name__ == "__main__":
    rows = [row(name, *toy(name)) for name in TOYS]
    PAGE.write_text(page(rows))
    print(f"{PAGE.relative_to(ROOT)}: {len(rows)} classes")
