"""A studio paints everything once, scores the untouched model 1, and trusts no damaged file."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from toy_judges import save_toy_clip, save_toy_dino

from miniworld.checker import features
from miniworld.scores import kernel_distance, rendered_features
from painters_utils import Model, Studio, Variant, custom_variant
from painters_utils.errors import InputError
from painters_utils.measure import world
from painters_utils.measure.world import CheckerScorer
from painters_utils.paths import CONFIG, DATA, ROOT
from painters_utils.show.chapter import how_scored
from painters_utils.study import recordings as recordings_module, studio as studio_module
from painters_utils.study.scores import CHECKED, COMPARED
from painters_utils.study.settings import others_prompts

PROMPTS = ["a green balloon on a gray background", "two red apples on a blue background", "a dog on a white background"]
STACK = "transformer_blocks"
IDENTITY = custom_variant(STACK, 24, "identity")
SKIP = custom_variant(STACK, 24, "skip", band=[4, 15])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("studio")


def new(folder, prompts=PROMPTS, seeds=(0,), suite=0, steps=2, **loading) -> Studio:
    return Studio(Model.named("sd3-mini", steps=steps, **loading), prompts, seeds, folder, suite=suite)


@pytest.fixture(scope="module")
def studio(folder) -> Studio:
    one = new(folder)
    one.summary(SKIP)
    return one


@pytest.mark.slow
def test_the_untouched_order_keeps_everything(studio):
    summary = studio.summary(IDENTITY)
    assert set(studio.score_names) == set(CHECKED | COMPARED)
    for score in ("kept", *studio.score_names):
        assert np.isnan(summary[score]) or summary[score] == pytest.approx(1), score
    assert summary["coarse"] == summary["detail"] == summary["layout"] == 1
    assert summary["change"] == 0
    assert summary["duplicates"] == 0
    painted = kernel_distance(features([picture.image for picture in studio.pictures()]), rendered_features())
    assert summary["distance"] == summary["distance untouched"] == pytest.approx(painted)


def test_half_a_stack_less_keeps_less(studio):
    summary = studio.summary(SKIP)
    assert summary["change"] > 0.2
    assert summary["detail"] < 0.9
    assert summary["detail low"] <= summary["detail"] <= summary["detail high"]
    assert summary["distance"] > summary["distance untouched"]


def test_other_prompts_pictures_are_worth_nothing(studio):
    others = studio.score(studio.baseline[1:] + studio.baseline[:1])
    assert others["detail"].mean() == pytest.approx(studio.floor["detail"], abs=0.1)
    assert studio.floor["quality"] == 0


def test_variants_that_share_the_seeds_are_scored_as_their_part_of_all(folder):
    studio = new(folder, seeds=(0, 3), steps=1)
    whole = studio.scaled(SKIP)
    parts = [studio.scaled(replace(SKIP, turn=(turn, 3))) for turn in range(3)]
    assert [list(part["seed"].unique()) for part in parts] == [[0], [3], [0]]
    both = pd.concat(parts[:2]).sort_values(["prompt", "seed"], ignore_index=True)
    pd.testing.assert_frame_equal(both, whole.sort_values(["prompt", "seed"], ignore_index=True), atol=0.02)
    row, own = studio.summary(*(replace(SKIP, turn=(turn, 2)) for turn in (0, 1))), studio.summary(SKIP)
    assert (row["pictures"], row["orders"]) == (len(whole), 2) and own["orders"] == 1
    for score in ("kept", "change", "duplicates"):
        assert row[score] == pytest.approx(own[score], abs=0.02), score


def test_the_untouched_pictures_are_looked_at_once(folder, monkeypatch):
    looked, read = [], world.read
    monkeypatch.setattr(world, "read", lambda pictures: looked.append(len(pictures)) or read(pictures))
    studio = new(folder, seeds=(5, 6), steps=1)
    for band in ([2, 3], [4, 5]):
        studio.scores(custom_variant(STACK, 24, "skip", band=band))
    assert looked == [len(PROMPTS) * 2]


def test_everything_is_painted_once(studio, folder, monkeypatch):
    monkeypatch.setattr(studio_module, "paint", lambda *_, **__: pytest.fail("painted again"))
    again = new(folder)
    assert again.summary(SKIP) == studio.summary(SKIP)
    assert [np.asarray(p.image).tolist() for p in again.pictures(SKIP)] == [
        np.asarray(p.image).tolist() for p in studio.pictures(SKIP)
    ]
    renamed = Variant("another name", STACK, SKIP.order, 24, "skip", "matched", "low")
    assert again.summary(renamed) == studio.summary(SKIP), "a name does not change a picture"


# -- what it depends on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [dict(steps=3), dict(seeds=[1]), dict(prompts=PROMPTS[:2]), dict(dtype="bfloat16"), dict(suite=9)]
)
def test_other_settings_are_other_pictures(studio, folder, changes):
    assert new(folder, **changes)._paints != studio._paints


@pytest.mark.parametrize("changes", [dict(batch=1), dict(device="cpu"), dict(offload="none"), dict()])
def test_what_changes_no_picture_paints_nothing_anew(studio, folder, changes):
    assert new(folder, **changes)._paints == studio._paints


def test_other_weights_are_other_pictures(studio, folder, monkeypatch):
    monkeypatch.setattr(Model, "weights", property(lambda _: "other weights"))
    assert new(folder)._paints != studio._paints


def test_another_checker_scores_anew_and_paints_nothing(studio, folder, monkeypatch):
    before = studio.summary(SKIP)
    monkeypatch.setattr(studio_module, "paint", lambda *_, **__: pytest.fail("painted again"))
    monkeypatch.setattr(CheckerScorer, "fingerprint", property(lambda _: "another checker"))
    score = CheckerScorer.score
    scored = []
    monkeypatch.setattr(CheckerScorer, "score", lambda *given: scored.append(1) or score(*given))
    assert new(folder).summary(SKIP) == before and len(scored) >= 3, "baseline, chance and the variant"


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """The code that pictures and scores depend on, to be changed."""
    root = tmp_path_factory.mktemp("code")
    for package in ("painters_utils", "miniworld", "originals"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(DATA / "sprites", root / "data/sprites")
    return root


@pytest.mark.parametrize(
    ("changed", "paints", "looks"),
    [
        ("painters_utils/show/charts.py", False, False),
        ("painters_utils/study/experiments.py", False, False),
        ("painters_utils/study/scores.py", False, True),
        ("painters_utils/study/studio.py", False, True),
        ("miniworld/training/mini.py", False, False),
        ("painters_utils/engine/rearrange.py", True, True),
        ("painters_utils/models/painting.py", True, True),
        ("painters_utils/measure/pictures.py", False, True),
        ("miniworld/scores.py", False, True),
        ("data/sprites/apple.webp", False, True),
        ("originals/skeleton.py", True, True),
    ],
)
def test_a_change_of_code_makes_anew_what_depends_on_it(folder, copied, monkeypatch, changed, paints, looks):
    monkeypatch.setattr(recordings_module, "CODE", copied)
    monkeypatch.setattr(recordings_module, "DATA", copied / "data")

    def keys() -> tuple:
        """Under what pictures and scores of a variant are kept."""
        studio = new(folder)
        return studio._paints, [studio._paints, studio._looks]

    before, path = keys(), copied / changed
    content = path.read_bytes()
    path.write_bytes(content + b"\n")
    try:
        after = keys()
    finally:
        path.write_bytes(content)
    assert [a != b for a, b in zip(before, after, strict=True)] == [paints, looks]
    assert keys() == before


def test_a_change_of_the_pipelines_configuration_paints_anew(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(Model.named("sd3-mini").folder, folder)
    model = Model.named(str(folder))
    before, path = model.settings, folder / "scheduler/scheduler_config.json"
    path.write_text(path.read_text().replace('"shift": 1.0', '"shift": 8.0'))
    assert model.settings != before
    before = model.settings
    (folder / "scores.json").write_text("{}")
    assert model.settings == before, "a new score paints nothing"


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut short", "emptied", "no archive"])
def test_a_damaged_file_is_computed_anew(tmp_path, damage):
    before = new(tmp_path).summary(SKIP)
    for path in (tmp_path / "painted").iterdir():
        data = path.read_bytes()
        path.write_bytes({"cut short": data[: len(data) // 2], "emptied": b"", "no archive": b"x" * 99}[damage])
    assert new(tmp_path).summary(SKIP) == before
    assert not list((tmp_path / "painted").glob("*.part"))


@pytest.mark.slow
def test_only_the_shown_prompts_are_kept_as_pictures(folder):
    one = new(folder, suite=9, prompts=PROMPTS[:1])
    assert len(one.prompts) == 10
    assert [p.prompt for p in one.pictures(SKIP)] == PROMPTS[:1]
    assert len(one.scores(SKIP)) == 10


def test_some_steps_only_cost_less_than_all(studio):
    first = Variant("early", STACK, SKIP.order, 24, "skip", steps=[0, 0])
    assert 0 < studio.summary(first)["change"] != studio.summary(SKIP)["change"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(suite=181), "suite is 181: .* 0 to 180"),
        (dict(suite=-1), "suite is -1"),
        (dict(batch=0), "batch is 0"),
        (dict(steps=0), "num_inference_steps is 0"),
        (dict(prompts="a dog"), "prompts is 'a dog': .*list"),
        (dict(prompts=[]), r"prompts is \[\]"),
    ],
)
def test_bad_settings_are_refused_before_a_model_is_loaded(folder, monkeypatch, changes, message):
    monkeypatch.setattr(studio_module, "load_pipeline", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(InputError, match=message):
        new(folder, **changes)


def test_one_prompt_has_no_chance_level(folder):
    with pytest.raises(InputError, match="one prompt alone"):
        _ = new(folder, prompts=PROMPTS[:1]).floor


# -- models that are no minis ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A studio of a model that nobody knows, with toy judges: SD3 mini in another folder."""
    root = tmp_path_factory.mktemp("real")
    shutil.copytree(DATA / "models/sd3-mini", root / "model")
    judges = {"clip": str(save_toy_clip(root / "clip")), "dino": str(save_toy_dino(root / "dino"))}

    def build(wanted: dict = judges) -> Studio:
        model = Model.named(str(root / "model"), steps=4, dtype="float32")
        return Studio(model, PROMPTS[:2], [0], root / "out", judges=wanted)

    return build


