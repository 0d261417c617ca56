"""The one table of experiments: whole, without clashes, and each row's variants can be built for each mini."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from painters_utils import EXPERIMENTS, Experiment, Model, describe, experiment
from painters_utils.engine.orders import check_order
from painters_utils.engine.strategies import STRATEGIES, build_order
from painters_utils.errors import InputError
from painters_utils.paths import DATA, NOTEBOOKS
from painters_utils.study.experiments import FEW
from painters_utils.study.variants import matched_bands

MINIS = [Model.named(name) for name in ("flux-mini", "sd3-mini", "auraflow-mini")]
WITH_NOTEBOOK = [row for row in EXPERIMENTS if row.notebook]
SD3 = MINIS[1]
LOW_HIGH = {"transformer_blocks": {"low": [2, 7], "high": [12, 17]}}


def bands_of(model: Model) -> dict:
    """Matched bands of a model of whose activations nothing is known."""
    return {stack: matched_bands(np.eye(depth)) for stack, depth in model.depths.items()}


def by_name(rows: list[Experiment]) -> dict:
    return dict(argvalues=rows, ids=[row.name for row in rows])


# -- the table ------------------------------------------------------------------------------------------------


def test_no_two_rows_are_mistaken_for_each_other():
    for what in ("name", "title", "says"):
        values = [getattr(row, what) for row in EXPERIMENTS]
        assert len(set(values)) == len(values) and all(values), what
    for what in ("notebook", "heading"):
        values = [getattr(row, what) for row in WITH_NOTEBOOK]
        assert len(set(values)) == len(values) and all(values), what
    drawn = [row for row in EXPERIMENTS if row.swept]
    for what in ("colour", "marker"):
        values = [getattr(row, what) for row in drawn]
        assert len(set(values)) == len(values), f"two lines of the sweep's chart have the same {what}"


def test_a_row_has_the_notebook_that_it_names():
    for row in WITH_NOTEBOOK:
        assert (NOTEBOOKS / f"{row.notebook}.ipynb").is_file(), row.name


def test_rows_are_found_by_name_and_called_in_peoples_words():
    assert all(experiment(row.name) is row for row in EXPERIMENTS)
    assert experiment("looped_parallel").title == "looped parallel" and experiment("middle_repeat").title == "repeat"
    assert experiment("layer_by_layer").title == "layer by layer"
    with pytest.raises(InputError, match="experiment 'revers': .*reverse"):
        experiment("revers")


def test_the_sweep_runs_every_strategy_of_a_band():
    swept = {row.name for row in EXPERIMENTS if row.swept}
    assert swept == {"skip", "middle_repeat", "reverse", "random_order", "parallel", "looped_parallel"}
    assert {variant.strategy for variant in experiment("sweep").variants(SD3, bands_of(SD3))} == swept


def test_every_question_of_the_paper_names_a_notebook_that_is_there():
    claims = yaml.safe_load((DATA / "claims.yaml").read_text())
    for question in claims["questions"]:
        assert (NOTEBOOKS / f"{question['notebook']}.ipynb").is_file(), question["id"]


@pytest.mark.parametrize("row", **by_name([row for row in EXPERIMENTS if row.example is not None]))
def test_examples_can_be_drawn_on_eight_layers(row):
    order = build_order(row.name, 8, **row.example)
    check_order(order, 8)
    assert (describe(order, 8) == "every layer runs once, in order") == (row.name == "identity")


# -- what the rows paint --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", argvalues=MINIS, ids=[model.name for model in MINIS])
@pytest.mark.parametrize("row", **by_name(WITH_NOTEBOOK))
def test_every_row_builds_its_variants_for_every_mini(row, model, monkeypatch):
    """Without weights: only the table is looked at."""
    monkeypatch.setattr(Model, "folder", property(lambda _: pytest.fail("the weights were asked for")))
    variants = row.variants(model, bands_of(model))
    assert variants and {variant.stack for variant in variants} == set(model.depths)
    for variant in variants:
        depth = model.depths[variant.stack]
        check_order(variant.order, depth, variant.stack, only_last=[23] if model.name == "sd3-mini" else ())
        assert variant.depth == depth and variant.name and variant.words
        assert variant.strategy in STRATEGIES and 0 <= variant.share <= 1
        json.dumps(variant.run)
    same = [(variant.name, variant.stack, variant.preset, str(variant.run)) for variant in variants]
    assert len(set(same)) == len(same), "nothing is painted twice under one name"
    if row.name in STRATEGIES:
        assert {variant.strategy for variant in variants} == {row.name}
    assert [v.run for v in row.variants(model, bands_of(model))] == [v.run for v in variants], "the same each time"


def test_a_strategy_runs_under_the_presets_that_are_asked_for():
    reverse = experiment("reverse")
    assert [v.preset for v in reverse.variants(SD3, LOW_HIGH)] == ["article", "article", "matched", "matched"]
    assert [v.preset for v in reverse.variants(SD3, LOW_HIGH, presets=["matched"])] == ["matched", "matched"]
    assert {v.preset for v in reverse.variants(SD3, LOW_HIGH, presets=["article"])} == {"article"}
    [own] = reverse.variants(SD3, LOW_HIGH, band=[3, 5])
    assert own.order[3:6] == [5, 4, 3]
    flux = MINIS[0]
    single = reverse.variants(flux, bands_of(flux), stack="single_transformer_blocks")
    assert single and {variant.stack for variant in single} == {"single_transformer_blocks"}
    unknown = replace(SD3, family="")
    assert {v.preset for v in reverse.variants(unknown, LOW_HIGH)} == {"matched"}, "the article ran nothing on it"
    with pytest.raises(InputError, match="ran no orders"):
        reverse.variants(unknown, LOW_HIGH, presets=["article"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(presets=["artikel"]), "preset 'artikel': .*article"),
        (dict(presets="article"), "presets is 'article': .*list"),
        (dict(presets=[]), "presets is"),
        (dict(stack="single_transformer_blocks"), "stack of sd3-mini 'single_.*transformer_blocks"),
        (dict(band=[20, 24]), "24 is out of range"),
        (dict(band=[5]), "has 1 entries"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_runs(options, message):
    with pytest.raises(InputError, match=message):
        experiment("reverse").variants(SD3, LOW_HIGH, **options)


def test_a_band_needs_its_stack_where_there_are_several():
    with pytest.raises(InputError, match=r"band \[3, 5\] without its stack: .*transformer_blocks, single"):
        experiment("reverse").variants(MINIS[0], {}, band=[3, 5])


def test_random_orders_are_drawn_band_by_band_and_each_once():
    draws = experiment("random_order").variants(SD3, LOW_HIGH, draws=3)
    assert [v.place for v in draws] == ["low"] * 3 + ["high"] * 3
    assert all(f"draw {number}" in v.name for v, number in zip(draws, [0, 1, 2] * 2, strict=True))
    assert len({str(v.order) for v in draws}) == 6
    aura = MINIS[2]
    two = experiment("random_order").variants(aura, {"joint_transformer_blocks": {"middle": [1, 2]}})
    assert [v.order for v in two] == [[0, 2, 1, 3]], "a band of two has one other order"


def test_edges_take_as_large_a_share_as_they_are_told():
    edges = experiment("edges")
    for removed, gone in ((0.1, 2), (0.25, 6)):
        matched = edges.variants(SD3, LOW_HIGH, presets=["matched"], removed=removed)
        first = next(v for v in matched if v.place == "first")
        assert first.order == list(range(gone, 24))
    assert {v.strategy for v in edges.variants(SD3, LOW_HIGH, presets=["article"])} == {"remove_first"}


def test_draws_are_added_on_the_half_where_the_half_is_asked_for():
    def sweep(*shares):
        return experiment("sweep").variants(SD3, {}, shares=shares, strategies=["random_order"])

    assert len(sweep(0.25)) == 1 and len(sweep(0.25, 0.5)) == 11


def test_each_layer_is_left_out_once():
    skips = experiment("layer_by_layer").variants(MINIS[0], {})
    assert len(skips) == 57 and len({(v.stack, str(v.order)) for v in skips}) == 57
    assert all(len(v.order) == v.depth - 1 for v in skips)


def test_controls_know_the_models_own_steps():
    few, many = (
        experiment("controls").variants(SD3.changed(steps), LOW_HIGH, apart=["transformer_blocks"]) for steps in (2, 12)
    )
    assert not [v for v in few if v.steps], "two steps have no thirds"
    assert [v.steps for v in many if v.steps] == [[0, 3], [4, 7], [8, 11]]
    joined = experiment("controls").variants(SD3, LOW_HIGH, apart=[])
    assert {v.affected for v in joined} == {"both"}, "no stream to reach alone"


def test_the_notebook_of_many_orders_paints_the_few_prompts_that_the_findings_read():
    notebook = (NOTEBOOKS / f"{experiment('random_order').notebook}.ipynb").read_text()
    assert experiment("random_order").few and f"few = min(suite, {FEW})" in notebook
