"""Guidance by a weaker self: the formula, exactly; where it holds, and that nothing is left of it."""

import pytest
import torch
from conftest import Toy

from painters_utils.engine.guidance import away, weaker_self
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.stacks import find_stacks
from painters_utils.errors import InputError


def first_stack(toy: Toy) -> tuple[str, int]:
    stack, blocks = next(iter(find_stacks(toy.transformer).items()))
    return stack, len(blocks)


def test_the_prediction_moves_away_from_the_weaker_selfs(toy: Toy) -> None:
    stack, depth = first_stack(toy)
    order = [0, *range(2, depth)]
    full = toy.output()
    with layer_order(toy.transformer, {stack: order}):
        weak = toy.output()
    assert not torch.equal(full, weak)
    with weaker_self(toy.transformer, {stack: order}, 1.5):
        assert torch.equal(toy.output(), full + 1.5 * (full - weak))
        with torch.no_grad():
            kept = toy.transformer(**toy.inputs)
        assert torch.equal(kept.sample, full + 1.5 * (full - weak)), "the output's class is kept"
    with weaker_self(toy.transformer, {stack: order}, 0):
        assert torch.equal(toy.output(), full)
    with weaker_self(toy.transformer, {stack: order}, -1.0):
        torch.testing.assert_close(toy.output(), weak)
    assert torch.equal(toy.output(), full), "and nothing is left"


def test_it_holds_in_its_steps_only_and_costs_a_second_pass_there(toy: Toy) -> None:
    stack, depth = first_stack(toy)
    order, passes = [0, *range(2, depth)], []
    full = toy.output()
    counter = find_stacks(toy.transformer)[stack][0].register_forward_hook(lambda *_: passes.append(1))
    with weaker_self(toy.transformer, {stack: order}, 1.0, steps=[1, 2], of=4):
        changed = [not torch.equal(toy.output(), full) for _ in range(8)]
    counter.remove()
    assert changed == [False, True, True, False] * 2
    assert len(passes) == 12


def test_it_is_undone_after_an_error_and_nests_in_an_order(toy: Toy) -> None:
    stack, depth = first_stack(toy)
    full, order = toy.output(), [0, *range(2, depth)]
    with pytest.raises((RuntimeError, ValueError)), weaker_self(toy.transformer, {stack: order}, 1.0):
        toy.transformer(**toy.inputs | {"hidden_states": torch.zeros(1)})
    assert torch.equal(toy.output(), full)
    swapped = [1, 0, *range(2, depth)]
    with layer_order(toy.transformer, {stack: swapped}):
        strong = toy.output()
        with weaker_self(toy.transformer, {stack: order}, 1.0):
            guided = toy.output()
        assert torch.equal(toy.output(), strong), "the outer order is back"
    with layer_order(toy.transformer, {stack: order}):
        weak = toy.output()
    assert torch.equal(guided, strong + (strong - weak))


def test_what_cannot_be_is_refused_before_anything_runs(toy: Toy) -> None:
    stack, depth = first_stack(toy)
    usual, order = list(range(depth)), [0, *range(2, depth)]
    for orders, weight, window, words in (
        ({stack: usual}, 1.0, {}, "change nothing"),
        ({stack: order}, float("nan"), {}, "no number"),
        ({stack: order}, True, {}, "no number"),
        ({stack: [depth]}, 1.0, {}, "does not exist"),
        ({"nothing": order}, 1.0, {}, "unknown"),
        ({stack: order}, 1.0, {"steps": [3, 8], "of": 8}, "do not lie within"),
    ):
        with pytest.raises(InputError, match=words), weaker_self(toy.transformer, orders, weight, **window):
            pytest.fail("nothing runs")
        assert not toy.transformer._forward_hooks


def test_only_the_prediction_of_an_output_is_moved() -> None:
    one, other = torch.tensor([2.0]), torch.tensor([1.0])
    assert away((one, "more"), (other, "less"), 2.0) == (torch.tensor([4.0]), "more")
    assert away(one, other, 0.5) == torch.tensor([2.5])
