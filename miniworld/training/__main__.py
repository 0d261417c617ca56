"""Train the minis from nothing: first the VAE that they share, the checker and the VAE's last decoder, then each mini.

    python -m miniworld.training vae
    python -m miniworld.training checker
    python -m miniworld.training decoder
    python -m miniworld.training flux-mini
    python -m miniworld.training flux-mini --device cuda --batch 256 --steps 8000
    python -m miniworld.training flux-mini --export

Every run shows its loss and speed and goes on from its last checkpoint in results/training/ if it was stopped. A mini's
leaves a strip of samples there now and then.
"""

import argparse
import dataclasses
import os
import shutil
import sys
from pathlib import Path

import torch

from miniworld.checker import WEIGHTS
from painters_utils.errors import InputError
from painters_utils.paths import DATA, ROOT

from .checker import train_checker
from .decoder import train_decoder
from .mini import RECIPES, Recipe, export_mini, train_mini
from .models import MINIS
from .vae import train_vae

# Painters are quick to train badly: `smoke` shows within minutes that everything runs.
SMOKE = {
    "vae": {"steps": 20},
    "checker": {"steps": 20, "batch": 16, "pool": 64},
    "decoder": {"steps": 5},
    "mini": {"steps": 20, "batch": 8, "warmup": 5, "scenes": 64, "reading": 5, "compile": False},
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m miniworld.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["vae", "checker", "decoder", *MINIS], help="what to train")
    parser.add_argument("--profile", choices=["full", "smoke"], default="full", help="smoke: minutes, bad pictures")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--batch", type=_positive, help="scenes a step (minis)")
    parser.add_argument("--steps", type=_positive, help="training steps")
    parser.add_argument("--threads", type=_positive, help="processor threads; on a CPU, two trainings side by side "
                        "with one thread each get further than one after the other with two")  # fmt: skip
    parser.add_argument("--export", action="store_true", help="write the pipeline as it is at the last checkpoint, "
                        "without training on (minis)")  # fmt: skip
    parser.add_argument("--further", action="store_true", help="without a checkpoint, go on from the finished mini "
                        "instead of from nothing: the optimizers begin anew")  # fmt: skip
    parser.add_argument("--rate", type=float, help="highest learning rate (minis)")
    parser.add_argument("--out", type=Path, help="folder for the finished weights (default: data/models)")
    parser.add_argument("--work", type=Path, help="folder for checkpoints and samples (default: results/training)")
    args = parser.parse_args(arguments)
    try:
        train(args)
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from the last checkpoint")


def train(args: argparse.Namespace) -> None:
    """Train what the command line asks for. The smoke profile never overwrites the weights that ship."""
    if args.threads:
        torch.set_num_threads(args.threads)
    smoke, mini = args.profile == "smoke", args.what in MINIS
    settings = SMOKE["mini" if mini else args.what] if smoke else {}
    given = ("batch", "steps", "rate") if mini else ("steps",)
    settings = settings | {key: getattr(args, key) for key in given if getattr(args, key)}
    work = args.work or ROOT / ("results/smoke/training" if smoke else "results/training")
    out = args.out or (ROOT / "results/smoke/models" if smoke else DATA / "models")
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise InputError(f"cannot write to the folder {folder}: name others with --work and --out")
    vae_folder, checkpoint = work / "vae", work / f"{args.what}.safetensors"
    if args.what == "vae":
        return train_vae(vae_folder, checkpoint, device=args.device, **{"steps": 6000} | settings)
    if not (vae_folder / "config.json").exists():
        if not (out / "vae" / "config.json").exists():
            raise InputError(f"no VAE in {vae_folder}: run `python -m miniworld.training vae` first")
        shutil.copytree(out / "vae", vae_folder)  # the one that ships
    if args.what == "checker":
        path = ROOT / "results/smoke/checker.safetensors" if smoke else WEIGHTS
        return train_checker(path, vae_folder, checkpoint, device=args.device, **{"steps": 4000} | settings)
    if args.what == "decoder":
        train_decoder(vae_folder, checkpoint, device=args.device, **{"steps": 4000} | settings)
        shutil.copytree(vae_folder, out / "vae", dirs_exist_ok=True)
        return
    if args.export:
        return export_mini(args.what, out / args.what, vae_folder, checkpoint)
    recipe = dataclasses.replace(RECIPES.get(args.what, Recipe()), **settings)
    train_mini(args.what, out / args.what, vae_folder, checkpoint, recipe, args.device, further=args.further)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


if __name__ == "__main__":
    main()
