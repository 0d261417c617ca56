"""What is remembered of a model's first layers changes no number, and is used where orders begin alike."""

import pytest
import torch
from torch import nn

from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.starts import Starts
from painters_utils.errors import InputError


class Block(nn.Module):
    """Counts its calls; attention in name only, so that a stack is recognised."""

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.calls = nn.Linear(4, 4), 0

    def forward(self, hidden_states, temb):
        self.calls += 1
        return hidden_states + self.attn(hidden_states) * temb


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(5))

    def forward(self, x, temb):
        for block in self.blocks:
            x = block(x, temb)
        return x


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Transformer().requires_grad_(False)


def calls(model):
    return [block.calls for block in model.blocks]


@torch.no_grad()
@pytest.mark.parametrize(
    "order", [[0, 1, 2, 4], [0, 1, 3, 2, 4], [0, [1, 2], 3, 4], [4, 3, 2, 1, 0], [0, 1, 1, 2, 3, 4]]
)
def test_an_order_runs_from_its_first_change_on_and_gives_equal_numbers(model, order):
    x, temb = torch.randn(2, 3, 4), torch.randn(4)
    with layer_order(model, {"blocks": order}):
        alone = model(x, temb)
    with Starts(model) as starts:
        untouched = model(x, temb)
    before = calls(model)
    with starts, layer_order(model, {"blocks": order}):  # opened once more, it still knows
        assert torch.equal(model(x.clone(), temb.clone()), alone)
    changed = next(i for i, step in enumerate(order) if step != i)
    ran = sum(calls(model)) - sum(before)
    size = lambda steps: sum(len(step) if isinstance(step, list) else 1 for step in steps)  # noqa: E731
    # The layers before the change have not run, nor has the one of a group that is given what it was given before.
    assert ran == size(order[changed:]) - isinstance(order[changed], list)
    assert torch.equal(model(x, temb), untouched) and sum(calls(model)) == sum(before) + ran + 5, "closed"


@torch.no_grad()
def test_other_inputs_are_computed(model):
    x, temb = torch.randn(2, 3, 4), torch.randn(4)
    with Starts(model):
        one = model(x, temb)
        assert not torch.equal(model(x, temb + 1), one) and not torch.equal(model(x + 1, temb), one)
        assert torch.equal(model(x, temb), one) and calls(model) == [3] * 5
        assert model(x[:1], temb).shape == (1, 3, 4)


def test_training_is_left_alone(model):
    x, temb = torch.randn(2, 3, 4), torch.randn(4)
    with Starts(model):
        model(x, temb), model(x, temb)
    assert calls(model) == [2] * 5


@torch.no_grad()
def test_only_the_untouched_model_teaches_and_memory_has_an_end(model):
    x, temb = torch.randn(2, 3, 4), torch.randn(4)
    with Starts(model, most=1):  # room for one more output
        with layer_order(model, {"blocks": [0, 2, 1, 3, 4]}):
            model(x, temb), model(x, temb)
        assert calls(model) == [2] * 5
        model(x, temb), model(x, temb)
    assert calls(model) == [3, 4, 4, 4, 4]


@pytest.mark.parametrize("hooked", [False, True])
def test_nothing_stays_behind_after_an_exception(model, hooked):
    if hooked:  # as accelerate does
        model.blocks[0].forward = model.blocks[0].forward
    before = [vars(block).get("forward") for block in model.blocks]
    with pytest.raises(RuntimeError), Starts(model):
        model(torch.randn(2, 3, 5), torch.randn(4))
    assert [vars(block).get("forward") for block in model.blocks] == before


def test_it_cannot_be_opened_twice_at_once(model):
    with pytest.raises(InputError, match="open already"), Starts(model) as starts, starts:
        pass
    assert all("forward" not in vars(block) for block in model.blocks)
