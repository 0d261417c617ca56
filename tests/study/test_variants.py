"""The article's orders are the author's own, matched bands are alike in share, and nothing impossible is built."""

from dataclasses import replace

import numpy as np
import pytest

from painters_utils import Model
from painters_utils.errors import InputError
from painters_utils.study.variants import (
    article_variants,
    control_variants,
    custom_variant,
    edge_variants,
    matched_bands,
    matched_variants,
    neighbour_swaps,
    single_skips,
    sweep_variants,
    variant_name,
)

FLUX, SD3, AURAFLOW = MINIS = [Model.named(name) for name in ("flux-mini", "sd3-mini", "auraflow-mini")]


def stacked(depths: dict[str, int], steps: int = 12) -> Model:
    """A model of no family of the article's, with these stacks."""
    return replace(FLUX.changed(steps), family="", depths=depths)


def orders(model: Model) -> dict[str, list]:
    return {f"{v.stack}: {v.name}": v.order for v in article_variants(model)}


def test_the_articles_orders_are_the_ones_that_its_author_ran():
    flux, sd3, aura = (orders(model) for model in MINIS)
    assert (len(flux), len(sd3), len(aura)) == (15, 11, 14)
    assert flux["transformer_blocks: skip 7–10"] == [*range(7), *range(11, 19)]
    assert flux["transformer_blocks: repeat 9 over 3–16"] == [0, 1, 2, *[9] * 14, 17, 18]
    assert flux["transformer_blocks: parallel 3–15"] == [0, 1, 2, list(range(3, 16)), 17, 18]  # 16 is missing
    assert flux["transformer_blocks: looped parallel 3–15 × 13"] == [0, 1, 2, *[list(range(3, 16))] * 13, 17, 18]
    assert flux["single_transformer_blocks: reverse 5–33"] == [*range(5), *range(33, 4, -1), 34, 35, 36, 37]
    assert sd3["transformer_blocks: parallel 10–13"] == [*range(10), [10, 11, 12, 13], 22, 23]
    assert sd3["transformer_blocks: repeat 19 over 18–21"] == [*range(18), 19, 19, 19, 19, 22, 23]
    assert aura["joint_transformer_blocks: repeat 1 over 1–2"] == [0, 1, 1, 3]
    assert aura["joint_transformer_blocks: reverse 1–2"] == [0, 2, 1, 3]
    assert aura["single_transformer_blocks: without first 4"] == list(range(4, 32))


def test_slips_are_flagged():
    slips = {v.name: v.slip for model in MINIS for v in article_variants(model) if v.slip}
    assert slips["parallel 3–15"] == "layer 16 was dropped as well"
    assert slips["parallel 10–13"] == "layers 14–21 were dropped as well"
    assert "30 loops" in slips["looped parallel 4–33 × 30"]


def test_the_share_of_a_variant_is_what_no_longer_runs_as_it_did():
    assert custom_variant("s", 20, "skip", band=[5, 9]).share == 0.25
    assert custom_variant("s", 20, "remove_last", k=1).share == 0.05
    assert custom_variant("s", 20, "reverse", band=[5, 9]).share == 0.25
    assert custom_variant("s", 20, "identity").share == 0
    assert article_variants(FLUX, ["parallel"])[0].share == 14 / 19  # the dropped layer counts


def test_matched_bands_lie_where_layers_are_most_alike():
    similarity = np.full((20, 20), 0.2)
    similarity[3:8, 3:8] = 0.9
    similarity[12:17, 12:17] = 0.9
    np.fill_diagonal(similarity, 1)
    assert matched_bands(similarity) == {"low": [3, 7], "high": [12, 16]}
    assert matched_bands(np.eye(4)) == {"middle": [1, 2]}
    with pytest.raises(InputError, match="3 layers has no middle"):
        matched_bands(np.eye(3))


@pytest.mark.parametrize("depth", range(4, 60))
def test_matched_bands_never_hold_an_end_of_the_stack_and_never_meet(depth):
    draw = np.random.default_rng(depth).uniform(0, 1, (depth, depth))
    bands = list(matched_bands((draw + draw.T) / 2).values())
    assert all(0 < first <= last < depth - 1 for first, last in bands)
    assert len({last - first for first, last in bands}) == 1
    assert len(bands) == 1 or bands[0][1] < bands[1][0]


def test_matched_variants_take_the_same_share_of_every_stack():
    depths = {"transformer_blocks": 19, "single_transformer_blocks": 38}
    bands = {stack: matched_bands(np.eye(depth)) for stack, depth in depths.items()}
    variants = matched_variants(bands, depths, "skip")
    assert [(v.stack, v.place) for v in variants] == [(s, p) for s in depths for p in ("low", "high")]
    assert all(abs(v.share - 0.25) < 0.02 for v in variants)


def test_the_sweep_grows_from_a_stacks_middle():
    depths = {"transformer_blocks": 24}
    variants = sweep_variants(depths, "reverse", [0.2, 0.5, 0.8])
    assert [round(v.share, 1) for v in variants] == [0.2, 0.5, 0.8]
    for v in variants:
        changed = [i for i in range(24) if v.order[i] != i]
        assert changed[0] == 24 - changed[-1], "kept: i <= s and i >= depth - s"
    short = sweep_variants({"joint_transformer_blocks": 4}, "reverse", [0.2, 0.5, 0.8])
    assert [v.name for v in short] == ["reverse 1–3"]


