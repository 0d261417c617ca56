"""Single layers: what a search has scored is not painted again, unless it was another model's or another call's."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from painters_utils import Model, Studio
from painters_utils.paths import DATA
from painters_utils.study import numbers
from painters_utils.study.alone import find_roles, leave_out_each, with_surety
from painters_utils.study.numbers import as_scored, searched_alone
from workflow import worth

MINIS = ["flux-mini", "sd3-mini", "auraflow-mini"]
PROMPTS = ["a dog on a white background", "a cat on a blue background", "an owl on a red background"]


def planted(model: Model) -> Studio:
    """A studio in which layer 3 of the first stack is needed most with every prompt, and layer 0 loses a tenth."""
    first = next(iter(model.depths))

    def kept(variant):
        worth = {"skip 3": 0.2, "skip 0": 0.9}.get(variant.name, 1.0) if variant.stack == first else 1.0
        return pd.DataFrame({"prompt": PROMPTS, "seed": 0, "kept": worth + np.array([-0.01, 0, 0.01])})

    def table(variants, desc=""):
        scores = [name + end for name in ("kept", "adherence") for end in ("", " low", " high")]
        about = [{"name": one.name, "stack": one.stack, "words": one.words, "pictures": 3} for one in variants]
        return pd.DataFrame([row | dict.fromkeys(scores, kept(one)["kept"].mean())
                             for row, one in zip(about, variants, strict=True)])  # fmt: skip

    full = pd.DataFrame({"prompt": PROMPTS})
    return SimpleNamespace(
        model=model, prompts=PROMPTS, shown=PROMPTS[:2], seeds=[4, 5], out="results/never", full=full, scaled=kept,
        table=table, score_names=["adherence"],
    )  # fmt: skip


@pytest.fixture
def unsearched(monkeypatch):
    monkeypatch.setattr(numbers, "read_search", lambda *_: (None, "no search"))


def test_without_a_search_every_layer_is_painted(unsearched):
    studio = planted(Model.named("flux-mini"))
    found = leave_out_each(studio)
    assert not found.searched and found.studio is studio and len(found.table) == 57 == len(found.least)
    assert found.least.idxmax() == "MM-DiT 3" and found.least.max() == 1 == found.least.sum()
    assert found.table["kept"].idxmin() == 3 and found.table["words"][3] == "layer 3 is skipped"


def test_what_the_search_leaves_is_what_would_be_painted(unsearched, tmp_path, monkeypatch):
    model = Model.named("flux-mini")
    painted = leave_out_each(planted(model))
    kept = worth.kept(planted(model)) | {"scored": as_scored(model), "pictures a layer": 6}
    left = json.loads(json.dumps(kept)), ""
    monkeypatch.setattr(numbers, "read_search", lambda search, _: left if search == "worth" else pytest.fail())
    read = leave_out_each(planted(model))
    assert read.searched and read.least.to_dict() == {"MM-DiT 3": 1}
    same = ["name", "stack", "words", "kept", "kept low", "adherence high"]
    pd.testing.assert_frame_equal(read.table[same], painted.table[same], rtol=0.005)
    assert set(read.table["pictures"]) == {6}
    assert read.studio.prompts == PROMPTS[:2] and read.studio.seeds == [4], "only what is shown is painted"


@pytest.mark.parametrize("name", MINIS)
def test_what_ships_is_of_the_models_as_they_are_called(name):
    model = Model.named(name)
    found = leave_out_each(planted(model))
    assert found.searched and len(found.table) == sum(model.depths.values())
    assert found.table.notna().all(axis=None) and found.table["pictures"].min() >= 40
    for score in ("kept", "adherence", "layout", "detail"):
        low, mean, high = (found.table[score + end] for end in (" low", "", " high"))
        assert ((low <= mean) & (mean <= high)).all() and mean.min() < 1
    assert found.least.sum() == pytest.approx(1, abs=0.01) and set(found.roles) == set(model.depths)
    assert not leave_out_each(planted(model), anew=True).searched
    assert searched_alone(model, 99) and searched_alone(model, 100) is None, "a study of more pictures paints them"
    assert searched_alone(model.changed(steps=model.steps - 1), 40) is None, "other steps paint other pictures"
    assert searched_alone(model.changed(dtype="bfloat16"), 40) is None
    layers = json.loads((DATA / "worth" / f"{name}.json").read_text())["layers"]
    lost = pd.DataFrame(**layers)["score lost"]
    np.testing.assert_allclose(found.table["kept"], 1 - lost, atol=0.001)


def test_scores_of_another_checker_do_not_fit(tmp_path, monkeypatch):
    model = Model.named("sd3-mini")
    assert searched_alone(model, 40)
    for folder in ("worth", "checker"):
        (tmp_path / folder).mkdir()
    (tmp_path / "worth" / "sd3-mini.json").write_text((DATA / "worth" / "sd3-mini.json").read_text())
    (tmp_path / "checker" / "checker.safetensors").write_bytes(b"another")
    monkeypatch.setattr(numbers, "DATA", tmp_path)
    assert searched_alone(model, 40) is None


def without_layers(costs, noise=0.02, prompts=40):
    """Pictures without each of eight layers; `costs` says what of a score a layer costs."""
    draw = np.random.default_rng(0)
    names = [f"prompt {number}" for number in range(prompts)]
    return [
        pd.DataFrame({"prompt": np.repeat(names, 2)}).assign(**{
            score: 1 - costs.get((score, layer), 0) + noise * draw.normal(size=2 * prompts)
            for score in ("broad", "fine", "quality", "layout")
        }) for layer in range(8)
    ]  # fmt: skip


def test_planted_roles_are_found_and_no_others():
    planted = {("fine", 2): 0.5, ("fine", 5): 0.1, ("layout", 5): 0.6, ("layout", 2): 0.2, ("broad", 2): 0.05}
    [found] = find_roles(without_layers(planted))
    assert found["scores"] == ["fine", "layout"] and found["layers"] == [2, 5]
    for own, mean in zip(found["own"], (0.4, 0.4), strict=True):
        assert own["mean"] == pytest.approx(mean, abs=0.01) and own["low"] < own["mean"] < own["high"]
    assert with_surety({"one": [found], "other": []}) == {"one": [found | {"sure": True}], "other": []}
    alike = {("fine", 2): 0.5, ("layout", 2): 0.6, ("quality", 2): 0.3}
    assert find_roles(without_layers(alike)) == [], "one layer for all"


def test_luck_makes_no_role():
    """Where two layers cost all scores alike, which is worst is luck: chosen on some prompts, it is gone on others."""
    alike = {(score, layer): 0.3 for score in ("broad", "fine", "quality", "layout") for layer in (2, 5)}
    found = find_roles(without_layers(alike, noise=0.5))
    assert not [pair for pair in found if min(own["low"] for own in pair["own"]) > 0]


def test_a_pair_is_as_sure_as_the_less_sure_of_its_two_corrected_for_all_pairs():
    likely, sure, against = ({"mean": mean, "low": mean - 0.1, "high": mean + 0.1} for mean in (0.11, 0.5, -0.5))
    pair = {"own": [sure, likely]}

    def are(*pairs):
        return [pair["sure"] for pair in with_surety({"stack": list(pairs)})["stack"]]

    assert are(pair) == [True] and are(pair, pair) == [False, False], "5 % each are too many together"
    one = {"mean": 0.3, "low": 0.3, "high": 0.3}
    assert are({"own": [one, sure]}) == [False], "a single picture says nothing"
    assert are({"own": [sure, sure]}, pair) == [True, True] and are({"own": [sure, against]}) == [False]
