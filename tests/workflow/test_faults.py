"""Faults, each of them made: whatever is killed, cut short or full, the same command goes on and ends in the same page.

The runs are a small study in a checkout of its own: the repository's code with three little notebooks, one of which
waits as long as a file says so. That is when it is killed.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml
from PIL import Image

from painters_utils import files
from painters_utils.errors import InputError
from painters_utils.files import write_whole
from painters_utils.models import model
from painters_utils.models.painting import Picture
from painters_utils.paths import ROOT
from painters_utils.study.store import Store
from workflow import config, run
from workflow.config import PUBLISHED, Study, load_study
from workflow.page import build as report

PREPARE = """
import argparse
from pathlib import Path
from workflow.execute import add_parameters
parser = argparse.ArgumentParser()
parser.add_argument("--target", type=Path)
add_parameters(parser)
parser.parse_args().target.write_text("{}")
"""
IMPORT = """
import json, os, time
from pathlib import Path
from IPython.display import HTML, display
from painters_utils.files import write_whole
"""
WAIT = """
with write_whole(Path(out) / "waits") as unfinished:
    unfinished.write_text(str(os.getpid()))
while Path(out, "hold").exists():
    time.sleep(0.05)
"""
TELL = """
square = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8" fill="red"/></svg>'
about = dict(kind=".svg", caption="What there is.", alt="a red square", width=8, height=8)
files = {{"figures/{name}.svg": square, "figures/{name}.json": json.dumps(about),
         "{name}.json": json.dumps(dict(prompts=prompts, steps=steps, loading=loading))}}
for name, text in files.items():
    with write_whole(Path(out) / name) as unfinished:
        unfinished.write_text(text)
display(HTML(square), metadata={{"painters": {{"figure": "{name}"}}}})
with open(Path(out) / "ran.txt", "a") as file:
    print("{name}", file=file)
"""
GATHER = """
found = {model: json.loads(Path(out, model, "06_repeat.json").read_text()) for model in models}
with write_whole(Path(out) / "study/15_findings.json") as unfinished:
    unfinished.write_text(json.dumps(found))
