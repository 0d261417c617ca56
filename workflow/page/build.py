"""Make the page: an article told with the numbers of a finished study, and every executed notebook one click away.

It takes what there is: a section whose notebooks did not run is not there, nor is a figure that no notebook showed.
The words are in template/, the numbers and cases that they speak of in `facts.py`.
"""

import base64
import copy
import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from nbconvert import HTMLExporter

from painters_utils.engine.describe import short
from painters_utils.engine.strategies import build_order
from painters_utils.errors import InputError
from painters_utils.files import file_digest, write_whole
from painters_utils.models.model import Model
from painters_utils.show.drawings import order_svg, stacks_svg
from painters_utils.show.figures import KINDS, FigureFile
from painters_utils.study import experiments
from painters_utils.study.numbers import read_numbers
from workflow.config import PUBLISHED, Study
from workflow.findings.claims import load_claims
from workflow.notebooks import figures_of, saves_numbers

from . import facts
from .costs import cost_chapters
from .live import live_page

TEMPLATE = Path(__file__).parent / "template"
# Names and signs of code, which page.css gives no colour: half of a notebook's page would be their marks.
PLAIN = re.compile(r'<span(?: class="(?!k|s|c1|ow|nf|nd)[a-z]{1,2}\d?")?>([^<]*)</span>')
WIDGET = "application/vnd.jupyter.widget-view+json"
LIMIT = 6_000_000  # bytes: a page that opens at once on a phone
TOLD_APART = ("layer_by_layer", "sweep", "controls")  # experiments with a section of their own kind
Documents = Mapping[tuple[str, str], nbformat.NotebookNode]  # by the folder of the results and the notebook


def build_page(study: Study) -> Path:
    """Write the page, the notebooks' pages and the figures of a finished study; returns the page's path.

    No file is missing or half-written at any moment. `InputError` if a notebook, its numbers or a figure are missing,
    or the page grows beyond LIMIT.
    """
    folders = {model.key: study.notebooks_of(model) for model in study.models} | {"study": list(study.closing)}
    documents = {(who, name): executed(study, who, name) for who, names in folders.items() for name in names}
    figures = {who: {} for who in folders}
    for (who, name), document in documents.items():
        figures[who] |= {figure: load_figure(study, who, name, figure) for figure in figures_of(document)}
    live = live_page(study.page.parent / "live", templates())
    html = article(study, documents, figures, live=bool(live))
    if (size := len(html.encode())) > LIMIT:
        raise InputError(f"the page has {size / 1e6:.1f} MB, {LIMIT / 1e6:.0f} at most: study fewer models or prompts")
    pages = study.page.parent / "notebooks"
    files = {study.figures / who / f"{name}{figure.kind}": figure.picture
             for who, some in figures.items() for name, figure in some.items()}  # fmt: skip
    titles = {model.key: model.title for model in study.models}
    for (who, name), document in documents.items():
        body = chapter(document, figures[who], os.path.relpath(study.figures / who, pages / who))
        about = {"title": title_of(document), "who": titles.get(who, "All models"), "name": name, "body": body}
        files[pages / who / f"{name}.html"] = templates().get_template("notebook.html.j2").render(about).encode()
    files[pages / "page.css"] = (TEMPLATE / "page.css").read_bytes()
    files |= live
    files[study.page] = html.encode()
    publish(study, files)
    return study.page