@pytest.mark.parametrize(
    ("strategy", "options", "name"),
    [
        ("skip", {"band": [2, 2]}, "skip 2"),
        ("middle_repeat", {"band": [3, 16]}, "repeat 9 over 3–16"),
        ("looped_parallel", {"band": [3, 15]}, "looped parallel 3–15 × 3"),
        ("random_order", {"band": [3, 15], "seed": 4}, "random order 3–15, draw 4"),
        ("remove_first", {"k": 1}, "without first"),
        ("remove_last", {"k": 3}, "without last 3"),
        ("swap_neighbours", {"i": 4}, "swap 4 and 5"),
    ],
)
def test_variants_are_named_after_what_they_do(strategy, options, name):
    assert variant_name(strategy, **options) == name


def test_what_a_preset_does_not_fit_is_refused():
    for changes, message in (
        ({"depths": {"transformer_blocks": 12}}, "layer 20|out of range"),
        ({"family": "pixart"}, "ran no orders on 'sd3-mini': .*matched"),
        ({"depths": {"blocks": 24}}, "has no transformer_blocks.*matched"),
    ):
        with pytest.raises(InputError, match=message):
            article_variants(replace(SD3, **changes))
    with pytest.raises(InputError, match="strategy 'skipp': .*skip"):
        custom_variant("s", 10, "skipp", band=[3, 5])
    with pytest.raises(InputError, match="out of range"):
        custom_variant("s", 10, "skip", band=[3, 10])


def test_edges_are_cut_alike_everywhere():
    depths = {"a": 20, "b": 40}
    bands = {"a": {"low": [1, 5], "high": [12, 16]}, "b": {"low": [8, 17]}}
    edges = {(v.stack, v.place): v for v in edge_variants(stacked(depths), bands, removed=0.1)}
    assert edges["a", "first"].order == list(range(2, 20))
    assert edges["b", "last"].order == list(range(36))
    assert edges["a", "before low"].band == [0, 0], "no more layers lie before it"
    assert edges["a", "before high"].band == [10, 11]
    assert edges["a", "inside high"].band == [13, 14]
    assert edges["b", "before low"].band == [4, 7]
    assert all(v.strategy in ("skip", "remove_first", "remove_last") for v in edges.values())


def test_single_layers_are_skipped_and_swapped_one_by_one():
    depths = {"a": 4}
    assert [v.order for v in single_skips(depths)["a"]] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert [v.order for v in neighbour_swaps(depths)["a"]] == [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2]]
    assert len(neighbour_swaps(depths, {"a": [3]})["a"]) == 2, "a layer that can only stand last stays"


def test_controls_change_one_thing_each():
    depths = {"joint_transformer_blocks": 4, "single_transformer_blocks": 32}
    bands = {
        "joint_transformer_blocks": {"middle": [1, 2]},
        "single_transformer_blocks": {"low": [2, 9], "high": [20, 27]},
    }
    apart = {"joint_transformer_blocks"}  # AuraFlow's single blocks hold both streams in one tensor
    controls = control_variants(stacked(depths, steps=12), bands, apart=apart)
    single = [v for v in controls if v.stack == "single_transformer_blocks"]
    assert [v.combine for v in single if v.strategy == "parallel"] == ["mean", "sum"]
    assert {v.affected for v in single} == {"both"}
    assert {v.affected for v in controls if v.stack == "joint_transformer_blocks"} == {"both", "image", "text"}
    assert [v.steps for v in single if v.steps] == [[0, 3], [4, 7], [8, 11]]
    at_random = [v for v in single if "random" in v.name]
    assert len({tuple(v.order) for v in at_random}) == 4
    assert all(len(v.order) == 24 for v in at_random)
    assert len(control_variants(stacked(depths, steps=2), bands, apart=apart)) == len(controls) - 6, (
        "two steps have no thirds"
    )


@pytest.mark.parametrize(
    ("steps", "windows"),
    [
        (3, [[0, 0], [1, 1], [2, 2]]),
        (4, [[0, 0], [1, 1], [3, 3]]),
        (8, [[0, 1], [3, 4], [6, 7]]),
        (12, [[0, 3], [4, 7], [8, 11]]),
        (50, [[0, 15], [17, 32], [34, 49]]),
    ],
)
def test_the_thirds_of_the_steps_are_equally_long(steps, windows):
    controls = control_variants(stacked({"a": 16}, steps=steps), {"a": {"high": [8, 11]}})
    assert [v.steps for v in controls if v.steps] == windows


def test_what_a_variant_is_called_does_not_change_how_it_runs():
    variant = custom_variant("a", 8, "reverse", band=[2, 5])
    renamed = replace(variant, name="another", preset="matched", place="low", slip="none", band=[1, 2])
    assert renamed.run == variant.run and variant.words == "layers 2–5 run in reverse order"
    for changes in ({"stack": "b"}, {"order": [0, 1]}, {"combine": "sum"}, {"affected": "image"}, {"steps": [0, 1]}):
        assert replace(variant, **changes).run != variant.run
