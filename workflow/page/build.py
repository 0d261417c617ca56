"""Make the page: an article told with the numbers of a finished study, and every executed notebook one click away.

`python -m workflow.page.build default` reads results/default/ and writes report/index.html, report/notebooks/ and
figures/, file by file: none of them is missing or half-written at any moment. The words are in report/template/, the
sentences with numbers in `story.py`.
"""

import argparse
import base64
import copy
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from nbconvert import HTMLExporter
from nbconvert.preprocessors import TagRemovePreprocessor

from . import story
from painters_utils.models.catalog import ROOT, folder_name, model_row
from workflow.config import PUBLISHED, Study, load_study
from benchmarks.costs import cost_chapters
from .drawings import order_svg, stacks_svg
from painters_utils.errors import InputError
from painters_utils.files import digest, whole
from painters_utils.study.claims import load_claims
from painters_utils.study.results import read_numbers
from painters_utils.engine.strategies import build_order

TEMPLATE = ROOT / "report/template"
WIDGET = "application/vnd.jupyter.widget-view+json"
LIMIT = 6_000_000  # bytes: a page that opens at once on a phone
FIGURE = re.compile(r'<figure id="([^"]+)"><img src="data:image/webp;base64,([^"]+)"(.*?)</figure>', re.S)
# The strategies as the page draws them, on a stack of eight layers.
DRAWN = {
    "untouched": ("identity", {}),
    "skip": ("skip", {"band": [2, 5]}),
    "repeat": ("middle_repeat", {"band": [2, 5]}),
    "reverse": ("reverse", {"band": [2, 5]}),
    "random order": ("random_order", {"band": [2, 5], "seed": 1}),
    "parallel": ("parallel", {"band": [2, 5]}),
    "looped parallel": ("looped_parallel", {"band": [2, 5], "loops": 3}),
}


def build_page(study: Study) -> Path:
    """Write the page, the notebooks' pages and the figures of a finished study; returns the page's path.

    Raises `InputError` if a notebook or its numbers are missing, or the page grows beyond LIMIT.
    """
    names = {folder_name(model): model for model in study.models}
    notebooks = {name: study.notebooks_of(model) for name, model in names.items()} | {"study": [study.summary]}
    documents = {(who, name): executed(study, who, name) for who, names in notebooks.items() for name in names}
    figures = {key: figures_of(document) for key, document in documents.items()}
    blank = {"original": "", "mini": False, "teacher": None}  # what a row need not say
    models = [blank | {"name": name, "right": right_share(model)} | model_row(model) for name, model in names.items()]
    titles = {model["name"]: model["title"] for model in models}
    numbers = {who: {name: read_numbers(study.out / who, name) for name in notebooks[who]} for who in titles}
    findings = read_numbers(study.out / "study", study.summary)

    def figure(who: str, name: str) -> Markup:
        """A notebook's figure, whole."""
        for (owner, _), some in figures.items():
            if owner == who and name in some:
                data, rest = some[name]
                return Markup(f'<figure id="{who}-{name}"><img src="data:image/webp;base64,{data}"{rest}</figure>')
        return Markup("")

    def compare(notebook: str) -> dict:
        """The pictures of one notebook for the slider: {model: [(variant, data)]}, the baseline first."""
        return {model: strips(study.out / model / "strips" / notebook) for model in titles}

    jinja = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined)
    jinja.filters["bold"] = bold
    html = jinja.get_template("page.html.j2").render(
        study=study, models=models, titles=titles, numbers=numbers, findings=findings, story=story, figure=figure,
        compare=compare, style=(TEMPLATE / "page.css").read_text(), script=(TEMPLATE / "page.js").read_text(),
        minis=[model for model in models if model.get("mini")], claims=load_claims(), stacks_svg=stacks_svg,
        drawn={name: Markup(order_svg(build_order(s, 8, **o), 8, f"{name}: {build_order(s, 8, **o)}"))
               for name, (s, o) in DRAWN.items()},
        names={name: title_of(document) for (_, name), document in documents.items()},
        chapters=[(who, name, title_of(document)) for (who, name), document in documents.items()],
        costs=cost_chapters(),
    )  # fmt: skip
    if len(html.encode()) > LIMIT:
        raise InputError(
            f"the page has {len(html) / 1e6:.1f} MB, {LIMIT / 1e6:.0f} at most: study fewer models or prompts"
        )
    pages = study.page.parent / "notebooks"
    files = {
        study.figures / who / f"{name}.webp": base64.b64decode(data)
        for (who, _), some in figures.items()
        for name, (data, _) in some.items()
    }
    template = jinja.get_template("notebook.html.j2")
    for (who, name), document in documents.items():
        body = chapter(document, os.path.relpath(study.figures / who, pages / who))
        page = template.render(title=title_of(document), who=titles.get(who, "All models"), name=name, body=body)
        files[pages / who / f"{name}.html"] = page.encode()
    files[pages / "page.css"] = (TEMPLATE / "page.css").read_bytes()
    files[study.page] = html.encode()
    publish(study, files)
    return study.page


