"""The page of a study whose results were made up: what it shows, what it leaves out, and how it opens in a browser."""

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path

import nbformat
import pytest
from browser import CHROMIUM, FIREFOX, Chromium, Firefox
from PIL import Image

from painters_utils.errors import InputError
from painters_utils.models.model import Model
from painters_utils.paths import DATA, ROOT
from painters_utils.show.drawings import order_svg
from painters_utils.show.figures import FigureFile, figure_file, smallest_webp
from painters_utils.study import experiments
from painters_utils.study.experiments import EXPERIMENTS, Experiment
from painters_utils.study.numbers import read_numbers, save_numbers, save_strips
from painters_utils.study.scores import CHECKED, COMPARED, JUDGED
from workflow import execute
from workflow.config import Notebook, Study, load_study
from workflow.findings.claims import PRESETS, load_claims
from workflow.page import article, build, by_hand, chapters, facts
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
                leave_strips(out / model.key, name, [f"{row['stack']}/{row['name']}" for row in rows_of(model)])
        if "12_layer_by_layer" in study.notebooks:
            layers = [f"{row['stack']}/{row['name']}" for row in rows_of(model)]
            leave_strips(out / model.key, "12_layer_by_layer", layers)
        if "13_sweep" in study.notebooks:
            stack = list(model.depths)[-1]
            named = ["skip 4–8", "repeat 6 over 4–8", "reverse 4–8", "random order 4–8, draw 0"]
            leave_strips(out / model.key, "13_sweep", [f"{stack}/{name}" for name in named])
    leave(study, "study", CLOSING, findings_of(study), ["15-verdicts", "15-sweep"])
    return study


def leave_strips(folder: Path, notebook: str, names: Iterable[str]) -> None:
    """Two pictures, red and gray, and the other way round under each variant."""
    pictures = [Image.new("RGB", (96, 96), colour) for colour in ("red", "gray")]
    strips = {"baseline": pictures} | dict.fromkeys(names, pictures[::-1])
    save_strips(folder, notebook, strips, dict.fromkeys(names, [0.87, -0.02]))


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
        row |= {"strategy": "skip", "share": 0.25 * (number + 1), "pictures": 15}
        for score in ("kept", *scores):
            row |= {score: kept, f"{score} low": kept - 0.07, f"{score} high": kept + 0.06}
        rows.append(row)
    return rows


def numbers_of(notebook: str, model: Model) -> dict:
    """What a notebook saves for the page."""
    alike = {"mean": 0.61, "ends": 0.42, "measures": {"update cosine": 0.17}}
    stack = list(model.depths)[-1]
    square = [[1.0, 0.5, 0.2], [0.5, 1.0, 0.4], [0.2, 0.4, 1.0]]
    bands = {
        "name": "single",
        "grouped": model.family != "sd3",
        "similarity": square,
        "bands": {"low": [0, 1], "high": [2, 2]},
    }
    known = {
        "01_models": {"scored": "There is no score “look kept”: <b>its weights are not here</b>."},
        "02_checker": {
            "metrics": {"precision": 0.991, "recall": 0.982},
            "right": 4,
            "pictures": 6,
            "eye": {"all": ends(0.89), "changed": ends(0.8), "pictures": 150, "changed pictures": 51},
            "agreement": [
                {"fact": "kind", "facts": 90, "eye": 0.9, "checker": 0.8, "agree": ends(0.9), "fine": False},
                {"fact": "accessory", "facts": 24, "eye": 0.17, "checker": 0.46, "agree": ends(0.7), "fine": True},
            ],
        },
        "03_similarity": {"similarity": {"MM-DiT": alike}},
        "04_clustering": {"grouped": {"mean": 0.3, "low": 0.2, "high": 0.4}, "stacks": {stack: bands}},
        "12_layer_by_layer": {
            "rows": rows_of(model),
            "spared": {"MM-DiT": 5, "single": 6},
            "searched": True,
            "roles": {
                stack: [
                    {"scores": ["fine", "layout"], "layers": [6, 3], "own": [ends(0.2), ends(0.3)], "sure": True},
                    {"scores": ["broad", "layout"], "layers": [5, 3], "own": [ends(0.9), ends(0.0)], "sure": False},
                ]
            },
        },
        "13_sweep": {
            "rows": [*rows_of(model), rows_of(model)[0] | {"name": "random order 4–8, 10 draws"}],
            "halves": {"all stacks": HALVES, "each stack": {stack: LEVEL if model.family == "sd3" else HALVES}},
        },
    }
    known["18_weaker_self"] = guided(0.06)
    known["19_worth"] = {
        "rank correlations": [
            {"measure": measure, "layers": layers, "passes": 40, "score lost": ends(told), "picture changed": ends(0.9)}
            for layers, told in (("all layers", 0.6), ("MM-DiT", 0.8), ("single", 0.1))
            for measure, told in (("velocity error, second step", told), ("denoising loss", -1.0))
        ]
    }
    return known.get(notebook, {"rows": rows_of(model)})


def ends(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.04, "high": mean + 0.04}


def guided(gain: float) -> dict:
    """What a search for a weaker self finds."""
    row = {"name": "away from MM-DiT skip 7–10, weight 1.5, first half", "passes": 1.5, "strict": ends(0.9)}
    judged = [row | {"strict gained": ends(gain)}]
    return {"untouched": {"strict": ends(0.84)}, "judged": judged, "tried": 28, "chosen on": 36, "judged on": 432}


