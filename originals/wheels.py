"""Weights that ship in packages on PyPI: downloaded as wheels, known by their digests, unpacked and never installed.

    python -m originals.wheels        # pip download --no-deps rxnfp==0.1.0 rxnmapper==0.4.3, checked and converted

The packages' own pins clash with this project's, and nothing of them but weights, vocabulary and configuration is
needed. Their weights are pickles, which are read with `weights_only` and kept as safetensors.
"""

import hashlib
import io
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from painters_utils.errors import InputError, unknown
from painters_utils.files import file_digest, write_whole

CACHE = platformdirs.user_cache_path("painters") / "wheels"
PICKLED, KEPT, BESIDE = "pytorch_model.bin", "model.safetensors", ("config.json", "vocab.txt")


@dataclass(frozen=True)
class Wheel:
    """One version of a package, the folder in it that holds a model, and what both must hash to (SHA-256)."""

    name: str
    version: str
    folder: str
    digest: str  # of the wheel
    weights: str  # of the tensors in it, see `weights_digest`

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}-py3-none-any.whl"

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"


# Both are MIT-licensed. Schwaller et al. 2021: "Mapping the space of chemical reactions using attention-based neural
# networks", and "Extraction of organic chemistry grammar from unsupervised learning of chemical reactions".
WHEELS = {
    wheel.name: wheel
    for wheel in (
        Wheel(
            "rxnfp", "0.1.0", "rxnfp/models/transformers/bert_pretrained",
            "c5c1e818add6f34539a6b29bc680c47c9e7311e9383d1b34ce901481e34b58cf",
            "5f69bca36010d7ebcb8640d12ec38218f28d7c855cc9151ba191cd0503539697",
        ),
        Wheel(
            "rxnmapper", "0.4.3", "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k",
            "27876a4286881aafd286fd6f24a6a56a4ca6ba22d68e035a0ea120106c541ba5",
            "a34c8bfc52d39e79bbba127b505a90265942a89481ca9d5ca598435c1fb6e7fc",
        ),
    )
}  # fmt: skip


def fetch(name: str, cache: Path = CACHE) -> Path:
    """The folder of a package's model: `model.safetensors`, `config.json` and `vocab.txt`; downloaded if it is new.

    A wheel that lies in `cache` already is taken. `InputError` if the package is unknown, cannot be downloaded, or is
    not, to the bit, what was published.
    """
    if name not in WHEELS:
        raise unknown("package with weights", name, WHEELS)
    wheel = WHEELS[name]
    folder = cache / f"{wheel.name}-{wheel.version}"
    if not is_here(name, cache):
        path = cache / wheel.file
        if not path.exists():
            download(wheel, cache)
        require_digest(wheel, path)
        unpack(wheel, path, folder)
    return folder


def is_here(name: str, cache: Path = CACHE) -> bool:
    """Whether a package's model lies in the cache, so that no network is needed."""
    folder = cache / f"{name}-{WHEELS[name].version}"
    return all((folder / file).exists() for file in (KEPT, *BESIDE))


def download(wheel: Wheel, cache: Path) -> None:
    """Let pip put the wheel into `cache`; nothing is installed, and no package that it depends on is asked for."""
    others = sorted(path.name for path in cache.glob(f"{wheel.name}-*.whl"))
    found = f"; {others[0]} lies there, but holds other weights" if others else ""
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--retries=1",
               "--timeout=15", "--disable-pip-version-check", f"--dest={cache}", wheel.pin]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not (cache / wheel.file).exists():
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
        why = said[-1].removeprefix("ERROR: ") if said else f"pip left no {wheel.file}"
        raise InputError(
            f"{wheel.pin} could not be downloaded ({why}): connect to the network, or put {wheel.file} of "
            f"https://pypi.org/project/{wheel.name}/{wheel.version} into {cache}{found}"
        )


def require_digest(wheel: Wheel, path: Path) -> None:
    """`InputError` unless a wheel is, to the bit, the one that was published."""
    if (found := file_digest(path)) != wheel.digest:
        raise InputError(
            f"{path} is not the {wheel.pin} that was published (its SHA-256 is {found[:12]}…, not "
            f"{wheel.digest[:12]}…): delete it, and it is downloaded anew"
        )


def unpack(wheel: Wheel, path: Path, folder: Path) -> None:
    """Convert the wheel's weights to safetensors, and put them beside configuration and vocabulary into `folder`."""
    with zipfile.ZipFile(path) as archive:
        pickled = io.BytesIO(archive.read(f"{wheel.folder}/{PICKLED}"))
        beside = {file: archive.read(f"{wheel.folder}/{file}") for file in BESIDE}
    try:
        tensors = torch.load(pickled, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{PICKLED} in {path} holds more than tensors and is not read: delete the wheel") from error
    tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}  # tied weights apart
    for file, content in beside.items():
        with write_whole(folder / file) as unfinished:
            unfinished.write_bytes(content)
    with write_whole(folder / KEPT) as unfinished:
        save_file(tensors, unfinished, {"format": "pt"})


def load_weights(name: str, cache: Path = CACHE) -> dict[str, Tensor]:
    """A package's weights by name, fetched if need be; `InputError` unless they are those that were published."""
    path = fetch(name, cache) / KEPT
    remedy = f"delete {path.parent}, and they are fetched anew"
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"the weights of {name} in {path} are damaged ({error}): {remedy}") from error
    if weights_digest(tensors) != WHEELS[name].weights:
        raise InputError(f"the weights of {name} in {path} are not those that were published: {remedy}")
    return tensors


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors by name: of their names, kinds, shapes and values, in whatever file they lie."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def main(names: Sequence[str]) -> None:
    try:
        for name in names or list(WHEELS):
            load_weights(name)
            print(f"{WHEELS[name].pin}: {fetch(name)}")
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
