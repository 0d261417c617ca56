"""The page of a study whose results were made up: what it shows, what it leaves out, and how it opens in a browser."""

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from painters_utils.errors import InputError
from painters_utils.models.model import Model
from painters_utils.paths import ROOT
from painters_utils.show.drawings import order_svg
from painters_utils.show.figures import FigureFile, figure_file, smallest_webp
from painters_utils.study import experiments
from painters_utils.study.experiments import EXPERIMENTS, Experiment
from painters_utils.study.numbers import read_numbers, save_numbers, save_strips
from painters_utils.study.scores import CHECKED, COMPARED, JUDGED
from workflow import execute
from workflow.config import Notebook, Study, load_study
from workflow.findings.claims import PRESETS, load_claims
from workflow.page import build
from workflow.page.__main__ import main

SEEN, READ, CLOSING = ["01_models", "03_similarity", "04_clustering"], "02_checker", "15_findings"
TRIED = [row.notebook for row in EXPERIMENTS if row.notebook]
ALL = [*SEEN, READ, *TRIED]
WEBP = smallest_webp(Image.new("RGB", (100, 80), "white"))

# -- results that nobody computed ---------------------------------------------------------------------------


def made_up(out: Path, models: list[str], notebooks: Iterable[str] = ALL) -> Study:
    """The smoke study with results in `out`: numbers, figures, pictures and executed notebooks."""
    known = {name: Notebook("per model", name == READ, []) for name in notebooks}
    study = load_study("smoke", out=out, models=models)
    study = dataclasses.replace(study, notebooks=known, closing={CLOSING: Notebook("once", False, [])})
    for model in study.models:
        for name in study.notebooks_of(model):
            leave(study, model.key, name, numbers_of(name, model), FIGURES.get(name, [f"{name}-kept"]))
            if name in TRIED[:7]:
                pictures = [Image.new("RGB", (96, 96), colour) for colour in ("red", "gray")]
                variants = {f"{row['stack']}/{row['name']}": pictures[::-1] for row in rows_of(model)}
                save_strips(out / model.key, name, {"baseline": pictures} | variants)
    leave(study, "study", CLOSING, findings_of(study), ["15-verdicts", "15-sweep"])
    return study


FIGURES = {
    "01_models": ["01-baseline", "01-stacks"],
    "02_checker": ["02-readings"],
    "03_similarity": ["03-measures-mm-dit"],
    "04_clustering": ["04-bands"],
    "10_looped_parallel": ["10_looped_parallel-kept", "10-loops"],
    "12_layer_by_layer": ["12-roles", "12-vitality"],
    "13_sweep": ["13-sweep"],
}


def leave(study: Study, who: str, name: str, numbers: dict, figures: Iterable[str]) -> None:
    """What an executed notebook leaves: itself, numbers, and figures with their files."""
    outputs = []
    for figure in figures:
        file = FigureFile(WEBP, ".webp", f"Caption of {figure}.", f"What is to be seen in {figure}.", 100, 80)
        if figure == "01-stacks":
            file = figure_file(order_svg({"untouched": [0, 1, 2]}, 3), file.caption, file.alt)
        file.save(study.out / who / "figures", figure)
        data = {"text/html": file.html(figure)}
        outputs.append(nbformat.v4.new_output("display_data", data, metadata={"painters": {"figure": figure}}))
    cells = [
        nbformat.v4.new_markdown_cell(f"# All about {name}"),
        nbformat.v4.new_code_cell("steps = None", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("steps = 77", metadata={"tags": ["injected-parameters"]}),
        nbformat.v4.new_code_cell("order = [0, 2, 1]", metadata={"tags": ["lesson"]}),
        nbformat.v4.new_code_cell(f'save_numbers(out, "{name}", found)', outputs=outputs),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    save_numbers(study.out / who, name, numbers)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), study.out / who / f"{name}.ipynb")


def rows_of(model: Model) -> list[dict]:
    """What three variants keep: one nearly all, one a half, one nothing."""
    stack, scores = list(model.depths)[-1], (*(CHECKED if model.mini else JUDGED), *COMPARED)
    rows = []
    for number, kept in enumerate((0.93, 0.52, 0.08)):
        row = {"name": f"skip {number}", "stack": stack, "preset": "matched" if number else "article"}
        for score in ("kept", *scores):
            row |= {score: kept, f"{score} low": kept - 0.07, f"{score} high": kept + 0.06}
        rows.append(row)
    return rows


