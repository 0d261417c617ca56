"""Judges: pretrained networks that score real pictures, of which no checker can say what they show.

`clip` asks whether a picture fits its prompt: CLIPScore (Hessel et al. 2021) without its factor. `dino` asks whether
it looks like the untouched model's picture: DINOv2 (Oquab et al. 2023), compared as in DreamBooth (Ruiz et al. 2023).
A judge whose weights cannot be had is left out and says why; nothing is ever scored by weights that were not there.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from huggingface_hub import snapshot_download
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, CLIPModel, Dinov2Model

from painters_utils.errors import InputError, unknown
from painters_utils.files import folder_digest
from painters_utils.paths import ROOT

NETWORKS = {"clip": CLIPModel, "dino": Dinov2Model}
BATCH = 32  # pictures at a time
Pictures = Sequence[Image.Image]


class Judge:
    """One of NETWORKS with the weights in `folder`; `InputError` if they are missing, damaged or another network's."""

    def __init__(self, name: str, folder: Path) -> None:
        wanted, local = NETWORKS[name].config_class.model_type, dict(local_files_only=True)
        whole = dict(dtype=torch.float32, use_safetensors=True, output_loading_info=True)
        try:
            if (found := AutoConfig.from_pretrained(folder, **local).model_type) != wanted:
                raise InputError(f"{folder} holds a {found}, not a {wanted}")
            network, loaded = NETWORKS[name].from_pretrained(folder, **whole, **local)
            self.processor = AutoImageProcessor.from_pretrained(folder, **local)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local) if name == "clip" else None
        except InputError:
            raise
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{folder} cannot be loaded ({first_line(error)})") from error
        missing = len(loaded["missing_keys"]) + len(loaded["mismatched_keys"])
        if missing:  # transformers has put random numbers there
            raise InputError(f"{folder} holds no whole {wanted}: {missing} of its tensors are missing")
        self.name, self.fingerprint = name, folder_digest(folder, "**/*.safetensors")
        self.network = network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self._seen: dict[str, Tensor] = {}  # baseline pictures come back with every variant

    @torch.inference_mode()
    def score(self, prompts: Sequence[str], pictures: Pictures, before: Pictures) -> np.ndarray:
        """Of each picture, 0 to 1, its cosine with its prompt (clip, a long one is cut) or the one before it (dino)."""
        beside = self._read(prompts) if self.name == "clip" else self._see(before)
        return cosine_similarity(self._see(pictures), beside).clamp(0, 1).double().numpy()

    def _see(self, pictures: Pictures) -> Tensor:
        """(pictures, d) on the CPU; each picture is looked at once."""
        keys = [hashlib.sha256(f"{p.mode}{p.size}".encode() + p.tobytes()).hexdigest() for p in pictures]
        new = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._seen}
        for start in range(0, len(new), BATCH):
            part = list(new)[start : start + BATCH]
            pixels = self.processor([new[key].convert("RGB") for key in part], return_tensors="pt")["pixel_values"]
            look = self.network.get_image_features if self.name == "clip" else self.network
            found = look(pixel_values=pixels.to(self.network.device)).pooler_output
            self._seen |= zip(part, found.cpu(), strict=True)
        return torch.stack([self._seen[key] for key in keys])

    def _read(self, prompts: Sequence[str]) -> Tensor:
        """(prompts, d) on the CPU; each text is read once."""
        texts = list(dict.fromkeys(prompts))
        longest = self.network.config.text_config.max_position_embeddings
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        tokens = {name: tokens[name].to(self.network.device) for name in ("input_ids", "attention_mask")}
        found = self.network.get_text_features(**tokens).pooler_output.cpu()
        return found[[texts.index(prompt) for prompt in prompts]]


class JudgeScorer:
    """The judges whose weights are there, as one scorer of any model's pictures (the protocol: `study/scores.py`).

    `wanted` says where the weights of each lie (see `find_weights`), None switches one off; `absent` says why the
    others are left out. `InputError` for a judge that does not exist.
    """

    floor_zero = ()

    def __init__(self, wanted: Mapping[str, str | None]) -> None:
        for name, where in wanted.items():
            if name not in NETWORKS:
                raise unknown("judge", name, NETWORKS)
            if where is not None and (not isinstance(where, str) or not where.strip()):
                raise InputError(
                    f"judge {name!r} is {where!r}: give a folder or a repository with its weights, or null"
                )
        self.judges: dict[str, Judge] = {}
        self.absent: dict[str, str] = {}
        for name in NETWORKS:
            if not (where := wanted.get(name)):
                self.absent[name] = f"the judge {name!r} is switched off"
                continue
            try:
                self.judges[name] = load_judge(name, where)
            except InputError as error:
                self.absent[name] = f"the judge {name!r} is left out, because {error}"
        self.names = self.overall = tuple(self.judges)
        self.fingerprint = " ".join(f"{name} {judge.fingerprint}" for name, judge in self.judges.items())

    def score(self, prompts: Sequence[str], pictures: Sequence[Any], before: Sequence[Any]) -> pd.DataFrame:
        """A row for each picture (something with an `image`), a column for each judge."""
        images, untouched = ([picture.image for picture in some] for some in (pictures, before))
        return pd.DataFrame({name: judge.score(prompts, images, untouched) for name, judge in self.judges.items()})

    def lacks(self, score: str) -> str:
        """Why there is no such score; "" if there is."""
        if score in self.names:
            return ""
        return self.absent.get(score, "the checker reads nothing but the minis' painted world")


@cache
def load_judge(name: str, where: str) -> Judge:
    """A judge with its weights, loaded once; `InputError` if they cannot be had."""
    return Judge(name, find_weights(where))


def find_weights(where: str) -> Path:
    """The folder of a network's weights: `where` is a folder, or "owner/name" or "owner/name@revision" on the hub, from
    where safetensors are downloaded once; `InputError` if they cannot be."""
    folder = ROOT / Path(where).expanduser()
    if folder.is_dir():
        return folder
    repository, _, revision = where.partition("@")
    files = ["*.json", "*.txt", "*.safetensors"]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{where} is no folder and cannot be fetched from the model hub ({first_line(error)}): connect to the "
            "network or give a folder with the weights"
        ) from error


def first_line(error: Exception) -> str:
    """What an error says first."""
    return str(error).strip().splitlines()[0]