# What four strategies keep of a half, and how far each is ahead.
KEPT = {"random_order": 0.86, "reverse": 0.7, "skip": 0.55, "middle_repeat": 0.3}
HALVES = {
    "stacks": 3, "pictures": 45, "kept": {name: ends(kept) for name, kept in KEPT.items()},
    "layout": {name: ends(kept - 0.2) for name, kept in KEPT.items()},
    "right": {name: ends(kept - 0.1) for name, kept in KEPT.items()}, "right untouched": ends(0.9),
    "ahead": {one: {two: ends(KEPT[one] - KEPT[two]) for two in list(KEPT)[at + 1 :]}
              for at, one in enumerate(list(KEPT)[:-1])},
}  # fmt: skip


# Of SD3 mini's stack: one layer in place of the half does not surely keep less than the half left out.
LEVEL = json.loads(json.dumps(HALVES))
LEVEL["kept"]["skip"], LEVEL["ahead"]["skip"]["middle_repeat"] = ends(0.31), ends(0.01)
LEVEL["ahead"]["random_order"]["skip"] = ends(0.55)
OUTCOME = {"mean": 0.5, "low": 0.4, "high": 0.6, "side": "above", "threshold": 0.3, "unit": ""}


def findings_of(study: Study) -> dict:
    """Verdicts in turns; of claims on the families that there are."""
    claims, turns, found = load_claims(), cycle(("holds", "not reproduced", "undecided")), {}
    for kind in ("questions", "claims"):
        found[kind] = [
            {"claim": str(claim["id"]), "model": model.key, "preset": preset, "verdict": next(turns),
             "outcomes": [OUTCOME | {"words": f"what {claim['id']} measures", "verdict": "holds"}]}
            for claim in claims[kind]
            for model in study.models
            if model.family in claim.get("families", [model.family])
            for key, preset in PRESETS.items() if key in claim
        ]  # fmt: skip
    verdicts = [one["verdict"] for one in found["claims"]]
    counts = {verdict: verdicts.count(verdict) for verdict in ("holds", "not reproduced", "undecided")}
    return found | {
        "counts": counts,
        "differ": ["3 (flux-mini)", "4 (flux-mini)"],
        "halves": HALVES if "13_sweep" in study.notebooks else {},
    }


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """The chart of what it costs, the same on every page; what was run by hand is on none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(article, "BY_HAND", "nowhere")
        patch.setattr(article, "cost_chapters", cache(article.cost_chapters))
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


def local(page: Page) -> list[str]:
    """The files of the report that a page leads to."""
    links = [link.split("#")[0] for link in page.files if not link.startswith(("https://", "../"))]
    return list(dict.fromkeys(links))


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def words_of(part: str) -> str:
    """The words of a part of a page, with plain spaces."""
    return " ".join(html.unescape(text_of(part)).replace("\N{WORD JOINER}", "").split())


def section(page: str, name: str) -> str:
    """One section's words."""
    return words_of(re.search(rf'<section id="{name}">(.*?)</section>', page, re.S).group(1))


# -- what is there ------------------------------------------------------------------------------------------


def test_importing_the_page_loads_no_torch():
    code = "import sys, workflow.page.build, workflow.page.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_page_has_every_section_and_every_figure_an_alt_text(page):
    found = Page(page)
    own = [row.name.replace("_", "-") for row in EXPERIMENTS if row.notebook][:7]
    listed = ["how", "models", "half", *own, "roles", "space", "claims", "limits", "related", "rerun"]
    listed += ["controls", "costs", "notebooks"]
    assert re.findall(r'<section id="(.*?)">', page) == listed
    contents = re.search(r'<div class="list">(.*?)</div>', page, re.S).group(1)
    assert Page(contents).links == listed, "the contents lead to every section, in the order of the page"
    assert len(found.ids) == len(set(found.ids)), "ids are unique"
    assert set(found.links) <= {*found.ids, ""}, "no link into nowhere"
    assert len(found.images) >= 25
    for image in found.images:
        assert len(image["alt"]) > 20
        assert image["src"].startswith("data:image/webp;base64,")
    assert not found.outside, "the page is self-contained"
    assert "<strong>Minis are minis.</strong>" in page
    assert page.count('<details id="claim-') == 26, "one for each claim"
    # An interval is drawn beside its numbers in words.
    for drawing in re.findall(r'<svg (?!class="interval" aria-hidden|[^>]*class="once")[^>]*>', page):
        assert 'role="img"' in drawing and re.search(r'aria-label="[^"]{20,}"', drawing), drawing


def test_every_figure_leads_to_its_code_and_has_an_address(study, page):
    figures = re.findall(r'<figure[^>]* id="([^"]+)"[^>]*>', page)
    addresses = re.findall(r'<a class="self" href="#([^"]+)">', page)
    assert len(figures) > 30
    for address in addresses:
        assert address in Page(page).ids, address
    codes = re.findall(r'<a href="(notebooks/[^"#]+)#([^"]+)">code</a>', page)
    assert len(codes) == len(addresses) >= len(figures) - 2
    for path, _ in codes:
        assert (study.page.parent / path).is_file()


def test_every_executed_notebook_is_one_click_away(study, page):
    wanted = [f"notebooks/{model.key}/{name}.html" for model in study.models for name in study.notebooks_of(model)]
    assert (study.page.parent / "live/index.html").is_file()
    links = [link for link in local(Page(page)) if link != "live/index.html"]
    assert set(links) == {*wanted, f"notebooks/study/{CLOSING}.html"}
    for link in links:
        path = study.page.parent / link
        notebook = path.read_text()
        sources = [image["src"] for image in Page(notebook).images]
        assert sources and all((path.parent / source).is_file() for source in sources)
        assert len(notebook) < 100_000, "pictures are files, not copied into every page"


