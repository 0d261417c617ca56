"""The study at tiny settings, from notebooks to page, and the page in a real browser."""

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from workflow import execute
from painters_utils.show import figures
from workflow.page import build as report
from painters_utils.models.catalog import ROOT, folder_name, model_row
from workflow.config import Study, load_study
from painters_utils.study.results import read_numbers
from painters_utils.study.studio import CHECKED, JUDGED
from painters_utils.study.variants import TITLES

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def page() -> str:
    """`make report PROFILE=smoke`; quick if nothing has changed since the last time."""
    done = subprocess.run(
        [sys.executable, "-m", "workflow.run", "--profile", "smoke"], cwd=ROOT, capture_output=True, text=True
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
        [sys.executable, "-m", "workflow.run", "--profile", "smoke"], cwd=ROOT, capture_output=True, text=True
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


# -- text that means harm, and models that are no minis --------------------------------------------------------

HOSTILE = [
    "\"><script>alert(1)</script><img src=x onerror=alert(2)> 'quoted' & </figure>",
    "\U0001f408 \U0001f3f3\ufe0f\u200d\U0001f308, \u202ereversed\u202c, \u0642\u0637\u0629 \u05d7\u05ea\u05d5\u05dc",
    "$\\frac{1}{ costs $5 and {{ 7 * 7 }} {% raw %} `code` [a](javascript:alert(3)) " + "long " * 1000,
]


def tags_of(html: str) -> tuple[int, int]:
    """How many scripts a page has, and how many attributes that run one."""
    found = [0, 0]

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found[0] += tag == "script"
            links = [value or "" for name, value in attrs if name in ("href", "src")]
            found[1] += sum(name.startswith("on") for name, _ in attrs)
            found[1] += sum(link.strip().lower().startswith("javascript:") for link in links)

    Tags().feed(html)
    return tuple(found)


def elsewhere(study: Study, folder: Path, **changes: object) -> Study:
    """The same study with its page in another folder."""
    return dataclasses.replace(study, page=folder / "report/index.html", figures=folder / "figures", **changes)


def test_hostile_titles_and_prompts_render_as_text(page, tmp_path, monkeypatch):
    (tmp_path / "report").mkdir()
    hostile = {"title": HOSTILE[0], "original": HOSTILE[1]}
    monkeypatch.setattr(report, "model_row", lambda name: model_row(name) | hostile)
    built = report.build_page(elsewhere(load_study("smoke"), tmp_path, prompts=HOSTILE))
    pages = [built, *sorted((tmp_path / "report/notebooks").rglob("*.html"))]
    assert len(pages) > 10
    assert tags_of(pages[0].read_text()) == tags_of(page), "no script but the page's own"
    assert all(tags_of(path.read_text()) == (0, 0) for path in pages[1:])
    shown = html.unescape(pages[0].read_text())
    assert all(text in shown for text in HOSTILE)
    assert HOSTILE[0] in html.unescape(pages[1].read_text())


def test_a_notebook_given_hostile_prompts_shows_them_as_text(tmp_path):
    """From the command line, through papermill and a kernel, to the notebook's page."""
    assert execute.parsed(json.dumps(HOSTILE)) == HOSTILE
    cells = [
        nbformat.v4.new_markdown_cell("# Toy"),
        nbformat.v4.new_code_cell("prompts = []", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "import pandas as pd\nfrom PIL import Image\n"
            "from painters_utils import picture_rows, say, show, show_table\n"
            "from painters_utils.pipelines import Picture\n"
            "pictures = [Picture(prompt, 0, Image.new('RGB', (96, 96), 'red')) for prompt in prompts]\n"
            "words = '; '.join(prompts)\n"
            f"show(picture_rows({{'untouched': pictures}}, titles=prompts), 'toy', words, words, {str(tmp_path)!r})\n"
            "show_table(pd.DataFrame({'prompt': prompts}), words)\n"
            "say('**Seen.** ' + words)"
        ),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "toy.ipynb")
    execute.execute_notebook(tmp_path / "toy.ipynb", tmp_path / "done.ipynb", {"prompts": HOSTILE})
    body = str(report.chapter(nbformat.read(tmp_path / "done.ipynb", as_version=4), "figures"))
    assert tags_of(body) == (0, 0)
    assert "<strong>Seen.</strong>" in body
    assert all(html.unescape(body).count(text) >= 3 for text in HOSTILE), "in alt text, caption and table"
    assert "Traceback" not in body and "Warning" not in body


@pytest.fixture
def real(page, tmp_path) -> tuple[Study, str]:
    """The smoke study's results, and beside the mini's the same ones as those of a model that no checker can read."""
    study = load_study("smoke")
    out, model = tmp_path / "out", tmp_path / "model"
    shutil.copytree(study.out, out, ignore=shutil.ignore_patterns("painted", "recordings", "report"))
    model.mkdir()
    shutil.copy(ROOT / model_row(study.models[0])["path"] / "model_index.json", model)
    own = out / folder_name(str(model))
    shutil.copytree(out / study.models[0], own)
    for path in [*own.glob("02_checker*")]:
        path.unlink()
    for path in own.glob("*.json"):
        numbers = json.loads(path.read_text())
        for row in numbers.get("rows", []):
            for key in [key for key in row if key.split()[0] in (*CHECKED, "duplicates", "distance")]:
                del row[key]
            row |= {score + end: row["kept" + end] for score in JUDGED for end in ("", " low", " high")}
        if path.stem == "01_models":
            numbers["scored"] = "There is no score “look kept”: <b>its weights are not here</b>."
        path.write_text(json.dumps(numbers))
    return dataclasses.replace(study, out=out), str(model)


def findings_of(study: Study, **changes: object) -> None:
    """Change what the study found."""
    path = study.out / "study" / f"{study.summary}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_study_of_a_model_that_is_no_mini_has_its_page(real, tmp_path):
    study, model = real
    (tmp_path / "report").mkdir()
    findings_of(study, questions=[], claims=[], differ=[], counts={"holds": 0, "does not hold": 0, "undecided": 0})
    alone = report.build_page(elsewhere(study, tmp_path, models=[model])).read_text()
    assert "Minis are minis" not in alone and "emoji" not in section(alone, "models")
    assert "&lt;b&gt;its weights are not here&lt;/b&gt;" in alone
    assert "about other models" in section(alone, "found")
    assert "fit to the prompt" in section(alone, "roles") and "look kept" in section(alone, "roles")
    assert "02_checker" not in alone
    assert (tmp_path / "report/notebooks" / folder_name(model) / "12_layer_by_layer.html").exists()


def test_a_mixed_study_says_what_could_not_be_measured(real, tmp_path):
    study, model = real
    (tmp_path / "report").mkdir()
    found = read_numbers(study.out / "study", study.summary)
    [mini] = study.models
    nothing = {"words": "fine detail of reverse (no checker)", "mean": None, "low": None, "high": None}
    unmeasured = {"verdict": "not measured", "model": folder_name(model)}
    for kind in ("questions", "claims"):
        found[kind] += [one | unmeasured | {"outcomes": [nothing | unmeasured]} for one in found[kind]]
    found["counts"]["not measured"] = len(found["claims"]) // 2
    findings_of(study, **found)
    mixed = report.build_page(elsewhere(study, tmp_path, models=[mini, model])).read_text()
    assert "Minis are minis" in mixed and "Minis paint scenes" in section(mixed, "models")
    assert f'href="notebooks/{mini}/02_checker.html"' in mixed
    assert f'href="notebooks/{folder_name(model)}/02_checker.html"' not in mixed
    assert f"Another {found['counts']['not measured']} times a claim could not be measured" in section(mixed, "found")
    assert "fine detail of reverse (no checker)" in section(mixed, "claims")
    ids = Page(mixed).ids
    assert len(ids) == len(set(ids))
