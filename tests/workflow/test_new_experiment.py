"""Adding an experiment takes three steps: those of CONTRIBUTING.md are taken word for word, and the page shows it."""

import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
import yaml
from test_smoke import errors_in

from painters_utils.paths import ROOT
from workflow.config import load_study

COPIED = ("painters_utils", "miniworld", "originals", "workflow", "notebooks", "benchmarks")
NOTEBOOK, HEADING = "23_every_other", "Is every second enough?"
CLOSING = load_study("smoke").closing  # the notebooks that run once, after all others


def blocks_of_contributing() -> list[str]:
    """The Python that CONTRIBUTING.md tells to write: a function, and a row of the table."""
    found = re.findall(r"^( *)```python\n(.*?)^ *```$", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
    return [re.sub(f"^{indent}", "", block, flags=re.M) for indent, block in found]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout of its own, with the data of this one, to which the experiment is added."""
    root = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data").symlink_to(ROOT / "data")
    for name in ("requirements.txt", "CITATION.cff"):
        shutil.copy(ROOT / name, root)

    function, table = blocks_of_contributing()
    strategies = root / "painters_utils/engine/strategies.py"
    strategies.write_text(strategies.read_text() + "\n\n" + function)

    row = table[table.index("    Experiment(") : table.rindex("]")]
    experiments = root / "painters_utils/study/experiments.py"
    before, end, after = experiments.read_text().rpartition("\n]  # fmt: skip\n")
    assert end, "EXPERIMENTS ends the file"
    experiments.write_text(f"{before}\n{row}]  # fmt: skip\n{after}")

    copied = (root / "notebooks/05_skip.ipynb").read_text().replace("05_skip", NOTEBOOK)
    (root / f"notebooks/{NOTEBOOK}.ipynb").write_text(copied.replace('\\"skip\\"', '\\"every_other\\"'))

    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["profiles"]["toy"] = config["profiles"]["smoke"] | {"notebooks": [NOTEBOOK], "models": ["sd3-mini"]}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    return root


def in_checkout(root: Path, *command: str) -> str:
    """What Python says when it runs in that checkout and knows no other."""
    environment = os.environ | {"PYTHONPATH": str(root), "PAINTERS_HOME": ""}
    done = subprocess.run([sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    return done.stdout


def test_the_new_row_is_known_to_plan_charts_and_sweep(checkout):
    code = """
import json, painters_utils
from painters_utils import Model, describe, build_order, experiment
from workflow.page.facts import way
row, model = experiment("every_other"), Model.named("sd3-mini")
bands = {"transformer_blocks": {"low": [2, 7], "high": [12, 17]}}
print(json.dumps({
    "from": painters_utils.__file__, "title": row.title, "words": describe(build_order(row.name, 8, **row.example), 8),
    "painted": [variant.name for variant in row.variants(model, bands)],
    "swept": [v.name for v in experiment("sweep").variants(model, bands) if v.strategy == "every_other"],
    "told": way(row.name),
}))
"""
    found = json.loads(in_checkout(checkout, "-c", code))
    assert found["from"].startswith(str(checkout))
    assert found["title"] == "every other" and found["words"] == "layers 3 and 5 are skipped"
    assert found["painted"] == ["every other 2–7 (low)", "every other 12–17 (high)"], "the article ran no such thing"
    assert len(found["swept"]) == 3 and found["told"] == "every other"


@pytest.mark.slow
def test_the_page_shows_the_new_experiment(checkout, tmp_path):
    out = tmp_path / "out"
    in_checkout(checkout, "-m", "workflow.run", "--profile", "toy", "--cores", "2", "--out", str(out))
    assert {path.stem for path in (out / "sd3-mini").glob("*.ipynb")} == {NOTEBOOK}
    rows = json.loads((out / f"sd3-mini/{NOTEBOOK}.json").read_text())["rows"]
    assert {row["strategy"] for row in rows} == {"every_other"} and all("kept" in row for row in rows)

    page = unescape((out / "report/index.html").read_text())
    heading = rf"<h2[^>]*><a [^>]*>{re.escape(HEADING)}</a></h2>"
    [section] = re.findall(rf"<section[^>]*>\s*{heading}.*?</section>", page, re.S)
    assert re.search(rf'<figure [^>]*id="[^"]*{NOTEBOOK}-kept', section), "its chart stands in its section"
    assert "every other layer of the band is left out" in page, "and its order is drawn among the others"
    headings = re.findall(r"<h2[^>]*><a [^>]*>(.*?)</a></h2>", page)
    assert "Are all layers necessary?" not in headings, "what did not run is not there"
    assert {path.stem for path in out.glob("report/notebooks/*/*.html")} == {NOTEBOOK, *CLOSING}
    assert not errors_in(out / "report")
    chapter = unescape((out / f"report/notebooks/sd3-mini/{NOTEBOOK}.html").read_text())
    assert "layers" in chapter and "every_other" in chapter
