"""Models that are no minis, offline: names, loading, painting, orders and recordings on whole toy pipelines of many
families; every error of the model hub; what is refused; and the plan."""

import errno
import json
from types import SimpleNamespace

import diffusers
import httpx2
import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import errors
from toy_pipelines import TOYS, joint, toy_pipeline, vae

from painters_utils import find_stacks, layer_order, load_pipeline, record_activations
from painters_utils.models import catalog
from originals import hub
from originals import machine
from workflow import plan
from workflow import run
from painters_utils.models.catalog import call_settings, fingerprint, folder_name, loading, model_depths, model_row
from workflow.config import load_study
from painters_utils.errors import InputError
from painters_utils.models.pipelines import paint
from painters_utils.study.results import streams_by_stack
from originals.skeleton import check_supported, parameters
from painters_utils.study.studio import Studio
from painters_utils.study.variants import Variant

PROMPTS = ["a red dog on a white background", "two blue cars on a black background"]
REPO, COMMIT = "someone/model", "0123456789abcdef0123456789abcdef01234567"
SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz"
MORE = {  # what a toy of this size needs beside the pipeline's own settings
    "pixart": {"use_resolution_binning": False}, "sana": {"use_resolution_binning": False},
    "flux2_klein": {"text_encoder_out_layers": (0, 1, 2)},
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network: what asks for it fails the test. The cache is an empty folder."""

    def asked(*_, **__):
        pytest.fail("the network was asked")

    monkeypatch.setattr(huggingface_hub, "get_session", asked)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", asked)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", SECRET)


@pytest.fixture
def online(monkeypatch):
    """A hub that answers: what it gives for a file, or raises, is set by the test."""
    answers = {}

    def download(repo, file, revision):
        answer = answers.get("error") or answers.get(file) or RuntimeError(f"no answer for {file}")
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "get_session", lambda: SimpleNamespace(head=lambda *_, **__: None))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return answers


def pixels(pictures) -> np.ndarray:
    return np.stack([np.asarray(picture.image) for picture in pictures]).astype(int)


# -- whole pipelines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOYS)
def test_any_pipeline_is_loaded_painted_reordered_and_recorded(name, tmp_path):
    toy_pipeline(name).save_pretrained(tmp_path)
    folder = str(tmp_path)
    check_supported(folder)
    pipe = load_pipeline(folder, dtype="float32")
    assert type(pipe).__module__.startswith("diffusers.")
    stacks = find_stacks(pipe.transformer)
    assert model_depths(folder) == {stack: len(blocks) for stack, blocks in stacks.items()}
    assert parameters(folder)["transformer"] == sum(p.numel() for p in pipe.transformer.parameters())
    call = call_settings(folder, num_inference_steps=2, height=32, width=32) | MORE.get(name, {})

    with record_activations(pipe.transformer, guided=None) as recording:
        untouched = paint(pipe, PROMPTS, [0], batch=2, **call)
    assert len(untouched) == 2 and all(picture.finite for picture in untouched)
    assert np.abs(pixels(untouched)[0] - pixels(untouched)[1]).max() > 10, "other prompts, other pictures"
    assert len(recording.timesteps) == 2 and recording.finite
    noisiest = np.diff(recording.timesteps)[0] < 0
    assert noisiest != recording.rising == (name in ("lumina2", "z_image")), "those count up"
    assert set(streams_by_stack(recording)) == set(stacks)
    for stack, stream in streams_by_stack(recording).items():
        assert recording.per_picture(stream, stack=stack).shape == (2, len(stacks[stack]), len(stacks[stack]))

    stack, blocks = list(stacks.items())[-1]
    with layer_order(pipe.transformer, {stack: list(range(len(blocks)))}):
        assert np.array_equal(pixels(paint(pipe, PROMPTS, [0], batch=2, **call)), pixels(untouched))
    with layer_order(pipe.transformer, {stack: [0, 3]}):
        assert not np.array_equal(pixels(paint(pipe, PROMPTS, [0], batch=2, **call)), pixels(untouched))


@pytest.fixture(scope="module")
def ovis(tmp_path_factory):
    """The folder of a toy that guides by a second pass of its transformer."""
    folder = tmp_path_factory.mktemp("ovis")
    toy_pipeline("ovis").save_pretrained(folder)
    return str(folder)


def test_of_two_passes_a_step_the_one_with_the_prompt_is_recorded(ovis):
    pipe = load_pipeline(ovis, dtype="float32")
    call = dict(num_inference_steps=2, height=32, width=32)
    found = {}
    for scale in (1.0, 5.0):
        passes = []
        hook = pipe.transformer.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        with record_activations(pipe.transformer, averages=("after", "timesteps")) as recording:
            paint(pipe, PROMPTS[:1], [0], guidance_scale=scale, **call)
        hook.remove()
        assert len(passes) == (2 if scale == 1 else 4)
        assert not recording.guided
        found[scale] = recording.per_timestep("image")
        assert recording.per_picture("image").shape[0] == 1
    np.testing.assert_allclose(found[1.0][0], found[5.0][0], atol=1e-6)  # the first step, from the same noise


def test_some_steps_only_are_steps_not_passes(ovis, tmp_path):
    studio = Studio(ovis, PROMPTS, [0], tmp_path, steps=2, dtype=torch.float32)
    studio.call |= dict(height=32, width=32)
    assert studio.passes == 2
    stack = next(iter(studio.depths))
    order = [0, 3]

    def painted(steps, of=None):
        with layer_order(studio.pipe.transformer, {stack: order}, steps=steps, of=of):
            return pixels(paint(studio.pipe, PROMPTS, [0], **studio.call))

    variant = Variant("late", stack, order, 4, "skip", steps=[1, 1])
    assert np.array_equal(pixels(studio.pictures(variant)), painted([2, 3], 4))
    assert not np.array_equal(pixels(studio.pictures(variant)), painted([1, 1], 2))


def test_fewer_tokens_can_be_recorded(ovis):
    pipe = load_pipeline(ovis, dtype="float32")
    call = dict(num_inference_steps=1, height=32, width=32, guidance_scale=1.0)
    means = []
    for most in (None, 1000, 16):
        with record_activations(pipe.transformer, most_tokens=most) as recording:
            paint(pipe, PROMPTS[:1], [0], **call)
        means.append(recording.similarity("image"))
    assert np.array_equal(means[0], means[1])
    assert not np.array_equal(means[0], means[2])
    np.testing.assert_allclose(means[0], means[2], atol=0.1)


def test_settings_that_a_pipeline_does_not_know_are_named(ovis):
    pipe = load_pipeline(ovis)
    with pytest.raises(InputError, match="unknown setting of OvisImagePipeline 'true_cfg_scale': choose one of"):
        paint(pipe, PROMPTS, [0], true_cfg_scale=4.0)


# -- names --------------------------------------------------------------------------------------------------


def test_the_originals_have_the_articles_settings():
    expected = {
        "flux-schnell": (4, 0.0, 768, 1360, [19, 38]), "sd3-medium": (28, 5.0, 768, 1360, [24]),
        "auraflow": (50, 3.5, 1024, 1024, [4, 32]),
    }  # fmt: skip
    for name, (steps, guidance, height, width, depths) in expected.items():
        call = call_settings(name)
        assert (call["num_inference_steps"], call["guidance_scale"], call["height"], call["width"]) == (
            steps, guidance, height, width,
        )  # fmt: skip
        assert list(model_depths(name).values()) == depths
        assert loading(name)["dtype"] == "bfloat16"


def test_a_model_can_be_a_repository_a_revision_of_it_or_a_folder(tmp_path):
    assert model_row("owner/name") == {
        "title": "name", "repo": "owner/name", "revision": "main", "mini": False, "call": {},
    }  # fmt: skip
    assert model_row("owner/name@refs/pr/3")["revision"] == "refs/pr/3"
    assert model_row("auraflow@abc")["revision"] == "abc" and model_row("auraflow@abc")["family"] == "auraflow"
    assert folder_name("flux-schnell") == "flux-schnell"
    assert folder_name("owner/name@refs/pr/3") == "owner--name@refs--pr--3"
    for folder in ("a/model", "b/model"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model_index.json").write_text("{}")
    names = {folder_name(str(tmp_path / folder)) for folder in ("a/model", "b/model")}
    assert len(names) == 2 and all(name.startswith("model-") for name in names)
    with pytest.raises(InputError, match="holds no model_index.json"):
        model_row(str(tmp_path / "a"))
    for name in ("flux-schnel", "../escape", "a/b/c", "flux-mini@main"):
        with pytest.raises(InputError, match="unknown model"):
            model_row(name)


def test_the_commit_that_was_downloaded_first_stays(tmp_path):
    cache = tmp_path / "hub/models--someone--model"
    (cache / "snapshots" / COMMIT).mkdir(parents=True)
    (cache / "snapshots" / COMMIT / "model_index.json").write_text("{}")
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(COMMIT)
    assert fingerprint(REPO) == f"{REPO}@{COMMIT}"
    assert fingerprint(f"{REPO}@{COMMIT[::-1]}") == f"{REPO}@{COMMIT[::-1]}", "a commit needs no looking up"


def test_a_revision_that_cannot_be_looked_up_stands_for_itself(online):
    online["error"] = httpx2.ConnectError("Name or service not known")
    assert fingerprint(REPO) == f"{REPO}@main"


# -- the model hub's errors ---------------------------------------------------------------------------------


def answered(error: type, status: int) -> Exception:
    request = httpx2.Request("GET", "https://huggingface.co", headers={"authorization": f"Bearer {SECRET}"})
    return error(f"{status} for a request with {SECRET}", response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (answered(errors.GatedRepoError, 403), r"is gated: sign in at .*/someone/model and accept .*hf auth"),
        (answered(errors.RepositoryNotFoundError, 401), r"there is no repository someone/model .* or it is private"),
        (answered(errors.RevisionNotFoundError, 404), r"has no revision 'main': see .*/commits"),
        (answered(errors.RemoteEntryNotFoundError, 404), r"is no diffusers pipeline \(no model_index.json\)"),
        (answered(errors.HfHubHTTPError, 401), r"refused someone/model \(401\): run `hf auth login`"),
        (answered(errors.HfHubHTTPError, 403), r"refused someone/model \(403\)"),
        (answered(errors.HfHubHTTPError, 503), r"answered 503 for someone/model: try again later"),
        (errors.LocalEntryNotFoundError("not in the cache"), r"cannot be reached: connect to the network"),
        (errors.OfflineModeIsEnabled("offline"), r"cannot be reached: .*unset HF_HUB_OFFLINE"),
        (httpx2.ConnectError("Name or service not known"), r"cannot be reached"),
        (OSError(errno.ENOSPC, "No space left on device"), r"the disk is full: .*set HF_HOME"),
    ],
)  # fmt: skip
def test_the_hubs_errors_say_what_to_do(online, error, message):
    for raised in (error, wrapped(error)):
        online["error"] = raised
        with pytest.raises(InputError, match=message) as found:
            load_pipeline(REPO)
        text = str(found.value)
        assert "\n" not in text and SECRET not in text
        assert found.value.__cause__ is None and found.value.__suppress_context__, "no request is printed with it"


def wrapped(error: Exception) -> Exception:
    """As libraries do: another error, raised from the first."""
    try:
        raise OSError("could not load the model") from error
    except OSError as outer:
        return outer


def test_a_download_is_said_by_the_hub_or_by_the_table(online, monkeypatch, tmp_path):
    row = model_row("flux-schnell")
    online["error"] = httpx2.ConnectError("no network")
    assert hub.download(row) == (row["download"], "as data/models.yaml says")
    assert hub.download(model_row(REPO))[0] is None
    del online["error"]
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"transformer": ["diffusers", "FluxTransformer2DModel"]}))
    online["model_index.json"] = index
    names = ("flux.safetensors", "transformer/a-00001-of-00002.safetensors", "transformer/a.fp16.safetensors",
             "transformer/a.bin", "other/a.safetensors")  # fmt: skip
    listed = [SimpleNamespace(rfilename=name, size=3 * 2**30) for name in names]
    monkeypatch.setattr(
        huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: SimpleNamespace(siblings=listed))
    )
    assert hub.download(row) == (3.0, "as the model hub lists it"), "safetensors of the pipeline's parts, no variants"


# -- what is refused ----------------------------------------------------------------------------------------


def pipeline_folder(tmp_path, index: dict, **configs: dict) -> str:
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    for part, config in configs.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


FLUX_INDEX = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}


UNSUPPORTED = {
    r"with a U-Net \(UNet2DConditionModel\)": {
        "_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
    },
    "makes videos": {"_class_name": "WanPipeline", "transformer": ["diffusers", "WanTransformer3DModel"]},
    "makes no pictures": {"_class_name": "StableAudioPipeline", "transformer": ["diffusers", "StableAudioDiTModel"]},
    "has no transformer, only decoder": {
        "_class_name": "StableCascadeDecoderPipeline", "decoder": ["diffusers", "StableCascadeUNet"],
    },
    "has a transformer_2 .* beside its transformer": {"transformer_2": ["diffusers", "FluxTransformer2DModel"]},
    "has a controlnet": {"controlnet": ["diffusers", "FluxControlNetModel"]},
    "code that comes with a model is not run": {"_class_name": ["my_pipeline", "MyPipeline"]},
    "is a NobodysPipeline, which diffusers .* does not have": {"_class_name": "NobodysPipeline"},
    "my_transformer.MyTransformer, no class of diffusers": {"transformer": ["my_transformer", "MyTransformer"]},
    "text_encoder .* is os.system, no class of diffusers": {"text_encoder": ["os", "system"]},
}  # fmt: skip


@pytest.mark.parametrize(("message", "index"), UNSUPPORTED.items())
def test_what_cannot_be_studied_is_refused_with_the_reason(tmp_path, index, message):
    folder = pipeline_folder(tmp_path, index if len(index) > 1 else FLUX_INDEX | index)
    with pytest.raises(InputError, match=message) as error:
        load_pipeline(folder)
    assert "\n" not in str(error.value)


def test_a_transformer_without_a_stack_is_refused_naming_what_was_found(tmp_path, monkeypatch):
    config = dict(diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).config)
    monkeypatch.setattr(diffusers, "FluxTransformer2DModel", diffusers.AutoencoderKL)
    folder = pipeline_folder(tmp_path, FLUX_INDEX, transformer=config)
    with pytest.raises(InputError, match=r"has no list of blocks .* \(found: encoder \(Encoder\), decoder"):
        load_pipeline(folder)


def test_stacks_too_short_to_study_are_left_out(tmp_path):
    sizes = joint(pooled_projection_dim=16, axes_dims_rope=(2, 2, 4))
    short = diffusers.FluxTransformer2DModel(**sizes | {"num_layers": 3})
    folder = pipeline_folder(tmp_path, FLUX_INDEX, transformer=dict(short.config))
    assert model_depths(folder) == {"single_transformer_blocks": 4}


def test_pickled_weights_are_not_read(tmp_path):
    pipe = toy_pipeline("flux")
    pipe.save_pretrained(tmp_path)
    weights = tmp_path / "transformer/diffusion_pytorch_model.safetensors"
    torch.save(pipe.transformer.state_dict(), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(InputError, match="cannot be loaded .*safetensors files are needed"):
        load_pipeline(str(tmp_path))


def test_the_study_refuses_layers_that_cannot_move(tmp_path):
    toy_pipeline("chroma").save_pretrained(tmp_path / "chroma")
    study = load_study("smoke", out=tmp_path / "out", models=[str(tmp_path / "chroma")])
    assert "can be left out but not moved" in plan.make_plan(study, study.models[0]).errors[0]


# -- how it is loaded ---------------------------------------------------------------------------------------


def test_the_call_goes_before_the_study_and_that_before_the_table(monkeypatch):
    assert loading("flux-mini") == dict.fromkeys(catalog.LOADING), "a mini is loaded as it always was"
    assert loading("flux-schnell") == dict(dtype="bfloat16", device=None, offload=None, quantize=None, batch=1)
    monkeypatch.setenv(catalog.STUDY_LOADING, json.dumps({"offload": "model", "dtype": "float16", "batch": None}))
    assert loading("flux-schnell")["offload"] == "model"
    assert loading("flux-schnell")["dtype"] == "float16"
    assert loading("flux-schnell", offload="none", dtype="float32") == dict(
        dtype="float32", device=None, offload=None, quantize=None, batch=1
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"dtype": "bf16"}, "unknown dtype 'bf16': choose one of bfloat16"),
        ({"offload": "disk"}, "unknown offload 'disk'"),
        ({"quantize": "2bit"}, "unknown quantize '2bit': choose one of"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:1"}, "device 'cuda:1' is not here"),
        ({"offload": "model"}, "without a GPU leave it out"),
        ({"quantize": "4bit"}, "needs an NVIDIA GPU: choose int8"),
        ({"quantize": "int8"}, r"needs accelerate and torchao: install them with .*\[gpu\]"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_before_anything_is_loaded(how, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=message):
        load_pipeline(REPO, **how)


def test_what_quantisation_makes_smaller(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "parameters", lambda _: {"transformer": 12e9, "text_encoder_2": 5e9, "vae": 1e8})
    monkeypatch.setattr(machine, "find_spec", lambda _: object())
    how = dict(dtype="bfloat16", device="cuda", offload=None, quantize=None, batch=1)
    sizes = {q: machine.part_sizes("m", how | {"quantize": q}) for q in (None, "8bit", "4bit")}
    assert sizes[None]["transformer"] == pytest.approx(24e9 / 2**30)
    assert sizes[None]["transformer"] > 1.8 * sizes["8bit"]["transformer"] > 3 * sizes["4bit"]["transformer"]
    assert sizes[None]["vae"] == sizes["4bit"]["vae"], "small parts stay as they are"
    assert machine.resident(sizes[None], "model") == sizes[None]["transformer"]

    free = {"cpu": 100.0, "cuda": 23.6}
    monkeypatch.setattr(machine, "memory_free", free.__getitem__)
    with pytest.raises(InputError, match=r"needs about 32 GiB of the GPU, 24 GiB are free: try QUANTIZE=8bit or "):
        machine.require_memory("m", how)
    machine.require_memory("m", how | {"offload": "model"})
    free["cpu"] = 20.0
    with pytest.raises(InputError, match="needs about 32 GiB of memory, 20 GiB are free: try QUANTIZE=8bit"):
        machine.require_memory("m", how)
    free["cpu"] = 2.0
    with pytest.raises(InputError, match="close other programs, or choose a smaller model"):
        machine.require_memory("m", how | {"device": "cpu"})


def test_running_out_of_memory_after_all_says_what_to_change(ovis, monkeypatch):
    pipe = load_pipeline(ovis)

    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(type(pipe), "encode_prompt", out_of_memory)
    with pytest.raises(InputError, match="ran out of the GPU's memory: set batch to 1, offload"):
        paint(pipe, PROMPTS, [0])
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", out_of_memory)
    with pytest.raises(InputError, match="ran out of the GPU's memory"):
        load_pipeline(ovis)


# -- the study and its plan ---------------------------------------------------------------------------------


def test_originals_get_the_articles_words_and_their_own_steps(tmp_path):
    study = load_study(out=tmp_path, models=["flux-mini", "flux-schnell"])
    assert study.prompts_of("flux-mini") == study.prompts
    assert "Anakin AI" in study.prompts_of("flux-schnell")[0] and len(study.prompts_of("flux-schnell")) == 6
    assert (study.call("flux-mini")["num_inference_steps"], study.call("flux-schnell")["num_inference_steps"]) == (8, 4)
    assert "02_checker" not in study.notebooks_of("flux-schnell")
    given = study.parameters("flux-schnell", "05_skip")
    assert given["steps"] is None and given["prompts"] == study.prompts_of("flux-schnell")
    shared = study.parameters(None, study.summary)
    assert shared["steps"] == {"flux-mini": 8, "flux-schnell": None} and set(shared["prompts"]) == set(study.models)
    again = load_study(study.profile, **json.loads(study.settings()))
    assert again == study
    for others in ({"prompts": "whichever"}, {"prompts": [""]}, {"steps": 0}, {"words": []}):
        with pytest.raises(InputError):
            load_study(out=tmp_path, others=others)
    for how in ({"dtype": "int4"}, {"batch": 0}, {"gpu": 1}):
        with pytest.raises(InputError):
            load_study(out=tmp_path, loading=how)


def test_a_plan_counts_before_anything_is_loaded(ovis, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda *_, **__: pytest.fail("it was loaded"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        plan.main(["--models", ovis, "--profile", "smoke", "--out", str(tmp_path), "--seeds", "2", "--steps", "3"])
    assert not stop.value.code
    said = capsys.readouterr().out
    study = load_study("smoke", out=tmp_path, models=[ovis], seeds=2, others={"steps": 3})
    orders = len(plan.variants_of(study.notebooks, ovis, 3))
    pictures = (orders + 1) * 6 * 2 + 4 * 6 + 3 * 6
    loss = plan.loss_passes(study.notebooks, model_depths(ovis), 2)
    assert f"about {pictures:,} pictures: {orders} orders and the untouched model × 6 prompts × 2 seeds" in said
    assert f"about {pictures * 3 * 2 + loss:,} through the transformer" in said and "guidance counted twice" in said
    for text in ("GiB are free", "of the 0.", "TFLOP/s", "transformer_blocks 4, single_transformer_blocks 4"):
        assert text in said
    assert "download" not in said, "a folder is here already"


def test_a_studio_paints_as_many_orders_as_its_plan_counts():
    orders = plan.variants_of(["05_skip", "12_layer_by_layer"], "sd3-mini", 8)
    skipped = [variant.order for variant in orders if variant.strategy == "skip" and len(variant.order) == 23]
    assert len(skipped) == 24, "every layer once"
    named = {variant.name for variant in orders}
    assert {"skip 13–14", "skip 20–21"} <= named, "the article's"
    assert sum(variant.preset == "matched" for variant in orders) == 2
    assert plan.loss_passes(["12_layer_by_layer"], {"blocks": 24}, 10) == (1 + 24 + 23) * 5 * 10


def test_a_study_that_cannot_be_is_not_started(ovis, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "snakemake", lambda *_: pytest.fail("the study was started"))
    monkeypatch.setattr(machine, "memory_free", lambda _: 1e-6)
    monkeypatch.setattr(plan, "memory_free", lambda _: 1e-6)
    with pytest.raises(SystemExit, match="error: .* GiB of memory, .* are free"):
        run.main(["--models", ovis, "--out", str(tmp_path)])
    monkeypatch.setattr(machine, "memory_free", lambda _: 1e6)
    monkeypatch.setattr(plan, "memory_free", lambda _: 1e6)
    monkeypatch.setattr(plan, "disk_free", lambda: 1.0)
    monkeypatch.setattr(plan, "download", lambda _: (31.0, "as the model hub lists it"))
    asked = plan.Plan("flux-schnell")
    plan.add_download(asked, "flux-schnell")
    assert "31 GiB do not fit on the disk, 1 GiB are free" in asked.errors[0]
    assert asked.warnings[0].startswith("gated: sign in at https://huggingface.co/black-forest-labs/FLUX.1-schnell")


def test_the_plan_goes_on_after_an_error(online, tmp_path, monkeypatch):
    online["error"] = answered(errors.GatedRepoError, 403)
    study = load_study(out=tmp_path, models=["flux-schnell"])
    made = plan.make_plan(study, "flux-schnell")
    assert len(made.errors) == 1 and "is gated" in made.errors[0]
    assert any("pictures" in line for line in made.lines) and any("about 31.0 GiB" in line for line in made.lines)


def test_a_flux_of_full_size_is_counted_without_its_weights(tmp_path):
    with torch.device("meta"):
        config = dict(diffusers.FluxTransformer2DModel().config)
    folder = pipeline_folder(
        tmp_path, FLUX_INDEX | {"vae": ["diffusers", "AutoencoderKL"]}, transformer=config, vae=dict(vae().config)
    )
    assert round(parameters(folder)["transformer"] / 1e9, 1) == 11.9
    assert model_depths(folder) == model_row("flux-schnell")["depths"]
