"""The study at tiny settings, from notebooks to page, and the page in a real browser."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import nbformat
import pytest

from painters_utils import figures
from painters_utils.catalog import ROOT
from painters_utils.config import load_study
from painters_utils.results import read_numbers
from painters_utils.variants import TITLES

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def page() -> str:
    """`make report PROFILE=smoke`; quick if nothing has changed since the last time."""
    done = subprocess.run(
        [sys.executable, "-m", "painters_utils.run", "--profile", "smoke"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return load_study("smoke").page.read_text()


class Page(HTMLParser):
    """Collects what the tests ask of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images, self.ids, self.links, self.outside = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "img":
            self.images.append(attributes)
        if tag == "a" and attributes.get("href", "").startswith("#"):
            self.links.append(attributes["href"][1:])
        for name in ("src", "href") if tag in ("img", "script", "link", "iframe", "source") else ():
            if not (attributes.get(name) or "data:").startswith("data:"):
                self.outside.append(attributes[name])


SECTIONS = [
    "found", "how", "models", "space", "skip", "repeat", "order", "parallel", "loops", "least", "roles", "claims",
    "controls", "notebooks", "rerun",
]  # fmt: skip


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def section(page: str, name: str) -> str:
    """One section's words."""
    return text_of(re.search(rf'<section id="{name}">(.*?)</section>', page, re.S).group(1))


def test_the_page_has_every_section_and_every_figure_an_alt_text(page):
    found = Page(page)
    assert set(SECTIONS) <= set(found.ids)
    assert set(SECTIONS[1:]) <= set(found.links), "the contents lead to every section"
    figures = [image for image in found.images if "src" in image]
    assert len(figures) >= 15
    for image in figures:
        assert len(image.get("alt", "")) > 20
        assert image["src"].startswith("data:image/webp;base64,")
    assert len(found.ids) == len(set(found.ids)), "ids are unique"
    assert set(found.links) <= set(found.ids), "every link of the contents leads somewhere"
    assert not found.outside, "the page is self-contained"
    assert len(page.encode()) < 6_000_000
    assert "Traceback" not in page
    assert "<strong>Minis are minis.</strong>" in page
    assert page.count("<details><summary>") == 26, "one for each claim"


def test_every_executed_notebook_is_one_click_away(page):
    study = load_study("smoke")
    wanted = [f"notebooks/{model}/{name}.html" for model in study.models for name in study.notebooks]
    for link in [*wanted, f"notebooks/study/{study.summary}.html"]:
        assert f'href="{link}"' in page
        notebook = (study.page.parent / link).read_text()
        assert "Traceback" not in notebook
        for source in re.findall(r'<img[^>]* src="([^"]+)"', notebook):
            assert ((study.page.parent / link).parent / source).exists(), source
        assert len(notebook) < 150_000, "pictures are files, not copied into every page"


def test_numbers_in_prose_are_those_of_the_tables(page):
    """Read the sentences as a reader does, and look the numbers up in what the notebooks saved."""
    study = load_study("smoke")
    findings = read_numbers(study.out / "study", study.summary)
    opening = section(page, "found")
    for name, value in findings["ranking"].items():
        assert re.search(rf"{TITLES[name]}\b[^.]*? {value:.2f}|{value:.2f} by {TITLES[name]}|"
                         rf"{value:.2f} of the model is kept on average by {TITLES[name]}", opening), name  # fmt: skip
    assert f"{findings['counts']['holds']} hold, {findings['counts']['does not hold']} do not" in opening
    model = study.models[0]
    for notebook, where in (("05_skip", "skip"), ("06_repeat", "repeat"), ("07_reverse", "order")):
        rows = read_numbers(study.out / model, notebook)["rows"]
        best = max(rows, key=lambda row: row["kept"])
        value = f"{best['kept']:.2f} ({best['kept low']:.2f} – {best['kept high']:.2f})"
        assert f"{best['name']}, {value}" in section(page, where)
        table = (study.page.parent / f"notebooks/{model}/{notebook}.html").read_text()
        for row in rows:
            assert f"{row['kept']:.2f} ({row['kept low']:.2f} – {row['kept high']:.2f})" in text_of(table)
    for verdict in findings["claims"]:
        for outcome in verdict["outcomes"]:
            assert text_of(outcome["words"]) in section(page, "claims").replace("&#39;", "'")