def article(study: Study, documents: Documents, figures: Mapping[str, Mapping[str, FigureFile]], live: bool) -> str:
    """The page itself; `live`: there is a page to play with beside it."""
    numbers = {who: {} for who in figures}
    for (who, name), document in documents.items():
        if (study.out / who / f"{name}.json").exists() or saves_numbers(document):
            numbers[who][name] = read_numbers(study.out / who, name)
    findings = {key: value for found in numbers.pop("study").values() for key, value in found.items()}

    def ran(notebook: str) -> list[Model]:
        """The models for which a notebook found something."""
        return [model for model in study.models if notebook in numbers[model.key]]

    def figure(who: str, name: str) -> Markup:
        """A notebook's figure, whole; nothing if it showed none of this name."""
        return Markup(figures[who][name].html(f"{who}-{name}")) if name in figures[who] else Markup("")

    def compare(notebook: str) -> dict[str, list[tuple[str, str]]]:
        """The pictures of one notebook for the slider: {model: [(variant, data)]}, the baseline first."""
        found = {model.key: strips(study.out / model.key / "strips" / notebook) for model in ran(notebook)}
        return {model: some for model, some in found.items() if some}

    rows = experiments.EXPERIMENTS
    return templates().get_template("page.html.j2").render(
        study=study, models=study.models, minis=[model for model in study.models if model.mini],
        titles={model.key: model.title for model in study.models}, steps=study.for_all(lambda model: model.steps),
        numbers=numbers, findings=findings, facts=facts, claims=load_claims(), costs=cost_chapters(),
        live=live, ran=ran, figure=figure, compare=compare, right=right_share, stacks_svg=stacks_svg,
        tried=[row for row in rows if row.notebook and ran(row.notebook) and row.name not in TOLD_APART],
        headings={row.name: row.heading for row in rows},
        drawn=[(row, order_svg({"": build_order(row.name, 8, **row.example)}, 8))
               for row in rows if row.example is not None],
        names={name: title_of(document) for (_, name), document in documents.items()},
        chapters=[(who, name, title_of(document)) for (who, name), document in documents.items()],
        style=(TEMPLATE / "page.css").read_text(), script=(TEMPLATE / "page.js").read_text(),
    )  # fmt: skip


@cache
def templates() -> Environment:
    """The templates; "two" writes a number with two digits after the point."""
    jinja = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    jinja.filters |= {"bold": bold, "two": "{:.2f}".format}
    return jinja


def executed(study: Study, who: str, name: str) -> nbformat.NotebookNode:
    """An executed notebook, without its progress bars: on a page they are scripts without their widgets."""
    path = study.out / who / f"{name}.ipynb"
    if not path.exists():
        raise InputError(f"{name} has not run for {who}: run `make report`")
    document = nbformat.read(path, as_version=4)
    for cell in [cell for cell in document.cells if cell.cell_type == "code"]:
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    return document


def title_of(document: nbformat.NotebookNode) -> str:
    """The first heading."""
    found = re.search(r"^# (.+)$", document.cells[0].source, re.M)
    return found.group(1) if found else "Notebook"


def load_figure(study: Study, who: str, notebook: str, name: str) -> FigureFile:
    """The files of a figure; `InputError` if they are not there or damaged."""
    try:
        return FigureFile.load(study.out / who / "figures", name)
    except (OSError, ValueError, LookupError, TypeError) as error:
        path = study.out / who / f"{notebook}.ipynb"
        raise InputError(f"figure {name} of {who} is damaged ({error}): delete {path} and run again") from error


def chapter(document: nbformat.NotebookNode, figures: Mapping[str, FigureFile], folder: str) -> Markup:
    """An executed notebook as HTML, its code folded away; the pictures are files in `folder`."""
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


def publish(study: Study, files: Mapping[Path, bytes]) -> None:
    """Write the files whole, and last their digests; figures and pages of an earlier run that are not among them go."""
    for path, content in files.items():
        with write_whole(path) as unfinished:
            unfinished.write_bytes(content)
    earlier = [path for kind in KINDS for path in study.figures.glob(f"*/*{kind}")]
    for path in {*earlier, *study.page.parent.glob("notebooks/*/*.html")} - set(files):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    with write_whole(study.out / PUBLISHED) as unfinished:
        unfinished.write_text(json.dumps({str(path): file_digest(path) for path in files}))


def strips(folder: Path) -> list[tuple[str, str]]:
    """What `save_strips` wrote: (name, base64) of each strip, the baseline first, then "MM-DiT: skip 7–10"."""
    path = folder / "names.json"
    names = json.loads(path.read_text()) if path.exists() else {}
    return [(": ".join(map(short, name.split("/", 1))), base64.b64encode((folder / file).read_bytes()).decode())
            for name, file in names.items()]  # fmt: skip


def right_share(mini: Model) -> str:
    """How many of a mini's pictures of the prompt suite show everything asked for: "66 % (59 – 73 %)"."""
    path = mini.folder / "scores.json"
    if not path.exists():
        return "an unmeasured share"
    strict = json.loads(path.read_text())["strict"]
    return "{:.0f} % ({:.0f} – {:.0f} %)".format(*(100 * strict[key] for key in ("mean", "low", "high")))


def bold(text: str) -> Markup:
    """The text, escaped, with **these words** in bold."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))
