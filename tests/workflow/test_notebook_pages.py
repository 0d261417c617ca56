"""The executed notebooks' pages: what they show, where they lead, and how they behave in a browser."""

import html
import os
import re

import nbformat
import pandas as pd
import pytest
from browser import CHROMIUM, Chromium
from PIL import Image

from painters_utils.paths import NOTEBOOKS
from painters_utils.show.figures import FigureFile, smallest_webp, table_html
from workflow.config import load_study
from workflow.page.article import TEMPLATE
from workflow.page.chapters import chapter_pages, coloured

NAMES = ["04_clustering", "05_skip", "06_repeat"]
PAGE = """<section id="found">Nothing leads on from here.</section>
<section id="skip"><h2><a href="#skip">Are all layers <em>needed</em> &amp; &lt;b&gt;?</a></h2>
<a href="notebooks/flux-mini/05_skip.html#05_skip-kept">code</a></section>
<section id="every"><h2>Every notebook</h2><a href="notebooks/flux-mini/05_skip.html">open</a>
<a href="notebooks/flux-mini/04_clustering.html">open</a></section>"""
CODE = '''@cache
def paint(order, steps=4):  # <one> picture
    """Paint "it" & go."""
    return [f"{layer:02d}<br>" for layer in order if layer not in (1, 2.5)] or None


picture = paint([0, 2, 1])
'''
SCORES = {f"score number {number}": "0.93 (0.86 – 0.99)" for number in range(12)}
WIDE = pd.DataFrame([{"variant": f"MM-DiT: skip {row}–9 (high)"} | SCORES for row in range(4)])
LONG = pd.DataFrame([{"claim": "Skipping some layers of a group harms least of all changes.", "is": "holds"}])


