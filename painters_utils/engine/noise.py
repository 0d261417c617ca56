"""The noise that a picture begins with."""

import hashlib

import torch


def noise_generator(prompt: str, seed: int) -> torch.Generator:
    """A CPU generator for one picture: its noise depends on the prompt and the seed and on nothing else."""
    digest = hashlib.sha256(f"{seed}/{prompt}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "big"))
