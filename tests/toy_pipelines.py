"""Whole pipelines of many families, four layers deep and a few channels wide, with random weights.

After the components of diffusers' own tests (huggingface/diffusers, tests/pipelines, Apache 2.0); one tokenizer and,
where it fits, one VAE serve them all.
"""

from collections.abc import Callable

import diffusers as d
import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

WORDS, WIDTH, LAYERS = 260, 16, 4


def tokenizer() -> t.PreTrainedTokenizerFast:
    """One token a byte, so that it reads any text, and a chat's last message."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *letters])}
    made = Tokenizer(models.BPE(words, [], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return t.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=77,
        model_input_names=["input_ids", "attention_mask"], chat_template="{{ messages[-1]['content'] }}",
    )  # fmt: skip


def vae() -> d.AutoencoderKL:
    return d.AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, latent_channels=4, norm_num_groups=4,
        sample_size=32, use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.0, shift_factor=0.0,
    )  # fmt: skip


def t5(cls: type = t.T5EncoderModel, config: type = t.T5Config) -> nn.Module:
    return cls(config(vocab_size=WORDS, d_model=WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0))


def clip(cls: type = t.CLIPTextModel) -> nn.Module:
    return cls(
        t.CLIPTextConfig(
            vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=16, projection_dim=WIDTH, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=1,
        )
    )  # fmt: skip


def language_model(cls: type, config: type, **more: object) -> nn.Module:
    return cls(
        config(
            vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, head_dim=8, max_position_embeddings=1024, pad_token_id=0, **more,
        )
    )  # fmt: skip


def flow() -> d.FlowMatchEulerDiscreteScheduler:
    return d.FlowMatchEulerDiscreteScheduler()


def joint(**more: object) -> dict:
    """What FLUX's transformer and its kin are made of."""
    return dict(
        patch_size=1, in_channels=16, num_layers=LAYERS, num_single_layers=LAYERS, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=WIDTH, **more,
    )  # fmt: skip


def flux() -> d.DiffusionPipeline:
    transformer = d.FluxTransformer2DModel(**joint(pooled_projection_dim=WIDTH, axes_dims_rope=(2, 2, 4)))
    return d.FluxPipeline(flow(), vae(), clip(), tokenizer(), t5(), tokenizer(), transformer)


def sd3() -> d.DiffusionPipeline:
    transformer = d.SD3Transformer2DModel(
        sample_size=16, num_layers=LAYERS, attention_head_dim=8, num_attention_heads=2, in_channels=4, out_channels=4,
        joint_attention_dim=2 * WIDTH, caption_projection_dim=WIDTH, pooled_projection_dim=2 * WIDTH,
    )  # fmt: skip
    both = [part for _ in range(2) for part in (clip(t.CLIPTextModelWithProjection), tokenizer())]
    return d.StableDiffusion3Pipeline(transformer, flow(), vae(), *both, None, None)


def auraflow() -> d.DiffusionPipeline:
    transformer = d.AuraFlowTransformer2DModel(
        sample_size=16, in_channels=4, out_channels=4, num_mmdit_layers=LAYERS, num_single_dit_layers=LAYERS,
        attention_head_dim=8, num_attention_heads=2, joint_attention_dim=WIDTH, caption_projection_dim=WIDTH,
        pos_embed_max_size=256,
    )  # fmt: skip
    return d.AuraFlowPipeline(tokenizer(), t5(t.UMT5EncoderModel, t.UMT5Config), vae(), transformer, flow())


def chroma() -> d.DiffusionPipeline:
    transformer = d.ChromaTransformer2DModel(
        **joint(axes_dims_rope=(2, 2, 4)), approximator_num_channels=8, approximator_hidden_dim=16,
        approximator_layers=1,
    )  # fmt: skip
    return d.ChromaPipeline(flow(), vae(), t5(), tokenizer(), transformer)


def pixart() -> d.DiffusionPipeline:
    transformer = d.PixArtTransformer2DModel(
        sample_size=16, num_layers=LAYERS, attention_head_dim=8, num_attention_heads=2, in_channels=4, out_channels=8,
        cross_attention_dim=WIDTH, caption_channels=WIDTH, use_additional_conditions=False,
    )  # fmt: skip
    return d.PixArtSigmaPipeline(tokenizer(), t5(), vae(), transformer, d.DPMSolverMultistepScheduler())


