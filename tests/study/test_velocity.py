"""Velocity errors and the other cheap measures, on toys: exact where there is an exact answer."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Toy, flux_is_slow

from painters_utils import Model, Studio, custom_variant
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.stacks import find_stacks
from painters_utils.errors import InputError
from painters_utils.study import proxies
from painters_utils.study.velocity import Trajectory, VelocityError

PROMPTS = ["a red dog", "a blue cat"]  # as many as the toys have inputs


class Pipe:
    """A pipeline that calls its transformer once a step, on what the step before has left."""

    def __init__(self, toy: Toy, halves: int = 1) -> None:
        self.transformer, self.inputs, self.halves = toy.transformer, toy.inputs, halves

    @torch.no_grad()
    def __call__(self, prompt: list[str], generator: list, num_inference_steps: int, **_: object) -> SimpleNamespace:
        latents, others = self.inputs["hidden_states"], dict(self.inputs)
        for _step in range(num_inference_steps):
            velocity = self.transformer(**others | {"hidden_states": latents}, return_dict=False)[0]
            latents = latents - velocity / num_inference_steps
        return SimpleNamespace(images=latents)


def way(toy: Toy, steps: int = 3) -> Trajectory:
    return Trajectory(Pipe(toy), PROMPTS, {"num_inference_steps": steps})


@flux_is_slow
def test_the_error_is_zero_untouched_and_else_what_is_found_by_hand(toy: Toy) -> None:
    found = way(toy)
    assert len(found.given) == 3 and not found.error(0).any() and not found.error(2).any()
    full, (stack, blocks) = toy.output(), next(iter(find_stacks(toy.transformer).items()))
    with layer_order(toy.transformer, {stack: list(range(1, len(blocks)))}):
        by_hand = ((toy.output() - full).flatten(1).norm(dim=1) / full.flatten(1).norm(dim=1)) ** 2
        assert found.error(0) == pytest.approx(by_hand.numpy(), rel=1e-4)
    assert not toy.transformer._forward_pre_hooks


def test_guidance_in_the_same_pass_is_followed(sd3: Toy) -> None:
    found = Trajectory(Pipe(sd3), PROMPTS[:1], {"num_inference_steps": 2, "guidance_scale": 3.0})
    free, asked = sd3.output()
    assert torch.allclose(found.own[0][0], free + 3 * (asked - free), atol=1e-6), "a batch of two for one prompt"


def test_passes_of_their_own_are_refused(sd3: Toy) -> None:
    class Twice(Pipe):
        def __call__(self, prompt: list[str], generator: list, num_inference_steps: int, **_: object) -> object:
            return super().__call__(prompt, generator, 2 * num_inference_steps)

    with pytest.raises(InputError, match="passes 4 times in 2 steps"):
        Trajectory(Twice(sd3), PROMPTS, {"num_inference_steps": 2})
    assert not sd3.transformer._forward_pre_hooks


@pytest.mark.slow
def test_a_layer_that_adds_nothing_is_worth_nothing_by_every_measure(auraflow: Toy) -> None:
    """Its forward returns what it was given; the others stay as they are."""
    stack, blocks = list(find_stacks(auraflow.transformer).items())[-1]
    number = proxies.places_of(auraflow.transformer).index((stack, 3))
    found, block = way(auraflow), blocks[3]
    block.forward = lambda hidden_states, *_, **__: hidden_states
    try:
        found = way(auraflow)
        tables = proxies.velocity_errors(found) | proxies.from_in_to_out(found) | proxies.gradient_times_update(found)
        tables |= proxies.final_deviation(Pipe(auraflow), found)
    finally:
        del block.forward
    for name, values in tables.items():
        assert values.shape == (36,), name
        others = np.delete(values, number)
        assert abs(values[number]) < 0.01 * others.mean(), name  # an angle is rounded at 0
        assert (others >= -1e-6).all() and others.any(), name


@pytest.mark.slow
def test_the_gradient_foretells_what_a_slightly_smaller_update_does(auraflow: Toy, monkeypatch) -> None:
    """To the first order in ε, a layer that adds (1 − ε) of its update changes v by ε times what is foretold."""
    monkeypatch.setattr(proxies, "DRAWS", 100)
    found, slightly = way(auraflow, steps=2), 1e-2
    told = proxies.gradient_times_update(found)["gradient × update"]
    assert all(one.grad is None for one in auraflow.transformer.parameters())
    stack, blocks = list(find_stacks(auraflow.transformer).items())[-1]
    for layer in (0, 20, 31):
        block, usual = blocks[layer], type(blocks[layer]).forward
        block.forward = lambda hidden_states, *args, block=block, usual=usual, **kwargs: (
            hidden_states + (1 - slightly) * (usual(block, hidden_states, *args, **kwargs) - hidden_states)
        )
        error = found.error(1).mean() / slightly**2
        del block.forward
        foretold = told[proxies.places_of(auraflow.transformer).index((stack, layer))]
        assert foretold == pytest.approx(error, rel=0.4), "as far as a hundred random directions tell"


def test_what_may_only_stand_last_changes_places_with_none(sd3: Toy) -> None:
    found = proxies.neighbours(way(sd3))
    swapped = found["velocity error, interchanged with its neighbours"]
    assert np.isnan(swapped[-1]) and np.isfinite(swapped[:-1]).all()
    assert np.isfinite(found["velocity error, replaced by its neighbour"]).all()


@pytest.mark.slow
def test_all_measures_have_a_row_a_layer_and_a_cost(sd3: Toy) -> None:
    def loss() -> np.ndarray:
        return np.stack([sd3.output().square().flatten(1).mean(1).numpy()] * 5)

    table, cost = proxies.cheap_measures(Pipe(sd3), PROMPTS, {"num_inference_steps": 4}, loss)
    assert list(table.index) == [("transformer_blocks", layer) for layer in range(24)]
    assert set(cost) == set(table) and all(cost.values())
    assert cost["velocity error, second step"] == 2 * (24 + 2), "two steps of the way, and one pass a layer"
    assert cost["1 − cosine of in and out"] == 2 * (1 + 2) < cost["gradient × update"] < cost["denoising loss"]
    assert cost["change of the final latents, half the steps"] == 2 * 2 * (24 + 1)


# -- of a studio ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    prompts = ["a green balloon on a gray background", "two red apples on a blue background"]
    return Studio(Model.named("sd3-mini", steps=2), prompts, [0], tmp_path_factory.mktemp("velocity"))


def test_a_studios_velocity_error_is_taken_once_and_kept(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    error, stack = VelocityError(studio, count=9), "transformer_blocks"
    assert error.why_not == "" and len(error.prompts) == 9
    skip = custom_variant(stack, 24, "skip", band=[4, 15])
    assert error.mean(custom_variant(stack, 24, "identity")) == (0, 0, 0)
    mean, low, high = error.mean(skip)
    assert 0 < low <= mean <= high
    [way] = error.ways
    with layer_order(studio.pipe.transformer, {stack: skip.order}):
        assert error.of(skip) == pytest.approx(way.error(1)), "of the second step"
    table = error.table({"skipped": [skip], "swapped": []})
    assert table["skipped low"].tolist() == [low] and table["swapped"].isna().all()
    late = custom_variant(stack, 24, "skip", band=[10, 12])
    with monkeypatch.context() as patched:
        first = studio.pipe.transformer.transformer_blocks[0]
        patched.setattr(first, "forward", lambda *_, **__: pytest.fail("a layer before the change ran again"))
        found = error.of(late)
    with layer_order(studio.pipe.transformer, {stack: late.order}):
        assert np.array_equal(found, way.error(1))
    monkeypatch.setattr(Trajectory, "error", None)
    assert np.array_equal(VelocityError(studio, count=9).of(skip), error.of(skip))
    with pytest.raises(InputError, match="in some steps only"):
        error.of(custom_variant(stack, 24, "skip", about={"steps": [0, 0]}, band=[4, 15]))


def test_a_model_without_one_pass_a_step_says_why(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(studio), "passes", 2)
    error = VelocityError(studio)
    assert error.why_not.startswith("it passes 2 times in a step")
    with pytest.raises(InputError, match="has no velocity error: it passes 2 times"):
        error.of(custom_variant("transformer_blocks", 24, "skip", band=[5, 6]))