def numbers_of(notebook: str, model: Model) -> dict:
    """What a notebook saves for the page."""
    alike = {"mean": 0.61, "ends": 0.42, "measures": {"update cosine": 0.17}}
    known = {
        "01_models": {"scored": "There is no score “look kept”: <b>its weights are not here</b>."},
        "02_checker": {"metrics": {"precision": 0.991, "recall": 0.982}},
        "03_similarity": {"similarity": {"MM-DiT": alike}},
        "04_clustering": {"grouped": {"mean": 0.3, "low": 0.2, "high": 0.4}},
        "12_layer_by_layer": {"rows": rows_of(model), "spared": {"MM-DiT": 5, "single": 6}},
    }
    return known.get(notebook, {"rows": rows_of(model)})


def findings_of(study: Study) -> dict:
    """Verdicts in turns; of claims on the families that there are."""
    claims, turns, found = load_claims(), cycle(("holds", "does not hold", "undecided")), {}
    for kind in ("questions", "claims"):
        found[kind] = [
            {"claim": str(claim["id"]), "model": model.key, "preset": preset, "verdict": next(turns),
             "outcomes": [{"words": f"what {claim['id']} measures", "mean": 0.5, "low": 0.4, "high": 0.6}]}
            for claim in claims[kind]
            for model in study.models
            if model.family in claim.get("families", [model.family])
            for key, preset in PRESETS.items() if key in claim
        ]  # fmt: skip
    verdicts = [one["verdict"] for one in found["claims"]]
    counts = {verdict: verdicts.count(verdict) for verdict in ("holds", "does not hold", "undecided")}
    swept = "13_sweep" in study.notebooks
    return found | {"counts": counts, "differ": ["3", "4"], "ranking": {"reverse": 0.96, "skip": 0.83} if swept else {}}


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """The chart of what it costs, the same on every page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "cost_chapters", cache(build.cost_chapters))
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Of two minis, with its page."""
    study = made_up(tmp_path_factory.mktemp("study"), ["flux-mini", "sd3-mini"])
    build.build_page(study)
    return study


@pytest.fixture(scope="module")
def page(study) -> str:
    return study.page.read_text()


class Page(HTMLParser):
    """Collects what the tests ask of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images, self.ids, self.links, self.files, self.outside = [], [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "img":
            self.images.append(attributes)
        if tag == "a":
            link = attributes.get("href", "")
            (self.links if link.startswith("#") else self.files).append(link.removeprefix("#"))
        for name in ("src", "href") if tag in ("img", "script", "link", "iframe", "source") else ():
            if not (attributes.get(name) or "data:").startswith("data:"):
                self.outside.append(attributes[name])


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def section(page: str, name: str) -> str:
    """One section's words."""
    return html.unescape(text_of(re.search(rf'<section id="{name}">(.*?)</section>', page, re.S).group(1)))


# -- what is there ------------------------------------------------------------------------------------------


def test_importing_the_page_loads_no_torch():
    code = "import sys, workflow.page.build, workflow.page.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_page_has_every_section_and_every_figure_an_alt_text(page):
    found = Page(page)
    own = [row.name.replace("_", "-") for row in EXPERIMENTS if row.notebook][:7]
    listed = ["how", "models", "space", *own, "least", "roles", "claims", "controls", "costs", "notebooks", "rerun"]
    assert found.links == listed, "the contents lead to every section, in the order of the page"
    assert [name for name in re.findall(r'<section id="(.*?)">', page)] == ["found", *listed]
    assert len(found.ids) == len(set(found.ids)), "ids are unique"
    figures = [image for image in found.images if "src" in image]
    assert len(figures) >= 25
    for image in figures:
        assert len(image["alt"]) > 20
        assert image["src"].startswith("data:image/webp;base64,")
    assert not found.outside, "the page is self-contained"
    assert "<strong>Minis are minis.</strong>" in page
    assert page.count("<details><summary>") == 26, "one for each claim"
    assert page.count('<svg xmlns="http://www.w3.org/2000/svg" role="img"') == 2 + sum(
        row.example is not None for row in EXPERIMENTS
    ), "the stacks of both models, and every way to run the layers"


def test_every_executed_notebook_is_one_click_away(study, page):
    wanted = [f"notebooks/{model.key}/{name}.html" for model in study.models for name in study.notebooks_of(model)]
    assert (study.page.parent / "live/index.html").is_file()
    links = [link for link in Page(page).files if link != "live/index.html"]
    assert set(links) == {*wanted, f"notebooks/study/{CLOSING}.html"}
    for link in dict.fromkeys(links):
        path = study.page.parent / link
        notebook = path.read_text()
        sources = [image["src"] for image in Page(notebook).images]
        assert sources and all((path.parent / source).is_file() for source in sources)
        assert len(notebook) < 100_000, "pictures are files, not copied into every page"


