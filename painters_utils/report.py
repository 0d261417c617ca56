"""Make the page: executed notebooks, rendered by nbconvert, between an opening and a footer.

`python -m painters_utils.report default` reads results/default/ and writes report/index.html and figures/.
"""

import argparse
import json
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nbconvert import HTMLExporter
from nbconvert.preprocessors import TagRemovePreprocessor

from .catalog import ROOT, model_row
from .config import Study, load_study
from .errors import InputError
from .results import read_numbers

TEMPLATE = Path(__file__).parent.parent / "report/template"
WIDGET = "application/vnd.jupyter.widget-view+json"
LIMIT = 6_000_000  # bytes: a page that opens at once on a phone


def build_page(study: Study) -> Path:
    """Write the page and the figures of a finished study; returns the page's path.

    Raises `InputError` if a notebook or its numbers are missing, or the page grows beyond LIMIT.
    """
    models = []
    for model in study.models:
        chapters = [chapter(study, model, notebook) for notebook in study.notebooks]
        row = model_row(model) | {"remark": remark(model)}
        models.append({"name": model, **row, "chapters": chapters, "findings": findings(study, model)})
    # autoescape covers titles and prompts; the chapters are HTML that nbconvert has already made safe.
    jinja = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined)
    html = jinja.get_template("page.html.j2").render(
        study=study, models=models, style=(TEMPLATE / "page.css").read_text(),
        opening=opening_figure(models), mini=any(model.get("mini") for model in models),
    )  # fmt: skip
    if len(html.encode()) > LIMIT:
        raise InputError(
            f"the page has {len(html) / 1e6:.1f} MB, {LIMIT / 1e6:.0f} at most: study fewer models or prompts"
        )
    for model in study.models:
        kept = study.figures / model
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(study.out / model / "figures", kept)
    study.page.parent.mkdir(parents=True, exist_ok=True)
    unfinished = study.page.with_suffix(".part")
    unfinished.write_text(html)
    os.replace(unfinished, study.page)
    return study.page


def chapter(study: Study, model: str, notebook: str) -> dict:
    """One executed notebook as a chapter: id, title and HTML, its code folded away."""
    path = study.out / model / f"{notebook}.ipynb"
    if not path.exists():
        raise InputError(f"{notebook} has not run for {model}: run `make report`")
    document = nbformat.read(path, as_version=4)
    for cell in document.cells:  # a progress bar that has run through: on a page it is a script without its widget
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
    hidden = TagRemovePreprocessor(remove_cell_tags=("parameters", "injected-parameters"), enabled=True)
    exporter = HTMLExporter(
        template_name="chapter", extra_template_basedirs=[str(TEMPLATE)], exclude_input_prompt=True,
        exclude_output_prompt=True, preprocessors=[hidden], exclude_anchor_links=True,
    )  # fmt: skip
    html, _ = exporter.from_notebook_node(document)
    title = re.search(r"^# (.+)$", document.cells[0].source, re.M)
    html = re.sub(r"<h1[^>]*>.*?</h1>", "", html, count=1, flags=re.S)
    identity = f"{model}-{notebook}"
    # Ids are unique on the page, also where two models share a notebook.
    html = re.sub(r'<figure id="', f'<figure id="{identity}-', html)
    html = html.replace('id="cell-id=', f'id="{identity}-cell-')
    html = re.sub(
        r'<h2 id="(.*?)</h2>', rf'<h3 id="{identity}-\1</h3>', html, flags=re.S
    )  # the chapter's title is the h2
    return {"id": identity, "notebook": notebook, "title": title.group(1) if title else notebook, "html": html}


def findings(study: Study, model: str) -> list[str]:
    """What was found, as plain sentences; every number comes from the notebooks' own results."""
    out, sentences = study.out / model, []
    if "05_skip" in study.notebooks:
        numbers = read_numbers(out, "05_skip")
        changes = numbers["changes"]
        least, most = min(changes, key=lambda n: changes[n]["mean"]), max(changes, key=lambda n: changes[n]["mean"])
        sentences.append(
            f"Not all layers are needed alike. “{least}” leaves the pictures closest to the original (change "
            f"{changes[least]['mean']:.2f}, where 0 is the same picture and 1 another prompt's picture); "
            f"“{most}” changes them most ({changes[most]['mean']:.2f})."
        )
    if "04_clustering" in study.notebooks:
        for stack in read_numbers(out, "04_clustering").values():
            bands = ", ".join(f"{name} {first}–{last}" for name, (first, last) in stack["bands"].items())
            sentences.append(
                f"The {stack['name']} layers fall into {len(stack['bands'])} bands of like activations: {bands}."
                if stack["grouped"]
                else f"The {stack['name']} layers form no groups beyond what neighbours always share."
            )
    if "03_similarity" in study.notebooks:
        for name, value in read_numbers(out, "03_similarity")["similarity"].items():
            if "image" in name or "joint" in name:
                sentences.append(
                    f"Do layers share a space? In {name}, neighbours have a cosine of {value['neighbours']:.2f}, "
                    f"any two layers {value['mean']:.2f}, the first and the last {value['ends']:.2f}."
                )
    return sentences


def remark(model: str) -> str:
    """How well a mini follows its prompts, in one sentence with the number measured of its weights."""
    path = ROOT / model_row(model)["path"] / "scores.json"
    if not path.exists():
        return ""
    strict = json.loads(path.read_text())["strict"]
    return (
        f"Of its pictures of the prompt suite, {100 * strict['mean']:.0f} % show everything that was asked for "
        f"(95 % interval {100 * strict['low']:.0f} – {100 * strict['high']:.0f} %)."
    )


def opening_figure(models: list[dict]) -> str:
    """The picture under the title: the first model's skipped layers beside the baseline, as the chapter shows it."""
    for model in models:
        for part in model["chapters"]:
            found = re.search(r'<figure id="[^"]*05-pictures-[^"]*">(.*?)</figure>', part["html"], re.S)
            if found:
                return f"<figure>{found.group(1)}</figure>"
    return ""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="?", default="default", help="the profile whose results make the page")
    parser.add_argument("--settings", default="{}", help="JSON: models, notebooks, seeds, steps as they were run")
    args = parser.parse_args(arguments)
    try:
        build_page(load_study(args.profile, **json.loads(args.settings)))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
