"""Train the VAE that all minis share: `python -m miniworld.training vae`."""

import copy
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from miniworld.denoising import autocast
from miniworld.pictures import save_grid, to_pictures, to_tensor
from miniworld.render import render
from miniworld.scenes import sample_scene

from .loop import Loop, begin, cosine
from .models import LATENT_CHANNELS, build_vae

WIDE = 16  # channels of the latents to begin with
NARROW = 64  # channels of encoder and decoder where pictures are smallest: decoder.py gives the decoder more


def train_vae(
    folder: Path, checkpoint: Path, steps: int, batch: int = 16, crop: int = 48, seed: int = 0, device: str = "cpu"
) -> None:
    """Learn to squeeze scenes into latents 8 × smaller and back; saves `folder` in diffusers' format.

    Three quarters of the steps with WIDE channels, which learn hues several times faster; then the channels are cut
    to their principal components (`narrow`) and the rest of the steps mends what was lost. Resumes if it was stopped.
    """
    begin(seed)
    where = torch.device(device)
    before = checkpoint.with_stem(f"{checkpoint.stem}-wide")
    vae = build_vae(deep=NARROW).to(where)
    if not checkpoint.exists():
        wide = _learn(
            build_vae(WIDE, NARROW).to(where), before, "vae, wide", 2e-3, steps - steps // 4, batch, crop, seed
        )
        vae = narrow(wide, _scenes(96).to(where))
    vae = _learn(vae, checkpoint, "vae", 1e-3, steps // 4, batch, crop, seed + 1)

    # Latents of unit spread are what the noise of flow matching is made for.
    with torch.no_grad():
        pictures = _scenes(128)
        latents = torch.cat([vae.encode(part.to(where)).latent_dist.mean for part in pictures.split(32)])
        vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
        decoded = vae.decode(latents[:32]).sample.cpu()
    print(f"vae: mean error {(decoded - pictures[:32]).abs().mean() / 2 * 255:.2f} of 255 grey levels, "
          f"scaling factor {vae.config.scaling_factor}")  # fmt: skip
    pairs = torch.stack([pictures[:16], decoded[:16]], dim=1).flatten(0, 1)
    save_grid(to_pictures(pairs), checkpoint.with_suffix(".png"), columns=8)
    vae.to(torch.bfloat16).save_pretrained(folder)


def _learn(
    vae: AutoencoderKL, checkpoint: Path, name: str, rate: float, steps: int, batch: int, crop: int, seed: int
) -> AutoencoderKL:
    """Train on crops of `crop` px and return the moving average of the weights.

    Loss: `reconstruction_loss` + 1e-5 × KL (the latents stay near a Gaussian, and the decoder learns to bear noise).
    """
    average = copy.deepcopy(vae).requires_grad_(False)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    modules = {"vae": vae, "average": average}
    loop = Loop(name, checkpoint, modules, [optimizer], cosine(rate, 50, steps), steps, batch)
    loop.resume()

    def loss_of(step: int) -> Tensor:
        pictures = random_crops(batch, crop, f"{seed}/vae/{step}").to(vae.device)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with autocast(vae.device):
            latents = vae.encode(pictures).latent_dist
            noise = torch.randn(latents.mean.shape, generator=generator).to(vae.device)
            decoded = vae.decode(latents.mean + latents.std * noise).sample
        return reconstruction_loss(decoded.float(), pictures) + 1e-5 * latents.kl().float().mean()

    loop.run(loss_of)
    return average


@torch.no_grad()
def narrow(wide: AutoencoderKL, pictures: Tensor) -> AutoencoderKL:
    """A VAE of LATENT_CHANNELS channels that keeps the principal components of a wider one's latents of `pictures`.

    Only the encoder's last and the decoder's first convolution change; on the kept components both do as before.
    """
    latents = torch.cat([wide.encode(part).latent_dist.mean for part in pictures.split(32)])
    points = latents.permute(0, 2, 3, 1).flatten(0, 2)  # (n, wide channels)
    # Not centred: the decoder's zero padding stays zero.
    kept = torch.linalg.svd(points, full_matrices=False).Vh[:LATENT_CHANNELS]  # (channels, wide channels)
    vae, weights, channels = build_vae(deep=NARROW).to(wide.device), wide.state_dict(), points.shape[1]
    weight, bias = weights["encoder.conv_out.weight"][:channels], weights["encoder.conv_out.bias"][:channels]
    sure = torch.full((LATENT_CHANNELS,), -4.0, device=wide.device)  # log variance: start out nearly exact
    weights["encoder.conv_out.weight"] = torch.cat(
        [torch.einsum("kc,cijl->kijl", kept, weight), torch.zeros_like(weight[:LATENT_CHANNELS])]
    )
    weights["encoder.conv_out.bias"] = torch.cat([kept @ bias, sure])
    weights["decoder.conv_in.weight"] = torch.einsum("ocij,kc->okij", weights["decoder.conv_in.weight"], kept)
    vae.load_state_dict(weights)
    return vae


def _scenes(count: int) -> Tensor:
    return torch.stack([to_tensor(render(sample_scene(random.Random(f"scale/{i}")))) for i in range(count)])


def random_crops(batch: int, crop: int, seed: str) -> Tensor:
    """`batch` crops of freshly painted scenes, values in [-1, 1]; they depend on the seed alone."""
    rng = random.Random(seed)
    crops = []
    while len(crops) < batch:
        picture = render(sample_scene(rng))
        for _ in range(4):  # of one picture
            x, y = rng.randrange(0, picture.width - crop + 1, 2), rng.randrange(0, picture.height - crop + 1, 2)
            crops.append(to_tensor(picture.crop((x, y, x + crop, y + crop))))
    return torch.stack(crops[:batch])  # (batch, 3, crop, crop)


# Brightness, red against green, blue against yellow: in RGB the three channels of a picture nearly agree, so a VAE
# learns brightness first and hues very late. Weighing the differences between channels brings them forward.
OPPONENT = torch.tensor([[0.5, 0.5, 0.5], [1.5, -1.5, 0.0], [0.75, 0.75, -1.5]])


def reconstruction_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    """L1 + 4 × L2 between pictures (batch, 3, h, w) in opponent colours, and L1 between their edges."""
    difference = torch.einsum("oc,bchw->bohw", OPPONENT.to(decoded.device), decoded - pictures)
    edges = difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
    return difference.abs().mean() + 4 * difference.square().mean() + 0.5 * edges
