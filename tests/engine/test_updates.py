"""Mean residuals, damped loops and scaled updates: each equals its formula, and nothing of it is left."""

import pytest
import torch
from conftest import TEXT, Toy, flux_is_slow
from test_controls import called

from painters_utils.engine.blocks import named_streams
from painters_utils.engine.means import Means, record_means
from painters_utils.engine.orders import find_loops
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.stacks import find_stacks
from painters_utils.errors import InputError

STACK = "transformer_blocks"


def recorded(toy: Toy, of: int = 1) -> Means:
    with record_means(toy.transformer, of) as means:
        for _ in range(of):
            toy.output()
    return means


def guided(toy: Toy) -> Toy:
    """The toy given a batch of [unconditional, conditional] halves: the same latents, other prompts."""
    latents = toy.inputs["hidden_states"][:1].expand_as(toy.inputs["hidden_states"])
    return Toy(toy.transformer, toy.inputs | {"hidden_states": latents})


# -- scales -------------------------------------------------------------------------------------------------


@flux_is_slow
def test_a_scale_of_1_is_the_model_0_a_skip_and_half_is_half(toy: Toy) -> None:
    for stack, blocks in find_stacks(toy.transformer).items():
        with layer_order(toy.transformer, {}, scales={stack: dict.fromkeys(range(len(blocks)), 1.0)}):
            assert torch.equal(toy.output(), toy.output())
            assert not set(vars(toy.transformer)[stack]) - set(blocks), "the very blocks"
        for layer in (1, len(blocks) - 1):
            with layer_order(toy.transformer, {}, scales={stack: {layer: 0}}):
                scaled = toy.output()
            with layer_order(toy.transformer, {stack: [i for i in range(len(blocks)) if i != layer]}):
                torch.testing.assert_close(scaled, toy.output())
        given = called(toy, stack, 1)
        with torch.no_grad():
            added = named_streams(blocks[1](**given), given)
        with layer_order(toy.transformer, {}, scales={stack: {1: 0.5}}):
            after = called(toy, stack, 2)
        for name, part in added.items():
            assert torch.equal(after[name], given[name] + 0.5 * (part - given[name]))


# -- damping ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "pieces"),
    [
        ([0, 1, 2], [([0], 1), ([1], 1), ([2], 1)]),
        ([0, 2, 2, 2, 3], [([0], 1), ([2], 3), ([3], 1)]),
        ([0, 1, 2, 1, 2, 3], [([0], 1), ([1, 2], 2), ([3], 1)]),
        ([0, [1, 2], [1, 2]], [([0], 1), ([[1, 2]], 2)]),
        ([0, 1, 2, 3, 2, 1, 0], [([i], 1) for i in (0, 1, 2, 3, 2, 1, 0)]),
    ],
)
def test_loops_are_found_in_an_order(order: list, pieces: list) -> None:
    assert find_loops(order) == pieces
    assert sum((piece * times for piece, times in pieces), []) == order


@flux_is_slow
@pytest.mark.parametrize("looped", [[1], [1, 2], [[1, 2]]])
@torch.no_grad()
def test_a_damped_loop_goes_a_part_of_its_way_each_time(toy: Toy, looped: list) -> None:
    for stack, blocks in find_stacks(toy.transformer).items():
        order = [0, *looped * 3, *range(3, len(blocks))]
        state = given = called(toy, stack, 1)
        for _ in range(3):
            before = state
            for step in looped:
                group = step if isinstance(step, list) else [step]
                outputs = [named_streams(blocks[layer](**state), state) for layer in group]
                state = given | {name: sum(o[name] for o in outputs) / len(group) for name in outputs[0]}
            state = given | {name: 0.75 * before[name] + 0.25 * state[name] for name in outputs[0]}
        with layer_order(toy.transformer, {stack: order}, damping=4):
            after = called(toy, stack, 3)
        for name in outputs[0]:
            torch.testing.assert_close(after[name], state[name])
        with layer_order(toy.transformer, {stack: order}, damping=1):
            undamped = toy.output()
        with layer_order(toy.transformer, {stack: order}):
            assert torch.equal(toy.output(), undamped)
        with layer_order(toy.transformer, {stack: list(range(len(blocks)))}, damping=4):
            assert torch.equal(toy.output(), toy.output()), "what runs once is not damped"


# -- means --------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_mean_is_that_of_pictures_and_tokens_and_stands_in_for_its_layer(toy: Toy) -> None:
    means = recorded(toy)
    assert means.pictures == 2
    for stack, blocks in find_stacks(toy.transformer).items():
        given = called(toy, stack, 1)
        added = {name: part - given[name] for name, part in named_streams(blocks[1](**given), given).items()}
        with layer_order(toy.transformer, {stack: [0, *range(2, len(blocks))]}, means=means, of=1):
            after = called(toy, stack, 2)
        for name, update in added.items():
            torch.testing.assert_close(means.vectors[stack][1][name], update.mean((0, 1))[None, None])
            torch.testing.assert_close(after[name], given[name] + update.mean((0, 1)))
        with layer_order(toy.transformer, {stack: list(range(len(blocks)))}, means=means, of=1):
            assert torch.equal(toy.output(), toy.output()), "nothing is left out, so nothing stands in"