def executed(study: Study, who: str, name: str) -> nbformat.NotebookNode:
    """An executed notebook, without its progress bars: on a page they are scripts without their widgets."""
    path = study.out / who / f"{name}.ipynb"
    if not path.exists():
        raise InputError(f"{name} has not run for {who}: run `make report`")
    document = nbformat.read(path, as_version=4)
    for cell in document.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    return document


def title_of(document: nbformat.NotebookNode) -> str:
    """The first heading."""
    found = re.search(r"^# (.+)$", document.cells[0].source, re.M)
    return found.group(1) if found else "Notebook"


def figures_of(document: nbformat.NotebookNode) -> dict[str, tuple[str, str]]:
    """The figures that a notebook shows: name → (base64, the rest of the tag with its caption)."""
    html = "".join("".join(output["data"]["text/html"]) for output in outputs_of(document))
    return {name: (data, rest) for name, data, rest in FIGURE.findall(html)}


def outputs_of(document: nbformat.NotebookNode) -> list[dict]:
    """The outputs that are HTML."""
    outputs = [output for cell in document.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output for output in outputs if "text/html" in output.get("data", {})]


def chapter(document: nbformat.NotebookNode, figures: str) -> Markup:
    """An executed notebook as HTML, its code folded away; pictures are files in the folder `figures`."""
    hidden = TagRemovePreprocessor(remove_cell_tags=("parameters", "injected-parameters"), enabled=True)
    exporter = HTMLExporter(
        template_name="chapter", extra_template_basedirs=[str(TEMPLATE)], exclude_input_prompt=True,
        exclude_output_prompt=True, preprocessors=[hidden], exclude_anchor_links=True,
    )  # fmt: skip
    document = copy.deepcopy(document)
    linked = rf'<figure id="\1"><img src="{figures}/\1.webp" loading="lazy"\3</figure>'
    for output in outputs_of(document):
        output["data"]["text/html"] = FIGURE.sub(linked, "".join(output["data"]["text/html"]))
    return Markup(exporter.from_notebook_node(document)[0])


def publish(study: Study, files: Mapping[Path, bytes]) -> None:
    """Write the files, each of them whole; figures and pages of an earlier run that are not among them go.

    Their digests come last, for the next run to know whether the page is whole.
    """
    for path, content in files.items():
        with whole(path) as unfinished:
            unfinished.write_bytes(content)
    earlier = [*study.figures.glob("*/*.webp"), *study.page.parent.glob("notebooks/*/*.html")]
    for path in set(earlier) - set(files):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    with whole(study.out / PUBLISHED) as unfinished:
        unfinished.write_text(json.dumps({str(path): digest(path) for path in files}))


def strips(folder: Path) -> list[tuple[str, str]]:
    """What `save_strips` wrote: (name, base64) of each strip, the baseline first."""
    path = folder / "names.json"
    if not path.exists():
        return []
    names = json.loads(path.read_text())
    return [(name, base64.b64encode((folder / file).read_bytes()).decode()) for name, file in names.items()]


def right_share(model: str) -> str:
    """How many of a mini's pictures of the prompt suite show everything asked for: "66 % (59 – 73 %)"."""
    row = model_row(model)
    if not row.get("mini") or not (path := ROOT / row["path"] / "scores.json").exists():
        return "an unmeasured share"
    strict = json.loads(path.read_text())["strict"]
    return "{:.0f} % ({:.0f} – {:.0f} %)".format(*(100 * strict[key] for key in ("mean", "low", "high")))


def bold(text: str) -> Markup:
    """The text, escaped, with **these words** in bold."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="?", default="default", help="the profile whose results make the page")
    parser.add_argument("--settings", default="{}", help="JSON: models, notebooks, seeds, steps, out as they were run")
    args = parser.parse_args(arguments)
    try:
        build_page(load_study(args.profile, **json.loads(args.settings)))
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
