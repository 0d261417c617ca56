"""The plan: counted before anything is loaded, and what makes a study impossible is said before it starts."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import diffusers
import pytest
import torch
from huggingface_hub import errors
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from toy_hub import answered
from toy_pipelines import TOYS, toy_pipeline

from originals import machine
from originals.skeleton import parameters
from painters_utils import Model, load_pipeline
from painters_utils.errors import InputError
from painters_utils.models.quick import FLOP
from workflow import plan, run
from workflow.config import load_study
from workflow.flop import count_flop

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(autouse=True)
def measured_rate(monkeypatch, request):
    """A machine of a known speed, but for the test that measures it."""
    if "measured" not in request.node.name:
        monkeypatch.setattr(plan, "measure_rate", lambda device, dtype: 1e12)


@pytest.fixture
def never_loaded(monkeypatch):
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda *_, **__: pytest.fail("it was loaded"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_originals_get_the_articles_words_and_their_own_steps(tmp_path):
    study = load_study(out=tmp_path, models=["sd3-mini", "flux-schnell"])
    mini, original = study.models
    assert study.prompts_of(mini) == study.settings.prompts
    assert "Anakin AI" in study.prompts_of(original)[0] and len(study.prompts_of(original)) == 6
    assert (mini.steps, original.steps) == (Model.named("sd3-mini").steps, 4)
    assert "02_checker" in study.notebooks_of(mini) and "02_checker" not in study.notebooks_of(original)
    given = study.parameters(original, "05_skip")
    assert given["steps"] == 4 and given["prompts"] == study.prompts_of(original)
    [closing] = study.closing
    shared = study.parameters(None, closing)
    assert study.for_all(lambda model: model.steps) == {"sd3-mini": mini.steps, "flux-schnell": 4}
    assert set(shared["prompts"]) == {"sd3-mini", "flux-schnell"}
    assert load_study(study.profile, **json.loads(study.as_json())) == study
    for others in ({"prompts": "whichever"}, {"prompts": [""]}, {"steps": 0}, {"words": []}):
        with pytest.raises(InputError):
            load_study(out=tmp_path, others=others)
    for how in ({"dtype": "int4"}, {"batch": 0}, {"gpu": 1}):
        with pytest.raises(InputError):
            load_study(out=tmp_path, loading=how)


def test_a_plan_counts_before_anything_is_loaded(ovis, tmp_path, never_loaded, capsys):
    with pytest.raises(SystemExit) as stop:
        plan.main(["--models", ovis, "--profile", "smoke", "--out", str(tmp_path), "--seeds", "2", "--steps", "3"])
    assert not stop.value.code
    said = capsys.readouterr().out
    study = load_study("smoke", out=tmp_path, models=[ovis], seeds=2, others={"steps": 3})
    [model] = study.models
    others = [name for name in study.notebooks_of(model) if name != "08_random_order"]
    orders = len({str(variant.run) for name in others for variant in study.variants_of(model, name)})
    draws = len({str(variant.run) for variant in study.variants_of(model, "08_random_order")})
    pictures = (orders + 1) * 6 * 2 + (draws + 1) * 6 + 4 * 6 + 3 * 6  # of the many random orders one seed
    errors = plan.error_passes(study.notebooks_of(model), model) * 6 * 2
    assert errors > 0 and model.steps == 3
    assert f"about {pictures:,} pictures: {orders} orders and the untouched model × 6 prompts × 2 seeds" in said
    assert f"about {pictures * 3 * 2 + errors:,} through the transformer" in said and "guidance counted twice" in said
    for text in ("GiB are free", "of the 1.00 TFLOP/s", "transformer_blocks 4, single_transformer_blocks 4"):
        assert text in said
    assert "download" not in said, "a folder is here already"


def test_a_study_paints_as_many_orders_as_its_plan_counts(tmp_path):
    study = load_study("smoke", out=tmp_path, models=["sd3-mini"])
    [model] = study.models
    orders = [variant for name in ("05_skip", "12_layer_by_layer") for variant in study.variants_of(model, name)]
    alone = {str(variant.order) for variant in orders if len(variant.order) == 23}
    assert len(alone) == 24, "every layer once"
    assert {"skip 13–14", "skip 20–21"} <= {variant.name for variant in orders}, "the article's"
    assert sum(variant.preset == "matched" for variant in orders) == 2
    assert plan.error_passes(["12_layer_by_layer"], model) == 24 + 23 + 2 * model.steps + 1
    assert plan.error_passes(["05_skip"], model) == 0
    said = str(plan.Plan(study, model))
    assert "GiB" not in said and "pictures" in said, "a mini fits everywhere"
    assert "× 16 prompts × 1 seeds" in str(plan.Plan(load_study("smoke", out=tmp_path, suite=14), model))


def test_layers_that_a_search_has_scored_are_not_counted_again(tmp_path):
    def pictures(**changes):
        study = load_study(out=tmp_path, models=["sd3-mini"], notebooks=["12_layer_by_layer"], **changes)
        return int(re.search(r"about ([\d,]+) pictures", str(plan.Plan(study, study.models[0])))[1].replace(",", ""))

    recorded = 3 * 6
    assert pictures() == 20 * 2 + 25 * 6 + recorded, "the untouched model, and what is shown of it and of 24 orders"
    anew = {"12_layer_by_layer": {"anew": True}}
    assert pictures(options=anew) == pictures(steps=4) == 25 * 20 * 2 + recorded


# Those whose pipelines take zeros for a text; of the others the work is estimated.
COUNTED = ("flux", "sd3", "auraflow", "chroma", "cogview4", "qwen_image", "z_image", "flux2_klein", "ovis")


@pytest.mark.parametrize(
    "name", [name if name in ("sd3", "lumina2") else pytest.param(name, marks=pytest.mark.slow) for name in TOYS]
)
def test_the_work_of_a_pass_is_counted_or_estimated(name, tmp_path):
    toy_pipeline(name).save_pretrained(tmp_path)
    model = Model.named(str(tmp_path))
    size = {"height": 64, "width": 64}
    model = replace(model, call=dict(model.call) | size | {"max_sequence_length": 8})
    if name not in COUNTED:
        estimated = 2 * parameters(model.source)["transformer"] * (4 * 4 + 8)
        assert plan.work_of_pass(model) == estimated
        return
    counted = count_flop(model.source, 8, **size)
    assert plan.work_of_pass(model) == counted
    assert 1.5 < count_flop(model.source, 8, height=128, width=128) / counted < 20, "four times the picture's tokens"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "text"), [("flux-mini", 24), ("sd3-mini", 24 + 24), ("auraflow-mini", 24)])
def test_the_work_that_is_counted_is_the_work_that_is_done(name, text):
    """Against the same pass with weights and a real prompt."""
    model = Model.named(name, steps=1)
    pipe = load_pipeline(model)
    call = dict(model.call) | {key: 0.0 for key in ("guidance_scale",) if key in model.call}
    done = FlopCounterMode(display=False, custom_mapping=FLOP)
    hooks = [
        pipe.transformer.register_forward_pre_hook(lambda *_: done.__enter__() and None),
        pipe.transformer.register_forward_hook(lambda *_: done.__exit__(None, None, None)),
    ]
    with sdpa_kernel(SDPBackend.MATH):  # the CPU's own attention is not counted
        pipe("a red dog on a white background", output_type="latent", **call)
    for hook in hooks:
        hook.remove()
    size = {key: model.call[key] for key in ("height", "width") if key in model.call}
    assert count_flop(model.source, text, **size) == pytest.approx(done.get_total_flops(), rel=0.01)


def test_a_model_that_does_not_fit_is_not_started(ovis, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "snakemake_command", lambda *_: pytest.fail("the study was started"))
    for module in (machine, plan):
        monkeypatch.setattr(module, "memory_free", lambda _: 1e-6)
    with pytest.raises(SystemExit, match="error: .* GiB of memory, .* are free"):
        run.main(["--models", ovis, "--out", str(tmp_path)])


def test_a_download_that_does_not_fit_and_a_gated_model_are_said(tmp_path, monkeypatch):
    study = load_study(out=tmp_path, models=["flux-schnell"])
    [model] = study.models
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    monkeypatch.setattr(plan, "missing_gib", lambda _: 31.0)
    monkeypatch.setattr(plan, "is_here", lambda *_: False)
    for step in ("check", "add_work", "add_memory"):
        monkeypatch.setattr(plan.Plan, step, lambda _: None)
    made = plan.Plan(study, model)
    assert ["31 GiB do not fit on the disk, 1 GiB are free" in error for error in made.errors] == [True]
    assert "HF_HOME" in made.errors[0]
    assert "gated: sign in at https://huggingface.co/black-forest-labs/FLUX.1-schnell" in str(made)


def test_the_plan_goes_on_after_an_error(online, tmp_path):
    online["error"] = answered(errors.GatedRepoError, 403)
    study = load_study(out=tmp_path, models=["flux-schnell"])
    made = plan.Plan(study, study.models[0], elsewhere=True)
    assert len(made.errors) == 1 and "gated" in made.errors[0]
    assert any("pictures" in line for line in made.lines) and any("about 31.0 GiB" in line for line in made.lines)


def test_the_study_refuses_layers_that_cannot_move(tmp_path):
    toy_pipeline("chroma").save_pretrained(tmp_path / "chroma")
    study = load_study("smoke", out=tmp_path / "out", models=[str(tmp_path / "chroma")])
    assert "can be left out but not moved" in plan.Plan(study, study.models[0]).errors[0]


@pytest.mark.slow
def test_the_speed_of_a_machine_is_measured():
    assert 1e8 < plan.measure_rate("cpu", torch.float32) < 1e15


def test_times_are_said_in_words():
    assert [plan.in_words(s) for s in (12, 200, 7200 * 1.25, 86400 * 12)] == [
        "12 seconds", "3.3 minutes", "2.5 hours", "12 days",
    ]  # fmt: skip
