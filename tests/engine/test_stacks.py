"""The stacks of the three architectures, and putting other blocks in their place."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from conftest import Toy, flux_is_slow
from torch import nn

from painters_utils.engine.stacks import find_stacks, get_stack, in_place_of
from painters_utils.errors import InputError


def depths(toy: Toy) -> dict[str, int]:
    return {stack: len(blocks) for stack, blocks in find_stacks(toy.transformer).items()}


def test_the_three_architectures_have_their_real_depth(flux: Toy, sd3: Toy, auraflow: Toy) -> None:
    assert depths(flux) == {"transformer_blocks": 19, "single_transformer_blocks": 38}
    assert depths(sd3) == {"transformer_blocks": 24}
    assert depths(auraflow) == {"joint_transformer_blocks": 4, "single_transformer_blocks": 32}


def test_stacks_are_named_in_the_order_in_which_they_run(toy: Toy) -> None:
    ran = []
    hooks = [
        blocks[0].register_forward_pre_hook(lambda *_, stack=stack: ran.append(stack))
        for stack, blocks in find_stacks(toy.transformer).items()
    ]
    toy.output()
    for hook in hooks:
        hook.remove()
    assert ran == list(find_stacks(toy.transformer))


@flux_is_slow
def test_every_layer_of_a_toy_matters(toy: Toy) -> None:
    """Without this the tests of orders would prove nothing."""
    untouched = toy.output()
    assert untouched.isfinite().all()
    for stack, blocks in find_stacks(toy.transformer).items():
        for left_out in range(len(blocks)):
            with in_place_of(toy.transformer, {stack: [b for i, b in enumerate(blocks) if i != left_out]}):
                assert (toy.output() - untouched).norm() > 0.005 * untouched.norm(), f"{stack} {left_out}"


@flux_is_slow
def test_toys_are_the_same_whatever_was_drawn_before(toy: Toy) -> None:
    from conftest import TOYS

    builds = {type(build().transformer): build for build in TOYS.values()}
    torch.randn(7)
    assert torch.equal(builds[type(toy.transformer)]().output(), toy.output())


def test_an_unknown_stack_is_answered_with_the_nearest(flux: Toy) -> None:
    with pytest.raises(InputError, match="unknown stack 'single_blocks': choose one of single_transformer_blocks"):
        get_stack(flux.transformer, "single_blocks")


def test_a_model_without_stacks_is_refused() -> None:
    with pytest.raises(InputError, match="Linear has no list of blocks"):
        find_stacks(nn.Linear(1, 1))


def test_a_model_without_any_attention_has_its_lists_for_stacks() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    assert list(find_stacks(model)) == ["layers"]
    with pytest.raises(InputError, match="holds no blocks itself: give its transformer"):
        find_stacks(SimpleNamespace(transformer=model))  # type: ignore[arg-type]  # a pipeline


def test_lists_of_unlike_or_no_blocks_are_no_stacks() -> None:
    model = nn.Module()
    model.unlike = nn.ModuleList([nn.Linear(1, 1), nn.Identity()])
    model.empty = nn.ModuleList()
    model.projections = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    model.blocks = nn.ModuleList([nn.TransformerEncoderLayer(2, 1, 4) for _ in range(2)])
    assert list(find_stacks(model)) == ["blocks"]


def test_other_blocks_run_and_the_models_own_come_back(toy: Toy) -> None:
    for stack, own in find_stacks(toy.transformer).items():
        with in_place_of(toy.transformer, {stack: [own[0]]}):
            assert list(getattr(toy.transformer, stack)) == [own[0]]
            assert get_stack(toy.transformer, stack) is own
        assert getattr(toy.transformer, stack) is own
        assert stack not in vars(toy.transformer)


def test_nested_replacements_restore_what_they_found(flux: Toy) -> None:
    own = flux.transformer.transformer_blocks
    with in_place_of(flux.transformer, {"transformer_blocks": own[:2]}):
        outer = flux.transformer.transformer_blocks
        with in_place_of(flux.transformer, {"transformer_blocks": own[5:]}):
            assert list(flux.transformer.transformer_blocks) == list(own[5:])
        assert flux.transformer.transformer_blocks is outer
    assert flux.transformer.transformer_blocks is own


def test_an_error_restores_the_models_own(flux: Toy) -> None:
    own = find_stacks(flux.transformer)
    with pytest.raises(ZeroDivisionError), in_place_of(flux.transformer, {stack: own[stack][:1] for stack in own}):
        raise ZeroDivisionError
    assert all(getattr(flux.transformer, stack) is own[stack] for stack in own)


def test_a_list_that_cannot_be_placed_leaves_no_other_behind(flux: Toy) -> None:
    own = find_stacks(flux.transformer)
    bad = {"transformer_blocks": own["transformer_blocks"][:1], "single_transformer_blocks": ["not a block"]}
    with pytest.raises(TypeError), in_place_of(flux.transformer, bad):
        pytest.fail("entered with a bad list")
    assert all(getattr(flux.transformer, stack) is own[stack] for stack in own)


def test_weights_are_those_of_the_untouched_model(toy: Toy) -> None:
    before = toy.transformer.state_dict()
    parameters = [id(parameter) for parameter in toy.transformer.parameters()]
    others = {stack: list(own[:1]) * 3 for stack, own in find_stacks(toy.transformer).items()}
    with in_place_of(toy.transformer, others):
        assert list(toy.transformer.state_dict()) == list(before)
        assert [id(parameter) for parameter in toy.transformer.parameters()] == parameters


@pytest.mark.slow
def test_what_is_cast_or_saved_inside_is_the_whole_model(sd3: Toy, tmp_path) -> None:
    model = deepcopy(sd3.transformer)
    with in_place_of(model, {"transformer_blocks": model.transformer_blocks[:1]}):
        model.to(torch.bfloat16).save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    saved = type(model).from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert all(torch.equal(saved.state_dict()[name], weight) for name, weight in model.state_dict().items())