def notebook(name: str, figure: str) -> nbformat.NotebookNode:
    """As a run leaves it."""
    new = nbformat.v4
    shown = new.new_output("display_data", {"text/html": ""}, metadata={"painters": {"figure": figure}})
    tables = [new.new_output("display_data", {"text/html": table_html(table, "A table.")}) for table in (WIDE, LONG)]
    prose = "See [clustering](04_clustering.ipynb), [all](15_findings.ipynb) and [the lab](16_explore.ipynb)."
    cells = [
        new.new_markdown_cell(f"# All about {name}\n\n{prose}"),
        new.new_code_cell("steps = None  # how many", metadata={"tags": ["parameters"]}),
        new.new_code_cell("steps = 77", metadata={"tags": ["injected-parameters"]}),
        new.new_markdown_cell("## By *hand*"),
        new.new_code_cell(CODE, outputs=[new.new_output("stream", text="a < b\n"), shown]),
        new.new_markdown_cell("## What is kept\n\n<details><summary>Answer</summary>\n\nYes.\n</details>"),
        new.new_code_cell("show_table(table)", outputs=tables),
    ]
    return new.new_notebook(cells=cells)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Of two minis, one of which has not run all notebooks; its pages are written."""
    study = load_study("smoke", out=tmp_path_factory.mktemp("study"), models=["flux-mini", "sd3-mini"])
    ran = {"flux-mini": NAMES, "sd3-mini": NAMES[1:], "study": ["15_findings"]}
    documents = {(who, name): notebook(name, f"{name}-kept") for who, names in ran.items() for name in names}
    webp = smallest_webp(Image.new("RGB", (100, 80), "white"))
    figure = FigureFile(webp, ".webp", 'What "is" kept.', 'Points & lines: what "is" kept of all.', 900, 80)
    figures = {who: {f"{name}-kept": figure for name in names} for who, names in ran.items()}
    places = {(who, name): study.figures / who / f"{name}.webp" for who, some in figures.items() for name in some}
    files = chapter_pages(study, documents, figures, places, PAGE) | dict.fromkeys(places.values(), webp)
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return study


def page_of(study, key: str) -> str:
    return (study.page.parent / f"notebooks/{key}.html").read_text()


def links(page: str, inside: str) -> list[str]:
    """Where the links of an element lead, by a part of its opening tag."""
    [found] = re.findall(rf"<(\w+) [^>]*{inside}[^>]*>(.*?)</\1>", page, re.S)
    return re.findall(r'href="([^"]*)"', found[1])


# -- code ---------------------------------------------------------------------------------------------------


def test_code_is_marked_where_it_has_a_colour_and_nothing_is_lost():
    marked = coloured(CODE)
    assert html.unescape(re.sub(r"</?i\b[^>]*>", "", marked)) == CODE.strip()
    found = {kind: set(re.findall(rf"<i class={kind}>(.*?)</i>", marked, re.S)) for kind in "ksncf"}
    assert {"def", "return", "for", "in", "if", "or", "None"} <= found["k"]
    assert {"4", "1", "2.5", "0"} <= found["n"] and "# &lt;one&gt; picture" in found["c"]
    assert {"@cache", "paint"} == found["f"], "what is defined and what is called"
    assert '"""Paint "it" &amp; go."""' in found["s"]
    assert set(re.findall(r"class=(.*?)>", marked)) == set("ksncf"), "no mark without a colour"


def test_every_colour_can_be_read_in_light_and_dark():
    style = (TEMPLATE / "notebook.css").read_text()
    light, dark, *_ = (
        dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    )

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(w * (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4)
                   for w, v in zip((0.2126, 0.7152, 0.0722), parts, strict=True))  # fmt: skip

    for scheme in (light, dark):
        assert scheme.keys() == light.keys()
        for name in scheme.keys() - {"paper", "tint", "line"}:
            for ground in (scheme["paper"], scheme["tint"]):
                low, high = sorted(map(luminance, (scheme[name], ground)))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)


def test_all_code_is_open_and_the_parameters_of_the_run_are_named(study):
    cells = re.findall(
        r'<details class="code"(.*?)><summary>(.*?)</summary>(.*?)</details>', page_of(study, "flux-mini/05_skip"), re.S
    )
    assert [title for _, title, _ in cells] == ["Parameters", "Parameters of this run", "Code", "Code"]
    assert all("open" in opened for opened, _, _ in cells)
    assert "77" in cells[1][2] and "how many" in cells[0][2]


# -- where a page leads ---------------------------------------------------------------------------------------


def test_every_link_leads_to_something(study):
    for path in study.page.parent.glob("notebooks/*/*.html"):
        text = path.read_text()
        ids = set(re.findall(r' id="([^"]+)"', text))
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            target, _, place = link.partition("#")
            if not target:
                assert html.unescape(place) in ids, link
            elif target != "data:,":
                file = (path.parent / target).resolve()
                assert file == study.page.resolve() or file.is_file(), link


def test_a_page_leads_to_its_section_its_source_its_neighbours_and_the_other_models(study):
    page = page_of(study, "flux-mini/05_skip")
    assert 'index.html#skip"><b>Painters</b> · Are all layers needed &amp; &lt;b&gt;?</a>' in page
    [source] = links(page, 'class="about"')
    folder = study.page.parent / "notebooks/flux-mini"
    assert (folder / source).resolve() == NOTEBOOKS / "05_skip.ipynb"
    assert links(page, 'class="switch"') == ["05_skip.html", "../sd3-mini/05_skip.html"]
    assert '<a href="05_skip.html" aria-current="page">FLUX</a>' in page
    assert links(page, 'class="around"') == ["04_clustering.html", "06_repeat.html"]
    assert links(page_of(study, "flux-mini/06_repeat"), 'class="around"') == [
        "05_skip.html",
        "../study/15_findings.html",
    ]
    assert links(page_of(study, "sd3-mini/05_skip"), 'class="around"') == ["06_repeat.html"]
    closing = page_of(study, "study/15_findings")
    assert links(closing, 'class="around"') == ["../sd3-mini/06_repeat.html"] and 'class="switch"' not in closing
    assert 'href="../../index.html"><b>Painters</b></a>' in closing, "no section speaks of it"
    assert 'class="switch"' not in page_of(study, "flux-mini/04_clustering"), "no other model has run it"


def test_links_in_prose_lead_to_pages(study):
    page = page_of(study, "flux-mini/05_skip")
    assert '<a href="04_clustering.html">' in page and '<a href="../study/15_findings.html">' in page
    assert '<a href="../flux-mini/04_clustering.html">' in page_of(study, "sd3-mini/05_skip"), (
        "this model has not run it"
    )
    assert re.search(r'<a href="[^"]*/notebooks/16_explore\.ipynb">', page), "it is run by hand and has no page"


def test_headings_lead_to_themselves_and_are_the_contents(study):
    page = page_of(study, "flux-mini/05_skip")
    assert '<h2 id="By-hand"><a href="#By-hand">By <em>hand</em></a></h2>' in page
    assert links(page, 'class="contents"') == ["#By-hand", "#What-is-kept"]
    assert "<h1>All about 05_skip</h1>" in page


def test_figures_and_tables_have_no_more_than_they_need(study):
    page = page_of(study, "flux-mini/05_skip")
    assert not re.search(r'style=|dataframe|class="(?:cell|output|input|inner)', page)
    [image] = re.findall(r"<a [^>]*><img [^>]*></a>", page)
    assert 'loading="lazy"' in image and "Points &amp; lines" in image and image.count("05_skip-kept.webp") == 2
    assert page.count('<td class="long">Skipping') == 1 and page.count('class="long"') == 1


# -- in a browser -------------------------------------------------------------------------------------------

WIDER = """[...document.querySelectorAll(".table > div")].map(frame => [
  frame.scrollWidth > frame.clientWidth, frame.parentElement.matches(".wide"), frame.tabIndex === 0])"""
FIRST = """(() => {
  const frame = document.querySelector(".wide > div"), left = one => one.getBoundingClientRect().x;
  frame.scrollLeft = 200;
  return [frame.scrollLeft, left(frame.querySelector("td")) - left(frame)];
})()"""
FOLLOWED = """(async last => {  // a busy machine may deliver the scroll late
  const current = () => document.querySelector(".contents [aria-current=true]")?.textContent;
  scrollTo(0, 1e6);
  for (let waited = 0; current() !== last && waited < 100; waited++) await new Promise(go => setTimeout(go, 50));
  return current();
})"""
PRINTED = """[...document.querySelectorAll("pre, details p, .bar, .contents, .around, .about button")].map(one =>
  [one.tagName, one.checkVisibility({ contentVisibilityAuto: true })])"""
SMALL = """[...document.querySelectorAll("nav a, .back, .about button")].filter(link => {
  const { width, height } = link.getBoundingClientRect();
  return width && !link.closest(".contents") && (width < 44 || height < 44);
}).length"""


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="no chromium on this machine")
def test_the_pages_in_a_browser(study, tmp_path):
    folder = study.page.parent / "notebooks"
    with Chromium(tmp_path) as browser:
        for path in sorted(folder.glob("*/*.html")):
            for width in (360, 390, 768, 1280):
                browser.open(path, width=width)
                assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path.name, width)
                assert browser.evaluate(SMALL) == 0, "a finger finds every link"
                wide = browser.evaluate(WIDER)
                assert all(scrolls == said == reached for scrolls, said, reached in wide), "nothing is hidden silently"
                assert wide[0][0], "this one is wider than any page"
                assert not browser.errors

        browser.open(folder / "flux-mini/05_skip.html", width=1280, prefers_reduced_motion="reduce")
        assert browser.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        assert browser.evaluate(FIRST) == [200, 0], "the first column stays"
        open_cells = "[...document.querySelectorAll('.code')].filter(code => code.open).length"
        button = "document.querySelector('.about button')"
        for left, says in ((0, "Unfold all code"), (4, "Fold all code")):
            browser.evaluate(f"{button}.click()")
            assert (browser.evaluate(open_cells), browser.evaluate(f"{button}.textContent")) == (left, says)
        assert browser.evaluate(f"{FOLLOWED}('What is kept')") == "What is kept", "the contents follow"

        browser.evaluate(f"{button}.click()")
        browser.call("Emulation.setEmulatedMedia", media="print")
        for name, seen in browser.evaluate(PRINTED):
            assert seen == (name in ("PRE", "P")), (
                f"{name}: folded code is printed, what serves on a screen alone is not"
            )