"""
SMALL = dict(
    models=["sd3-mini"], seeds=1, suite=0, steps=2, profiles={"default": {}},
    prompts=["a green balloon on a gray background", "a red bridge on a blue background"],
)  # fmt: skip
PAGE = """<title>{{ study.profile }}</title>{{ numbers|tojson }}{{ findings|tojson }}
{{ figure("sd3-mini", "06_repeat") }}{% for title in every.values() %}<h1>{{ title }}</h1>{% endfor %}
"""
LONG = 1200  # seconds: nothing here takes as long, but a busy machine is slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout with a study of three little notebooks and a little page."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("data", "requirements.txt", "CITATION.cff"):
        (root / name).symlink_to(ROOT / name)
    for name in ("painters_utils", "miniworld", "originals", "benchmarks", "workflow"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "workflow/page/template/page.html.j2").write_text(PAGE)
    (root / "workflow/prepare.py").write_text(PREPARE)
    (root / "config.yaml").write_text(yaml.safe_dump(yaml.safe_load((ROOT / "config.yaml").read_text()) | SMALL))
    own = 'model = "sd3-mini"\nprompts = []\nsteps = None\nloading = {}\nout = ""'
    write_notebook(root, "05_skip", "per model", own, IMPORT, TELL.format(name="05_skip"))
    write_notebook(root, "06_repeat", "per model", own, IMPORT, WAIT, TELL.format(name="06_repeat"))
    write_notebook(root, "15_findings", "once", 'models = []\nout = ""', IMPORT, GATHER)
    return root


def around(checkout: Path) -> dict[str, str]:
    """The environment of a run in a checkout; with no bytecode written there."""
    return os.environ | {"PAINTERS_HOME": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}


def write_notebook(root: Path, name: str, runs: str, *sources: str) -> None:
    cells = [nbformat.v4.new_markdown_cell(f"# {name}", id="title")]
    cells += [nbformat.v4.new_code_cell(source.strip(), id=f"cell-{i}") for i, source in enumerate(sources)]
    cells[1].metadata["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    metadata["painters"] = {"runs": runs}
    (root / "notebooks").mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), root / f"notebooks/{name}.ipynb")


@pytest.fixture
def make_report(checkout) -> Iterator[Callable[[Path], subprocess.Popen]]:
    """`make report OUT=out`; what still runs at the end of a test is killed."""
    started = []

    def start(out: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "workflow.run", "--out", str(out), "--cores", "1"]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=around(checkout))
        # Whoever runs the tests in the background may ignore Ctrl-C, which children inherit; a terminal's do not.
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        started.append(subprocess.Popen(command, cwd=checkout, preexec_fn=heard, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def at_work(process: subprocess.Popen, out: Path) -> psutil.Process:
    """The kernel of the notebook that waits, once it does."""
    waits = out / "sd3-mini/waits"
    deadline = time.monotonic() + LONG
    while not waits.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kernel = psutil.Process(int(waits.read_text()))
    waits.unlink()
    return kernel


def kinds(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_page(checkout, make_report, tmp_path):
    untouched, out = kinds(checkout), tmp_path / "killed"
    words, errors = (process := make_report(tmp_path / "whole")).communicate(timeout=LONG)
    assert process.returncode == 0, errors
    assert words == f"the report: {tmp_path}/whole/report/index.html\n"

    hold = out / "sd3-mini/hold"
    hold.parent.mkdir(parents=True)
    (out / "study.json").touch()  # an earlier run's
    hold.touch()
    for victim, message in (
        ("kernel", "the kernel of 06_repeat was killed"),
        ("papermill", "the study is not complete"),
        ("Snakemake", "the study is not complete"),
        ("nothing, but asked to stop", "stopped; the same command goes on where it was"),
    ):
        kernel = at_work(process := make_report(out), out)
        family = psutil.Process(process.pid).children(recursive=True)
        assert kernel in family
        if victim.startswith("nothing"):
            process.send_signal(signal.SIGINT)
        elif victim == "kernel":
            kernel.kill()
        else:
            called = {"papermill": "workflow.execute", "Snakemake": "snakemake"}[victim]
            next(each for each in family if called in each.cmdline()).kill()
        _, errors = process.communicate(timeout=LONG)
        assert process.returncode == 1, victim
        assert message in errors.splitlines()[-1] or victim == "kernel" and message in errors, errors
        gone, alive = psutil.wait_procs(family, timeout=0 if victim.startswith("nothing") else LONG)
        assert all(each.status() == psutil.STATUS_ZOMBIE for each in alive), victim  # only to be buried

    kernel = at_work(first := make_report(out), out)
    second = make_report(out)
    assert second.stderr.readline() == f"another run is at work in {out}: waiting for it to end\n"
    first.kill()
    assert not psutil.wait_procs([kernel], timeout=LONG)[1], "a kernel of a killed run"
    hold.unlink()
    words, errors = second.communicate(timeout=LONG)
    assert second.returncode == 0, errors
    first.communicate()

    ran = (out / "sd3-mini/ran.txt").read_text().splitlines()  # one at a time, in an order of Snakemake's
    assert sorted(ran) == ["05_skip", "06_repeat"], "what was finished did not run again"
    page = {name: text.replace(bytes(out), bytes(tmp_path / "whole")) for name, text in kinds(out / "report").items()}
    assert page == kinds(tmp_path / "whole/report"), "the notebooks' pages say where they ran"
    assert kinds(out / "figures") == kinds(tmp_path / "whole/figures")
    assert {"index.html", "notebooks/sd3-mini/05_skip.html"} <= set(kinds(out / "report"))
    assert not [path for path in out.rglob("*") if ".part." in path.name or ".failed." in path.name]
    assert kinds(checkout) == untouched, "with OUT, nothing is written to the checkout"


@pytest.mark.slow
def test_a_checkout_that_can_only_be_read_runs_a_study_elsewhere(checkout, tmp_path):
    """In a namespace of its own (Linux), where checkout, code and data are mounted read-only."""
    frozen = [f"mount --bind '{it}' '{it}' && mount -o remount,bind,ro '{it}'" for it in (ROOT, checkout)]
    command = f"exec '{sys.executable}' -m workflow.run --out '{tmp_path}/out' --cores 1"

    def apart(*commands: str) -> subprocess.CompletedProcess:
        shell = ["unshare", "-rm", "sh", "-c", " && ".join(commands)]
        options = dict(cwd=checkout, env=around(checkout), capture_output=True, text=True, timeout=LONG)
        return subprocess.run(shell, **options)

    if not shutil.which("unshare") or apart(*frozen).returncode:
        pytest.skip("this system lets no user mount a folder read-only")
    done = apart(*frozen, f"cd '{checkout}'", "! touch config.yaml", command)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/report/index.html").exists()


FIGURE = {"source": [], "outputs": [{"metadata": {"painters": {"figure": "05-kept"}}}]}


@pytest.fixture
def study(tmp_path) -> Study:
    """What a finished run of one notebook has left."""
    out = tmp_path / "out"
    one = replace(load_study("smoke"), out=out, page=out / "report/index.html", figures=out / "figures")
    one = replace(one, models=[], closing={"15_findings": one.closing["15_findings"]})
    for path in (out / "m/05_skip.ipynb", out / "m/05_skip.json", out / "m/strips/05_skip/names.json",
                 out / "study/15_findings.ipynb", out / "study/15_findings.json"):  # fmt: skip
        with write_whole(path) as unfinished:
            unfinished.write_text(json.dumps({"cells": [{"source": ["save_numbers(out, 1)"]}, FIGURE]}))
    (out / "m/figures").mkdir()
    (out / "m/figures/05-kept.json").write_text('{"kind": ".webp"}')
    for path in (out / "m/strips/05_skip/00.webp", out / "m/figures/05-kept.webp"):
        Image.new("RGB", (96, 96), "red").save(path)
    shutil.copytree(out / "m/figures", out / "study/figures")
    report.publish(one, page_of(one, "old"))
    return one


def page_of(study: Study, words: str) -> dict[Path, bytes]:
    pages = study.page.parent / "notebooks/m"
    return {path: words.encode() for path in (study.figures / "m/a.webp", pages / f"{words}.html", study.page)}


def test_what_is_whole_is_left_alone(study):
    before = kinds(study.out)
    run.forget_damaged(study)
    assert kinds(study.out) == before


LEFT = ["05_skip.json", "figures/05-kept.webp", "figures/05-kept.json"]


@pytest.mark.parametrize("cut", [*LEFT, "05_skip.ipynb", "strips/05_skip/names.json", "strips/05_skip/00.webp"])
def test_a_notebook_of_which_something_was_cut_short_runs_again(study, cut):
    path = study.out / "m" / cut
    os.truncate(path, path.stat().st_size - 5)
    run.forget_damaged(study)
    assert not (study.out / "m/05_skip.ipynb").exists()
    assert (study.out / "study/15_findings.ipynb").exists()


@pytest.mark.parametrize("missing", LEFT)
def test_a_notebook_of_which_something_is_missing_runs_again(study, missing):
    (study.out / "m" / missing).unlink()
    run.forget_damaged(study)
    assert not (study.out / "m/05_skip.ipynb").exists()


@pytest.mark.parametrize("name", ["report/index.html", "figures/m/a.webp", "report/notebooks/m/old.html"])
def test_a_page_of_which_a_file_is_missing_or_cut_short_is_written_again(study, name):
    os.truncate(study.out / name, 1)
    run.forget_damaged(study)
    assert not (study.out / PUBLISHED).exists()
    report.publish(study, page_of(study, "old"))
    (study.out / name).unlink()
    run.forget_damaged(study)
    assert not (study.out / PUBLISHED).exists()


def test_the_page_is_asked_for_again_where_a_notebook_is_missing_or_it_lies_elsewhere(study):
    elsewhere = replace(study, page=study.out / "elsewhere/index.html")
    elsewhere.page.parent.mkdir()
    run.forget_damaged(elsewhere)
    assert not (study.out / PUBLISHED).exists()
    report.publish(study, page_of(study, "old"))
    (study.out / "study/15_findings.ipynb").unlink()
    run.forget_damaged(study)
    assert not (study.out / PUBLISHED).exists()


def test_what_a_killed_run_had_begun_to_write_goes(study):
    (study.figures / "m/a.1234abcd.part.webp").touch()
    (study.out / "m/06_repeat.1234abcd.part.json").touch()
    run.forget_damaged(study)
    assert not list(study.out.rglob("*.part.*"))


def test_the_page_is_there_and_whole_at_every_moment(study, monkeypatch):
    moments, replace = [], os.replace

    def watched(*paths):
        moments.append(study.page.read_text())
        replace(*paths)
        moments.append(study.page.read_text())

    monkeypatch.setattr(files.os, "replace", watched)
    report.publish(study, page_of(study, "new"))
    assert list(dict.fromkeys(moments)) == ["old", "new"]
    assert [path.name for path in study.page.parent.glob("notebooks/*/*")] == ["new.html"], "earlier pages are gone"


@contextmanager
def full_disk(room: int):
    """No file can grow beyond `room` bytes, as on a disk with no more space than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_nothing_and_leaves_nothing_half_written(study, tmp_path):
    store, computed = Store(tmp_path / "store"), []

    def paint():
        computed.append(1)
        return [Picture("a dog", 0, Image.effect_noise((64, 64), 50).convert("RGB"))]

    early = store.pictures("early", paint)
    with full_disk(1000), pytest.raises(OSError, match="File too large"):
        store.pictures("late", paint)
    with full_disk(1000), pytest.raises(OSError, match="File too large"):
        report.publish(study, page_of(study, "new" * 1000))
    assert study.page.read_text() == "old"
    assert len(list(store.folder.iterdir())) == 1
    assert not list(study.out.rglob("*.part.*"))
    assert store.pictures("early", paint)[0].image.tobytes() == early[0].image.tobytes()
    store.pictures("late", paint)
    store.pictures("late", paint)
    assert len(computed) == 3, "early, late on the full disk, late"


@pytest.mark.parametrize(
    "name", ["models/sd3-mini/vae/diffusion_pytorch_model.safetensors", "models/sd3-mini/tokenizer/tokenizer.json",
             "checker/checker.safetensors"]
)  # fmt: skip
def test_weights_cut_short_are_refused_before_anything_runs(name, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "data", tmp_path / "data", copy_function=os.symlink)
    cut = tmp_path / "data" / name
    place = cut if cut.suffix == ".safetensors" else tmp_path / "data/models/sd3-mini"
    whole_file = cut.read_bytes()
    cut.unlink()
    cut.write_bytes(whole_file[: len(whole_file) // 2])
    monkeypatch.setattr(model, "ROOT", tmp_path)
    monkeypatch.setattr(config, "DATA", tmp_path / "data")
    with pytest.raises(InputError, match=f"{place}.* damaged"):
        load_study(out=tmp_path / "out")


def test_a_folder_of_other_things_is_no_place_for_a_run(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="holds other files: choose a folder that is new, empty or of an earlier run"):
        load_study("smoke", out=tmp_path)
