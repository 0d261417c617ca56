"""The parts of a mini: the original's classes at the original's depth, only narrow.

One VAE and one word-level tokenizer serve every mini. Everything is a stock diffusers or transformers
class, so a saved mini loads with the same line of code as the original.
"""

from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from miniworld.render import SIDE
from miniworld.scenes import TEXT_TOKENS, vocabulary

LATENT_CHANNELS = 8
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; lower case; the end mark last; padded to TEXT_TOKENS."""
    words = {word: index for index, word in enumerate([PAD, END, UNKNOWN, *vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, words[END])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=TEXT_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def build_vae(latent_channels: int = LATENT_CHANNELS, deep: int = 128) -> AutoencoderKL:
    """2.6 M parameters; 8 × smaller, as FLUX's and SD3's own VAE, but 8 channels instead of their 16.

    `deep`: the width where pictures are smallest; the encoder is trained at 64 and widened without a change of what it
    does (decoder.py). A transformer must carry the noise of a whole token through its width to predict the velocity:
    with 16 channels a token has 64 numbers, two thirds of a mini's width; with 8 it has 32 (FLUX.1: 64 of 3072).
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, deep),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=SIDE,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        scaling_factor=1.0,  # set to 1 / std of the latents once the VAE is trained
        shift_factor=0.0,  # AuraFlow's pipeline knows no shift
    )


def _clip_config(width: int) -> CLIPTextConfig:
    """Two layers; heads of 16 channels."""
    return CLIPTextConfig(
        vocab_size=len(vocabulary()) + 3,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=width // 16,
        max_position_embeddings=TEXT_TOKENS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )


def _t5_settings(width: int) -> dict:
    """Two layers, one vector a token, for T5 and UMT5."""
    return {
        "vocab_size": len(vocabulary()) + 3,
        "d_model": width,
        "d_kv": 16,
        "d_ff": 3 * width,
        "num_layers": 2,
        "num_heads": width // 16,
        "dropout_rate": 0.0,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def build_flux(vae: AutoencoderKL, width: int = 96) -> FluxPipeline:
    """FLUX.1's 19 MM-DiT and 38 single blocks, `width` channels wide (FLUX.1: 3072); made to run without guidance."""
    tokenizer = build_tokenizer()
    transformer = FluxTransformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=19,
        num_single_layers=38,
        attention_head_dim=32,
        num_attention_heads=width // 32,
        joint_attention_dim=width,
        pooled_projection_dim=width,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae,
        text_encoder=CLIPTextModel(_clip_config(width)),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(T5Config(**_t5_settings(width))),
        tokenizer_2=tokenizer,
        transformer=_start_small(transformer),
    )


def build_sd3(vae: AutoencoderKL, width: int = 80) -> StableDiffusion3Pipeline:
    """SD3-medium's 24 MM-DiT blocks, `width` channels wide (SD3-medium: 1536); read by two CLIP encoders and a T5."""
    tokenizer = build_tokenizer()
    clip = 48
    transformer = SD3Transformer2DModel(
        sample_size=SIDE // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=24,
        attention_head_dim=16,
        num_attention_heads=width // 16,
        joint_attention_dim=2 * clip,
        caption_projection_dim=width,
        pooled_projection_dim=2 * clip,
        pos_embed_max_size=SIDE // 16,
    )
    return StableDiffusion3Pipeline(
        transformer=_start_small(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae,
        text_encoder=CLIPTextModelWithProjection(_clip_config(clip)),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(clip)),
        tokenizer_2=tokenizer,
        text_encoder_3=T5EncoderModel(T5Config(**_t5_settings(2 * clip))),
        tokenizer_3=tokenizer,
    )


def build_auraflow(vae: AutoencoderKL, width: int = 80, text: int = 96) -> AuraFlowPipeline:
    """AuraFlow's 4 MM-DiT and 32 single blocks, `width` channels wide (AuraFlow: 3072); its reader `text` wide.

    Few, wide heads: its queries and keys are normalised without a learned scale, so no logit exceeds the square root of
    a head's width, 16 in the original. With heads of 16 channels it is 4, too little to single out one word among 70.
    """
    transformer = AuraFlowTransformer2DModel(
        sample_size=SIDE // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_mmdit_layers=4,
        num_single_dit_layers=32,
        attention_head_dim=width // 2,
        num_attention_heads=2,
        joint_attention_dim=text,
        caption_projection_dim=width,
        pos_embed_max_size=(SIDE // 16) ** 2,
    )
    return AuraFlowPipeline(
        tokenizer=build_tokenizer(),
        text_encoder=UMT5EncoderModel(UMT5Config(**_t5_settings(text))),
        vae=vae,
        transformer=_start_small(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    )


MINIS = {"flux-mini": build_flux, "sd3-mini": build_sd3, "auraflow-mini": build_auraflow}


def trained_parts(pipe: DiffusionPipeline) -> nn.ModuleDict:
    """The transformer and its text encoders: they learn together. The VAE is finished before."""
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module) and name != "vae"}
    return nn.ModuleDict(parts)


def _start_small(transformer: nn.Module) -> nn.Module:
    """Adaptive norms start at zero, so that every block begins as the identity (adaLN-zero, Peebles & Xie 2023)."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and ("norm" in name and name.endswith("linear")):
            nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.zeros_(transformer.proj_out.weight)
    if transformer.proj_out.bias is not None:
        nn.init.zeros_(transformer.proj_out.bias)
    return transformer