def test_a_notebooks_page_shows_its_lesson_and_the_parameters_that_it_ran_with(study):
    notebook = (study.page.parent / "notebooks/flux-mini/05_skip.html").read_text()
    cells = re.findall(r'<details class="code"( open="")?><summary>(.*?)</summary>(.*?)</details>', notebook, re.S)
    assert [(opened, title) for opened, title, _ in cells] == [
        (' open=""', title) for title in ("Parameters", "Parameters of this run", "Code", "Code")
    ]  # fmt: skip
    assert "77" in cells[1][2] and "None" in cells[0][2]


def test_numbers_in_prose_are_those_that_were_saved(study, page):
    findings = read_numbers(study.out / "study", CLOSING)
    opening = words_of(re.search(r"<header>(.*?)</header>", page, re.S).group(1))
    assert "Shuffle the middle half of a diffusion transformer’s stack and it still paints." in opening
    assert (
        "shuffled, 86 % (82 – 90 %) of the score is kept and 66 % of the layout; with that half left out, 55 %"
        in opening
    )
    assert "The score’s difference is 31 points (27 to 35); stack by stack, it is 31 to 55." in opening
    assert "is there in 76 % (72 – 80 %) of the shuffled pictures and 45 % (41 – 49 %) of those without" in opening
    assert "in 90 % (86 – 94 %) of the untouched model’s." in opening
    assert "keeps 30 % (26 – 34 %): 25 points (21 to 29) less than leaving the half out" in opening
    least = "surely keeps least in 1 of 2 stacks; in SD3 mini its 30 % cannot be told from the half left out (31 %)."
    assert least in opening
    assert "FLUX mini’s MM-DiT stack of 19 layers, too short for a middle half, is left out." in opening
    assert "11 of FLUX mini’s 3 layers and 11 of SD3 mini’s 3 layers can each be left out" in opening
    assert "Without single layer 2, FLUX mini keeps 8 % (1 – 14 %)." in opening
    averages = "Averages over the middle halves of 3 stacks with 15 pictures each and 10 random orders"
    assert f"{averages}, and 15 pictures without each layer;" in opening
    assert "in 10 orders; one is shown 86 % (82 – 90 %) of the score" in opening
    counts, claims = findings["counts"], section(page, "claims")
    assert (
        f"Of {len(findings['claims'])} verdicts {counts['holds']} hold, {counts['not reproduced']} are not rep"
        in claims
    )
    matrix = re.search(r'<div class="claims".*', page, re.S).group()
    for verdict, number in counts.items():  # of the cells, which are those of the claims
        cells = re.findall(
            rf'data-to="claim-[^"]+"[^>]*><span[^>]*>[^<]*</span><span class="glyph [^"]*" title="{verdict}"', matrix
        )
        assert len(cells) == number, verdict
    words = "Most harmless is single skip 0: 93 % (86 – 99 %) of the score is kept. Most harmful is single skip 2: 8 %"
    assert words in section(page, "middle-repeat")
    assert "broad concepts single layer 2, 92 % (" in section(page, "roles")
    models = section(page, "models")
    assert "precision is 99.10 % and its recall 98.20 %" in models and "in 4 of the 6 that the sections below" in models
    assert "least often on the fact “accessory”, in 70 % (66 – 74 %): the eye finds 17 % of 24 there, the" in models
    assert "the checker 46 %. Scores of fine detail are the least certain, and rather too high." in models
    assert (
        "agree in 89 % (85 – 93 %) whether everything asked for is there, and in 80 % (76 – 84 %) of the 51" in models
    )
    space = section(page, "space")
    assert "MM-DiT 0.61 0.42 0.17" in space and "0.30 (0.20 – 0.40) standard deviations beyond chance" in space
    assert "Clustering finds no border in SD3 mini" in space
    assert "on this mini: What Q2 measures." in section(page, "skip")
    assert "That is on bands of a quarter. Left out, the middle half keeps 55 % (51 – 59 %) of the score:" in section(
        page, "skip"
    )
    assert "in 2 of these, over 2 claims, the verdict depends on which." in claims
    assert "shuffled 86 % (82 – 90 %) 66 % 76 % 16 points (12 to 20)" in section(page, "half")


def test_bands_in_random_orders_are_told_apart_only_where_luck_is_ruled_out():
    band = {"stack": "transformer_blocks", "place": "low", "draws": 10, "worst": 0.86, "best": 1.0, "luck": 0.02}
    alike = band | {"place": "high", "sure": False}
    assert facts.any_order([alike]) == "In no band does it surely matter which order is drawn."
    told = facts.any_order([band | {"sure": True}, alike])
    assert "In the MM-DiT stack’s low band it matters which order is drawn: the worst of 10 keeps 86 %" in told
    assert told.endswith("In the other band one order is as good as another, as far as these pictures tell.")


def test_one_layer_beside_ways_that_keep_less_or_no_more():
    of = {"kept": {"skip": ends(0.4), "middle_repeat": ends(0.3), "parallel": ends(0.2), "reverse": ends(0.31)}}
    of["ahead"] = {"skip": {"middle_repeat": ends(0.1)}, "middle_repeat": {"parallel": ends(0.1)}}
    of["ahead"]["reverse"] = {"middle_repeat": ends(0.01)}
    less, alike = facts.no_less(of, "middle_repeat")
    assert less == ["in parallel (20\N{NO-BREAK SPACE}%)"] and alike == ["reversed (31\N{NO-BREAK SPACE}%)"]


