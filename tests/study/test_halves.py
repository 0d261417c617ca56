"""Strategies on one and the same half: planted scores come back, paired, whatever the stack and the seed."""

import numpy as np
import pandas as pd
import pytest

from painters_utils.models.model import Model
from painters_utils.study.experiments import experiment, halves
from painters_utils.study.halves import compare_strategies, on_halves

MINI = Model.named("sd3-mini")
PROMPTS = [f"prompt {number}" for number in range(12)]


def planted(kept: dict[str, float], stacks: tuple[str, ...] = ("deep", "wide"), noise: float = 0.2) -> pd.DataFrame:
    """Scores in which what is hard about a picture is hard for every strategy."""
    draw, rows = np.random.default_rng(0), []
    for stack in stacks:
        for prompt in PROMPTS:
            for seed in (0, 1):
                luck = draw.normal(0, noise)
                for strategy, mean in kept.items():
                    about = {"model": "toy", "stack": stack, "strategy": strategy, "prompt": prompt, "seed": seed}
                    right = {"right": float(mean + luck > 0.6), "right untouched": 1.0}
                    rows.append(about | {"kept": mean + luck, "layout": mean + luck - 0.1} | right)
    return pd.DataFrame(rows)


def test_planted_scores_come_back_in_their_order_and_differences_are_paired():
    found = compare_strategies(planted({"skip": 0.5, "random_order": 0.9, "middle_repeat": 0.45}))
    assert list(found["kept"]) == ["random_order", "skip", "middle_repeat"]
    assert found["stacks"] == 2 and found["pictures"] == 48
    ahead = found["ahead"]["skip"]["middle_repeat"]
    assert ahead["mean"] == pytest.approx(0.05) and ahead["low"] > 0.049, "the pictures' own luck cancels"
    assert found["kept"]["skip"]["high"] - found["kept"]["skip"]["low"] > 0.05, "and does not in what one keeps"
    assert found["ahead"]["random_order"]["middle_repeat"]["mean"] == pytest.approx(0.45)
    assert 0 < found["right"]["middle_repeat"]["mean"] < found["right"]["skip"]["mean"] < 0.5
    assert found["right"]["random_order"]["mean"] > 0.8 and found["right untouched"]["mean"] == 1
    assert found["layout"]["skip"]["mean"] == pytest.approx(found["kept"]["skip"]["mean"] - 0.1)


def test_every_stack_has_one_weight_and_nothing_compares_to_nothing():
    one, two = planted({"skip": 0.2}, ("deep",), 0), planted({"skip": 0.8}, ("wide",), 0)
    more = pd.concat([one, two, two.assign(seed=two["seed"] + 2)])
    assert compare_strategies(pd.concat([one, two]))["kept"]["skip"]["mean"] == pytest.approx(0.5)
    assert 0.5 < compare_strategies(more)["kept"]["skip"]["mean"] < 0.8
    assert compare_strategies(pd.DataFrame()) == {}


@pytest.mark.parametrize(("name", "bands"), [
    ("flux-mini", {"transformer_blocks": [5, 14], "single_transformer_blocks": [10, 28]}),
    ("sd3-mini", {"transformer_blocks": [7, 17]}),
    ("auraflow-mini", {"single_transformer_blocks": [9, 23]}),  # of four layers there is no middle half
])  # fmt: skip
def test_all_strategies_change_the_same_layers_of_a_half(name, bands):
    model = Model.named(name)
    assert halves(model) == bands
    variants = on_halves(model, experiment("sweep").variants(model, {}, draws=10))
    for stack, band in bands.items():
        own = [variant for variant in variants if variant.stack == stack]
        assert all(variant.band == band for variant in own)
        draws = [variant for variant in own if variant.strategy == "random_order"]
        assert len({str(variant.order) for variant in draws}) == len(draws) == 10
        assert len(own) == 15, "five other strategies, once each"
        assert [draw.turn for draw in draws] == [(at, 10) for at in range(10)]


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 10, 20])
def test_draws_that_share_the_seeds_count_about_alike(seeds):
    """Each draw has a seed and each seed a draw; none counts for more than twice as much as another."""
    draws = [draw.seeds_of(range(seeds)) for draw in on_halves(MINI, experiment("sweep").variants(MINI, {}))
             if draw.strategy == "random_order"]  # fmt: skip
    of_seed = {seed: sum(seed in own for own in draws) for seed in range(seeds)}
    assert min(of_seed.values()) >= 1 and min(map(len, draws)) >= 1
    weights = [sum(1 / of_seed[seed] for seed in own) for own in draws]
    assert max(weights) <= 2 * min(weights)
