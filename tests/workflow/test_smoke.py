"""A small study of the three minis, from the command to the page. test_notebooks.py runs every notebook on one of them,
and `make report PROFILE=smoke` all on all."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from workflow import run
from workflow.config import Study, load_study
from workflow.findings.claims import UNMEASURED
from workflow.processes import lock

pytestmark = pytest.mark.slow
NOTEBOOKS = ["05_skip"]


def make_report(out: Path, **changes: object) -> Study:
    """`make report PROFILE=smoke OUT=out` with some settings changed."""
    study = load_study("smoke", out=out, **changes)
    with lock(study.out) as locked:
        assert run.run_here(run.snakemake_command(study, ["--cores", "2", "--quiet", "all"]), locked) == 0
    return study


def errors_in(report: Path) -> list[str]:
    """What the page or one of its notebooks shows and should not. Pictures hold any letters, code may say "nan"."""
    texts = {path: re.sub('base64,[^"]+', "", path.read_text()) for path in report.rglob("*.html")}
    wrong = r"Traceback|>undefined<|>nan\b|\bnan<|\bnan [(–]"
    return [str(path) for path, text in texts.items() if re.search(wrong, text)]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return make_report(tmp_path_factory.mktemp("smoke"), notebooks=NOTEBOOKS)


def test_every_notebook_is_a_click_away_and_none_shows_an_error(study):
    assert [model.name for model in study.models] == ["flux-mini", "sd3-mini", "auraflow-mini"]
    page = study.page.read_text()
    pages = {f"notebooks/{model.key}/{name}.html" for model in study.models for name in study.notebooks_of(model)}
    pages |= {f"notebooks/study/{name}.html" for name in study.closing} | {"live/index.html"}
    assert {str(path.relative_to(study.page.parent)) for path in study.page.parent.rglob("*/*.html")} == pages
    assert all(f'href="{name}"' in page for name in pages)
    assert not errors_in(study.page.parent)


def test_what_pictures_depend_on_stands_in_every_executed_notebook(study):
    for path in study.out.glob("*-mini/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        [told] = [cell.source for cell in cells if "injected-parameters" in cell.metadata.get("tags", [])]
        assert f'model = "{path.parent.name}"' in told and "steps = 2" in told, path
        assert '"dtype": "float32"' in told and '"quantize": "none"' in told, path


def test_a_study_of_some_notebooks_ends_with_a_page_of_what_there_is(study):
    page = re.sub('base64,[^"]+', "", study.page.read_text())  # pictures may hold any letters
    assert "05_skip.html" in page and "06_repeat.html" not in page
    assert not re.search(r"\bnan\b", page)
    claims = json.loads((study.out / "study/15_findings.json").read_text())["claims"]
    measured = {
        claim["claim"]: {one["verdict"] for one in claims if one["claim"] == claim["claim"]} for claim in claims
    }
    assert {UNMEASURED} in measured.values(), "whose evidence did not run"
    assert any(UNMEASURED not in verdicts for verdicts in measured.values()), "whose evidence did"


def test_the_same_study_again_has_nothing_to_do(study):
    made = [*study.out.glob("*/*.ipynb"), study.page]
    before = [path.stat().st_mtime_ns for path in made]
    make_report(study.out, notebooks=NOTEBOOKS)
    assert [path.stat().st_mtime_ns for path in made] == before