def test_a_difference_within_the_margin_is_neither_better_nor_worse():
    rows = [{"strategy": "middle_repeat", "damping": 4, "beside the skip": dict(zip(("low", "high"), of, strict=True))}
            for of in ((0.1, 0.2), (-0.049, -0.01), (-0.2, -0.1), (-0.1, 0.1), (0.01, 0.08))]  # fmt: skip
    assert facts.damped([{"repeats": rows}]) == {"stacks": 5, "better": 2, "worse": 1, "same": 1}
    assert facts.damped([{}]) is None


def test_what_the_author_ran_beside_what_he_wrote_is_said(study):
    row = rows_of(study.models[0])[0] | {"slip": "layer 16 was dropped as well", "orders": 10}
    assert facts.as_run(row) == " (layer 16 was dropped as well)" and facts.as_run(row | {"slip": ""}) == ""
    assert facts.pictures([row]) == "15 pictures a row, each in up to 10 orders"


def test_not_every_quarter_can_go():
    band = {"name": "skip 4–9, at random", "kept": 0.35, "kept low": 0.24, "kept high": 0.47}
    rows = [band, band | {"name": "skip 5–10, the band", "kept": 0.1}]
    assert facts.bad_quarter({"14_controls": {"rows": rows}}) == band
    assert facts.bad_quarter({"14_controls": {"rows": [band | {"kept high": 0.6}]}}) is None
    assert facts.bad_quarter({}) is None


def test_words_are_printed_with_true_signs():
    assert (
        facts.typeset("the layers' loss is one's -3 %, 4-8") == "the layers’ loss is one’s −3\N{NO-BREAK SPACE}%, 4-8"
    )


def test_a_headline_says_no_more_than_its_interval(study):
    found = {"halves": json.loads(json.dumps(HALVES))}
    assert facts.halves(found)["one_worst"] and facts.halves(found)["shuffle_paints"]
    found["halves"]["ahead"]["skip"]["middle_repeat"] = {"mean": 0.02, "low": -0.01, "high": 0.05}
    found["halves"]["kept"]["random_order"]["low"] = 0.6
    said = facts.halves(found)
    assert not said["one_worst"] and not said["shuffle_paints"]
    assert facts.surely_least(HALVES, "middle_repeat") and not facts.surely_least(found["halves"], "middle_repeat")
    assert facts.lead(HALVES, "skip", "random_order") == pytest.approx({"mean": -0.31, "low": -0.35, "high": -0.27})


def test_questions_stand_where_their_test_was_made(page):
    for question in load_claims()["questions"]:
        [notebook] = [name for name in ALL if name == question["notebook"]]
        where = {row.notebook: row.name.replace("_", "-") for row in EXPERIMENTS} | {"13_sweep": "half"}
        said = section(page, where.get(notebook, "space"))
        assert f"The paper’s question {question['id'][1:]}. {question['text']}" in said


def test_figures_are_kept_as_files_and_only_those_that_were_shown(study):
    unseen = FigureFile(WEBP, ".webp", "Never shown.", "Never shown at all, by any notebook.", 100, 80)
    unseen.save(study.out / "flux-mini/figures", "05_skip-unseen")
    stale = study.figures / "flux-mini/99-stale.svg"
    stale.touch()
    before = {path: path.read_bytes() for path in study.page.parent.rglob("*.html")}
    build.build_page(study)
    assert before == {path: path.read_bytes() for path in before}, "the same inputs, the same bytes"
    assert not stale.exists()
    names = {path.name for path in study.figures.rglob("*")}
    assert {"01-baseline.webp", "01-stacks.svg", "05_skip-kept.webp", "12-roles.webp"} <= names
    assert "05_skip-unseen.webp" not in names


def test_where_a_kernel_cuts_its_text_changes_no_page():
    piece = lambda name, text: nbformat.v4.new_output("stream", name=name, text=text)  # noqa: E731
    cut = [piece("stdout", "a\n"), piece("stdout", "b\n"), piece("stderr", "c\n"), piece("stdout", "d\n")]
    assert build.joined(cut) == [piece("stdout", "a\nb\n"), piece("stderr", "c\n"), piece("stdout", "d\n")]


def test_a_lost_figure_is_named_with_the_remedy(tmp_path):
    study = made_up(tmp_path, ["sd3-mini"], ["05_skip"])
    (study.out / "sd3-mini/figures/05_skip-kept.json").unlink()
    with pytest.raises(InputError, match=r"05_skip-kept of sd3-mini .*delete .*05_skip\.ipynb"):
        build.build_page(study)


# -- what is not there --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("notebooks", "sections"), [
    (["05_skip"], ["skip"]),
    (["01_models", "06_repeat", "13_sweep"], ["half", "middle-repeat"]),
    (["04_clustering", "12_layer_by_layer"], ["roles", "space"]),
])  # fmt: skip
def test_a_study_of_fewer_notebooks_and_one_model_has_a_page_of_what_there_is(tmp_path, notebooks, sections):
    page = build.build_page(made_up(tmp_path, ["sd3-mini"], notebooks)).read_text()
    found, opening = Page(page), words_of(re.search(r"<header>(.*?)</header>", page, re.S).group(1))
    listed = ["how", "models", *sections, "claims", "limits", "related", "rerun", "costs", "notebooks"]
    assert re.findall(r'<section id="(.*?)">', page) == listed
    assert ("it still paints" in opening) == ("with that half left out" in opening) == ("13_sweep" in notebooks)
    assert ("keeps 8 %" in opening) == ("12_layer_by_layer" in notebooks)
    assert all((tmp_path / "report" / link).exists() for link in local(found)), "no link to what did not run"


