"""The article's three transformers at their real configuration, or narrow, with random weights; nothing is downloaded.

The configurations are the published ones (transformer/config.json of FLUX.1-schnell, SD3-medium and AuraFlow 0.2), and
diffusers' defaults where nothing is said. AuraFlow has 4,096 positions, 64 × 64 patches of a picture of 1024 × 1024.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
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
from torch.utils.flop_counter import FlopCounterMode

from .timing import DEVICE


@dataclass(frozen=True)
class Original:
    """A transformer, and what the article gives it to work on."""

    title: str
    mini: str  # the row of data/models.yaml with its depth and the article's orders
    kind: type[nn.Module]
    tokens: tuple[int, int]  # image tokens, down and across
    text: int  # text tokens
    config: Mapping[str, Any] = field(default_factory=dict)
    channels: tuple[str, ...] = ()  # settings beside the number of heads that go with the width
    narrow: Mapping[str, Any] = field(default_factory=dict)  # what else changes in a narrow one
    guidance: float = 0.0  # above 1 the batch is doubled

    def build(self, width: int | None = None, dtype: torch.dtype = torch.bfloat16, **changes: Any) -> nn.Module:
        """The transformer, `width` channels wide, on the meta device: it has shapes, and no weights yet."""
        config = dict(self.config)
        if width:
            config |= dict.fromkeys(("joint_attention_dim", *self.channels), width) | self.narrow
            config |= {"num_attention_heads": width // 32, "attention_head_dim": 32}
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device("meta"):
                return self.kind(**config | changes).eval()
        finally:
            torch.set_default_dtype(before)


ORIGINALS = {
    "flux": Original(
        "FLUX.1-schnell", "flux-mini", FluxTransformer2DModel, tokens=(48, 85), text=256,
        channels=("pooled_projection_dim",), narrow=dict(in_channels=16, axes_dims_rope=(8, 12, 12)),
    ),
    "sd3": Original(
        "SD3-medium", "sd3-mini", SD3Transformer2DModel, tokens=(48, 85), text=77 + 256, guidance=5.0,
        config=dict(num_layers=24, num_attention_heads=24, caption_projection_dim=1536, pos_embed_max_size=192),
        channels=("caption_projection_dim", "pooled_projection_dim"),
    ),
    "auraflow": Original(
        "AuraFlow", "auraflow-mini", AuraFlowTransformer2DModel, tokens=(64, 64), text=256, guidance=3.5,
        config=dict(pos_embed_max_size=64 * 64), channels=("caption_projection_dim",),
    ),
}  # fmt: skip
SIDE, TEXT = 8, 24  # of a small picture: image tokens along one side, text tokens


def narrow_flux(
    width: int, batch: int, steps: int, layers: tuple[int, int] = (19, 38), side: int = SIDE
) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A narrow transformer of FLUX's depth or another, in float32, and its denoising loop on small pictures."""
    flux = ORIGINALS["flux"]
    empty = flux.build(width, torch.float32, num_layers=layers[0], num_single_layers=layers[1])
    transformer = with_random_weights(empty)
    return transformer, denoising(flux, transformer, steps, batch, (side, side), TEXT)


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
    thousandths = 1 if original.kind is SD3Transformer2DModel else 1000  # SD3 is given 1000–0, the others 1–0
    noise, inputs = given(original, transformer, batch, tokens or original.tokens, text or original.text)
    guided = original.guidance > 1
    both = batch * (1 + guided)
    scheduler = FlowMatchEulerDiscreteScheduler()

    @torch.no_grad()
    def denoise() -> Tensor:
        scheduler.set_timesteps(steps, device=transformer.device)
        latents = noise
        for t in scheduler.timesteps:
            twice = torch.cat([latents, latents]) if guided else latents
            velocity = transformer(twice, timestep=(t / thousandths).expand(both), return_dict=False, **inputs)[0]
            if guided:
                without, wanted = velocity.chunk(2)
                velocity = without + original.guidance * (wanted - without)
            latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
        return latents

    return denoise


def given(
    original: Original, transformer: nn.Module, batch: int, tokens: tuple[int, int], words: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Noise for `batch` pictures, and everything else that the transformer reads, in its dtype and on its device."""
    (rows, columns), config, both = tokens, transformer.config, batch * (1 + (original.guidance > 1))
    torch.manual_seed(0)
    draw = partial(torch.randn, device=transformer.device, dtype=transformer.dtype)
    inputs = {"encoder_hidden_states": draw(both, words, config.joint_attention_dim)}
    if "pooled_projection_dim" in config:
        inputs["pooled_projections"] = draw(both, config.pooled_projection_dim)
    if original.kind is not FluxTransformer2DModel:
        return draw(batch, config.in_channels, 2 * rows, 2 * columns), inputs
    # Its latents come as tokens, and where they lie.
    places = torch.cartesian_prod(torch.zeros(1), torch.arange(rows * 1.0), torch.arange(columns * 1.0))
    places = places.to(transformer.device)
    inputs |= {"img_ids": places, "txt_ids": places.new_zeros(words, 3)}
    return draw(batch, rows * columns, config.in_channels), inputs


def flop_of_step(original: Original, tokens: tuple[int, int] | None = None, text: int | None = None) -> int:
    """Operations of one step for one picture, counted on the meta device: nothing is computed."""
    transformer, both = original.build(), 1 + (original.guidance > 1)
    noise, inputs = given(original, transformer, 1, tokens or original.tokens, text or original.text)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        transformer(noise.expand(both, *noise.shape[1:]), timestep=noise.new_ones(both), return_dict=False, **inputs)
    return counter.get_total_flops()
