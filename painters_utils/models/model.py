"""A model as one value: what it is called, where it lies, how deep it is, how it is loaded and called.

    model = Model.named("flux-mini", steps=8)

A name is looked up once, at the door; then the value travels. Nothing here needs torch.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from originals.hub import Source
from originals.machine import CHOICES, Loading
from painters_utils.errors import InputError, require_positive, unknown
from painters_utils.files import folder_digest
from painters_utils.paths import DATA, ROOT

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner/name on the model hub
# What one notebook asks of a cluster's node: memory in MB, minutes, GPUs. A row's own `needs` come first.
MINI_NEEDS = {"mem_mb": 6_000, "runtime": 240, "gpu": 0}
NEEDS = {"mem_mb": 64_000, "runtime": 720, "gpu": 1}


@dataclass(frozen=True)
class Model:
    """One text-to-image model. `call` goes to its pipeline as it stands; `depths` counts the layers of each stack."""

    name: str
    title: str
    source: Source
    depths: Mapping[str, int]
    call: Mapping[str, Any]
    loading: Loading
    mini: bool = False  # trained here, small: its pictures say nothing about the original's quality
    family: str = ""  # "flux", "sd3", "auraflow": which of the article's orders belong to it
    original: str = ""  # of a mini: the repository that it has its architecture from
    teacher: str = ""  # of a mini: the one that it learned from in its last steps
    gated: bool = False  # its licence must be accepted on the model hub
    download: float | None = None  # GiB, about
    needs: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def named(cls, name: "str | Model", steps: int | None = None, **loading: Any) -> "Model":
        """The model of a name: one of data/models.yaml, "owner/name" or "owner/name@revision" on the model hub, or a
        folder with a diffusers pipeline. `steps` and `loading` that are not None go before the table's.

        What is not in the table has its depths and its call read from its configuration. A mini is loaded in float32,
        so that its pictures are the same on every processor; any other model in bfloat16, one picture at a time.
        `InputError` for an unknown name, setting or value, and for a model that is not supported.
        """
        if isinstance(name, Model):
            return name.changed(steps, **loading)
        row = find_row(name)
        source, mini = source_of(row), bool(row.get("mini"))
        depths, call = row.get("depths"), row.get("call")
        if depths is None or call is None:
            from originals.skeleton import default_call, stack_depths

            depths, call = depths or stack_depths(source), call or default_call(source)
        usual: dict[str, Any] = {"dtype": "float32", "batch": 40} if mini else {"dtype": "bfloat16", "batch": 1}
        about = {key.name: row[key.name] for key in fields(cls) if key.name in row}
        about |= {
            "name": name, "source": source, "depths": depths, "call": call, "mini": mini,
            "loading": Loading(**{**usual, **{key: row[key] for key in (*CHOICES, "batch") if key in row}}),
            "needs": (MINI_NEEDS if mini else NEEDS) | row.get("needs", {}),
        }  # fmt: skip
        return cls(**about).changed(steps, **loading)

    def changed(self, steps: int | None = None, **loading: Any) -> "Model":
        """This model with another number of steps or loaded in another way; None leaves what is."""
        for key in loading:
            if key not in (*CHOICES, "batch"):
                raise unknown("setting", key, [*CHOICES, "batch"])
        chosen = {key: value for key, value in loading.items() if value is not None}
        call = dict(self.call) | ({} if steps is None else {"num_inference_steps": steps})
        for key in ("num_inference_steps", "height", "width"):
            if key in call:
                require_positive(key, call[key])
        return replace(self, call=call, loading=Loading(**asdict(self.loading) | chosen))

    @property
    def steps(self) -> int:
        """Denoising steps of a call."""
        return self.call["num_inference_steps"]

    @property
    def folder(self) -> Path:
        """Where a local model lies; `InputError`, with the remedy, if its weights are not there."""
        folder = self.source.folder
        if folder is None or not (folder / "model_index.json").is_file():
            raise InputError(f"no weights of {self.name!r} in {folder}: train them with `make minis`, or {CHECKOUT}")
        return folder

    @property
    def key(self) -> str:
        """Its name as a folder of results: "owner/name@main" is "owner--name@main".

        Two local folders of one name stay apart by the beginning of a hash of their paths.
        """
        plain = self.name
        if self.source.folder and self.name not in model_table():
            plain = f"{self.title}-{hashlib.sha256(str(self.source.folder).encode()).hexdigest()[:6]}"
        return re.sub(r"[^\w.@-]", "-", plain.replace("/", "--"))

    @property
    def weights(self) -> str:
        """A fingerprint: what was computed with weights of another one is out of date.

        A hash of the files of a local model; repository and commit of one on the hub.
        """
        if self.source.folder is None:
            return f"{self.source.repo}@{self.source.commit}"
        return folder_digest(self.source.folder, "*/*.safetensors")

    @property
    def settings(self) -> list[str]:
        """Fingerprints of what a local pipeline's parts are told: scheduler, tokenizers, configurations.

        One on the hub has none of its own: the commit says it.
        """
        folder = self.source.folder
        return [folder_digest(folder, files) for files in ("model_index.json", "*/*.json")] if folder else []


TABLE = DATA / "models.yaml"
CHECKOUT = "set PAINTERS_HOME to a checkout of the repository, which holds them"


@cache
def model_table() -> dict[str, dict]:
    """The rows of data/models.yaml by name; `InputError` if there is no such file."""
    try:
        return yaml.safe_load(TABLE.read_text())
    except OSError as error:
        raise InputError(f"no table of models in {DATA}: {CHECKOUT}") from error


def find_row(name: str) -> dict:
    """The row of a name, or one made up for a repository or a folder; `InputError` for anything else."""
    if not isinstance(name, str):
        raise InputError(f"model {name!r} is no name: give one of data/models.yaml, owner/name, or a folder as text")
    folder, (base, _, revision) = Path(name).expanduser(), name.partition("@")
    pipeline = (folder / "model_index.json").is_file()
    table = {} if pipeline and not TABLE.exists() else model_table()
    if name in table:
        return table[name]
    if revision and "repo" in table.get(base, {}):
        return table[base] | {"revision": revision}
    if pipeline:
        return {"title": folder.resolve().name, "path": str(folder.resolve())}
    if folder.is_dir():
        raise InputError(f"folder {name!r} holds no model_index.json: give the folder of a whole diffusers pipeline")
    if REPOSITORY.fullmatch(base):
        return {"title": base.split("/")[1], "repo": base, "revision": revision or "main"}
    raise unknown("model", name, table)


def source_of(row: Mapping[str, Any]) -> Source:
    """Where a row's pipeline lies."""
    return Source(repo=row["repo"], revision=row["revision"]) if "repo" in row else Source(folder=ROOT / row["path"])
