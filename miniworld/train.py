"""Train the VAE or a mini: `python -m miniworld.train vae`, then `python -m miniworld.train flux-mini`."""

import argparse
from pathlib import Path

from .train_vae import train_vae

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["vae", "flux-mini"])
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    if args.what == "vae":
        train_vae(ROOT / "results/vae", ROOT / "results/training/vae.safetensors", args.steps or 1500)


if __name__ == "__main__":
    main()
