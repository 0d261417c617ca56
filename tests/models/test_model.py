"""A model is one value: looked up once by its name, and all that is asked of it afterwards follows from that."""

import os
import shutil
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from painters_utils import Model
from painters_utils.errors import InputError
from painters_utils.models.model import model_table
from painters_utils.paths import DATA, ROOT

ARTICLE = {  # steps, guidance, height, width and depths of the originals, as the article has them
    "flux-schnell": (4, 0.0, 768, 1360, [19, 38]), "sd3-medium": (28, 5.0, 768, 1360, [24]),
    "auraflow": (50, 3.5, 1024, 1024, [4, 32]),
}  # fmt: skip
MINIS = ("flux-mini", "sd3-mini", "auraflow-mini")
pytestmark = pytest.mark.usefixtures("offline")


@pytest.mark.parametrize("name", ARTICLE)
def test_the_originals_have_the_articles_settings(name):
    model = Model.named(name)
    call = [model.call[key] for key in ("num_inference_steps", "guidance_scale", "height", "width")]
    assert (*call, list(model.depths.values())) == ARTICLE[name]
    assert (model.loading.dtype, model.loading.batch, model.mini) == ("bfloat16", 1, False)


@pytest.mark.parametrize("name", MINIS)
def test_the_minis_are_those_of_the_table(name):
    model, row = Model.named(name), model_table()[name]
    assert (model.name, model.title, model.key, model.mini) == (name, row["title"], name, True)
    assert dict(model.call) == row["call"] and dict(model.depths) == row["depths"]
    assert model.steps == row["call"]["num_inference_steps"]
    assert model.loading.dtype == "float32", "so that pictures are the same on every processor"
    assert model.folder == ROOT / row["path"]
    original = next(one for one in map(Model.named, ARTICLE) if one.family == model.family)
    assert dict(original.depths) == dict(model.depths)


def test_what_is_told_goes_before_the_table_and_none_leaves_it():
    model = Model.named("flux-mini")
    assert Model.named("flux-mini", steps=None, dtype=None, batch=None) == model == Model.named(model)
    other = Model.named(model, steps=3, dtype="bfloat16", batch=2)
    assert other == Model.named("flux-mini", steps=3, dtype="bfloat16", batch=2)
    assert (other.steps, other.loading.dtype, other.loading.batch) == (3, "bfloat16", 2)
    assert other.call == dict(model.call) | {"num_inference_steps": 3}
    assert model.steps != 3, "a change is another value"
    with pytest.raises(FrozenInstanceError):
        model.name = "another"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "num_inference_steps is 0"),
        ({"steps": -4}, "num_inference_steps is -4"),
        ({"steps": 1.5}, "num_inference_steps is 1.5"),
        ({"steps": True}, "num_inference_steps is True"),
        ({"gpu": 1}, "unknown setting 'gpu': .*quantize"),
        ({"dtyp": "float16"}, "unknown setting 'dtyp': .*dtype"),
        ({"dtype": "bf16"}, "dtype 'bf16'"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Model.named("flux-mini", **changes)


def test_a_model_can_be_any_repository(ovis, online):
    online |= {file: Path(ovis) / file for file in ("model_index.json", "transformer/config.json")}
    model = Model.named("someone/model@refs/pr/3")
    assert (model.title, model.key, model.source.revision) == ("model", "someone--model@refs--pr--3", "refs/pr/3")
    assert dict(model.depths) == {"transformer_blocks": 4, "single_transformer_blocks": 4}
    assert (model.mini, model.family, model.loading.dtype) == (False, "", "bfloat16")
    assert Model.named("someone/model").source.revision == "main"


def test_a_model_can_be_a_revision_of_a_known_one():
    source = Model.named("auraflow@abc").source
    assert (source.revision, Model.named("auraflow@abc").family) == ("abc", "auraflow")
    assert Model.named("auraflow@refs/pr/3").key == "auraflow@refs--pr--3"
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert Model.named(f"auraflow@{commit}").weights == f"{source.repo}@{commit}"


@pytest.mark.parametrize("name", ["flux-schnel", "../escape", "a/b/c", "flux-mini@main", "flux mini"])
def test_an_unknown_name_is_answered_with_the_known(name):
    with pytest.raises(InputError, match="unknown model .*mini"):
        Model.named(name)


def test_folders_of_one_name_stay_apart(ovis, tmp_path):
    for folder in ("a/model", "b/model"):
        shutil.copytree(ovis, tmp_path / folder)
    a, b = (Model.named(str(tmp_path / folder)) for folder in ("a/model", "b/model"))
    assert a.title == b.title == "model"
    assert a.key != b.key and a.key.startswith("model-") and b.key.startswith("model-")
    assert (a.mini, a.family) == (False, "")
    with pytest.raises(InputError, match="holds no model_index.json"):
        Model.named(str(tmp_path / "a"))


def test_other_weights_are_another_fingerprint(ovis, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(ovis, folder)
    model = Model.named(str(folder))
    before = model.weights
    assert Model.named(str(folder), steps=2).weights == before == Model.named(ovis).weights
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert model.weights != before, "one bit of them"


def in_python(code: str, **environment: object) -> str:
    """What a new Python prints."""
    given = os.environ | {name: str(value) for name, value in environment.items()}
    done = subprocess.run([sys.executable, "-c", code], env=given, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_installed_package_finds_its_checkout_or_says_so(tmp_path):
    """As after `pip install .`: the packages alone, elsewhere, without data."""
    for package in ("painters_utils", "originals"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
from painters_utils.models.model import Model
try:
    print(Model.named("sd3-mini").folder)
except ValueError as error:
    print(type(error).__name__, error)
"""
    said = in_python(code, PYTHONPATH=tmp_path, PAINTERS_HOME="")
    assert said.startswith("InputError") and str(tmp_path) in said and "PAINTERS_HOME" in said
    assert in_python(code, PYTHONPATH=tmp_path, PAINTERS_HOME=ROOT) == str(DATA / "models/sd3-mini")
    shutil.copytree(DATA, tmp_path / "home/data", ignore=lambda *_: ["models", "cards", "sprites", "checker"])
    said = in_python(code, PYTHONPATH=tmp_path, PAINTERS_HOME=tmp_path / "home")
    assert "no weights of 'sd3-mini'" in said and "make minis" in said and "PAINTERS_HOME" in said
