"""The shipped minis load as stock pipelines, and damaged weights are told so."""

import shutil

import pytest
from diffusers import AuraFlowPipeline, FluxPipeline, StableDiffusion3Pipeline

from painters_utils import Model, find_stacks, load_pipeline
from painters_utils.errors import InputError
from painters_utils.models import model as module
from painters_utils.paths import DATA


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pipeline", "limit"),
    [
        ("flux-mini", FluxPipeline, 26),
        ("sd3-mini", StableDiffusion3Pipeline, 14),
        ("auraflow-mini", AuraFlowPipeline, 14),
    ],
)
def test_the_shipped_minis_load_as_stock_pipelines_in_one_line(name, pipeline, limit):
    model = Model.named(name, steps=1)
    pipe = pipeline.from_pretrained(model.folder)
    assert pipe("a red dog on a white background", **model.call).images[0].size == (96, 96)
    assert {stack: len(blocks) for stack, blocks in find_stacks(pipe.transformer).items()} == model.depths
    files = [path for path in model.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".ckpt")], "weights are safetensors only"
    about = [path.read_text() for path in files if path.suffix == ".json"]
    assert not any("_name_or_path" in text for text in about), "no machine's paths"
    assert sum(path.stat().st_size for path in files) <= limit * 2**20


def test_all_weights_together_stay_small():
    files = [path for path in (DATA / "models").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 50 * 2**20


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of our own, with sd3-mini alone, whose weights may be damaged."""
    shutil.copytree(DATA / "models/sd3-mini", tmp_path / "data/models/sd3-mini")
    shutil.copy(DATA / "models.yaml", tmp_path / "data")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize("damage", ["cut short", "emptied", "missing", "without the VAE"])
def test_damaged_weights_are_refused_with_a_remedy(checkout, damage):
    weights = checkout / "data/models/sd3-mini/transformer/diffusion_pytorch_model.safetensors"
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "emptied":
        weights.write_bytes(b"")
    elif damage == "missing":
        weights.unlink()
    else:
        shutil.rmtree(checkout / "data/models/sd3-mini/vae")
    with pytest.raises(InputError, match="weights of 'sd3-mini' are damaged .* retrain"):
        load_pipeline("sd3-mini")


def test_weights_that_are_not_there_are_refused_with_a_remedy(checkout):
    shutil.rmtree(checkout / "data/models/sd3-mini")
    with pytest.raises(InputError, match="weights of 'sd3-mini' .*make minis.*PAINTERS_HOME"):
        load_pipeline("sd3-mini")
    with pytest.raises(InputError, match="unknown model 'sd3-mimi': .*sd3-mini"):
        load_pipeline("sd3-mimi")