def test_what_is_missing_ends_the_command_in_one_line(tmp_path):
    study = made_up(tmp_path, ["sd3-mini"], ["05_skip"])
    (study.out / "sd3-mini/05_skip.json").unlink()
    with pytest.raises(InputError, match="05_skip .*run that notebook first"):
        build.build_page(study)
    with pytest.raises(SystemExit, match="error: unknown profile 'defualt': choose one of default"):
        main(["defualt"])


def test_a_study_whose_findings_did_not_run_has_a_page(tmp_path):
    study = dataclasses.replace(made_up(tmp_path, ["sd3-mini"], ["05_skip"]), closing={})
    listed = ["how", "models", "skip", "limits", "related", "rerun", "costs", "notebooks"]
    assert re.findall(r'<section id="(.*?)">', build.build_page(study).read_text()) == listed


def test_a_model_that_beats_itself_is_said_to_with_its_interval(tmp_path):
    study = made_up(tmp_path, ["sd3-mini"], ["05_skip", "18_weaker_self"])
    save_numbers(study.out / "sd3-mini", "18_weaker_self", {})
    assert "beat" not in re.findall(r'<section id="(.*?)">', build.build_page(study).read_text()), (
        "nothing was searched"
    )
    for gain, words in ((0.06, "paints better"), (0.02, "neither surely better"), (-0.1, "paints worse")):
        save_numbers(study.out / "sd3-mini", "18_weaker_self", guided(gain))
        said = section(build.build_page(study).read_text(), "beat")
        assert words in said and "were painted 36 times" in said and "The table is of 432 other pictures." in said
        assert f"it gets {abs(round(100 * gain))} points {'less' if gain < 0 else 'more'}" in said
        assert "away from MM-DiT skip 7–10, weight 1.5, first half 1.5 × 90 % (86 – 94 %)" in said


def planted(search: str, model: Model) -> tuple[dict | None, str]:
    """What the searches of their own commands would have left of a model."""
    stack = next(iter(model.depths))
    found = {
        "rank correlation of the velocity error with the score lost": ends(0.6),
        "share of the loss without the middle half that the mean updates give back": ends(0.3),
    }
    if search == "worth":
        columns = ["stack", "layer", "score lost", "picture changed", "velocity error, second step", "denoising loss"]
        data = [[stack, layer, 0.5 - 0.1 * layer, 0.4, 0.5**layer, 0.1 * layer] for layer in range(4)]
        return {
            "layers": {"columns": columns, "data": data}, "passes": dict.fromkeys(columns[4:], 40),
            "passes of the pictures": 400, "pictures a layer": 99, "found": found,
            "ceiling": dict.fromkeys(("all layers", "MM-DiT", "single"),
                                     {"score lost": ends(0.9), "picture changed": ends(0.95)}),
        }, ""  # fmt: skip
    row = {"by": "velocity error, each alone", "left out": 2, "share": 0.2} | dict.fromkeys(
        ("kept", "layout"), ends(0.9)
    )
    if search == "fewer":
        return {
            "layers": 10,
            "wanted": 0.98,
            "chosen on": 54,
            "judged on": 189,
            "chosen among": [row],
            "judged": [row],
        }, ""
    if search == "drift":
        skip = {"what": "middle half", "stack": stack, "band": [2, 5], "plain": ends(0.5), "gained": ends(0.2)}
        repeat = {"strategy": "middle_repeat", "stack": stack, "beside the skip": ends(-0.1)}
        off = {"plain": 0.5, "with the mean updates": 0.2}
        return {
            "found": found, "judged on": 108, "means of": 36, "skips": [skip | {"with the mean updates": ends(0.7)}],
            "repeats": [repeat | {"damping": damping, "kept": ends(0.1 * damping)} for damping in (1, 4)],
            "loops": [{}] * 9,
            "best loop": {"stack": stack, "band": [3, 6], "loops": 2, "plain": ends(0.9), "damped": ends(1)},
            "drift": [{"stack": stack, "band": [2, 5], "vectors off": off, "velocity off": off}],
            "scales": {"tried": 96, "scenes": 9, "number surely better": 0, "best": [{}] * 3, "best together": ends(1)},
        }, ""  # fmt: skip
    if search == "loras":
        row = {
            "blocks": [1, 2],
            "parameters": 30720,
            "learned": ends(0.8),
            "strict gained": ends(-0.1),
            "drawing": ends(0.1),
        }
        rows = [row | {"name": name}
                for name in ("worth most", "worth least", "all")]  # fmt: skip
        return {
            "stack": stack, "lessons": {lesson: {"choices": rows} for lesson in ("thing", "colour", "style")},
            "worth tells what is learned": ends(0.02), "worth most beside all": ends(0.1),
            "new pictures": 32, "known pictures": 36, "chosen on": 27, "training": {"steps": 120},
        }, ""  # fmt: skip
    return None, "nothing was searched"


