"""Layers computed another way give what they gave, to rounding, and leave training and other types alone."""

import copy

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.models.upsampling import Upsample2D
from torch import nn

from painters_utils import load_pipeline, paint
from painters_utils.models.model import Model
from painters_utils.models.quick import QuickLinear, QuickUpsample, is_quick, quicken

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch has no oneDNN here")
PROMPTS = ["a green balloon on a gray background", "a red dog and a yellow cat on a blue background"]


@pytest.mark.parametrize("name", ["flux-mini", "sd3-mini", "auraflow-mini"])
def test_pictures_are_those_of_the_plain_pipeline(name):
    model = Model.named(name, steps=2)
    plain = DiffusionPipeline.from_pretrained(model.folder)
    plain.set_progress_bar_config(disable=True)
    one, two = (paint(pipe, PROMPTS, [0], **model.call) for pipe in (plain, load_pipeline(model)))
    apart = [np.abs(np.asarray(a.image, float) - np.asarray(b.image, float)) for a, b in zip(one, two, strict=True)]
    assert max(map(np.max, apart)) <= 1 and np.mean(apart) < 0.01  # of 255


def test_weights_keep_their_names_and_all_linear_layers_are_quick():
    pipe = load_pipeline("flux-mini")
    plain = DiffusionPipeline.from_pretrained(Model.named("flux-mini").folder).transformer
    assert pipe.transformer.state_dict().keys() == plain.state_dict().keys()
    linear = [part for part in pipe.transformer.modules() if isinstance(part, nn.Linear)]
    assert {type(part) for part in linear} == {QuickLinear}
    assert sum(part.activation == "gelu" for part in linear) == 2 * 19 + 38  # both streams' networks, each single block


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 6), (2, 5, 6), (3, 1, 6)])
def test_a_layer_gives_what_it_gave(bias, shape):
    plain = nn.Linear(6, 4, bias=bias)
    quick, x = quicken(nn.Sequential(copy.deepcopy(plain))), torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(quick(x), plain(x))
        strewn = torch.stack([x, x], -1)[..., 0]  # not contiguous
        torch.testing.assert_close(quick(strewn), plain(x))
        assert torch.equal(quick.double()(x.double()), plain.double()(x.double()))


def test_it_can_still_learn():
    plain = nn.Linear(6, 4)
    quick, x = quicken(nn.Sequential(copy.deepcopy(plain))), torch.randn(3, 6)
    for module in (plain, quick):
        module(x).square().sum().backward()
    assert torch.equal(plain.weight.grad, quick[0].weight.grad)


def test_a_picture_is_doubled_as_it_was():
    plain, x = Upsample2D(6, use_conv=True, out_channels=4), torch.randn(2, 6, 5, 7)
    quick = quicken(nn.Sequential(copy.deepcopy(plain)))
    assert type(quick[0]) is QuickUpsample and type(quicken(nn.Sequential(Upsample2D(6)))[0]) is Upsample2D
    with torch.no_grad():
        torch.testing.assert_close(quick(x), plain(x))
        assert torch.equal(quick[0](x, output_size=(9, 13)), plain(x, output_size=(9, 13)))
        assert torch.equal(quick.double()(x.double()), plain.double()(x.double()))


def test_versions_are_counted_of_what_is_moved_quantised_or_plain():
    pipe = load_pipeline("sd3-mini", device="cpu")
    assert is_quick(pipe)
    pipe._all_hooks = ["moves the transformer to the GPU and back"]
    assert not is_quick(pipe)
    pipe._all_hooks = []
    last = pipe.transformer.proj_out
    last.weight = nn.Parameter(last.weight.data.as_subclass(Quantised))
    assert not is_quick(pipe)
    assert not is_quick(DiffusionPipeline.from_pretrained(Model.named("sd3-mini").folder))


class Quantised(torch.Tensor):
    """Weights of a class of their own, as torchao has them."""
