"""The denoising loss under an order: computed once, on unseen scenes for a mini, on its own pictures for any other."""

import shutil

import numpy as np
import pytest
from diffusers import DDIMScheduler

from painters_utils import Loss, Model, Studio, Variant, custom_variant
from painters_utils.errors import InputError
from painters_utils.measure.world import Scenes
from painters_utils.paths import DATA

PROMPTS = ["a green balloon on a gray background", "two red apples on a blue background"]
STACK = "transformer_blocks"
IDENTITY = custom_variant(STACK, 24, "identity")
SKIP = custom_variant(STACK, 24, "skip", band=[4, 15])


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Studio:
    return Studio(Model.named("sd3-mini"), PROMPTS, [0], tmp_path_factory.mktemp("loss"))


def test_a_minis_loss_is_that_of_unseen_scenes(studio):
    loss = Loss(studio, scenes=3)
    assert (loss.why_not, loss.taken_on) == ("", "3 unseen scenes")
    levels, scenes = loss.of().shape
    assert scenes == 3 and levels > 1
    assert loss.rise(IDENTITY) == (0, 0, 0)
    mean, low, high = loss.rise(SKIP)
    assert 0.1 < low <= mean <= high
    assert mean == pytest.approx((loss.of(SKIP).mean() - loss.of().mean()) / loss.of().mean())


def test_rises_come_as_a_table_with_a_column_for_each_group(studio):
    table = Loss(studio, scenes=3).rises({"skip": [IDENTITY, SKIP], "one": [SKIP]})
    assert list(table) == [f"{name}{end}" for name in ("skip", "one") for end in ("", " low", " high")]
    assert table["skip"][0] == 0 and table["skip"][1] == table["one"][0] > 0
    assert np.isnan(table["one"][1]), "the shorter column ends"


def test_what_was_computed_once_is_kept(studio, monkeypatch):
    before = Loss(studio, scenes=3).of(SKIP)
    monkeypatch.setattr(Scenes, "__init__", lambda *_: pytest.fail("scenes were encoded again"))
    again = Studio(studio.model, PROMPTS, [0], studio.out)
    assert np.array_equal(Loss(again, scenes=3).of(SKIP), before)
    with pytest.raises(pytest.fail.Exception):
        Loss(again, scenes=2).of(SKIP)


def test_a_variant_of_some_steps_has_no_loss(studio):
    with pytest.raises(InputError, match="'early' .* some steps only"):
        Loss(studio).of(Variant("early", STACK, SKIP.order, 24, "skip", steps=[0, 0]))


@pytest.mark.slow
def test_any_other_models_loss_is_that_of_its_own_pictures(tmp_path):
    shutil.copytree(DATA / "models/sd3-mini", tmp_path / "model")
    model = Model.named(str(tmp_path / "model"), steps=2, dtype="float32")
    studio = Studio(model, PROMPTS, [0], tmp_path / "out", judges={})
    loss = Loss(studio)
    assert loss.taken_on == "2 pictures of its own"
    assert loss.of().shape == (5, 2)
    assert loss.rise(IDENTITY) == (0, 0, 0)
    mean, low, high = loss.rise(SKIP)  # pictures of two steps are hardly pictures
    assert 0 < low < mean < high, "a sure rise"
    studio.pipe.scheduler = DDIMScheduler()
    another = Loss(Studio(model, PROMPTS, [0], tmp_path / "out", judges={}, pipe=studio.pipe))
    assert another.why_not == "DDIMScheduler is no Euler flow-matching scheduler"
    with pytest.raises(InputError, match="no denoising loss: DDIMScheduler"):
        another.of()