def test_what_searches_have_found_is_told_with_its_interval(tmp_path, monkeypatch):
    study = made_up(tmp_path, ["flux-mini"], ["05_skip", "12_layer_by_layer", "19_worth", "20_drift", "22_lora"])
    monkeypatch.setattr(article, "read_search", lambda search, model: (None, "nothing was searched"))
    listed = re.findall(r'<section id="(.*?)">', build.build_page(study).read_text())
    assert not {"worth", "drift", "lora"} & set(listed), "nothing was searched"
    monkeypatch.setattr(article, "read_search", planted)
    page = build.build_page(study).read_text()
    assert "pictures a layer, those of the search for layers’ worth" in section(page, "roles")
    assert (
        "single layer 6 carries more of the fine detail, of which 20 points (16 to 24) more is lost without it than "
        "without layer 3, and single layer 3 carries more of the layout, of which 30 points (26 to 34)"
    ) in section(page, "roles")
    surest = (
        "these numbers are the other half’s, of the surest of 2 such pairs; corrected for that many, it is still sure."
    )
    assert surest in section(page, "roles") and "two layers do differ" in section(page, "roles")
    assert facts.apart({"single": []}) is None
    worth = section(page, "worth")
    assert "with a correlation of 0.60 (0.56 – 0.64), the denoising loss with one of −1.00 (−1.04 –" in worth
    assert "2 of FLUX mini’s 10 layers can be left out together: on 189 pictures" in worth
    row = {"layers": 10, "gone": 2, "kept": ends(0.9)}
    thinned = facts.thinned(study.models, lambda *about: planted(*about)[0])
    assert thinned == {"rows": [row], "wanted": 0.98, "open": False}
    found, stack = planted("worth", study.models[0])[0], next(iter(study.models[0].depths))
    assert facts.ranked_otherwise(found, stack, [0, 2]) and not facts.ranked_otherwise(found, stack, [1, 0])
    assert "velocity error, second step 0.60 (0.56 – 0.64) 0.90 (0.86 – 0.94) 10 %" in worth
    assert "Within the MM-DiT stack the velocity error has 0.80 (0.76 – 0.84), and noise allows about 0.90" in worth
    assert "within the single stack it has 0.10 (0.06 – 0.14), and noise allows about" in worth
    assert "90.0 % (86.0 – 94.0 %) of the score is kept" in worth and "The goal was 98 %: it is missed." in worth
    drift = section(page, "drift")
    assert "gets back 30 % (26 – 34 %) of what it loses" in drift and "middle half, 2–5 50 % (46 – 54 %) 70 %" in drift
    assert "damped to a quarter, 40 % (36 – 44 %), 10 points less (6 to 14) than without the half" in drift
    assert "vectors that are off by 50 % at the first step (squared error), and by 20 % with" in drift
    assert "None of them surely lowers the denoising loss" in drift
    lora = section(page, "lora")
    assert "An adapter has about 31,000 parameters." in lora and "what 27 pictures lose without it; the 99 of" in lora
    assert "learn 10 points more (6 to 14) than all 19 do" in lora and "these choices do not decide" in lora


def test_models_of_others_are_told_where_they_were_run(tmp_path, monkeypatch):
    monkeypatch.setattr(article, "BY_HAND", by_hand.BY_HAND)
    said = section(build.build_page(made_up(tmp_path, ["sd3-mini"], ["05_skip"])).read_text(), "others")
    pooled = article.kept_in(DATA / "by-hand/21_bert.json")["pooled"]
    shares = [float(share) for share in re.findall(r"(\d+) % \(", said)][: len(pooled)]
    assert len(shares) == 6 and shares == sorted(shares, reverse=True), "from the least harm to the most"


def test_what_is_run_by_hand_is_kept_as_a_page_and_numbers(study, tmp_path):
    """Figures are part of the page, and no study that is run later takes it away."""
    results = tmp_path / "results"
    leave(dataclasses.replace(study, out=results), "lab", "21_bert", {"read": [0.9, 0.8, 1.0]}, ["21-sweep"])
    document = nbformat.read(results / "lab/21_bert.ipynb", as_version=4)
    document.cells[1].source, document.cells[2].source = 'out = "elsewhere"', f'out = "{results}/lab"'
    nbformat.write(document, results / "21_bert.ipynb")
    page = by_hand.keep("21_bert", results, study.page.parent, tmp_path)
    shown = page.read_text()
    assert "data:image/webp;base64" in shown and "Caption of 21-sweep." in shown
    assert '<a href="data:' not in shown, "no picture twice"
    assert json.loads((tmp_path / "by-hand/21_bert.json").read_text()) == {"read": [0.9, 0.8, 1.0]}
    build.build_page(study)
    assert page.exists(), "a study takes away only its own"
    with pytest.raises(InputError, match="18_weaker_self.*21_bert"):
        by_hand.keep("18_weaker_self", results, study.page.parent, tmp_path)
    with pytest.raises(InputError, match="execute 17_label"):
        by_hand.keep("17_label", results, study.page.parent, tmp_path)


def test_claims_of_our_own_have_a_heading_and_verdicts_of_their_own(tmp_path):
    study = made_up(tmp_path, ["sd3-mini"], ["05_skip"])
    page = build.build_page(study).read_text()
    assert "Claims of our own" not in page, "none was judged"
    findings = read_numbers(study.out / "study", "15_findings")
    own = load_claims()["own"][0]
    part = {"words": "rank correlation: 0.56 (0.20 – 0.80)", "mean": 0.56, "low": 0.2, "high": 0.8, "verdict": "holds"}
    verdict = {"claim": str(own["id"]), "model": "sd3-mini", "preset": "both", "verdict": "holds", "outcomes": [part]}
    save_numbers(study.out / "study", "15_findings", findings | {"own": [verdict]})
    said = section(build.build_page(study).read_text(), "claims")
    assert "Claims of our own" in said and own["text"] in said and "0.56 (0.20 – 0.80)" in said
    assert f"The article’s {len(load_claims()['claims'])} claims" in said, "and they are not counted as the article's"


