"""The executed notebooks as pages: prose, code, results and figures, one page for each notebook and model."""

import copy
import os
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path

import nbformat
from markupsafe import Markup
from nbconvert import HTMLExporter
from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from painters_utils.paths import NOTEBOOKS
from painters_utils.show.figures import SHORT, FigureFile
from workflow.config import Study
from workflow.notebooks import figures_of

from .article import CLUTTER, TEMPLATE, Documents, templates, title_of

SHARED = ("notebook.css", "notebook.js")  # by all pages
# What notebook.css has colours for. Nothing else of the code is marked, or half of a page would be marks.
COLOURS = {
    Keyword: "k", Operator.Word: "k", String: "s", Number: "n", Comment: "c",
    Name.Function: "f", Name.Class: "f", Name.Decorator: "f",
}  # fmt: skip
LONG = re.compile(rf"<td>(?=[^<]{{{SHORT + 1},}}<)")  # a cell that is broken into lines
HEADING = re.compile(r'<h(\d) id="([^"]*)">(.*?)<a class="anchor-link" [^>]*>#</a></h\1>', re.S)
Key = tuple[str, str]  # of a document: the folder of the results and the notebook


def chapter_pages(
    study: Study,
    documents: Documents,
    figures: Mapping[str, Mapping[str, FigureFile]],
    places: Mapping[Key, Path],
    page: str,
) -> dict[Path, bytes]:
    """The executed notebooks' pages and what they share; `page`: the article, whose sections they lead back to.

    `places`: the file of each figure, by whose it is and its name.
    """
    folder, sections = study.page.parent / "notebooks", sections_of(page)
    titles = {model.key: model.title for model in study.models}
    files = {folder / name: (TEMPLATE / name).read_bytes() for name in SHARED}
    for (who, name), document in documents.items():
        here = folder / who
        sources = os.path.relpath(NOTEBOOKS, here)
        links = {key: os.path.relpath(folder / key[0] / f"{key[1]}.html", here) for key in documents}
        shown = {figure: os.path.relpath(path, here) for (whose, figure), path in places.items() if whose == who}
        body = chapter(document, figures[who], shown)
        about = {
            "title": title_of(document), "who": titles.get(who, "All models"), "name": name,
            "report": os.path.relpath(study.page, here), "section": sections.get(name),
            "source": f"{sources}/{name}.ipynb",
            "models": [(model.title.removesuffix(" mini"), links[model.key, name], model.key == who)
                       for model in study.models if (model.key, name) in documents],
            "around": {way: (title_of(documents[key]), links[key])
                       for way, key in neighbours(documents, (who, name)).items()},
            "contents": [(id, Markup(heading)) for level, id, heading in HEADING.findall(body) if level == "2"],
            "body": Markup(HEADING.sub(permalink, lead_on(body, who, links, sources))),
        }  # fmt: skip
        files[here / f"{name}.html"] = templates().get_template("notebook.html.j2").render(about).encode()
    return files


def sections_of(page: str) -> dict[str, tuple[str, str]]:
    """Where the article speaks of each notebook: id and heading of the first section that has a link to it."""
    found: dict[str, tuple[str, str]] = {}
    for id, section in re.findall(r'<section id="([^"]+)">(.*?)</section>', page, re.S):
        heading = re.search(r"<h2[^>]*>(.*?)</h2>", section, re.S)
        words = Markup(heading[1]).striptags() if heading else ""
        for name in re.findall(r'href="notebooks/[^/"]+/([^/"]+)\.html', section):
            found.setdefault(name, (id, words))
    return found


def neighbours(documents: Documents, key: Key) -> dict[str, Key]:
    """The notebooks before and after one: of its model, and behind them those of all models."""
    last = next(reversed([who for who, _ in documents if who != "study"]), "study")
    row = [one for one in documents if one[0] in (key[0] if key[0] != "study" else last, "study")]
    place = row.index(key)
    around = {"prev": row[place - 1 : place], "next": row[place + 1 : place + 2]}
    return {way: one[0] for way, one in around.items() if one}


def chapter(
    document: nbformat.NotebookNode, figures: Mapping[str, FigureFile], places: Mapping[str, str]
) -> str:  # fmt: skip
    """An executed notebook as HTML; the pictures are the files of `places`, which a click shows by themselves.

    Where the place is "", the picture is part of the page.
    """
    document = copy.deepcopy(document)
    for name, output in figures_of(document).items():
        output["data"]["text/html"] = figures[name].html(name, link=places[name])
    body = CLUTTER.sub("", exporter().from_notebook_node(document)[0])
    return LONG.sub(
        '<td class="long">', re.sub(r'<img [^>]*src="(?!data:)([^"]*)"[^>]*>', r'<a href="\1">\g<0></a>', body)
    )


@cache
def exporter() -> HTMLExporter:
    """What makes HTML of a notebook, by template/chapter."""
    return HTMLExporter(
        template_name="chapter", extra_template_basedirs=[str(TEMPLATE)], exclude_input_prompt=True,
        exclude_output_prompt=True, anchor_link_text="#", filters={"coloured": coloured},
    )  # fmt: skip


@cache  # the models' pages share their code
def coloured(source: str) -> Markup:
    """Python as HTML, with marks around what has a colour; what is called is coloured as a function."""
    tokens = list(PythonLexer(ensurenl=False).get_tokens(source))
    called = [kind in Name and after.startswith("(") for (kind, _), (_, after) in pairwise([*tokens, (Name, "")])]
    kinds = [Name.Function if call else kind for call, (kind, _) in zip(called, tokens, strict=True)]
    letters = [next((letter for colour, letter in COLOURS.items() if kind in colour), "") for kind in kinds]
    html = ""
    for letter, run in groupby(zip(letters, tokens, strict=True), itemgetter(0)):
        text = escape("".join(text for _, (_, text) in run), quote=False)
        html += f"<i class={letter}>{text}</i>" if letter else text  # pages hold thousands of them
    return Markup(html)


def permalink(heading: re.Match) -> str:
    """A heading that leads to itself; the title, which is where the page begins, need not."""
    level, id, words = heading.groups()
    return f'<h{level} id="{id}"><a href="#{id}">{words}</a></h{level}>' if level > "1" else f"<h1>{words}</h1>"


def lead_on(body: str, who: str, links: Mapping[Key, str], sources: str) -> str:
    """Links to notebooks lead to their pages, of this model where there is one; to their source if none has run."""

    def led(link: re.Match) -> str:
        same = [key for key in links if key[1] == link[1]]
        key = next((key for key in same if key[0] == who), next(iter(same), None))
        return f'href="{links[key] if key else f"{sources}/{link[1]}.ipynb"}"'

    return re.sub(r'href="(\w+)\.ipynb"', led, body)
