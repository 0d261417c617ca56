"""The parts of a mini: the original's classes at the original's depth, only narrow.

One VAE and one word-level tokenizer serve every mini. Everything is a stock diffusers or transformers
class, so a saved mini loads with the same line of code as the original.
"""

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from painters_utils.catalog import MINI_TOKENS

from .scenes import vocabulary

TEXT_TOKENS = MINI_TOKENS  # the longest caption of `scenes.py` has 22 words, and an end mark follows
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; lower case; the end mark last; padded to TEXT_TOKENS."""
    words = {word: index for index, word in enumerate([PAD, END, UNKNOWN, *vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, words[END])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=TEXT_TOKENS
    )


def build_vae() -> AutoencoderKL:
    """About 1 M parameters; 8 × smaller, 16 channels, as FLUX's and SD3's own VAE."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=128,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        scaling_factor=1.0,  # set to 1 / std of the latents once the VAE is trained
        shift_factor=0.0,  # AuraFlow's pipeline knows no shift
    )


def build_clip(width: int = 96) -> CLIPTextModel:
    """A two-layer CLIP text encoder: FLUX reads its pooled output, one vector a caption."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary()) + 3,
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=2,
            num_attention_heads=width // 32,
            max_position_embeddings=TEXT_TOKENS,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
    )


def build_t5(width: int = 96) -> T5EncoderModel:
    """A two-layer T5 encoder: one vector a token."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(vocabulary()) + 3,
            d_model=width,
            d_kv=32,
            d_ff=3 * width,
            num_layers=2,
            num_heads=width // 32,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def build_flux_transformer(width: int = 96, text_width: int = 96) -> FluxTransformer2DModel:
    """FLUX.1's 19 MM-DiT and 38 single blocks, `width` channels wide (FLUX.1: 3072)."""
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=19,
        num_single_layers=38,
        attention_head_dim=32,
        num_attention_heads=width // 32,
        joint_attention_dim=text_width,
        pooled_projection_dim=text_width,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )


def build_flux_pipeline(vae: AutoencoderKL, width: int = 96) -> FluxPipeline:
    """An untrained flux-mini around a trained VAE, as a complete pipeline."""
    tokenizer = build_tokenizer()
    transformer = build_flux_transformer(width)
    _start_small(transformer)
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae,
        text_encoder=build_clip(),
        tokenizer=tokenizer,
        text_encoder_2=build_t5(),
        tokenizer_2=tokenizer,
        transformer=transformer,
    )


def _start_small(transformer: nn.Module) -> None:
    """Adaptive norms start at zero, so that every block begins as the identity (adaLN-zero, Peebles & Xie 2023)."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and ("norm" in name and name.endswith("linear")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.zeros_(transformer.proj_out.weight)
    nn.init.zeros_(transformer.proj_out.bias)


def autocast(device: torch.device) -> torch.autocast:
    """bf16 where the processor multiplies it fast, else untouched fp32."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.backends.mkldnn.is_available() and _cpu_has_bf16())


def _cpu_has_bf16() -> bool:
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