def test_an_experiment_is_a_row_and_a_notebook(tmp_path, monkeypatch):
    row = Experiment("every_other", "every other layer is left out", "23_every_other", "Is every other layer enough?")
    monkeypatch.setattr(experiments, "EXPERIMENTS", [*EXPERIMENTS, row])
    study = made_up(tmp_path, ["sd3-mini"], ["05_skip", "23_every_other"])
    leave_strips(study.out / "sd3-mini", "23_every_other", ["transformer_blocks/every other"])
    page = build.build_page(study).read_text()
    own = section(page, "every-other")
    assert own.startswith("Is every other layer enough?")
    assert "Most harmless is MM-DiT skip 0: 93 %" in own and "MM-DiT skip 1 52 % (45 – 58 %)" in own, "its table"
    assert "MM-DiT: every other" in own, "its pictures"
    assert "notebooks/sd3-mini/23_every_other.html" in local(Page(page))
    assert "every-other" in Page(page).links


# -- in a browser -------------------------------------------------------------------------------------------


browser_needed = pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="no chromium on this machine")


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("browser")) as open_browser:
        yield open_browser


@browser_needed
@pytest.mark.parametrize("width", [1280, 768, 390, 360])
def test_the_page_opens_at_every_width_and_asks_no_one_else(study, browser, width):
    browser.open(study.page, width=width)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    seen = """[...document.images].filter(image => image.getBoundingClientRect().top < innerHeight
                                                   && image.offsetParent && image.naturalWidth > 50).length"""
    assert browser.evaluate(seen) >= 2, "the first screen holds pictures"
    requests = 'performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:"))'
    assert browser.evaluate(requests) == [] and browser.errors == []


@browser_needed
@pytest.mark.parametrize("width", [1280, 360])
def test_a_grid_of_pictures_has_its_own_size_also_where_it_must_scroll(study, browser, width):
    browser.open(study.page, width=width)
    widen = """document.querySelectorAll(".pictures img").forEach(image => image.setAttribute("width", 800))"""
    inside = """[...document.querySelectorAll(".pictures img")].filter(image => image.checkVisibility())
                .map(image => image.clientWidth - 2 * parseFloat(getComputedStyle(image).paddingLeft))"""
    browser.evaluate(widen)
    assert set(browser.evaluate(inside)) == {800}


@browser_needed
def test_one_switch_moves_every_figure_and_stays_in_the_address(study, browser):
    """Also after a reload, and where a link leads to another model's figure."""
    shown = """[...new Set([...document.querySelectorAll(".of")].filter(part => part.checkVisibility())
                .map(part => part.dataset.model))].join()"""
    browser.open(study.page)
    first = browser.evaluate(shown)
    other = "sd3-mini" if first == "flux-mini" else "flux-mini"
    browser.evaluate(f"""document.querySelector('.switch [data-model="{other}"]').click()""")
    assert browser.evaluate(shown) == other and f"model={other}" in browser.evaluate("location.href")
    browser.open(browser.evaluate("location.href"))
    assert browser.evaluate(shown) == other
    browser.open(f"{study.page.as_uri()}#{first}-05_skip-kept")
    assert browser.evaluate(shown) == first
    assert browser.evaluate(f"document.getElementById('{first}-05_skip-kept').getBoundingClientRect().top") < 900
    live = browser.evaluate("document.querySelector('.call').href")
    assert live.endswith(f"#model={first}"), "the page to play with opens with the model that was read about"
    assert browser.errors == []


@browser_needed
def test_pictures_are_compared_by_a_press_and_tell_their_prompt(study, browser):
    browser.open(f"{study.page.as_uri()}?model=sd3-mini#sd3-mini-05_skip-pictures")
    figure = "document.getElementById('sd3-mini-05_skip-pictures')"
    after = f"{figure}.querySelector('.after:not([hidden])').innerText"
    assert "skip 1" in browser.evaluate(after), "opens with a change that is seen and not the end of all"
    browser.evaluate(f"{figure}.querySelector('select').selectedIndex = 2, {figure}.querySelector('select').onchange()")
    assert "skip 2" in browser.evaluate(after)
    browser.evaluate(f"{figure}.querySelector('[data-mode=over]').click()")
    box = browser.evaluate(
        f"(({{x, y, width, height}}) => [x, y, width, height])({figure}.querySelector('.after:not([hidden]) .stage')"
        ".getBoundingClientRect())"
    )
    x, y = box[0] + 0.75 * box[2], box[1] + box[3] / 2  # the middle of the second of two pictures
    for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1)):
        browser.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x + 0.1 * box[2],
            y=y,
            button="left" if buttons else "none",
            buttons=buttons,
        )
        cut = browser.evaluate(f"{figure}.style.getPropertyValue('--cut')")
        assert bool(cut) == bool(buttons), "the line moves when it is pressed"
    browser.call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left")
    told = browser.evaluate(f"{figure}.querySelector('.picked').innerText")
    assert study.prompts_of(study.models[1])[1] in told and "−2 % of this picture’s score" in told
    assert float(cut.rstrip("%")) == pytest.approx(70, abs=2)
    assert browser.errors == []