def test_figures_are_kept_as_files(page):
    study = load_study("smoke")
    files = {path.name for path in (study.figures / study.models[0]).iterdir()}
    assert {"01-baseline.webp", "04-bands.webp", "05_skip-kept.webp", "12-roles.webp"} <= files
    assert {"15-verdicts.webp", "15-sweep.webp"} == {path.name for path in (study.figures / "study").iterdir()}


def test_nothing_is_done_twice(page):
    done = subprocess.run(
        [sys.executable, "-m", "painters_utils.run", "--profile", "smoke"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "Executing" not in done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin_and_committed_without_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert not [cell.source for cell in code if re.search(r"^\s*(def|class) ", cell.source, re.M)]
    assert cells[0].cell_type == "markdown"
    assert "**Question" in cells[0].source
    assert "**What to expect.**" in cells[0].source
    assert "**What is seen.**" in cells[-1].source


def test_hostile_text_renders_as_text(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", lambda html: shown.append(html.data))
    figure = figures.lines_by_depth({"<b>x</b>": [1, 2, 3]}, "length")
    hostile = '"><script>alert(1)</script> \u202etxt'
    figures.show(figure, "toy", caption=hostile, alt=hostile, out=tmp_path)
    assert "<script>" not in shown[0]
    assert "&lt;script&gt;" in shown[0]
    assert Page(shown[0]).images[0]["alt"] == hostile
    import pandas as pd

    figures.show_table(pd.DataFrame({"a": [hostile]}), hostile)
    assert "<script>" not in shown[1]
    with pytest.raises(ValueError, match="needs a caption and an alt text"):
        figures.show(figures.lines_by_depth({"x": [1]}, "y"), "toy", caption=" ", alt="x", out=tmp_path)


@pytest.mark.skipif(not shutil.which("chromium") and not os.environ.get("CI"), reason="no chromium on this machine")
def test_the_page_opens_in_a_browser(page, tmp_path):
    """What the page says of itself once a browser has laid it out, and after its sliders and tabs were used."""
    probe = """<script>
    const errors = [];
    window.addEventListener("error", event => errors.push(event.message));
    window.addEventListener("load", () => setTimeout(() => {
      const images = [...document.images], figure = document.querySelector(".compare");
      const [model, variant] = ["model", "variant"].map(name => figure.querySelector("select." + name));
      const after = figure.querySelector("img.after"), before = after.src;
      variant.selectedIndex = variant.selectedIndex ? 0 : 1; variant.onchange();
      figure.querySelector(".cut").value = 20; figure.querySelector(".cut").oninput();
      document.title = "probe " + JSON.stringify({
        images: images.length, loaded: images.filter(image => image.naturalWidth > 50).length,
        alt: images.filter(image => image.alt.length > 20).length,
        wide: document.documentElement.scrollWidth > innerWidth,
        variants: variant.options.length, changed: after.src !== before,
        cut: figure.querySelector(".stage").style.getPropertyValue("--cut"), errors,
        requests: performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:")),
      });
    }, 300));
    </script>"""
    copy = tmp_path / "page.html"
    copy.write_text(page.replace("<style>", probe + "<style>", 1))
    for width in (1280, 500):
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--no-first-run", f"--user-data-dir={tmp_path / str(width)}", f"--window-size={width},900",
             "--virtual-time-budget=8000", "--dump-dom", copy.as_uri()],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        title = re.search(r"<title>probe (.*?)</title>", done.stdout)
        assert title, done.stderr[-2000:]
        said = json.loads(html.unescape(title.group(1)))
        assert said["images"] == said["loaded"] == said["alt"] == len(Page(page).images)
        assert said["variants"] > 2
        assert said["changed"] and said["cut"] == "20%", "the comparison works"
        assert said["errors"] == said["requests"] == []
        assert not said["wide"], f"at {width} px the page scrolls sideways"