def test_a_notebooks_page_shows_its_lesson_and_the_parameters_that_it_ran_with(study):
    notebook = (study.page.parent / "notebooks/flux-mini/05_skip.html").read_text()
    cells = re.findall(r'<details class="code"( open="")?><summary>(.*?)</summary>(.*?)</details>', notebook, re.S)
    assert [(opened, title) for opened, title, _ in cells] == [
        ("", "Parameters"), (' open=""', "Parameters of this run"), (' open=""', "Code"), ("", "Code")
    ]  # fmt: skip
    assert "77" in cells[1][2] and "None" in cells[0][2]


def test_numbers_in_prose_are_those_that_were_saved(study, page):
    findings, opening = read_numbers(study.out / "study", CLOSING), section(page, "found")
    assert "0.96 of the model is kept on average by reverse and 0.83 by skip." in opening
    assert "A quarter of a stack run backwards keeps 0.30 of the model, the same quarter left out 0.30" in opening
    assert "FLUX mini keeps 0.08 (0.01 – 0.14) without single layer 2, and more than 0.9 for sure" in opening
    assert "Some layers nobody can replace in FLUX mini, SD3 mini." in opening
    assert "SD3 mini 0.30 (0.20 – 0.40), where 0 is chance" in opening
    counts = findings["counts"]
    assert f"put to the test {len(findings['claims'])} times" in opening
    assert f"{counts['holds']} hold, {counts['does not hold']} do not and {counts['undecided']} stay" in opening
    for verdict, number in counts.items():  # of the chips, which are those of the claims
        chips = re.findall(rf'<span class="verdict {verdict.replace(" ", "-")}" title', page)
        assert len(chips) == number, verdict
    words = "FLUX mini : 1 of 3 variants catastrophic for sure, 1 tolerable for sure. Best: single skip 0, 0.93 (0.86"
    assert words in section(page, "middle-repeat")
    assert "broad concepts single 2 (0.92 lost)" in section(page, "roles")
    assert "precision is 0.991 and its recall 0.982" in section(page, "models")
    assert "cosine of 0.61 on average, the first and the last 0.42" in section(page, "space")
    assert "0.50 (0.40 – 0.60) what Q2 measures" in section(page, "skip")


def test_questions_stand_where_their_test_was_made(page):
    for question in load_claims()["questions"]:
        [notebook] = [name for name in ALL if name == question["notebook"]]
        where = {row.notebook: row.name.replace("_", "-") for row in EXPERIMENTS} | {"13_sweep": "least"}
        assert f"{question['id']}, {question['text']}" in section(page, where.get(notebook, "space"))


def test_figures_are_kept_as_files_and_only_those_that_were_shown(study):
    unseen = FigureFile(WEBP, ".webp", "Never shown.", "Never shown at all, by any notebook.", 100, 80)
    unseen.save(study.out / "flux-mini/figures", "05_skip-unseen")
    stale = study.figures / "flux-mini/99-stale.svg"
    stale.touch()
    before = {path: path.read_bytes() for path in study.page.parent.rglob("*.html")}
    build.build_page(study)
    assert before == {path: path.read_bytes() for path in before}, "the same inputs, the same bytes"
    assert not stale.exists()
    names = {path.name for path in (study.figures / "flux-mini").iterdir()}
    assert {"01-baseline.webp", "01-stacks.svg", "05_skip-kept.webp", "12-roles.webp"} <= names
    assert "05_skip-unseen.webp" not in names


def test_a_lost_figure_is_named_with_the_remedy(tmp_path):
    study = made_up(tmp_path, ["sd3-mini"], ["05_skip"])
    (study.out / "sd3-mini/figures/05_skip-kept.json").unlink()
    with pytest.raises(InputError, match=r"05_skip-kept of sd3-mini .*delete .*05_skip\.ipynb"):
        build.build_page(study)


# -- what is not there --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("notebooks", "sections"), [
    (["05_skip"], ["skip"]),
    (["01_models", "06_repeat", "13_sweep"], ["middle-repeat", "least"]),
    (["04_clustering", "12_layer_by_layer"], ["space", "roles"]),
])  # fmt: skip
def test_a_study_of_fewer_notebooks_and_one_model_has_a_page_of_what_there_is(tmp_path, notebooks, sections):
    page = build.build_page(made_up(tmp_path, ["sd3-mini"], notebooks)).read_text()
    found = Page(page)
    assert found.links == ["how", "models", *sections, "claims", "costs", "notebooks", "rerun"]
    assert ("harms least" in section(page, "found")) == ("13_sweep" in notebooks)
    assert ("grouped" in section(page, "found")) == ("04_clustering" in notebooks)
    assert ("keeps 0.08" in section(page, "found")) == ("12_layer_by_layer" in notebooks)
    assert "run backwards" not in section(page, "found")
    assert all((tmp_path / "report" / link).exists() for link in found.files), "no link to what did not run"


