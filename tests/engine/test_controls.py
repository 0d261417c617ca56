"""The controls of an order: summed updates, one stream only, some steps only."""

import pytest
import torch
from conftest import Toy, flux_is_slow

from painters_utils.engine.blocks import stream_of
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.recorder import record_activations
from painters_utils.engine.stacks import find_stacks
from painters_utils.errors import InputError

BAND = [0, [1, 2], *range(3, 19)]


def called(toy: Toy, stack: str, layer: int) -> dict:
    """The keyword arguments with which the untouched model calls one block."""
    seen: list[dict] = []
    block = find_stacks(toy.transformer)[stack][layer]
    hook = block.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)
    toy.output()
    hook.remove()
    return seen[0]


def answer_of(toy: Toy, stack: str, layer: int) -> tuple:
    """What the block after a changed one is given: (image or joint, text or None)."""
    given = called(toy, stack, layer)
    return given["hidden_states"], given.get("encoder_hidden_states")


@flux_is_slow
@torch.no_grad()
def test_summed_layers_add_up_their_updates(toy: Toy) -> None:
    for stack, blocks in find_stacks(toy.transformer).items():
        given = called(toy, stack, 1)
        names = ("hidden_states",) if not isinstance(blocks[1](**given), tuple) else (
            "encoder_hidden_states", "hidden_states")  # fmt: skip
        outputs = [o if isinstance(o, tuple) else (o,) for o in (blocks[1](**given), blocks[2](**given))]
        expected = {
            name: given[name] + (one - given[name]) + (two - given[name])
            for name, one, two in zip(names, *outputs, strict=True)
        }
        with layer_order(toy.transformer, {stack: [0, [1, 2], *range(3, len(blocks))]}, combine="sum"):
            after = called(toy, stack, 3)
        for name, value in expected.items():
            torch.testing.assert_close(after[name], value)
        with layer_order(toy.transformer, {stack: [[layer] for layer in range(len(blocks))]}, combine="sum"):
            summed_alone = toy.output()
        assert torch.equal(summed_alone, toy.output()), "a group of one is its layer"


@torch.no_grad()
def test_a_change_can_reach_one_stream_only(flux: Toy) -> None:
    for stack in find_stacks(flux.transformer):
        depth = len(find_stacks(flux.transformer)[stack])
        order = [0, 3, 2, 1, *range(4, depth)]
        ends = {}
        for affected in ("both", "image", "text"):
            with layer_order(flux.transformer, {stack: order}, affected=affected):
                ends[affected] = answer_of(flux, stack, 4)
        usual = answer_of(flux, stack, 4)
        assert torch.equal(ends["image"][0], ends["both"][0])
        assert torch.equal(ends["image"][1], usual[1])
        assert torch.equal(ends["text"][1], ends["both"][1])
        assert torch.equal(ends["text"][0], usual[0])
        assert not torch.equal(usual[0], ends["both"][0])


@torch.no_grad()
def test_a_band_can_be_skipped_for_one_stream_only(sd3: Toy) -> None:
    stack = "transformer_blocks"
    before = answer_of(sd3, stack, 5)
    usual = answer_of(sd3, stack, 9)
    with layer_order(sd3.transformer, {stack: [*range(5), *range(9, 24)]}, affected="image"):
        image, text = answer_of(sd3, stack, 9)
    assert torch.equal(image, before[0])
    assert torch.equal(text, usual[1])
    with layer_order(sd3.transformer, {stack: list(range(22))}, affected="image"):  # the last block returns no text
        assert sd3.output().isfinite().all()
    assert sd3.output().isfinite().all()


def test_the_identity_order_for_one_stream_changes_nothing(toy: Toy) -> None:
    for stack, blocks in find_stacks(toy.transformer).items():
        with layer_order(toy.transformer, {stack: list(range(len(blocks)))}, affected="text"):
            inside = toy.output()
        assert torch.equal(inside, toy.output())


def test_joint_streams_cannot_be_told_apart(auraflow: Toy) -> None:
    order = {"single_transformer_blocks": [1, 0, *range(2, 32)]}
    with pytest.raises(InputError, match="text and image in one tensor"):
        with layer_order(auraflow.transformer, order, affected="image"):
            auraflow.output()


def test_streams_of_equal_length_cannot_be_told_apart() -> None:
    same = torch.zeros(1, 4, 2)
    with pytest.raises(InputError, match="cannot tell text from image"):
        stream_of((same, same), {"hidden_states": same, "encoder_hidden_states": same})


@flux_is_slow
def test_an_order_can_hold_in_some_steps_only(toy: Toy) -> None:
    stack = next(iter(find_stacks(toy.transformer)))
    order = {stack: [0, *range(2, len(find_stacks(toy.transformer)[stack]))]}
    usual = toy.output()
    with layer_order(toy.transformer, order):
        changed = toy.output()
    with layer_order(toy.transformer, order, steps=[1, 2], of=4):
        outputs = [toy.output() for _ in range(8)]
    assert [torch.equal(o, changed) for o in outputs] == [False, True, True, False] * 2
    assert all(torch.equal(o, usual) for o in outputs[::4] + outputs[3::4])
    assert torch.equal(toy.output(), usual)
    assert not toy.transformer._forward_pre_hooks


def test_some_steps_only_nests_and_survives_an_error(flux: Toy) -> None:
    usual = flux.output()
    outer, inner = {"transformer_blocks": list(range(1, 19))}, {"transformer_blocks": list(range(2, 19))}
    with layer_order(flux.transformer, outer):
        expected = flux.output()
        with pytest.raises(RuntimeError, match="stop"):
            with layer_order(flux.transformer, inner, steps=[1, 1], of=2):
                assert torch.equal(flux.output(), expected), "outside its steps the outer order holds"
                assert not torch.equal(flux.output(), expected)
                raise RuntimeError("stop")
        assert torch.equal(flux.output(), expected)
    assert torch.equal(flux.output(), usual)


def test_nothing_can_be_opened_inside_an_order_of_some_steps_only(flux: Toy) -> None:
    order = {"transformer_blocks": list(range(1, 19))}
    usual = flux.output()
    with layer_order(flux.transformer, order, steps=[0, 0], of=2):
        for inside in (lambda: layer_order(flux.transformer, order), lambda: record_activations(flux.transformer)):
            with pytest.raises(InputError, match="order of some steps only is open"), inside():
                pytest.fail("it would have been laid over at every pass")
        with layer_order(flux.transformer, {"single_transformer_blocks": list(range(38))}):
            assert not torch.equal(flux.output(), usual), "another stack is free"
    assert torch.equal(flux.output(), usual) and not flux.transformer._forward_pre_hooks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"means": {}}, "means is {}: give what `record_means` yields"),
        ({"scales": {"transformer_blocks": [0.5]}}, "name no layer: write {stack: {layer: scale}}"),
        ({"combine": "max"}, "combine 'max' .* mean or sum"),
        ({"affected": "images"}, "affected 'images' .* both, image or text"),
        ({"steps": [0, 1]}, "of None .* above 0"),
        ({"steps": [0, 4], "of": 4}, r"steps \[0, 4\] .* from 0 to 3"),
        ({"steps": [2, 1], "of": 4}, r"steps \[2, 1\] do not lie within"),
        ({"steps": 2, "of": 4}, "steps 2 are no window"),
        ({"steps": (0, 1), "of": 4}, r"are no window: write \[first, last\]"),
    ],
)
def test_bad_controls_are_refused_before_anything_changes(flux: Toy, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with layer_order(flux.transformer, {"transformer_blocks": [0]}, **options):
            pass
    assert "transformer_blocks" not in vars(flux.transformer)