@pytest.mark.slow
def test_a_model_that_is_no_mini_is_scored_by_judges(real):
    studio = real()
    assert studio.score_names == ["clip", "dino", "coarse", "detail"]
    untouched, maimed = studio.summary(IDENTITY), studio.summary(SKIP)
    for score in ("kept", *studio.score_names):
        assert np.isnan(untouched[score]) or untouched[score] == pytest.approx(1), score
    assert untouched["dino"] == pytest.approx(1) and maimed["dino"] < 0.9
    assert studio.overall and set(studio.overall) <= {"clip", "dino"}
    assert maimed["kept"] == pytest.approx(np.mean([maimed[score] for score in studio.overall]))
    assert not {"adherence", "duplicates", "distance"} & set(maimed)
    assert studio.lacks("dino") == studio.lacks("kept") == ""
    assert "minis" in studio.lacks("fine") and "minis" in studio.lacks("duplicates")
    assert "look kept" in how_scored(studio) and "There is no score" not in how_scored(studio)


@pytest.mark.slow
def test_a_judge_that_comes_later_scores_what_is_painted(real, monkeypatch):
    alone = real({"clip": None})
    assert alone.score_names == alone.overall == ["coarse", "detail"]
    assert alone.summary(SKIP)["kept"] == pytest.approx(np.mean([alone.summary(SKIP)[s] for s in COMPARED]))
    assert "There is no score “fit to the prompt”: the judge 'clip' is switched off." in how_scored(alone)
    monkeypatch.setattr(studio_module, "paint", lambda *_, **__: pytest.fail("painted again"))
    assert real().summary(SKIP)["detail"] == alone.summary(SKIP)["detail"]


