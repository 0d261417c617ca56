"""The executed notebooks as pages: prose, code, results and figures, one page for each notebook and model."""

import copy
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import nbformat
from markupsafe import Markup
from nbconvert import HTMLExporter

from painters_utils.show.figures import FigureFile
from workflow.config import Study
from workflow.notebooks import figures_of

from .article import TEMPLATE, Documents, templates, title_of

# Names and signs of code, which notebook.css gives no colour: half of a notebook's page would be their marks.
PLAIN = re.compile(r'<span(?: class="(?!k|s|c1|ow|nf|nd)[a-z]{1,2}\d?")?>([^<]*)</span>')


def chapter_pages(
    study: Study, documents: Documents, figures: Mapping[str, Mapping[str, FigureFile]], folder: Path
) -> dict[Path, bytes]:
    """The pages of all executed notebooks in `folder`, and their stylesheet; the figures are files of the study."""
    titles = {model.key: model.title for model in study.models}
    files = {folder / "notebook.css": (TEMPLATE / "notebook.css").read_bytes()}
    for (who, name), document in documents.items():
        body = chapter(document, figures[who], os.path.relpath(study.figures / who, folder / who))
        about = {"title": title_of(document), "who": titles.get(who, "All models"), "name": name, "body": body}
        files[folder / who / f"{name}.html"] = templates().get_template("notebook.html.j2").render(about).encode()
    return files


def chapter(document: nbformat.NotebookNode, figures: Mapping[str, FigureFile], folder: str) -> Markup:
    """An executed notebook as HTML; the pictures are files in `folder`."""
    document = copy.deepcopy(document)
    for name, output in figures_of(document).items():
        output["data"]["text/html"] = figures[name].html(name, link=f"{folder}/{name}{figures[name].kind}")
    return Markup(PLAIN.sub(r"\1", exporter().from_notebook_node(document)[0]))


@cache
def exporter() -> HTMLExporter:
    """What makes HTML of a notebook, by template/chapter."""
    return HTMLExporter(
        template_name="chapter", extra_template_basedirs=[str(TEMPLATE)], exclude_input_prompt=True,
        exclude_output_prompt=True, exclude_anchor_links=True,
    )  # fmt: skip