@browser_needed
def test_a_layer_a_claim_and_a_matrix_answer_to_a_touch(study, browser):
    browser.open(f"{study.page.as_uri()}?model=flux-mini#roles", width=390, height=844)
    roles = "document.getElementById('flux-mini-12-roles')"
    assert browser.evaluate(f"{roles}.querySelector('.stepper input').value") == "2", "opens with the layer needed most"
    browser.evaluate(f"{roles}.querySelector('.back').click()")
    assert "without single layer 1" in browser.evaluate(f"{roles}.querySelector('.after p').innerText")
    browser.evaluate(f"{roles}.querySelector('[data-layer=\"0\"]').click()")
    assert "single layer 0" in browser.evaluate(f"{roles}.querySelector('.after p').innerText")
    browser.evaluate("document.querySelector('.claims .jump[data-to*=flux]').click()")
    assert browser.evaluate("[...document.querySelectorAll('.claims details')].filter(one => one.open).length") == 1
    browser.evaluate("document.querySelector('.filters [data-verdict=undecided]').click()")
    left = browser.evaluate("[...document.querySelectorAll('.claims details')].filter(one => !one.hidden).length")
    assert 0 < left < 26
    browser.evaluate("document.querySelector('.heat').scrollIntoView({behavior: 'instant', block: 'center'})")
    found = browser.evaluate(
        "(() => { const map = [...document.querySelectorAll('.heat')].find(one => one.checkVisibility());"
        " const box = map.getBoundingClientRect();"
        " map.onpointermove({clientX: box.left + box.width * .6, clientY: box.top + box.height * .1});"
        " return map.parentElement.querySelector('.readout').innerText })()"
    )
    assert found == "Layers 0 and 1: 0.50"
    small = """[...document.querySelectorAll("button, select, .call, .contents summary")].filter(one =>
               one.checkVisibility() && one.getBoundingClientRect().height < 44).map(one => one.outerHTML)"""
    assert browser.evaluate(small) == [], "large enough for a finger"
    assert browser.errors == []


@browser_needed
def test_print_has_pictures_and_no_controls(study, browser):
    browser.open(study.page)
    browser.call("Emulation.setEmulatedMedia", media="print")
    seen = "[...document.images].filter(image => image.checkVisibility()).length"
    assert browser.evaluate(seen) > 10
    assert not browser.evaluate("document.querySelector('.bar').checkVisibility()")
    browser.call("Emulation.setEmulatedMedia", media="")


@browser_needed
def test_the_page_is_there_at_once(study, browser):
    browser.open(study.page)
    painted = "performance.getEntriesByType('paint').map(one => one.startTime)"
    first = browser.evaluate(f"new Promise(done => setTimeout(() => done({painted}), 1000))")
    assert first and min(first) < 500, "milliseconds to the first paint, from disk"


@pytest.mark.slow
@pytest.mark.skipif(not FIREFOX, reason="no Firefox on this machine")
def test_firefox_shows_the_page_and_the_model_that_the_address_names(study, tmp_path):
    with Firefox(tmp_path) as firefox:
        firefox.open(f"{study.page.as_uri()}?model=sd3-mini")
        seen = "[...document.querySelectorAll('.of')].filter(part => part.offsetParent).map(part => part.dataset.model)"
        assert set(firefox.evaluate(seen)) == {"sd3-mini"}
        firefox.evaluate("document.querySelector('.switch [data-model=flux-mini]').click()")
        assert set(firefox.evaluate(seen)) == {"flux-mini"} and "model=flux-mini" in firefox.evaluate("location.href")
        assert firefox.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert firefox.evaluate("document.querySelector('.strip').getBoundingClientRect().width") > 100


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
    pages = sorted((tmp_path / "report/notebooks").rglob("*.html"))
    plain_pages = [tags_of(path.read_text()) for path in pages]
    leave_strips(study.out / "sd3-mini", "06_repeat", [f"transformer_blocks/{HOSTILE[0]}"])
    models = [dataclasses.replace(model, title=HOSTILE[0], original=HOSTILE[1]) for model in study.models]
    settings = study.settings.model_copy(update={"prompts": HOSTILE})
    built = build.build_page(dataclasses.replace(study, models=models, settings=settings))
    assert tags_of(built.read_text()) == plain, "no script but the page's own"
    assert [tags_of(path.read_text()) for path in pages] == plain_pages and len(pages) == 3
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
            "from types import SimpleNamespace\n"
            "import pandas as pd\nfrom PIL import Image\n"
            "from painters_utils.show.figures import picture_rows, say, show, show_table\n"
            "pictures = [SimpleNamespace(image=Image.new('RGB', (96, 96), 'red')) for _ in prompts]\n"
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
    body = str(chapters.chapter(document, figures, {"toy": "figures/toy.webp"}))
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
    assert "about other models" in section(page, "claims")
    assert "fit to the prompt" in section(page, "roles") and "<span>look</span>" in page
    assert READ not in page
    assert (study.page.parent / "notebooks" / model.key / "12_layer_by_layer.html").exists()


def test_a_mixed_study_says_what_could_not_be_measured(other, tmp_path):
    study = made_up(tmp_path / "out", ["sd3-mini", other])
    [mini, model] = study.models
    found = read_numbers(study.out / "study", CLOSING)
    lacking = {"verdict": "not measured", "model": model.key}
    nothing = OUTCOME | dict.fromkeys(("mean", "low", "high")) | lacking
    nothing |= {"words": "fine detail of reverse (no checker)"}
    for kind in ("questions", "claims"):
        own = [one for one in found[kind] if one["model"] == mini.key]
        found[kind] = own + [one | lacking | {"outcomes": [nothing]} for one in own]
    found["counts"]["not measured"] = len(found["claims"]) // 2
    save_numbers(study.out / "study", CLOSING, found)
    page = build.build_page(study).read_text()
    assert "Minis are minis" in page and "Scenes are made of emoji" in section(page, "models")
    assert f"notebooks/{mini.key}/{READ}.html" in local(Page(page))
    assert f"notebooks/{model.key}/{READ}.html" not in local(Page(page))
    assert f"{found['counts']['not measured']} are not measured" in section(page, "claims")
    assert "Fine detail of reverse (no checker)" in section(page, "claims")
    assert "not measured : Fine detail of reverse (no checker)." in section(page, "skip"), "and no number"
