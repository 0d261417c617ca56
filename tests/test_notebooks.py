"""Every notebook runs from top to bottom with a mini, all in one process: a kernel for each would take longer than it.

`make report PROFILE=smoke` runs every notebook on every mini, each in a kernel of its own.
"""

import matplotlib.pyplot as plt
import nbformat
import pytest
from notebook_cells import run_cells

from painters_utils.paths import NOTEBOOKS
from painters_utils.study import velocity
from workflow.config import Study, load_study
from workflow.notebooks import saves_numbers

MINI = "sd3-mini"
STUDY = load_study("smoke", models=[MINI])


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return load_study("smoke", models=[MINI], out=tmp_path_factory.mktemp("study"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STUDY.notebooks_of(STUDY.models[0]), *STUDY.closing])
def test_a_notebook_runs_from_top_to_bottom(name, study, monkeypatch):
    few = velocity.suite_prompts(18)[::6]  # of 18 prompts the velocity errors of 47 variants take a quarter of a minute
    monkeypatch.setattr(velocity, "suite_prompts", lambda _: few)
    place = "study" if name in study.closing else MINI
    parameters = study.parameters(None if name in study.closing else study.models[0], name)
    run_cells(name, **parameters)
    plt.close("all")
    if saves_numbers(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)):
        assert (study.out / place / f"{name}.json").exists()
