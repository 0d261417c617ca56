"""Files that are written whole or not at all, and known by their content."""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

PART = ".part"  # in the names of what is being written
DIGEST = re.compile("[0-9a-f]{64}")
DIGESTS = platformdirs.user_cache_path("painters") / "digests"
SETTLED = 5  # seconds after which a file is no longer being written


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; what lies there at the end takes its place, and after an error nothing does.

    Every writer has a path of its own, of the same kind (suffix), so that two of them are as good as the later one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{secrets.token_hex(4)}{PART}{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, kept in the user's cache for as long as its size and its times stay what they are.

    The tens of gigabytes of a large model are so read once. The time of the last change of the file's inode is one of
    the times: no program can set it back. As in git, what was written in the last seconds is not kept: it could change
    once more within one tick of the clock.
    """
    about = path.stat()
    key = f"{path.resolve()}/{about.st_size}/{about.st_mtime_ns}/{about.st_ctime_ns}"
    kept = DIGESTS / hashlib.sha256(key.encode()).hexdigest()
    with suppress(OSError, ValueError):  # not there, or damaged
        if DIGEST.fullmatch(found := kept.read_text()):
            return found
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - max(about.st_mtime, about.st_ctime) > SETTLED:
        with suppress(OSError), write_whole(kept) as unfinished:  # a home that cannot be written costs time only
            unfinished.write_text(found)
    return found


def folder_digest(folder: Path, pattern: str) -> str:
    """One hash of all files in a folder that fit the pattern ("*.py", or "**/*.py" for its subfolders too)."""
    return hashlib.sha256("".join(map(file_digest, sorted(folder.glob(pattern)))).encode()).hexdigest()
