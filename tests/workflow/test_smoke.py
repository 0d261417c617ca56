"""Small studies, from the command to the page: of one notebook, and of every notebook on every mini."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from painters_utils.paths import ROOT
from workflow import run
from workflow.config import Study, load_study
from workflow.findings.claims import UNMEASURED
from workflow.processes import lock

pytestmark = pytest.mark.slow


def errors_in(study: Study) -> list[str]:
    """What the page or one of its notebooks shows and should not."""
    pages = [study.page, *study.page.parent.glob("notebooks/*/*.html")]
    texts = {str(page): re.sub('base64,[^"]+', "", page.read_text()) for page in pages}  # pictures hold any letters
    wrong = r"Traceback|>undefined<|>nan\b|\bnan<|\bnan [(–]"  # a notebook's code may well say "nan"
    return [page for page, text in texts.items() if re.search(wrong, text)]


def test_a_study_of_one_notebook_and_one_model_ends_with_a_page_of_what_there_is(tmp_path):
    study = load_study("smoke", out=tmp_path, models=["sd3-mini"], notebooks=["05_skip"])
    with lock(study.out) as locked:
        assert run.run_here(run.snakemake_command(study, ["--cores", "2", "--quiet", "all"]), locked) == 0
    page = study.page.read_text()
    assert {path.stem for path in study.page.parent.glob("notebooks/*/*.html")} == {"05_skip", *study.closing}
    assert "05_skip.html" in page and "06_repeat.html" not in page
    claims = json.loads((tmp_path / "study/15_findings.json").read_text())["claims"]
    by_notebook = {claim["claim"]: claim["verdict"] for claim in claims}
    assert UNMEASURED in by_notebook.values() and set(by_notebook.values()) != {UNMEASURED}
    assert not errors_in(study)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Study:
    """`make report PROFILE=smoke OUT=…`, from nothing."""
    out = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "workflow.run", "--profile", "smoke", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return load_study("smoke", out=out)


def test_every_notebook_runs_on_every_mini_and_is_a_click_away(smoke):
    assert [model.name for model in smoke.models] == ["flux-mini", "sd3-mini", "auraflow-mini"]
    page = smoke.page.read_text()
    for model in smoke.models:
        for name in smoke.notebooks_of(model):
            assert f'href="notebooks/{model.key}/{name}.html"' in page
            assert (smoke.page.parent / f"notebooks/{model.key}/{name}.html").exists()
    assert not errors_in(smoke)


def test_what_pictures_depend_on_stands_in_every_executed_notebook(smoke):
    for path in smoke.out.glob("*-mini/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        [told] = [cell.source for cell in cells if "injected-parameters" in cell.metadata.get("tags", [])]
        assert f'model = "{path.parent.name}"' in told and "steps = 2" in told, path
        assert '"dtype": "float32"' in told and '"quantize": "none"' in told, path


def test_the_same_study_again_has_nothing_to_do(smoke):
    before = {path: path.stat().st_mtime_ns for path in Path(smoke.out).rglob("*.ipynb")}
    command = [sys.executable, "-m", "workflow.run", "--profile", "smoke", "--out", str(smoke.out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
