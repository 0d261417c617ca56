"""Start programs without their imports, which are most of a short notebook's time: in forks of a process that has them.

`warm` starts that process. What wants a program calls this file in the place of `python -m`, and this file behaves as
the program would: it hands on output and exit status, and the two end together. So it can start Jupyter's kernels as
well. Where no such process runs (on a cluster; with a GPU, which a fork cannot use), it runs the program itself.
"""

# This file is also a program that has to start at once: what takes time to import is imported further down.
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

FOLDER = "PAINTERS_WARM"  # in the environment: where the socket of the process is, and its kernel
START = [sys.executable, "-I", "-S", __file__]  # what starts a program: add the name of its module and its arguments
KERNEL = "ipykernel_launcher"
# What painting frees it needs again at once. Left to itself, glibc gives large blocks back to the system, which fills
# every new one with zeros: some 4 per cent of painting.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


def start_program(module: str, *arguments: str) -> None:
    """Do what `python -m module arguments` does."""
    parent = os.getppid()
    wish = {"module": module, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(f"{os.environ[FOLDER]}/socket")
        except (KeyError, OSError):
            os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Jupyter interrupts a kernel that it has asked to end
        socket.send_fds(line, [json.dumps(wish).encode() + b"\n"], [0, 1, 2])
        while os.getppid() == parent:
            if select.select([line], [], [], 1)[0]:
                try:
                    said = line.recv(1)
                except ConnectionResetError:
                    said = b""
                sys.exit((said or bytes([128 + signal.SIGKILL]))[0])  # nothing is said by what was killed
    sys.exit(1)


@contextmanager
def warm() -> Iterator[None]:
    """Have a warm process as long as the context is open.

    It imports while others work; who asks for a program in the meantime waits.
    """
    from tempfile import TemporaryDirectory

    if sys.platform != "linux" or os.path.exists("/dev/nvidiactl"):
        yield
        return
    with TemporaryDirectory() as folder:
        os.makedirs(f"{folder}/kernels/python3")
        with open(f"{folder}/kernels/python3/kernel.json", "w") as file:
            kernel = [*START, KERNEL, "-f", "{connection_file}"]
            json.dump({"argv": kernel, "display_name": "Python 3", "language": "python"}, file)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(f"{folder}/socket")
            door.listen()
            process = subprocess.Popen(
                [sys.executable, "-m", "workflow.warm", "--serve", str(door.fileno()), str(os.getpid())],
                pass_fds=[door.fileno()], env=KEEP_MEMORY | os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for who has started it
            )  # fmt: skip
        before = {name: os.environ.get(name) for name in (FOLDER, "JUPYTER_PATH")}
        os.environ |= {FOLDER: folder, "JUPYTER_PATH": os.pathsep.join(filter(None, (folder, before["JUPYTER_PATH"])))}
        try:
            yield
        finally:
            process.kill()
            process.wait()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def serve(door: socket.socket, parent: int) -> NoReturn:
    """Import what notebooks and jobs need, then fork for whoever asks, until `parent` or a signal ends it."""
    import gc

    from .processes import end_with

    end_with(parent)
    import_all()
    gc.freeze()  # so that no fork copies what it does not change
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a fork
    while True:
        line, _ = door.accept()
        if os.fork() == 0:
            door.close()
            run_wish(line)
        line.close()


def import_all() -> None:
    """Import what runs jobs and kernels, and what the notebooks import: as in a kernel, so for matplotlib and tqdm."""
    import ast
    from importlib import import_module

    import nbformat

    from painters_utils.paths import NOTEBOOKS

    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    import_module("ipykernel.kernelapp")  # from then on tqdm's bars are Jupyter's
    modules = {"workflow.execute", "workflow.page.build"}
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for line in ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else ():
                if isinstance(line, ast.Import):
                    modules |= {name.name for name in line.names}
                elif isinstance(line, ast.ImportFrom):
                    modules.add(str(line.module))
    for module in sorted(modules):
        import_module(module)


def bars_of_a_terminal() -> None:
    """Let what has imported Jupyter's progress bars show those of a terminal."""
    import tqdm
    import tqdm.auto

    jupyters = tqdm.auto.tqdm
    for module in list(sys.modules.values()):
        if vars(module).get("tqdm") is jupyters:
            vars(module)["tqdm"] = tqdm.tqdm


def run_wish(line: socket.socket) -> NoReturn:
    """Run a program as if Python had been started for it; tell its exit status on the line, and end."""
    import atexit
    import runpy
    import threading
    import traceback

    text, given, *_ = socket.recv_fds(line, 2**16, 3)
    while not text.endswith(b"\n"):
        text += line.recv(2**16)
    wish = json.loads(text)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(given):
        os.dup2(file, number)
        os.close(file)
    os.chdir(wish["folder"])
    sys.path[0] = wish["folder"]
    os.environ.clear()
    os.environ.update(wish["environment"])
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    threading.Thread(target=lambda: (line.recv(1), os._exit(1)), daemon=True).start()  # who asked has ended
    if wish["module"] != KERNEL:
        bars_of_a_terminal()
    sys.argv = [wish["module"], *wish["arguments"]]
    sys.modules.pop(wish["module"], None)  # it runs as __main__
    status = 0
    try:
        runpy.run_module(wish["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    line.send(bytes([status & 255]))
    os._exit(status)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]))
    start_program(*sys.argv[1:])