def test_it_depends_on_the_code_of_judges_and_of_loading(real, monkeypatch, tmp_path):
    before = real()._paints["code"]
    monkeypatch.setattr(recordings_module, "CODE", tmp_path)
    shutil.copytree(ROOT / "originals", tmp_path / "originals", ignore=shutil.ignore_patterns("__pycache__"))
    for floor in ("engine", "models"):
        shutil.copytree(ROOT / "painters_utils" / floor, tmp_path / "painters_utils" / floor)
    assert real()._paints["code"] == before
    (tmp_path / "originals/judges.py").write_text("# another")
    assert real()._paints["code"] != before


@pytest.mark.parametrize(
    ("judges", "message"),
    [({"lpips": "a/b"}, "judge 'lpips': .*clip"), ("clip", "judges is 'clip': .*by name")],
)
def test_what_is_no_judge_is_refused_before_a_model_is_loaded(real, judges, message):
    with pytest.raises(InputError, match=message):
        real(judges)


# -- what it uses where it is given nothing -------------------------------------------------------------------


def test_prompts_and_judges_are_those_of_the_configuration(tmp_path):
    config = yaml.safe_load(CONFIG.read_text())
    mini = Studio(Model.named("sd3-mini"), out=tmp_path)
    original = Studio(Model.named("flux-schnell"), out=tmp_path)
    assert mini.shown == mini.prompts == list(dict.fromkeys(config["prompts"]))
    assert original.shown == others_prompts(config["others"]["prompts"]) and "Anakin AI" in original.shown[0]
    assert original._judges == config["judges"]
    assert Studio(Model.named("sd3-mini"), [*PROMPTS, PROMPTS[0]], out=tmp_path).shown == PROMPTS, "each once"


def test_the_articles_words_are_as_meant_or_as_run():
    meant, ran = others_prompts("intended"), others_prompts("as run")
    assert (len(meant), len(ran)) == (6, 5), "a missing comma made one of two"
    assert ran[2] == ",".join(meant[2:4]) and ran[3:] == meant[4:]
    assert others_prompts(["my own"]) == ["my own"]
    with pytest.raises(InputError, match="'mini': .*intended"):
        others_prompts("mini")
