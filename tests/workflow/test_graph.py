"""What Snakemake would run again after a change: all that is reached by it, and nothing else.

A study is made up in a checkout of its own, empty files with the times of a finished run, and Snakemake is asked what
it would do (a dry run).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from painters_utils.paths import ROOT

CODE = ("painters_utils", "miniworld", "originals", "workflow", "notebooks", "benchmarks")
MODEL = "sd3-mini"
WRITE = """
import sys
from workflow import run
from workflow.config import load_study
study = load_study("smoke", out=sys.argv[1], models=["sd3-mini"])
print("\\n".join(run.snakemake_command(study, ["--cores", "2", "--dry-run"])))
"""


class Graph:
    """A finished study in a checkout of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root / "checkout", root / "out"
        for name in CODE:
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "data", self.root / "data", ignore=shutil.ignore_patterns("models"))
        for name in ("config.yaml", "requirements.txt"):
            shutil.copy(ROOT / name, self.root / name)
        (self.root / "data/models").symlink_to(ROOT / "data/models")
        (self.root / "CONTRIBUTING.md").touch()
        self.command = self.run([sys.executable, "-c", WRITE, str(self.out)]).splitlines()
        self.finish()

    def run(self, command: list[str]) -> str:
        environment = os.environ | {"PAINTERS_HOME": str(self.root), "PYTHONPATH": str(self.root)}
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout + done.stderr

    def finish(self) -> None:
        """Give every source the time 1000, and what is made of it later ones."""
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink() and not path.is_relative_to(self.root / "data/models"):
                os.utime(path, (1000, 1000))
        self.write(self.out / MODEL / "prepared.json", 3e9)
        names = [path.stem for path in (self.root / "notebooks").glob("*.ipynb")]
        for name in names:
            self.write(self.out / MODEL / f"{name}.ipynb", 3e9 + 1)
            self.write(self.out / "study" / f"{name}.ipynb", 3e9 + 2)
        self.write(self.out / "page.json", 3e9 + 3)

    def write(self, path: Path, time: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time, time))

    def after(self, *changed: str) -> dict[str, set[str]]:
        """For every rule that would run: those of the changed files that each of its jobs names as a reason."""
        for name in changed:
            assert (self.root / name).exists(), name
            os.utime(self.root / name, (3.1e9, 3.1e9))
        said = self.run(self.command)
        for name in changed:
            os.utime(self.root / name, (1000, 1000))
        found: dict[str, set[str]] = {}
        for rule, reason in re.findall(r"rule (\w+):\n.*?reason: (.*?)\n", said, re.S):
            named = {name for name in changed if str(self.root / name) in reason}
            found[rule] = found.get(rule, named) & named
        return found


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Graph:
    return Graph(tmp_path_factory.mktemp("graph"))


def test_a_finished_study_has_nothing_to_do(graph):
    assert graph.after() == {}


def test_what_pictures_or_scores_depend_on_runs_everything_again(graph):
    changed = [
        "miniworld/denoising.py", "data/sprites/dog.webp", "data/prompts.yaml", "data/checker/checker.safetensors",
        "painters_utils/engine/orders.py", "data/models.yaml", "originals/judges.py",
    ]  # fmt: skip
    found = graph.after(*changed)
    assert set(found) == {"prepare", "notebook", "findings", "page"}, "a notebook runs after what it waits for"
    assert found["prepare"] == set(changed)


def test_what_only_tells_runs_no_notebook(graph):
    page, nothing = ["workflow/page/template/page.html.j2"], ["workflow/plan.py", "CONTRIBUTING.md"]
    page += [str(next((graph.root / "benchmarks/results").glob("*.json")).relative_to(graph.root))]
    found = graph.after(*page, *nothing, "miniworld/training/card.py", "notebooks/16_explore.ipynb")
    assert set(found) == {"page"} and found["page"] == set(page)


def test_claims_are_judged_again_and_nothing_is_painted(graph):
    assert set(graph.after("data/claims.yaml", "workflow/findings/evidence.py")) == {"findings", "page"}


def test_a_chart_is_drawn_again_and_nothing_is_recorded(graph):
    changed = ["painters_utils/show/charts.py"]
    found = graph.after(*changed)
    assert set(found) == {"notebook", "findings", "page"} and found["notebook"] == set(changed)


def test_a_notebook_runs_again_alone(graph):
    found = graph.after("notebooks/05_skip.ipynb")
    assert set(found) == {"notebook", "findings", "page"} and found["notebook"] == {"notebooks/05_skip.ipynb"}


def test_a_notebook_that_is_missing_runs_again_when_the_page_is_asked_for(graph):
    for path in (graph.out / MODEL / "05_skip.ipynb", graph.out / "page.json"):
        path.unlink()  # `run.forget_damaged` sees to the second
    found = graph.after()
    graph.finish()
    assert set(found) == {"notebook", "findings", "page"}
