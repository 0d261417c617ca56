"""Weights in packages: what is not, to the bit, what was published is refused, and converting changes nothing."""

import io
import os
import pickle
import shutil
import subprocess
import zipfile
from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace

import pytest
import torch

from originals import wheels
from originals.wheels import Wheel, fetch, load_weights, weights_digest
from painters_utils.errors import InputError
from painters_utils.files import DIGEST

FOLDER = "toy/model"
TIED = torch.arange(6.0).reshape(2, 3)
TENSORS = {"embedding": TIED, "decoder": TIED, "turned": torch.arange(4.0).reshape(2, 2).T}


def packed(weights: object) -> bytes:
    """A wheel with this in the place of its weights."""
    pickled, wheel = io.BytesIO(), io.BytesIO()
    torch.save(weights, pickled)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{FOLDER}/pytorch_model.bin", pickled.getvalue())
        archive.writestr(f"{FOLDER}/config.json", "{}")
        archive.writestr(f"{FOLDER}/vocab.txt", "C\nN\n")
    return wheel.getvalue()


def plant(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Wheel:
    """Let `toy` be a known package whose published wheel is this."""
    wheel = Wheel("toy", "1.0", FOLDER, sha256(content).hexdigest(), weights_digest(TENSORS))
    monkeypatch.setitem(wheels.WHEELS, "toy", wheel)
    return wheel


@pytest.fixture
def toy(monkeypatch, tmp_path) -> Wheel:
    """The toy's wheel lies in the cache, which is `tmp_path`; whoever asks the network fails the test."""
    content = packed(TENSORS)
    wheel = plant(monkeypatch, content)
    (tmp_path / wheel.file).write_bytes(content)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the network was asked"))
    return wheel


def test_converting_changes_nothing(toy, tmp_path):
    weights = load_weights("toy", tmp_path)
    assert weights.keys() == TENSORS.keys()
    assert all(torch.equal(weights[name], TENSORS[name]) for name in TENSORS)
    assert sorted(file.name for file in fetch("toy", tmp_path).iterdir()) == [
        "config.json", "model.safetensors", "vocab.txt",
    ]  # fmt: skip


def test_the_wheel_is_not_needed_any_more(toy, tmp_path):
    fetch("toy", tmp_path)
    (tmp_path / toy.file).unlink()
    assert load_weights("toy", tmp_path).keys() == TENSORS.keys()


def test_another_wheel_is_refused_before_it_is_opened(toy, tmp_path, monkeypatch):
    (tmp_path / toy.file).write_bytes(packed(TENSORS | {"decoder": TIED + 1}))
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(InputError, match=r"not the toy==1.0 that was published .*delete it"):
        fetch("toy", tmp_path)
    assert not (tmp_path / "toy-1.0").exists()


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_changed_weights_are_refused(toy, tmp_path, damage):
    kept = fetch("toy", tmp_path) / "model.safetensors"
    if damage is None:
        wheels.save_file({name: tensor + 1 for name, tensor in load_weights("toy", tmp_path).items()}, kept)
    else:
        kept.write_bytes(damage)
    with pytest.raises(InputError, match=r"toy-1.0.* (damaged|not those that were published).*: delete"):
        load_weights("toy", tmp_path)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_pickle_that_holds_more_than_tensors_does_nothing(monkeypatch, tmp_path):
    content = packed({"embedding": Harmful()})
    (tmp_path / plant(monkeypatch, content).file).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"more than tensors"):
        fetch("toy", tmp_path)
    assert not (tmp_path / "harm").exists()
    pickle.loads(pickle.dumps(Harmful()))  # it would have
    assert (tmp_path / "harm").exists()


def test_names_and_digests():
    with pytest.raises(InputError, match=r"unknown package with weights 'rxnfb'.*rxnfp"):
        fetch("rxnfb")
    assert weights_digest({"a": TIED}) != weights_digest({"b": TIED})
    assert weights_digest({"a": TIED}) != weights_digest({"a": TIED.T})
    assert weights_digest({"a": TIED}) != weights_digest({"a": TIED.double()})
    assert all(DIGEST.fullmatch(digest) for it in wheels.WHEELS.values() for digest in (it.digest, it.weights))


# -- downloading ------------------------------------------------------------------------------------------------------


def test_only_the_one_wheel_is_asked_for(toy, tmp_path, monkeypatch):
    asked, content = [], (tmp_path / toy.file).read_bytes()

    def pip(command, **_):
        asked.append(command)
        (tmp_path / "new" / toy.file).write_bytes(content)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", pip)
    assert load_weights("toy", tmp_path / "new").keys() == TENSORS.keys()
    assert len(asked) == 1 and "--no-deps" in asked[0] and "download" in asked[0] and asked[0][-1] == "toy==1.0"


def test_no_network(toy, tmp_path, monkeypatch):
    shutil.move(tmp_path / toy.file, tmp_path / "toy-0.9-py3-none-any.whl")
    said = "WARNING: retrying\nERROR: Could not find a version that satisfies the requirement toy==1.0\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr=said))
    message = (
        r"toy==1.0 could not be downloaded \(Could not find .*\): connect .* put toy-1.0-py3-none-any.whl .*toy-0.9"
    )
    with pytest.raises(InputError, match=message):
        fetch("toy", tmp_path)


def test_pip_itself_fails_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setitem(wheels.WHEELS, "toy", replace(wheels.WHEELS["rxnmapper"], name="no-such-package"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(InputError, match=r"no-such-package==0.4.3 could not be downloaded .*connect"):
        fetch("toy", tmp_path)


def test_the_command_says_what_is_wrong(monkeypatch):
    with pytest.raises(SystemExit, match=r"error: unknown package with weights 'rxn'"):
        wheels.main(["rxn"])
