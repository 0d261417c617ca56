"""Matrix products at the processor's own speed, and fewer of them where pictures are decoded.

PyTorch hands products of float32 numbers to MKL, which on AMD's processors takes half of what they can do. oneDNN,
which PyTorch holds as well and uses for convolutions, takes all of it, and applies a GELU on the way. Numbers differ
in their last digit, as they do between any two processors.
"""

import math
from typing import Any

import torch
from diffusers.models.activations import GELU
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

# What torch's counter of operations does not know, from the shapes of what is given: a product with weights, and a
# processor's attention, which multiplies each query with each key and each weight of it with a value.
FLOP = {
    torch.ops.mkldnn._linear_pointwise: lambda given, weight, *_, **__: 2 * math.prod(given) * weight[0],
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])
    ),
}


class QuickLinear(nn.Linear):
    """A linear layer whose products, and the activation after it if it has one, oneDNN computes."""

    activation = "none"  # or "gelu"
    form = ""  # of the activation: "tanh" or "none"

    def forward(self, input: Tensor) -> Tensor:
        if _quick(input) and self.weight.dtype == torch.float32:
            args: Any = (input, self.weight, self.bias, self.activation, [], self.form)
            return torch.ops.mkldnn._linear_pointwise(*args)
        output = super().forward(input)
        return output if self.activation == "none" else nn.functional.gelu(output, approximate=self.form)


class QuickGELU(GELU):
    """A feed-forward network's first layer, which applies the activation itself."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.proj(hidden_states)


class QuickUpsample(Upsample2D):
    """Each pixel doubled both ways and convolved, as one transposed convolution of 4 × 4 weights.

    Each new pixel depends on 2 × 2 of the old ones only, where the convolution of the doubled picture multiplies 3 × 3:
    four ninths of the products.
    """

    def forward(self, hidden_states: Tensor, output_size: int | None = None, *args: Any, **kwargs: Any) -> Tensor:
        if not _quick(hidden_states) or output_size is not None:
            return super().forward(hidden_states, output_size, *args, **kwargs)
        fold = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])  # which of three meet in each of four
        weight = torch.einsum("ak,oikl,bl->ioab", fold, self.conv.weight, fold)
        weight = weight.contiguous(memory_format=torch.channels_last)  # as the VAE's others lie in memory
        return nn.functional.conv_transpose2d(hidden_states, weight, self.conv.bias, stride=2, padding=1)


def quicken(module: nn.Module) -> nn.Module:
    """Let a module's layers run as above where they can; returns the module, whose weights stay as they are."""
    if not torch.backends.mkldnn.is_available():
        return module
    part: Any  # it has the attributes that its class says
    for part in module.modules():
        if type(part) is nn.Linear:
            part.__class__ = QuickLinear
    for part in list(module.modules()):
        if type(part) is GELU:  # the first layer of a feed-forward network
            _join(part.proj, part.approximate)
            part.__class__ = QuickGELU
        elif isinstance(getattr(part, "act_mlp", None), nn.GELU):  # one of FLUX's single blocks
            _join(part.proj_mlp, part.act_mlp.approximate)
            part.act_mlp = nn.Identity()
        elif type(part) is Upsample2D and part.use_conv and part.conv.kernel_size == (3, 3) and part.norm is None:
            part.__class__ = QuickUpsample
    return module


def is_quick(pipe: Any) -> bool:
    """Whether a pipeline's transformer was quickened, stays on the processor, and has plain weights, none quantised."""
    parts = pipe.transformer.modules() if isinstance(getattr(pipe, "transformer", None), nn.Module) else ()
    weights = [part.weight for part in parts if isinstance(part, QuickLinear)]
    stays = pipe.device.type == "cpu" and not getattr(pipe, "_all_hooks", None)  # which move parts to a GPU and back
    return bool(weights) and stays and all(type(weight) is nn.Parameter for weight in weights)


def _quick(given: Tensor) -> bool:
    """Whether what a layer is given can go the quick way: 32 bits on a processor, and nothing is trained."""
    return given.is_cpu and given.dtype == torch.float32 and not torch.is_grad_enabled()


def _join(linear: QuickLinear, form: str) -> None:
    """Let a linear layer apply the GELU that comes after it."""
    linear.activation, linear.form = "gelu", form
