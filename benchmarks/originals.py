"""The article's three transformers at their real configuration, or narrow, with random weights; nothing is downloaded.

The configurations are the published ones: FLUX.1-schnell and SD3-medium (their transformer/config.json), AuraFlow 0.2
(the same with 4,096 positions, 64 × 64 patches of a picture of 1024 × 1024; diffusers' default of 1,024 is too few).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
)
from torch import Tensor, nn

from .timing import DEVICE


@dataclass(frozen=True)
class Original:
    """A transformer, and what the article gives it to work on."""

    title: str
    mini: str  # the row of data/models.yaml with its depth and the article's orders
    kind: type[nn.Module]
    config: Mapping[str, Any]
    narrow: Callable[[int], dict[str, Any]]  # the settings that make it `width` channels wide
    tokens: tuple[int, int]  # image tokens, down and across
    text: int  # text tokens
    guidance: float = 0.0  # above 1 the batch is doubled

    def build(self, width: int | None = None, dtype: torch.dtype = torch.bfloat16, **changes: Any) -> nn.Module:
        """The transformer on the meta device: it has shapes, and no weights yet."""
        config = {**self.config, **(self.narrow(width) if width else {}), **changes}
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device("meta"):
                return self.kind(**config).eval()
        finally:
            torch.set_default_dtype(before)


ORIGINALS = {
    "flux": Original(
        "FLUX.1-schnell", "flux-mini", FluxTransformer2DModel,
        dict(
            in_channels=64, num_layers=19, num_single_layers=38, num_attention_heads=24, attention_head_dim=128,
            joint_attention_dim=4096, pooled_projection_dim=768, guidance_embeds=False, axes_dims_rope=(16, 56, 56),
        ),
        lambda width: dict(
            in_channels=16, num_attention_heads=width // 32, attention_head_dim=32, joint_attention_dim=width,
            pooled_projection_dim=width, axes_dims_rope=(8, 12, 12),
        ),
        tokens=(48, 85), text=256,
    ),
    "sd3": Original(
        "SD3-medium", "sd3-mini", SD3Transformer2DModel,
        dict(
            sample_size=128, in_channels=16, out_channels=16, num_layers=24, num_attention_heads=24,
            attention_head_dim=64, joint_attention_dim=4096, caption_projection_dim=1536, pooled_projection_dim=2048,
            pos_embed_max_size=192,
        ),
        lambda width: dict(
            num_attention_heads=width // 32, attention_head_dim=32, joint_attention_dim=width,
            caption_projection_dim=width, pooled_projection_dim=width,
        ),
        tokens=(48, 85), text=77 + 256, guidance=5.0,
    ),
    "auraflow": Original(
        "AuraFlow", "auraflow-mini", AuraFlowTransformer2DModel,
        dict(
            sample_size=64, in_channels=4, out_channels=4, num_mmdit_layers=4, num_single_dit_layers=32,
            num_attention_heads=12, attention_head_dim=256, joint_attention_dim=2048, caption_projection_dim=3072,
            pos_embed_max_size=64 * 64,
        ),
        lambda width: dict(
            num_attention_heads=width // 32, attention_head_dim=32, joint_attention_dim=width,
            caption_projection_dim=width,
        ),
        tokens=(64, 64), text=256, guidance=3.5,
    ),
}  # fmt: skip


@torch.no_grad()
def with_random_weights(transformer: nn.Module, device: str = DEVICE) -> nn.Module:
    """A transformer of the meta device, made on `device` at once: never twice in memory, and never in float32."""
    torch.manual_seed(0)
    transformer = transformer.to_empty(device=device)
    for values in chain(transformer.parameters(), transformer.buffers()):
        values.normal_(0, 0.02)
    return transformer


def denoising(
    original: Original, transformer: nn.Module, steps: int, batch: int = 1, tokens: tuple[int, int] | None = None,
    text: int | None = None,
) -> Callable[[], Tensor]:  # fmt: skip
    """A plain denoising loop from fixed noise: returns the latents. Guided as the article guides."""
    (rows, columns), words = tokens or original.tokens, text or original.text
    flux, guided = original.kind is FluxTransformer2DModel, original.guidance > 1
    thousandths = 1 if original.kind is SD3Transformer2DModel else 1000  # SD3 is given 1000–0, the others 1–0
    both, config = batch * (1 + guided), transformer.config
    torch.manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, device=transformer.device, dtype=transformer.dtype)  # noqa: E731
    inputs = {"encoder_hidden_states": draw(both, words, config.joint_attention_dim)}
    if "pooled_projection_dim" in config:
        inputs["pooled_projections"] = draw(both, config.pooled_projection_dim)
    if flux:  # latents come as tokens, and where they lie
        places = torch.cartesian_prod(torch.zeros(1), torch.arange(rows * 1.0), torch.arange(columns * 1.0))
        places = places.to(transformer.device)
        inputs |= {"img_ids": places, "txt_ids": places.new_zeros(words, 3)}
        noise = draw(batch, rows * columns, config.in_channels)
    else:
        noise = draw(batch, config.in_channels, 2 * rows, 2 * columns)
    scheduler = FlowMatchEulerDiscreteScheduler()

    @torch.no_grad()
    def denoise() -> Tensor:
        scheduler.set_timesteps(steps, device=transformer.device)
        latents = noise
        for t in scheduler.timesteps:
            given = torch.cat([latents, latents]) if guided else latents
            velocity = transformer(given, timestep=(t / thousandths).expand(both), return_dict=False, **inputs)[0]
            if guided:
                without, wanted = velocity.chunk(2)
                velocity = without + original.guidance * (wanted - without)
            latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
        return latents

    return denoise
