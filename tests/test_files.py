"""Files are whole or not there, and known by their content."""

import hashlib
import json
import os
import time

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from painters_utils import files
from painters_utils.errors import InputError
from painters_utils.files import file_digest, folder_digest, write_whole
from workflow.checks import check_weights, is_readable


def test_weights_are_hashed_once_and_anew_when_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "DIGESTS", tmp_path / "digests")
    monkeypatch.setattr(files, "SETTLED", -1)
    weights, hashed = tmp_path / "model.safetensors", []
    weights.write_bytes(b"one")
    hash_file = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: hashed.append(1) or hash_file(*given))
    before = folder_digest(tmp_path, "*.safetensors")
    assert folder_digest(tmp_path, "*.safetensors") == before and len(hashed) == 1
    assert file_digest(weights) == hashlib.sha256(b"one").hexdigest()
    times = weights.stat()
    time.sleep(0.05)
    weights.write_bytes(b"two")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert folder_digest(tmp_path, "*.safetensors") != before, "as large and as old, and yet another"
    [kept.write_text("damaged") for kept in files.DIGESTS.iterdir()]
    assert file_digest(weights) == hashlib.sha256(b"two").hexdigest()


def test_what_was_just_written_is_hashed_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "DIGESTS", tmp_path / "digests")
    (tmp_path / "new").write_bytes(b"one")
    file_digest(tmp_path / "new")
    assert not files.DIGESTS.exists()


def test_a_folders_digest_is_that_of_the_files_that_fit(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.py", "sub/b.py", "c.txt"):
        (tmp_path / name).write_text(name)
    here, below = folder_digest(tmp_path, "*.py"), folder_digest(tmp_path, "**/*.py")
    (tmp_path / "c.txt").write_text("other")
    assert (folder_digest(tmp_path, "*.py"), folder_digest(tmp_path, "**/*.py")) == (here, below) and here != below
    (tmp_path / "sub/b.py").write_text("other")
    assert folder_digest(tmp_path, "*.py") == here and folder_digest(tmp_path, "**/*.py") != below


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new/numbers.json"
    with write_whole(path) as unfinished:
        unfinished.write_text("1")
        assert not path.exists() and unfinished.suffix == ".json"
    with pytest.raises(KeyboardInterrupt), write_whole(path) as unfinished:
        unfinished.write_text("2")
        raise KeyboardInterrupt
    assert path.read_text() == "1" and list(path.parent.iterdir()) == [path]
    with write_whole(path) as one, write_whole(path) as two:
        assert one != two, "two writers have a path each"
        one.write_text("3")
        two.write_text("4")
    assert path.read_text() == "3", "the later one"


def test_what_is_cut_short_cannot_be_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}))
    Image.fromarray(np.arange(3 * 32**2, dtype=np.uint8).reshape(32, 32, 3)).save(tmp_path / "a.webp")
    (tmp_path / "a.svg").write_text("<svg></svg>\n")
    for path in sorted(tmp_path.glob("a.*")):
        assert is_readable(path)
        path.write_bytes(path.read_bytes()[:-3])
        assert not is_readable(path), path.suffix
    assert not is_readable(tmp_path / "none.json")


def test_damaged_weights_are_named(tmp_path):
    weights = tmp_path / "model.safetensors"
    save_file({"a": np.ones(9)}, weights)
    check_weights([weights])
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(InputError, match="model.safetensors are damaged"):
        check_weights([weights])
