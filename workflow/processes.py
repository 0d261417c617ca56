"""One run at a time in a folder, and no process of a run outlives the one that started it."""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil


@contextmanager
def lock(folder: Path) -> Iterator[IO]:
    """Keep other runs out of `folder`, and wait for one that is there already. Yields an open file.

    The lock goes with the last process that has the file open, however it ends. What is started with the file as its
    stdin hands it on, so that a run begins when nothing of the last one is at work any more.
    """
    with open(folder / "run.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another run is at work in {folder}: waiting for it to end", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems have no locks
            print(f"{folder} cannot be locked ({error.strerror}): start no second run there", file=sys.stderr)
        yield file


def end_with(parent: int) -> None:
    """If `parent` started this process, end when it has ended, however that was. Jupyter's kernels do so anyway."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    if os.getppid() == parent:
        threading.Thread(target=watch, daemon=True).start()


def end_children() -> None:
    """Kill all that this process has started and what that has started, kernels too; return when they are gone."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=10)
