"""Small studies, from the command to the page: every notebook on one mini, and some on the others.

`make report PROFILE=smoke` runs every notebook on every mini; here there is less, for the tests to be quick.
"""

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
TWO_STACKS = ["05_skip"]  # where those of the other minis matter


def make_report(out: Path, **changes: object) -> Study:
    """`make report PROFILE=smoke OUT=out` with some settings changed."""
    study = load_study("smoke", out=out, **changes)
    with lock(study.out) as locked:
        assert run.run_here(run.snakemake_command(study, ["--cores", "2", "--quiet", "all"]), locked) == 0
    return study


@pytest.fixture(scope="module")
def every_notebook(tmp_path_factory) -> Study:
    return make_report(tmp_path_factory.mktemp("every_notebook"), models=["sd3-mini"])


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Study:
    models = ["flux-mini", "auraflow-mini"]
    return make_report(tmp_path_factory.mktemp("others"), models=models, notebooks=TWO_STACKS)


@pytest.fixture(params=["every_notebook", "others"])
def study(request) -> Study:
    return request.getfixturevalue(request.param)


def test_every_notebook_is_a_click_away_and_none_shows_an_error(study):
    page = study.page.read_text()
    pages = {f"notebooks/{model.key}/{name}.html" for model in study.models for name in study.notebooks_of(model)}
    pages |= {f"notebooks/study/{name}.html" for name in study.closing}
    assert {str(path.relative_to(study.page.parent)) for path in study.page.parent.rglob("*/*.html")} == pages
    for name in pages:
        assert f'href="{name}"' in page
        assert "Traceback" not in (study.page.parent / name).read_text()


def test_what_pictures_depend_on_stands_in_every_executed_notebook(study):
    for path in study.out.glob("*-mini/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        [told] = [cell.source for cell in cells if "injected-parameters" in cell.metadata.get("tags", [])]
        assert f'model = "{path.parent.name}"' in told and "steps = 2" in told, path
        assert '"dtype": "float32"' in told and '"quantize": "none"' in told, path


def test_a_study_of_some_notebooks_ends_with_a_page_of_what_there_is(others):
    page = re.sub('base64,[^"]+', "", others.page.read_text())  # pictures may hold any letters
    assert "05_skip.html" in page and "06_repeat.html" not in page
    assert not re.search(r"\bnan\b", page)
    claims = json.loads((others.out / "study/15_findings.json").read_text())["claims"]
    measured = {
        claim["claim"]: {one["verdict"] for one in claims if one["claim"] == claim["claim"]} for claim in claims
    }
    assert {UNMEASURED} in measured.values(), "whose evidence did not run"
    assert any(UNMEASURED not in verdicts for verdicts in measured.values()), "whose evidence did"


def test_the_same_study_again_has_nothing_to_do(others):
    made = [*others.out.glob("*/*.ipynb"), others.page]
    before = [path.stat().st_mtime_ns for path in made]
    make_report(others.out, models=["flux-mini", "auraflow-mini"], notebooks=TWO_STACKS)
    assert [path.stat().st_mtime_ns for path in made] == before
