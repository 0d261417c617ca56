"""A program that is started warm behaves as one that is started cold, and no such program outlives who asked for it."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from workflow.execute import execute_notebook
from workflow.warm import FOLDER, START, warm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks are trusted on Linux only"),
]

PROGRAM = """
import os, sys
from pathlib import Path
if sys.argv[1] == "tell":
    print(sys.argv[2], os.environ["COLOUR"], Path.cwd().name, __name__, "torch" in sys.modules)
    print("aside", file=sys.stderr)
if sys.argv[1] == "fail":
    raise ValueError("a cell is missing")
if sys.argv[1] == "wait":
    Path("waits").write_text(str(os.getpid()))
    while True:
        pass
sys.exit({"status": 7, "words": "error: no such layer"}.get(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def started():
    with warm():
        yield


@pytest.fixture
def run(started, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = os.environ | {"COLOUR": "green"}

    def run(*arguments, wait=True):
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
        process = subprocess.Popen([*START, "program", *arguments], **pipes)
        return (process, *process.communicate(timeout=120)) if wait else process

    return run


def test_output_folder_environment_and_arguments_are_handed_on(run, tmp_path):
    process, said, aside = run("tell", "a b'c")
    assert process.returncode == 0 and aside == "aside\n"
    assert said == f"a b'c green {tmp_path.name} __main__ True\n"  # torch was there already


@pytest.mark.parametrize(
    ("wish", "status", "said"), [("status", 7, ""), ("words", 1, "error: no such layer\n"), ("none", 0, "")]
)
def test_the_exit_status_is_the_programs(run, wish, status, said):
    process, _, aside = run(wish)
    assert process.returncode == status and aside == said


def test_an_error_is_shown_as_ever(run):
    process, _, aside = run("fail")
    assert (
        process.returncode == 1 and aside.startswith("Traceback") and aside.endswith("ValueError: a cell is missing\n")
    )


def test_nobody_waits_for_a_kernel_that_has_done_its_work(started, tmp_path):
    late = tmp_path / "late"
    told = f"import atexit\nfrom pathlib import Path\natexit.register(Path({str(late)!r}).touch)"
    cells = [nbformat.v4.new_code_cell("", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(told)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "toy.ipynb")
    execute_notebook(tmp_path / "toy.ipynb", tmp_path / "done.ipynb", {})
    assert not late.exists()


def waiting(tmp_path) -> psutil.Process:
    """The program, once it waits."""
    until = time.monotonic() + 60
    while not (tmp_path / "waits").exists() or not (tmp_path / "waits").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    return psutil.Process(int((tmp_path / "waits").read_text()))


def test_a_killed_program_is_reported_as_one(run, tmp_path):
    process = run("wait", wait=False)
    waiting(tmp_path).kill()
    assert process.wait(10) == 128 + signal.SIGKILL


def test_the_program_ends_with_the_process_that_asked(run, tmp_path):
    process = run("wait", wait=False)
    program = waiting(tmp_path)
    process.kill()
    program.wait(10)


def test_without_a_warm_process_the_program_runs_itself(run, monkeypatch, tmp_path):
    for where in (None, str(tmp_path / "gone")):
        with monkeypatch.context() as patch:
            patch.delenv(FOLDER) if where is None else patch.setenv(FOLDER, where)
            done = subprocess.run([*START, "workflow.execute", "nonsense"], capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith("error: unknown notebook 'nonsense'")


def test_what_runs_goes_on_when_the_warm_process_is_killed_and_what_comes_runs_itself(run, tmp_path):
    """The last one here: no warm process is left."""
    _, first, _ = run("tell", "all is well")
    waits = run("wait", wait=False)
    program = waiting(tmp_path)
    [server] = [child for child in psutil.Process().children() if "--serve" in child.cmdline()]
    server.kill()
    server.wait(10)
    _, second, _ = run("tell", "all is well")
    assert program.is_running() and waits.poll() is None
    waits.kill()
    program.wait(10)
    assert first.endswith("__main__ True\n") and second.endswith("__main__ False\n")