def test_what_is_missing_ends_the_command_in_one_line(tmp_path):
    study = made_up(tmp_path, ["sd3-mini"], ["05_skip"])
    (study.out / "sd3-mini/05_skip.json").unlink()
    with pytest.raises(InputError, match="05_skip .*run that notebook first"):
        build.build_page(study)
    with pytest.raises(SystemExit, match="error: unknown profile 'defualt': choose one of default"):
        main(["defualt"])


def test_a_study_whose_findings_did_not_run_has_a_page(tmp_path):
    study = dataclasses.replace(made_up(tmp_path, ["sd3-mini"], ["05_skip"]), closing={})
    assert Page(build.build_page(study).read_text()).links == ["how", "models", "skip", "costs", "notebooks", "rerun"]


def test_an_experiment_is_a_row_and_a_notebook(tmp_path, monkeypatch):
    row = Experiment("every_other", "every other layer is left out", "17_every_other", "Is every other layer enough?")
    monkeypatch.setattr(experiments, "EXPERIMENTS", [*EXPERIMENTS, row])
    study = made_up(tmp_path, ["sd3-mini"], ["05_skip", "17_every_other"])
    save_strips(study.out / "sd3-mini", "17_every_other", {
        name: [Image.new("RGB", (96, 96), "red")] for name in ("baseline", "transformer_blocks/every other")
    })  # fmt: skip
    page = build.build_page(study).read_text()
    own = section(page, "every-other")
    assert own.startswith("Is every other layer enough?")
    assert "Best: MM-DiT skip 0, 0.93" in own and "Caption of 17_every_other-kept." in own
    assert '["MM-DiT: every other", ' in page, "its slider"
    assert "notebooks/sd3-mini/17_every_other.html" in Page(page).files
    assert "every-other" in Page(page).links


# -- in a browser -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("chromium") and not os.environ.get("CI"), reason="no chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_in_a_browser(page, tmp_path, width):
    """What the page says of itself once a browser has laid it out, and after its sliders and tabs were used."""
    probe = """<script>
    const errors = [];
    window.addEventListener("error", event => errors.push(event.message));
    window.addEventListener("load", () => setTimeout(() => {
      const images = [...document.images], figure = document.querySelector(".compare");
      const [model, variant] = ["model", "variant"].map(name => figure.querySelector("select." + name));
      const after = figure.querySelector("img.after"), before = after.src;
      const options = variant.options.length;
      variant.selectedIndex = variant.selectedIndex ? 0 : 1; variant.onchange();
      const alt = after.alt;
      figure.querySelector(".cut").value = 20; figure.querySelector(".cut").oninput();
      parent.postMessage("probe " + JSON.stringify({
        images: images.length, loaded: images.filter(image => image.naturalWidth > 50).length,
        alt: images.filter(image => image.alt.length > 20).length, inner: innerWidth,
        wide: document.documentElement.scrollWidth > innerWidth, variants: options, after: alt,
        cut: figure.querySelector(".stage").style.getPropertyValue("--cut"), errors,
        requests: performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:")),
      }), "*");
    }, 300));
    </script>"""
    (tmp_path / "page.html").write_text(page.replace("<style>", probe + "<style>", 1))
    # In a frame, because a browser's own window is never as narrow as a phone.
    (tmp_path / "frame.html").write_text(
        "<script>addEventListener('message', event => document.title = event.data)</script>"
        f'<iframe src="page.html" width="{width}" height="900" style="border:0"></iframe>'
    )
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000",
         "--virtual-time-budget=8000", "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    title = re.search(r"<title>probe (.*?)</title>", done.stdout)
    assert title, done.stderr[-2000:]
    said = json.loads(html.unescape(title.group(1)))
    assert said["inner"] == width
    assert said["images"] == said["loaded"] == said["alt"] == len(Page(page).images)
    assert said["variants"] == 3
    assert "skip" in said["after"] and said["cut"] == "20%", "the comparison works"
    assert said["errors"] == said["requests"] == []
    assert not said["wide"], "the page scrolls sideways"


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


