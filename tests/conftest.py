"""Toys for every test: the three real classes at their real depth, a few channels wide, and a hub without a network."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import huggingface_hub
import pytest
import torch
from diffusers import AuraFlowTransformer2DModel, FluxTransformer2DModel, SD3Transformer2DModel
from torch import Tensor, nn
from toy_hub import SECRET

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: threads of theirs would only be in each other's way
    os.environ["OMP_NUM_THREADS"] = "1"  # for what a test starts
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that at the end no worker is left alone with one of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


BATCH, TEXT, SIDE, WIDTH = 2, 3, 4, 16  # prompts, text tokens, image tokens along one side, channels
SIZES = dict(num_attention_heads=2, attention_head_dim=WIDTH // 2, joint_attention_dim=WIDTH, in_channels=4)


class Toy(NamedTuple):
    """A transformer and the arguments of its forward; unpacks as `transformer, inputs = toy`."""

    transformer: nn.Module
    inputs: dict[str, Tensor]

    def output(self) -> Tensor:
        """The predicted velocity: (batch, tokens, channels) for FLUX, (batch, channels, height, width) otherwise."""
        with torch.no_grad():
            return self.transformer(**self.inputs, return_dict=False)[0]


def toy_flux() -> Toy:
    """FLUX's depth: `transformer_blocks` 19, `single_transformer_blocks` 38."""
    draw = seeded_normal()
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    inputs = dict(
        hidden_states=draw(BATCH, SIDE * SIDE, 4),
        encoder_hidden_states=draw(BATCH, TEXT, WIDTH),
        pooled_projections=draw(BATCH, WIDTH),
        timestep=torch.full((BATCH,), 0.5),
        img_ids=torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float(),
        txt_ids=torch.zeros(TEXT, 3),
    )
    transformer = FluxTransformer2DModel(
        num_layers=19, num_single_layers=38, pooled_projection_dim=WIDTH, axes_dims_rope=(2, 2, 4), **SIZES
    )
    return Toy(with_random_weights(transformer), inputs)


def toy_sd3() -> Toy:
    """SD3-medium's depth: `transformer_blocks` 24, the last of which returns no text stream."""
    draw = seeded_normal()
    inputs = dict(
        hidden_states=draw(BATCH, 4, 2 * SIDE, 2 * SIDE),
        encoder_hidden_states=draw(BATCH, TEXT, WIDTH),
        pooled_projections=draw(BATCH, WIDTH),
        timestep=torch.full((BATCH,), 500.0),
    )
    transformer = SD3Transformer2DModel(
        num_layers=24, sample_size=8, pos_embed_max_size=8, out_channels=4,
        caption_projection_dim=WIDTH, pooled_projection_dim=WIDTH, **SIZES,
    )  # fmt: skip
    return Toy(with_random_weights(transformer), inputs)


def toy_auraflow() -> Toy:
    """AuraFlow's depth: `joint_transformer_blocks` 4, `single_transformer_blocks` 32."""
    draw = seeded_normal()
    inputs = dict(
        hidden_states=draw(BATCH, 4, 2 * SIDE, 2 * SIDE),
        encoder_hidden_states=draw(BATCH, TEXT, WIDTH),
        timestep=torch.full((BATCH,), 0.5),
    )
    transformer = AuraFlowTransformer2DModel(
        num_mmdit_layers=4, num_single_dit_layers=32, sample_size=8, pos_embed_max_size=64, out_channels=4,
        caption_projection_dim=WIDTH, **SIZES,
    )  # fmt: skip
    return Toy(with_random_weights(transformer), inputs)


TOYS: dict[str, Callable[[], Toy]] = {"flux": toy_flux, "sd3": toy_sd3, "auraflow": toy_auraflow}

# For tests that take each toy a second or more: FLUX's 57 layers run with the slow tests only.
flux_is_slow = pytest.mark.parametrize(
    "toy", [pytest.param("flux", marks=pytest.mark.slow), "sd3", "auraflow"], indirect=True
)


def seeded_normal() -> Callable[..., Tensor]:
    """A `torch.randn` with a fresh generator of its own, so that no toy depends on what was drawn before it."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


@torch.no_grad()
def with_random_weights(transformer: nn.Module) -> nn.Module:
    """Every parameter drawn anew, also those that start at zero, so that each layer changes the output."""
    draw = seeded_normal()
    for parameter in transformer.parameters():
        parameter.copy_(0.1 * draw(*parameter.shape))
    return transformer.eval()


@pytest.fixture(scope="session")
def shared_toys() -> dict[str, tuple[Toy, Tensor]]:
    """Each toy is built once for all tests, beside the output it had when it was new."""
    toys = {name: build() for name, build in TOYS.items()}
    return {name: (toy, toy.output()) for name, toy in toys.items()}


def lend(toy: Toy, untouched: Tensor) -> Iterator[Toy]:
    """Hand out a shared toy; the test that leaves a change in it is the test that fails."""
    yield toy
    assert torch.equal(toy.output(), untouched), "the test left its changes in the shared toy model"


@pytest.fixture(params=TOYS)
def toy(request: pytest.FixtureRequest, shared_toys: dict) -> Iterator[Toy]:
    """Each of the three toys in turn: shared, so leave it as you found it (or work on a `deepcopy`)."""
    yield from lend(*shared_toys[request.param])


@pytest.fixture
def flux(shared_toys: dict) -> Iterator[Toy]:
    """The FLUX toy alone, on the same terms."""
    yield from lend(*shared_toys["flux"])


@pytest.fixture
def sd3(shared_toys: dict) -> Iterator[Toy]:
    """The SD3 toy alone, on the same terms."""
    yield from lend(*shared_toys["sd3"])


@pytest.fixture
def auraflow(shared_toys: dict) -> Iterator[Toy]:
    """The AuraFlow toy alone, on the same terms."""
    yield from lend(*shared_toys["auraflow"])


# -- models that others trained -------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network: what asks for it fails the test. The cache is an empty folder."""

    def asked(*_: object, **__: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(huggingface_hub, "get_session", asked)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", asked)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", SECRET)


@pytest.fixture
def online(offline: None, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A hub that answers: what it gives for a file, or raises, is set by the test."""
    answers: dict = {}

    def download(repo: str, file: str, revision: str) -> str:
        answer = answers.get("error") or answers.get(file) or RuntimeError(f"no answer for {file}")
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "get_session", lambda: SimpleNamespace(head=lambda *_, **__: None))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return answers


@pytest.fixture(scope="session")
def ovis(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a whole toy pipeline that guides by a second pass of its transformer."""
    from toy_pipelines import toy_pipeline

    folder = tmp_path_factory.mktemp("ovis")
    toy_pipeline("ovis").save_pretrained(folder)
    return str(folder)