def sana() -> d.DiffusionPipeline:
    transformer = d.SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=LAYERS, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=WIDTH, caption_channels=WIDTH,
        sample_size=8,
    )  # fmt: skip
    blocks = dict(
        attention_head_dim=2, encoder_block_types=("ResBlock",) * 2, decoder_block_types=("ResBlock",) * 2,
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()), encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
        downsample_block_type="conv", upsample_block_type="interpolate", decoder_norm_types="rms_norm",
        decoder_act_fns="silu", latent_channels=4,
    )  # fmt: skip
    encoder = language_model(t.Gemma2Model, t.Gemma2Config)
    return d.SanaPipeline(tokenizer(), encoder, d.AutoencoderDC(**blocks), transformer, flow())


def lumina2() -> d.DiffusionPipeline:
    transformer = d.Lumina2Transformer2DModel(
        sample_size=16, in_channels=4, hidden_size=WIDTH, num_layers=LAYERS, num_refiner_layers=LAYERS,
        num_attention_heads=2, num_kv_heads=2, multiple_of=16, axes_dim_rope=(4, 2, 2), cap_feat_dim=WIDTH,
    )  # fmt: skip
    encoder = language_model(t.Gemma2Model, t.Gemma2Config)
    return d.Lumina2Pipeline(transformer, flow(), vae(), encoder, tokenizer())


def cogview4() -> d.DiffusionPipeline:
    transformer = d.CogView4Transformer2DModel(
        in_channels=4, out_channels=4, num_layers=LAYERS, attention_head_dim=8, num_attention_heads=2,
        text_embed_dim=WIDTH, time_embed_dim=8, condition_dim=4,
    )  # fmt: skip
    encoder = language_model(t.GlmModel, t.GlmConfig)
    return d.CogView4Pipeline(tokenizer(), encoder, vae(), transformer, flow())


def qwen_image() -> d.DiffusionPipeline:
    transformer = d.QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=LAYERS, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=WIDTH, axes_dims_rope=(4, 2, 2),
    )  # fmt: skip
    video = d.AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    return d.QwenImagePipeline(flow(), video, qwen_vl(), tokenizer(), transformer)


def qwen_vl() -> nn.Module:
    text = dict(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=2048,
        rope_scaling={"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}, rope_theta=10000.0,
    )  # fmt: skip
    vision = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=WIDTH)
    return t.Qwen2_5_VLForConditionalGeneration(t.Qwen2_5_VLConfig(text_config=text, vision_config=vision))


def z_image() -> d.DiffusionPipeline:
    transformer = d.ZImageTransformer2DModel(
        in_channels=4, dim=WIDTH, n_layers=LAYERS, n_refiner_layers=LAYERS, n_heads=2, n_kv_heads=2,
        cap_feat_dim=WIDTH, axes_dims=[4, 2, 2], axes_lens=[256, 32, 32],
    )  # fmt: skip
    encoder = language_model(t.Qwen3Model, t.Qwen3Config)
    return d.ZImagePipeline(flow(), vae(), encoder, tokenizer(), transformer)


def flux2_klein() -> d.DiffusionPipeline:
    sizes = joint(timestep_guidance_channels=16, axes_dims_rope=(2, 2, 2, 2), guidance_embeds=False)
    transformer = d.Flux2Transformer2DModel(**sizes | {"joint_attention_dim": 3 * WIDTH})
    latents = d.AutoencoderKLFlux2(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, latent_channels=4, norm_num_groups=4,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    encoder = language_model(t.Qwen3ForCausalLM, t.Qwen3Config)
    return d.Flux2KleinPipeline(flow(), latents, encoder, tokenizer(), transformer)


def ovis() -> d.DiffusionPipeline:
    transformer = d.OvisImageTransformer2DModel(**joint(axes_dims_rope=(2, 2, 4), out_channels=16))
    encoder = language_model(t.Qwen3Model, t.Qwen3Config)
    return d.OvisImagePipeline(flow(), vae(), encoder, tokenizer(), transformer)


TOYS: dict[str, Callable[[], d.DiffusionPipeline]] = {
    build.__name__: build
    for build in (
        flux, sd3, auraflow, chroma, pixart, sana, lumina2, cogview4, qwen_image, z_image, flux2_klein, ovis,
    )
}  # fmt: skip


def toy_pipeline(name: str) -> d.DiffusionPipeline:
    """One of TOYS, so initialised that every layer changes the picture."""
    torch.manual_seed(0)
    pipe = TOYS[name]()
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()
    with torch.no_grad():
        for parameter in pipe.transformer.parameters():
            parameter.normal_(0, 0.1)
    pipe.set_progress_bar_config(disable=True)
    return pipe
