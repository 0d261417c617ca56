"""The study at tiny settings, from notebooks to page, and the page in a real browser."""

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


def test_the_page_has_every_chapter_and_every_figure_an_alt_text(page):
    found = Page(page)
    for path in NOTEBOOKS:
        title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
        assert title in page
        assert f"flux-mini-{path.stem}" in found.ids
    assert len(found.images) >= 10
    for image in found.images:
        assert len(image.get("alt", "")) > 20
        assert image["src"].startswith("data:image/webp;base64,")
    assert len(found.ids) == len(set(found.ids)), "ids are unique"
    assert set(found.links) <= set(found.ids), "every link of the contents leads somewhere"
    assert not found.outside, "the page is self-contained"
    assert len(page.encode()) < 6_000_000
    assert "Traceback" not in page
    assert "<script" not in page, "nothing on the page needs a script"
    assert "<strong>Minis are minis.</strong>" in page


def test_numbers_in_the_opening_are_those_of_the_run(page):
    opening = page[page.index('id="found"') : page.index("<nav")]
    changes = read_numbers(load_study("smoke").out / "flux-mini", "05_skip")["changes"]
    means = sorted(change["mean"] for change in changes.values())
    assert f"change {means[0]:.2f}" in opening
    assert f"({means[-1]:.2f})" in opening


def test_figures_are_kept_as_files(page):
    study = load_study("smoke")
    files = {path.name for path in (study.figures / "flux-mini").iterdir()}
    assert {"01-baseline.webp", "04-bands.webp", "05-change.webp"} <= files
    assert "05-pictures-mm-dit.webp" in files


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


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on this machine")
def test_the_page_opens_in_a_browser(page, tmp_path):
    """The page's own words about itself once a browser has laid it out: images decoded, no sideways scrolling."""
    probe = (
        "<script>window.addEventListener('load',()=>{"
        "const i=[...document.images];"
        "document.title='probe '+i.filter(x=>x.naturalWidth>50).length+'/'+i.length+' '"
        "+(document.documentElement.scrollWidth<=window.innerWidth);});</script>"
    )
    copy = tmp_path / "page.html"
    copy.write_text(page.replace("</body>", probe + "</body>"))
    for width in (1280, 500):
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--no-first-run", f"--user-data-dir={tmp_path / str(width)}", f"--window-size={width},900",
             "--virtual-time-budget=8000", "--dump-dom", copy.as_uri()],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        title = re.search(r"<title>probe (\d+)/(\d+) (true|false)", done.stdout)
        assert title, done.stderr[-2000:]
        assert title.group(1) == title.group(2) == str(len(Page(page).images))
        assert title.group(3) == "true", f"at {width} px the page scrolls sideways"
