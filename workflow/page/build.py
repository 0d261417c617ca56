"""Make the page: an article told with the numbers of a finished study, and every executed notebook one click away.

It takes what there is: a section whose notebooks did not run is not there, nor is a figure that no notebook showed.
The page itself is `article.py`'s.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat

from painters_utils.errors import InputError
from painters_utils.files import file_digest, write_whole
from painters_utils.show.figures import KINDS, FigureFile
from workflow.config import PUBLISHED, Study
from workflow.notebooks import figures_of

from .article import BY_HAND, article, templates
from .chapters import chapter_pages
from .live import live_page

WIDGET = "application/vnd.jupyter.widget-view+json"
LIMIT = 6_000_000  # bytes: a page that opens at once on a phone


def build_page(study: Study) -> Path:
    """Write the page, the notebooks' pages and the figures of a finished study; returns the page's path.

    No file is missing or half-written at any moment. `InputError` if a notebook, its numbers or a figure are missing,
    or the page grows beyond LIMIT.
    """
    documents = {key: executed(study, *key) for key in study.documents}
    figures = {who: {} for who in (*(model.key for model in study.models), "study")}
    for (who, name), document in documents.items():
        figures[who] |= {figure: load_figure(study, who, name, figure) for figure in figures_of(document)}
    live = live_page(study.page.parent / "live", templates())
    html = article(study, documents, figures, live=bool(live))
    if (size := len(html.encode())) > LIMIT:
        raise InputError(f"the page has {size / 1e6:.1f} MB, {LIMIT / 1e6:.0f} at most: study fewer models or prompts")
    places = places_of(study, figures)
    files = {path: figures[who][name].picture for (who, name), path in places.items()}
    files |= chapter_pages(study, documents, figures, places, html)
    files |= live
    files[study.page] = html.encode()
    publish(study, files)
    return study.page


def executed(study: Study, who: str, name: str) -> nbformat.NotebookNode:
    """An executed notebook of a study."""
    path = study.documents[who, name]
    if not path.exists():
        raise InputError(f"{name} has not run for {who}: run `make report`")
    return read_executed(path)


def read_executed(path: Path) -> nbformat.NotebookNode:
    """An executed notebook, without its progress bars: on a page they are scripts without their widgets."""
    document = nbformat.read(path, as_version=4)
    for cell in [cell for cell in document.cells if cell.cell_type == "code"]:
        cell.outputs = joined([output for output in cell.outputs if WIDGET not in output.get("data", {})])
    return document


def joined(outputs: Sequence[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """The outputs with neighbouring pieces of one stream as one: where a kernel cuts its text depends on the clock."""
    found: list[nbformat.NotebookNode] = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream" and output.name == found[-1].name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def load_figure(study: Study, who: str, notebook: str, name: str) -> FigureFile:
    """The files of a figure; `InputError` if they are not there or damaged."""
    try:
        return FigureFile.load(study.out / who / "figures", name)
    except (OSError, ValueError, LookupError, TypeError) as error:
        path = study.documents[who, notebook]
        raise InputError(f"figure {name} of {who} is damaged ({error}): delete {path} and run again") from error


def places_of(study: Study, figures: Mapping[str, Mapping[str, FigureFile]]) -> dict[tuple[str, str], Path]:
    """The file of each figure, by whose it is and its name; what several models show alike is there once."""
    first: dict[tuple[str, bytes], Path] = {}
    return {(who, name): first.setdefault((name, figure.picture), study.figures / who / f"{name}{figure.kind}")
            for who, some in figures.items() for name, figure in some.items()}  # fmt: skip


def publish(study: Study, files: Mapping[Path, bytes]) -> None:
    """Write the files whole, and last their digests; figures and pages of an earlier run that are not among them go."""
    for path, content in files.items():
        with write_whole(path) as unfinished:
            unfinished.write_bytes(content)
    earlier = [path for kind in KINDS for path in study.figures.glob(f"*/*{kind}")]
    pages = [path for path in study.page.parent.glob("notebooks/*/*.html") if path.parent.name != BY_HAND]
    for path in {*earlier, *pages} - set(files):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    with write_whole(study.out / PUBLISHED) as unfinished:
        unfinished.write_text(json.dumps({str(path): file_digest(path) for path in files}))
