"""How a model is loaded: what can be chosen, what this machine cannot do, what it needs and what would do instead."""

from dataclasses import replace

import diffusers
import pytest
import torch

from originals import machine, skeleton
from originals.hub import Source
from originals.machine import CHOICES, Loading, gib_resident, part_sizes, require_memory
from painters_utils import Model, load_pipeline, paint
from painters_utils.errors import InputError

pytestmark = pytest.mark.usefixtures("offline")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"dtype": "bf16"}, "dtype 'bf16': .*bfloat16"),
        ({"offload": "disk"}, "offload 'disk': .*sequential"),
        ({"quantize": "2bit"}, "quantize '2bit': .*4bit"),
        ({"device": "gpu"}, "device 'gpu': .*cpu"),
        ({"device": "cuda:one"}, "device 'cuda:one'"),
        ({"batch": 0}, "batch is 0: .*above 0"),
        ({"batch": True}, "batch is True"),
    ],
)
def test_what_cannot_be_chosen_is_refused_when_it_is_said(how, message):
    with pytest.raises(InputError, match=message) as error:
        Loading(**how)
    assert "\n" not in str(error.value)


def test_none_leaves_it_to_the_machine():
    assert Loading(offload="none", quantize="none") == Loading()
    assert Loading(device="cuda:7").device == "cuda:7", "any GPU by its number"
    for key, choices in CHOICES.items():
        for choice in choices:
            assert getattr(Loading(**{key: choice}), key) == (None if choice == "none" else choice)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"device": "cuda"}, "device 'cuda' is not here: .*cpu"),
        ({"device": "cuda:1"}, "device 'cuda:1' is not here"),
        ({"device": "mps"}, "device 'mps' is not here"),
        ({"offload": "model"}, "offload 'model' .*GPU.* leave it out"),
        ({"quantize": "4bit"}, "quantize '4bit' needs an NVIDIA GPU: .*int8"),
        ({"quantize": "int8"}, r"quantize 'int8' needs torchao: .*gpu"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_before_anything_is_loaded(how, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(machine, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=message):
        load_pipeline("flux-schnell", **how)


def test_what_a_gpu_cannot_do_either(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(machine, "find_spec", lambda name: None if name == "bitsandbytes" else object())
    Loading(device="cuda:0", offload="model").check()
    for how, message in (
        ({"device": "cuda:1"}, "device 'cuda:1' .* 1 GPUs"),
        ({"offload": "sequential", "quantize": "int8"}, "sequential.* offload 'model'"),
        ({"quantize": "8bit"}, r"quantize '8bit' needs bitsandbytes: .*gpu"),
    ):
        with pytest.raises(InputError, match=message):
            Loading(**how).check()


def test_what_quantisation_makes_smaller(monkeypatch):
    monkeypatch.setattr(skeleton, "parameters", lambda _: {"transformer": 12e9, "text_encoder_2": 5e9, "vae": 1e8})
    monkeypatch.setattr(machine, "find_spec", lambda _: object())
    source, how = Source(repo="m"), Loading(dtype="bfloat16", device="cuda", batch=1)
    sizes = {q: part_sizes(source, replace(how, quantize=q)) for q in (None, "8bit", "4bit")}
    assert sizes[None]["transformer"] == pytest.approx(24e9 / 2**30)
    assert sizes[None]["transformer"] > 1.8 * sizes["8bit"]["transformer"] > 3 * sizes["4bit"]["transformer"]
    assert sizes[None]["vae"] == sizes["4bit"]["vae"], "small parts stay as they are"
    assert gib_resident(source, replace(how, offload="model")) == sizes[None]["transformer"]
    assert gib_resident(source, how) == pytest.approx(sum(sizes[None].values()))

    free = {"cpu": 100.0, "cuda": 23.6}
    monkeypatch.setattr(machine, "memory_free", free.__getitem__)
    with pytest.raises(InputError, match=r"32 GiB of the GPU, 24 GiB are free: try QUANTIZE=8bit or "):
        require_memory(source, how)
    require_memory(source, replace(how, offload="model"))
    free["cpu"] = 20.0
    with pytest.raises(InputError, match="32 GiB of memory, 20 GiB are free: try QUANTIZE=8bit"):
        require_memory(source, how)
    free["cpu"] = 2.0
    with pytest.raises(InputError, match="close other programs, or choose a smaller model"):
        require_memory(source, replace(how, device="cpu"))


def test_running_out_of_memory_after_all_says_what_to_change(ovis, monkeypatch):
    pipe = load_pipeline(ovis)

    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(type(pipe), "encode_prompt", out_of_memory)
    with pytest.raises(InputError, match="ran out of the GPU's memory: .*batch to 1, offload"):
        paint(pipe, ["a red dog on a white background"], [0])
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", out_of_memory)
    with pytest.raises(InputError, match="ran out of the GPU's memory"):
        load_pipeline(ovis)


def test_what_a_model_is_told_goes_before_the_table():
    assert Model.named("flux-mini").loading == Loading(dtype="float32", batch=40)
    schnell = Model.named("flux-schnell")
    assert schnell.loading == Loading(dtype="bfloat16", batch=1)
    changed = schnell.changed(offload="model", dtype="float16", batch=None)
    assert changed.loading == Loading(dtype="float16", offload="model", batch=1), "None leaves what is"
    assert changed.changed(offload="none").loading.offload is None