def test_hostile_titles_prompts_and_variants_render_as_text(tmp_path):
    study = made_up(tmp_path, ["sd3-mini"], ["05_skip", "06_repeat"])
    plain = tags_of(build.build_page(study).read_text())
    save_strips(study.out / "sd3-mini", "06_repeat", {
        name: [Image.new("RGB", (96, 96), "red")] for name in ("baseline", f"transformer_blocks/{HOSTILE[0]}")
    })  # fmt: skip
    models = [dataclasses.replace(model, title=HOSTILE[0], original=HOSTILE[1]) for model in study.models]
    settings = study.settings.model_copy(update={"prompts": HOSTILE})
    built = build.build_page(dataclasses.replace(study, models=models, settings=settings))
    assert tags_of(built.read_text()) == plain, "no script but the page's own"
    pages = sorted((tmp_path / "report/notebooks").rglob("*.html"))
    assert len(pages) == 3 and all(tags_of(path.read_text()) == (0, 0) for path in pages)
    shown = html.unescape(built.read_text())
    assert all(text in shown for text in HOSTILE)
    assert HOSTILE[0] in html.unescape(pages[0].read_text())


@pytest.mark.slow
def test_a_notebook_given_hostile_prompts_shows_them_as_text(tmp_path):
    """From the command line, through papermill and a kernel, to the notebook's page."""
    assert execute.read_parameters([f"prompts={json.dumps(HOSTILE)}"]) == {"prompts": HOSTILE}
    cells = [
        nbformat.v4.new_markdown_cell("# Toy"),
        nbformat.v4.new_code_cell("prompts = []", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "import pandas as pd\nfrom PIL import Image\n"
            "from painters_utils.show.figures import picture_rows, say, show, show_table\n"
            "from painters_utils.models.painting import Picture\n"
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
    document = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    assert list(build.figures_of(document)) == ["toy"]
    figures = {"toy": FigureFile.load(tmp_path / "figures", "toy")}
    body = str(build.chapter(document, figures, "figures"))
    assert tags_of(body) == (0, 0)
    assert "<strong>Seen.</strong>" in body and 'src="figures/toy.webp"' in body
    assert all(html.unescape(body).count(text) >= 3 for text in HOSTILE), "in alt text, caption and table"
    assert "Traceback" not in body and "Warning" not in body


@pytest.fixture
def other(tmp_path) -> str:
    """A folder with a pipeline that is no mini."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(ROOT / "data/models/sd3-mini/model_index.json", folder)
    shutil.copytree(ROOT / "data/models/sd3-mini/transformer", folder / "transformer",
                    ignore=shutil.ignore_patterns("*.safetensors"))  # fmt: skip
    return str(folder)


def test_a_study_of_a_model_that_is_no_mini_has_its_page(other, tmp_path):
    study = made_up(tmp_path / "out", [other])
    [model] = study.models
    page = build.build_page(study).read_text()
    assert "Minis are minis" not in page and "emoji" not in section(page, "models")
    assert "&lt;b&gt;its weights are not here&lt;/b&gt;" in page
    assert "about other models" in section(page, "found")
    assert "fit to the prompt" in section(page, "roles") and "look kept" in section(page, "roles")
    assert READ not in page
    assert (study.page.parent / "notebooks" / model.key / "12_layer_by_layer.html").exists()


def test_a_mixed_study_says_what_could_not_be_measured(other, tmp_path):
    study = made_up(tmp_path / "out", ["sd3-mini", other])
    [mini, model] = study.models
    found = read_numbers(study.out / "study", CLOSING)
    lacking = {"verdict": "not measured", "model": model.key}
    nothing = {"words": "fine detail of reverse (no checker)", "mean": None, "low": None, "high": None}
    for kind in ("questions", "claims"):
        own = [one for one in found[kind] if one["model"] == mini.key]
        found[kind] = own + [one | lacking | {"outcomes": [nothing]} for one in own]
    found["counts"]["not measured"] = len(found["claims"]) // 2
    save_numbers(study.out / "study", CLOSING, found)
    page = build.build_page(study).read_text()
    assert "Minis are minis" in page and "Minis paint scenes" in section(page, "models")
    assert f"notebooks/{mini.key}/{READ}.html" in Page(page).files
    assert f"notebooks/{model.key}/{READ}.html" not in Page(page).files
    assert f"Another {found['counts']['not measured']} times a claim could not be measured" in section(page, "found")
    assert "fine detail of reverse (no checker)" in section(page, "claims")
    assert "not measured model fine detail of reverse (no checker)" in section(page, "skip"), "and no number"