@torch.no_grad()
def test_each_step_has_a_mean_of_its_own(sd3: Toy) -> None:
    late = Toy(sd3.transformer, sd3.inputs | {"timestep": torch.full((2,), 20.0)})
    with record_means(sd3.transformer, of=2) as means:
        for toy in (sd3, late, sd3, late):
            toy.output()
    assert means.pictures == 4
    order, ends = {STACK: [0, *range(2, 24)]}, []
    for toy in (sd3, late):
        with layer_order(sd3.transformer, order, means=recorded(toy), of=1):
            ends.append(toy.output())
    with layer_order(sd3.transformer, order, means=means, of=2):
        both = [toy.output() for toy in (sd3, late, sd3)]
    torch.testing.assert_close(both, [*ends, ends[0]])
    with layer_order(sd3.transformer, order, steps=[1, 1], of=2, means=means):
        windowed = [toy.output() for toy in (sd3, late)]
    torch.testing.assert_close(windowed, [sd3.output(), ends[1]])


@torch.no_grad()
def test_the_halves_of_guidance_have_means_of_their_own(sd3: Toy) -> None:
    toy = guided(sd3)
    means = recorded(toy)
    given = called(toy, STACK, 1)
    image = find_stacks(sd3.transformer)[STACK][1](**given)[1] - given["hidden_states"]
    assert means.pictures == 1
    torch.testing.assert_close(means.vectors[STACK][1]["hidden_states"][0], image.mean(1))
    with layer_order(sd3.transformer, {STACK: [0, *range(2, 24)]}, means=means, of=1):
        after = called(toy, STACK, 2)["hidden_states"]
        torch.testing.assert_close(after, given["hidden_states"] + image.mean(1, keepdim=True))
        with pytest.raises(InputError, match="no halves"):
            Toy(sd3.transformer, {name: value[:1] for name, value in sd3.inputs.items()}).output()
    with pytest.raises(InputError, match="some were not"), record_means(sd3.transformer, 2):
        sd3.output()
        toy.output()


def test_sd3s_last_block_has_a_mean_for_its_image_alone(sd3: Toy) -> None:
    means = recorded(sd3)
    assert means.vectors[STACK][23]["encoder_hidden_states"] is None
    with layer_order(sd3.transformer, {STACK: list(range(23))}, means=means, of=1):
        assert sd3.output().isfinite().all()
    with layer_order(sd3.transformer, {STACK: [*range(5), *range(9, 24)]}, affected="image", means=means, of=1):
        one = sd3.output()
        assert called(sd3, STACK, 9)["encoder_hidden_states"].shape[1] == TEXT
    with layer_order(sd3.transformer, {STACK: [*range(5), *range(9, 24)]}, means=means, of=1):
        assert not torch.equal(sd3.output(), one)


# -- what is refused, and what is undone ----------------------------------------------------------------------


def test_bad_controls_are_refused_before_anything_changes(sd3: Toy, flux: Toy) -> None:
    means, skip = recorded(sd3, 2), {STACK: [0, *range(2, 24)]}
    for orders, options, words in (
        (skip, {"damping": 0}, "damping 0 is no number from 1"),
        (skip, {"damping": True}, "damping True"),
        (skip, {"damping": float("nan")}, "damping nan"),
        (skip, {"scales": {STACK: {3: "half"}}}, "scale 'half' of layer 3"),
        (skip, {"scales": {STACK: {24: 0.5}}}, "layer 24 .* does not exist"),
        (skip, {"scales": {"nothing": {0: 0.5}}}, "unknown"),
        (skip, {"means": means}, "calls of 2 steps, but of is None"),
        (skip, {"means": means, "of": 4}, "calls of 2 steps, but of is 4"),
        ({STACK: [1, 0, *range(3, 24)]}, {"means": means, "of": 2}, "does more than that"),
        ({STACK: [[0, 1], *range(3, 24)]}, {"means": means, "of": 2}, "does more than that"),
        (skip, {"means": Means(means.model, 2), "of": 2}, "of no picture"),
        (skip, {"means": recorded(flux), "of": 1}, "do not fit SD3Transformer2DModel"),
    ):
        with pytest.raises(InputError, match=words), layer_order(sd3.transformer, orders, **options):
            pytest.fail("nothing runs")
        assert STACK not in vars(sd3.transformer)
    for of in (0, True, 2.0):
        with pytest.raises(InputError, match="above 0"), record_means(sd3.transformer, of):
            pytest.fail("nothing runs")
    with pytest.raises(InputError, match="3 forward passes are no whole calls of 2"), record_means(sd3.transformer, 2):
        for _ in range(3):
            sd3.output()


def test_all_is_undone_nested_and_after_an_error(sd3: Toy) -> None:
    before, means = sd3.output(), recorded(sd3)
    with layer_order(sd3.transformer, {STACK: [0, *range(2, 24)]}, means=means, of=1):
        outer = sd3.output()
        with pytest.raises(RuntimeError, match="stop"):
            with layer_order(
                sd3.transformer, {STACK: [*range(3), 3, 3, *range(4, 24)]}, damping=2, scales={STACK: {5: 2}}
            ):
                assert not torch.equal(sd3.output(), outer)
                raise RuntimeError("stop")
        assert torch.equal(sd3.output(), outer)
        with pytest.raises(RuntimeError, match="stop"), record_means(sd3.transformer, 1) as again:
            sd3.output()
            raise RuntimeError("stop")
        assert not again.vectors
        torch.testing.assert_close(recorded(sd3).vectors, means.vectors)  # of the model's own layers, also here
        assert torch.equal(sd3.output(), outer)
    assert torch.equal(sd3.output(), before)
    assert not sd3.transformer._forward_pre_hooks
