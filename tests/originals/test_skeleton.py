"""What is known of a model without its weights, and what cannot be studied, with the reason."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
from toy_pipelines import joint, vae

from originals.hub import Source
from originals.skeleton import default_call, parameters
from painters_utils import Model, load_pipeline
from painters_utils.errors import InputError

pytestmark = pytest.mark.usefixtures("offline")


def pipeline_folder(tmp_path, index: dict, **configs: dict) -> str:
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    for part, config in configs.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


FLUX_INDEX = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
QWEN_INDEX = {"_class_name": "QwenImagePipeline", "transformer": ["diffusers", "QwenImageTransformer2DModel"]}
SMALL = joint(pooled_projection_dim=16, axes_dims_rope=(2, 2, 4))


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
    short = diffusers.FluxTransformer2DModel(**SMALL | {"num_layers": 3})
    folder = pipeline_folder(tmp_path, FLUX_INDEX, transformer=dict(short.config))
    assert Model.named(folder).depths == {"single_transformer_blocks": 4}


def test_a_flux_of_full_size_is_counted_without_its_weights(tmp_path):
    with torch.device("meta"):
        config = dict(diffusers.FluxTransformer2DModel().config)
    folder = pipeline_folder(
        tmp_path, FLUX_INDEX | {"vae": ["diffusers", "AutoencoderKL"]}, transformer=config, vae=dict(vae().config)
    )
    assert round(parameters(Source(folder=Path(folder)))["transformer"] / 1e9, 1) == 11.9
    assert Model.named(folder).depths == Model.named("flux-schnell").depths


def test_a_call_is_as_the_pipeline_has_it(tmp_path):
    folder = pipeline_folder(tmp_path, FLUX_INDEX, transformer=dict(diffusers.FluxTransformer2DModel(**SMALL).config))
    call = default_call(Source(folder=Path(folder)))
    assert call == {"num_inference_steps": 28, "guidance_scale": 3.5, "true_cfg_scale": 1.0}
    assert Model.named(folder, steps=3).call == call | {"num_inference_steps": 3}
    (tmp_path / "model_index.json").write_text(json.dumps(QWEN_INDEX))
    assert default_call(Source(folder=Path(folder)))["negative_prompt"] == " ", "or it would not guide"
