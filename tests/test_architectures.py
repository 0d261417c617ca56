"""The engine on the transformer classes of diffusers that run lists of blocks: image, video, audio."""

import pytest
import torch
from torch import nn

from docs.architectures import PAGE, TOYS, page, row, run, toy
from painters_utils.engine.blocks import Skipped
from painters_utils.engine.rearrange import layer_order, takes_skip
from painters_utils.engine.stacks import find_stacks, in_place_of, keeps_places
from painters_utils.errors import InputError

# Blocks that return something else beside the picture than text, which `Skipped` does not tell apart.
NOT_MEASURED = (
    ("Cosmos3OmniTransformer", "layers"), ("LTX2VideoTransformer3DModel", "transformer_blocks"),
    ("WanVACETransformer3DModel", "vace_blocks"),
)  # fmt: skip


def differs_by_position(transformer: nn.Module, inputs: dict, stack: str) -> bool:
    """Whether it matters to a stack's other layers that a layer which adds nothing stands among them."""
    blocks, results = find_stacks(transformer)[stack], []
    at = 1 if len(blocks) > 2 else 0
    before, after = list(blocks[:at]), list(blocks[at + 1 :])
    for between in ([Skipped([blocks[at]])], []):
        with in_place_of(transformer, {stack: [*before, *between, *after]}):
            results.append(run(transformer, inputs))
    return not torch.equal(*results)


AT_ONCE = ("FluxTransformer2DModel", "HunyuanDiT2DModel")  # the others run with the slow tests


@pytest.mark.parametrize(
    "name", [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.slow) for name in TOYS]
)
def test_orders_run_on_every_architecture(name):
    transformer, inputs = toy(name)
    untouched = run(transformer, inputs)
    assert untouched.isfinite().all()
    places_differ = False
    for stack, blocks in find_stacks(transformer).items():
        with layer_order(transformer, {stack: list(range(len(blocks)))}):
            assert torch.equal(run(transformer, inputs), untouched), f"{stack}: the identity order changes nothing"
        if any(takes_skip(blocks)) or (name, stack) in NOT_MEASURED:
            continue
        places_differ |= differs_by_position(transformer, inputs, stack)
        if len(blocks) < 3 or keeps_places(transformer):
            continue
        with layer_order(transformer, {stack: [0, *range(2, len(blocks))]}):
            skipped = run(transformer, inputs)
        setattr(transformer, stack, nn.ModuleList([blocks[0], *blocks[2:]]))
        deleted = run(transformer, inputs)
        setattr(transformer, stack, blocks)
        assert torch.equal(skipped, deleted), f"{stack}: to skip a layer is to delete it"
    assert places_differ == keeps_places(transformer)
    assert row(name, transformer, inputs) in PAGE.read_text().splitlines(), "run python docs/architectures.py"
    assert torch.equal(run(transformer, inputs), untouched), "nothing stays behind"


def test_the_page_lists_these_classes_and_no_others():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| class")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows] == list(TOYS)
    assert PAGE.read_text() == page(rows)


def test_a_layer_that_cannot_move_can_be_left_out():
    transformer, inputs = toy("ChromaTransformer2DModel")
    untouched = run(transformer, inputs)
    with layer_order(transformer, {"transformer_blocks": [0, 2]}):
        skipped = run(transformer, inputs)
    assert not torch.equal(skipped, untouched)
    block = transformer.transformer_blocks[1]
    with torch.no_grad():  # a layer that adds nothing, in its place: its attention and its MLP end in zeros
        for name, parameter in block.named_parameters():
            if any(part in name for part in ("to_out", "to_add_out", "net.2")):
                parameter.zero_()
    assert torch.allclose(run(transformer, inputs), skipped)
    for order, affected in (([0, 2, 1], "both"), ([0, [1, 2]], "both"), ([0, 1, 1, 2], "both"), ([0, 2], "image")):
        with pytest.raises(InputError, match="Chroma.* left out, not moved"):
            with layer_order(transformer, {"transformer_blocks": order}, affected=affected):
                pass


def test_a_u_shaped_stack_refuses_what_would_break_its_pairs():
    transformer, inputs = toy("HunyuanDiT2DModel")
    untouched = run(transformer, inputs)
    with layer_order(transformer, {"blocks": [1, 0, 2, 3, 5, 4]}):  # within the halves
        assert not torch.equal(run(transformer, inputs), untouched)
    for order, message in (
        ([0, 1, 2, 4, 5], "U-shaped, .* 6 single"),
        ([0, 1, 2, 3, [4, 5], 5], "U-shaped, .* 6 single"),
        ([4, 1, 2, 3, 0, 5], "layer 4 .* position 0, .* 4–5 at the end"),
    ):
        with pytest.raises(InputError, match=message):
            with layer_order(transformer, {"blocks": order}):
                pass
    assert torch.equal(run(transformer, inputs), untouched)


def test_there_are_forty_architectures_at_least():
    assert len(TOYS) >= 40
