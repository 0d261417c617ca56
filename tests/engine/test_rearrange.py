"""Orders on the real diffusers classes: what runs, what it equals, what is refused, and that nothing stays behind."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from conftest import Toy, flux_is_slow
from test_orders import NOT_AN_ORDER
from torch import Tensor, nn

from painters_utils.engine.blocks import Parallel
from painters_utils.engine.orders import Order
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.stacks import find_stacks, in_place_of
from painters_utils.errors import InputError


def identities(toy: Toy) -> dict[str, Order]:
    return {stack: list(range(len(blocks))) for stack, blocks in find_stacks(toy.transformer).items()}


def output_in(toy: Toy, orders: dict[str, Order]) -> Tensor:
    with layer_order(toy.transformer, orders):
        return toy.output()


def output_of_copy(toy: Toy, stack: str, rebuild: Callable[[nn.ModuleList], list[nn.Module]]) -> Tensor:
    """The output of a copy of the model whose stack is rebuilt for good, with no context manager."""
    copy = deepcopy(toy.transformer)
    setattr(copy, stack, nn.ModuleList(rebuild(getattr(copy, stack))))
    return Toy(copy, toy.inputs).output()


# -- what an order equals -----------------------------------------------------------------------------------


def test_identity_is_bit_equal_to_the_untouched_model(toy: Toy) -> None:
    assert torch.equal(output_in(toy, identities(toy)), toy.output())


def test_no_order_is_the_untouched_model(toy: Toy) -> None:
    assert torch.equal(output_in(toy, {}), toy.output())


def test_skip_equals_deletion(toy: Toy) -> None:
    for stack, order in identities(toy).items():
        deleted = output_of_copy(toy, stack, lambda blocks: [*blocks[:1], *blocks[3:]])
        assert torch.equal(output_in(toy, {stack: [0, *order[3:]]}), deleted)
        assert not torch.equal(deleted, toy.output())


def test_skip_equals_sd3s_own_skip_layers(sd3: Toy) -> None:
    with torch.no_grad():
        skipped = sd3.transformer(**sd3.inputs, skip_layers=[7, 8, 23], return_dict=False)[0]
    order = [layer for layer in range(24) if layer not in (7, 8, 23)]
    assert torch.equal(output_in(sd3, {"transformer_blocks": order}), skipped)


def test_layers_run_as_listed_and_as_often(toy: Toy) -> None:
    for stack, blocks in find_stacks(toy.transformer).items():
        order = [2, 0, 0, [1, 0], 2, len(blocks) - 1]
        ran: list[int] = []
        hooks = [
            block.register_forward_pre_hook(lambda *_, ran=ran, index=index: ran.append(index))
            for index, block in enumerate(blocks)
        ]
        output_in(toy, {stack: order})
        for hook in hooks:
            hook.remove()
        assert ran == [2, 0, 0, 1, 0, 2, len(blocks) - 1]


@flux_is_slow
def test_a_reordered_stack_equals_a_rebuilt_one(toy: Toy) -> None:
    for stack, order in identities(toy).items():
        rebuilt = output_of_copy(toy, stack, lambda blocks: [blocks[2], blocks[1], blocks[1], *blocks[3:]])
        assert torch.equal(output_in(toy, {stack: [2, 1, 1, *order[3:]]}), rebuilt)


def test_a_group_of_one_is_bit_equal_to_its_layer(toy: Toy) -> None:
    grouped = {stack: [[layer] for layer in order] for stack, order in identities(toy).items()}
    assert torch.equal(output_in(toy, grouped), toy.output())


class Canned(nn.Module):
    """Returns what was worked out beforehand."""

    def __init__(self, output: Tensor | tuple[Tensor, ...]) -> None:
        super().__init__()
        self.output = output

    def forward(self, **_: object) -> Tensor | tuple[Tensor, ...]:
        return self.output


@torch.no_grad()
def averaged_by_hand(blocks: list[nn.Module], given: dict, loops: int) -> Tensor | tuple[Tensor, Tensor]:
    """What `blocks` return on average for the keyword arguments `given`, fed back `loops` times."""
    for _ in range(loops):
        outputs = [block(**given) for block in blocks]
        if isinstance(outputs[0], Tensor):
            average = sum(outputs) / len(blocks)
            given = given | {"hidden_states": average}
        else:
            average = tuple(sum(stream) / len(blocks) for stream in zip(*outputs, strict=True))
            given = given | {"encoder_hidden_states": average[0], "hidden_states": average[1]}
    return average


@flux_is_slow
@pytest.mark.parametrize("loops", [1, 3])
def test_parallel_layers_equal_an_average_by_hand(toy: Toy, loops: int) -> None:
    for stack, blocks in find_stacks(toy.transformer).items():
        given: list[dict] = []
        hook = blocks[1].register_forward_pre_hook(
            lambda _, args, kwargs, given=given: given.append(kwargs), with_kwargs=True
        )
        toy.output()
        hook.remove()

        canned = Canned(averaged_by_hand([blocks[1], blocks[2]], given[0], loops))
        by_hand = output_of_copy(toy, stack, lambda own, canned=canned: [own[0], canned, *own[3:]])
        in_order = output_in(toy, {stack: [0, *[[1, 2]] * loops, *range(3, len(blocks))]})
        torch.testing.assert_close(in_order, by_hand)
        assert not torch.allclose(in_order, toy.output(), rtol=1e-3)


def test_parallel_averages_each_stream_and_drops_one_that_a_layer_lacks() -> None:
    class Two(nn.Module):
        def __init__(self, text: float | None, image: float) -> None:
            super().__init__()
            self.text, self.image = text, image

        def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
            return (None if self.text is None else x + self.text), x + self.image

    text, image = Parallel([Two(1, 10), Two(3, 30)])(torch.zeros(2))
    assert text.tolist() == [2, 2] and image.tolist() == [20, 20]
    text, image = Parallel([Two(1, 10), Two(None, 30)])(torch.zeros(2))
    assert text is None and image.tolist() == [20, 20]


def test_parallel_averages_bfloat16_as_finely_as_it_can() -> None:
    outputs = torch.randn(30, 100, generator=torch.Generator().manual_seed(0)).bfloat16()
    average = Parallel([Canned(output) for output in outputs])()
    assert torch.equal(average, outputs.double().mean(0).bfloat16())  # adding up in bfloat16 would drift
    assert average.dtype == torch.bfloat16


def test_gradients_reach_every_layer_of_a_group(flux: Toy) -> None:
    copy = deepcopy(flux.transformer)
    with layer_order(copy, {"transformer_blocks": [[0, 1]]}):
        copy(**flux.inputs, return_dict=False)[0].sum().backward()
    reached = [any(p.grad is not None for p in block.parameters()) for block in copy.transformer_blocks]
    assert reached == [True, True] + [False] * 17


# -- SD3's last block ---------------------------------------------------------------------------------------


def test_sd3s_last_block_may_stand_last_alone_or_in_a_group(sd3: Toy) -> None:
    for order in ([0, 23], [0, [22, 23]], [[23, 22]]):
        assert output_in(sd3, {"transformer_blocks": order}).isfinite().all()


@pytest.mark.parametrize("order, position", [([0, 23, 1], 1), ([0, 1, [22, 23], 2], 2), ([0, 23, 23], 1)])
def test_sd3s_last_block_is_refused_elsewhere(sd3: Toy, order: Order, position: int) -> None:
    said = f"layer 23 .* position {position} .* last"
    with pytest.raises(InputError, match=said), layer_order(sd3.transformer, {"transformer_blocks": order}):
        pytest.fail("entered with a bad order")


def test_other_last_blocks_may_stand_anywhere(flux: Toy, auraflow: Toy) -> None:
    for toy in (flux, auraflow):
        for stack, order in identities(toy).items():
            assert output_in(toy, {stack: order[::-1]}).isfinite().all()


# -- contexts -----------------------------------------------------------------------------------------------


def test_undone_after_an_error_inside(toy: Toy) -> None:
    before = toy.output()
    with pytest.raises(ZeroDivisionError), layer_order(toy.transformer, {stack: [0] for stack in identities(toy)}):
        raise ZeroDivisionError
    assert torch.equal(toy.output(), before)


def test_nothing_changes_before_the_context_is_entered(toy: Toy) -> None:
    before = toy.output()
    context = layer_order(toy.transformer, {stack: [0] for stack in identities(toy)})
    assert torch.equal(toy.output(), before)
    with context:
        assert not torch.equal(toy.output(), before)


def test_the_inner_order_counts_the_models_own_layers_and_leaving_restores_the_outer(toy: Toy) -> None:
    for stack in identities(toy):
        outer, inner = output_in(toy, {stack: [2, 1]}), output_in(toy, {stack: [0, 3]})
        with layer_order(toy.transformer, {stack: [2, 1]}):
            assert torch.equal(output_in(toy, {stack: [0, 3]}), inner)
            assert torch.equal(toy.output(), outer)
        assert not torch.equal(outer, inner)


@pytest.mark.parametrize("name", ["flux", "auraflow"])
def test_contexts_on_two_stacks_compose(name: str, request: pytest.FixtureRequest) -> None:
    toy: Toy = request.getfixturevalue(name)
    first, second = identities(toy)
    at_once = output_in(toy, {first: [1, 0], second: [[0, 1], 2]})
    with layer_order(toy.transformer, {first: [1, 0]}):
        assert torch.equal(output_in(toy, {second: [[0, 1], 2]}), at_once)
    with layer_order(toy.transformer, {second: [[0, 1], 2]}):
        assert torch.equal(output_in(toy, {first: [1, 0]}), at_once)


class Tap(nn.Module):
    """Stands for any wrapper that notes what passes through a block."""

    def __init__(self, block: nn.Module, seen: list[nn.Module]) -> None:
        super().__init__()
        self.block, self.seen = block, seen

    def forward(self, *args: object, **kwargs: object) -> object:
        self.seen.append(self.block)
        return self.block(*args, **kwargs)


def test_a_wrapper_entered_inside_sees_the_blocks_of_the_order(toy: Toy) -> None:
    for stack, own in find_stacks(toy.transformer).items():
        order, seen = [2, [0, 1], 2], []
        expected = output_in(toy, {stack: order})
        with layer_order(toy.transformer, {stack: order}):
            visible = getattr(toy.transformer, stack)
            with in_place_of(toy.transformer, {stack: [Tap(block, seen) for block in visible]}):
                assert torch.equal(toy.output(), expected)
            assert torch.equal(toy.output(), expected)
        assert [type(block) for block in seen] == [type(own[2]), Parallel, type(own[2])]


def test_weights_are_neither_renamed_nor_copied(toy: Toy) -> None:
    names = list(toy.transformer.state_dict())
    places = [parameter.data_ptr() for parameter in toy.transformer.parameters()]
    with layer_order(toy.transformer, {stack: [0, [1, 2], 0, 0] for stack in identities(toy)}):
        assert list(toy.transformer.state_dict()) == names
        assert [parameter.data_ptr() for parameter in toy.transformer.parameters()] == places
        for stack, own in find_stacks(toy.transformer).items():
            assert list(getattr(toy.transformer, stack)[1].blocks) == [own[1], own[2]]
    assert list(toy.transformer.state_dict()) == names
    assert not any(isinstance(module, Parallel) for module in toy.transformer.modules())


@pytest.mark.slow
def test_compiled_blocks_stay_compiled_and_are_not_compiled_again(toy: Toy) -> None:
    count = {"compiled": 0, "ran": 0}

    def counting_backend(graph: torch.fx.GraphModule, _: list) -> Callable:
        count["compiled"] += 1

        def run(*args: object) -> object:
            count["ran"] += 1
            return graph.forward(*args)

        return run

    torch.compiler.reset()
    copy = Toy(deepcopy(toy.transformer), toy.inputs)
    stacks = find_stacks(copy.transformer)
    for block in (block for blocks in stacks.values() for block in blocks):
        block.compile(backend=counting_backend)
    copy.output()
    compiled, per_block = count["compiled"], count["ran"] / sum(map(len, stacks.values()))
    assert compiled > 0 and per_block >= 1

    orders: dict[str, Order] = {stack: [2, [0, 1], [1], 2, len(blocks) - 1] for stack, blocks in stacks.items()}
    count["ran"] = 0
    in_order = output_in(copy, orders)
    assert count == {"compiled": compiled, "ran": 6 * len(stacks) * per_block}
    torch.testing.assert_close(in_order, output_in(toy, orders))


# -- what is refused ----------------------------------------------------------------------------------------


def test_what_is_no_order_is_refused_before_anything_changes(flux: Toy) -> None:
    own, before = find_stacks(flux.transformer), flux.output()
    for order, said in NOT_AN_ORDER:
        orders = {"single_transformer_blocks": [0], "transformer_blocks": order}  # the good one must not stay behind
        with pytest.raises(InputError, match=f"^{said}"), layer_order(flux.transformer, orders):
            pytest.fail(f"entered with the bad order {order}")
        assert all(getattr(flux.transformer, stack) is blocks for stack, blocks in own.items())
    assert torch.equal(flux.output(), before)


def test_an_unknown_stack_is_refused(sd3: Toy) -> None:
    orders = {"transformer_blocks": [0], "single_transformer_blocks": [0]}
    with pytest.raises(InputError, match="stack 'single_tr.* one of transformer_blocks"):
        with layer_order(sd3.transformer, orders):
            pytest.fail("entered with an unknown stack")


def test_an_order_without_its_stack_is_refused(sd3: Toy) -> None:
    with pytest.raises(InputError, match=r"orders \[0, 1\] name no stack: .*{stack: order}"):
        with layer_order(sd3.transformer, [0, 1]):
            pytest.fail("entered without a stack")
