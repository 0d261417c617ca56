"""Keep what a notebook has found that no study runs: its page, and its numbers for the report.

    python -m workflow.execute 21_bert       # results/21_bert.ipynb
    python -m workflow.page.by_hand 21_bert

The page goes to report/notebooks/by-hand/, figures and all in one file; the numbers go to data/by-hand/.
"""

import argparse
import ast
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from painters_utils.errors import InputError, unknown
from painters_utils.files import write_whole
from painters_utils.paths import DATA, ROOT
from painters_utils.show.figures import FigureFile
from painters_utils.study.numbers import read_numbers
from workflow.notebooks import figures_of, read_notebooks

from .article import BY_HAND, templates, title_of
from .build import read_executed
from .chapters import HEADING, chapter, lead_on, permalink


def keep(name: str, results: Path = ROOT / "results", report: Path = ROOT / "report", data: Path = DATA) -> Path:
    """Write the page and the numbers of an executed notebook, `results`/NAME.ipynb; returns the page's path.

    `InputError` for a notebook that the study runs itself, one that has not been executed, and a figure that is gone.
    """
    by_hand = [known for known, notebook in read_notebooks().items() if notebook.runs == "by hand"]
    if name not in by_hand:
        raise unknown("notebook that is run by hand", name, by_hand)
    if not (results / f"{name}.ipynb").exists():
        raise InputError(f"{name} has not been executed: run `python -m workflow.execute {name}` first")
    document = read_executed(results / f"{name}.ipynb")
    out = ROOT / parameter(document, "out")
    try:
        figures = {figure: FigureFile.load(out / "figures", figure) for figure in figures_of(document)}
        numbers = read_numbers(out, name)
    except (OSError, ValueError, LookupError) as error:
        raise InputError(f"what {name} left in {out} is damaged ({error}): execute it again") from error
    body = chapter(document, figures, dict.fromkeys(figures, ""))
    about = {
        "title": title_of(document), "who": "Run by hand", "name": name, "report": "../../index.html",
        "section": ("others", "Models that no one here trained"), "source": f"../../../notebooks/{name}.ipynb",
        "models": [], "around": {},
        "contents": [(id, Markup(heading)) for level, id, heading in HEADING.findall(body) if level == "2"],
        "body": Markup(HEADING.sub(permalink, lead_on(body, BY_HAND, {}, "../../../notebooks"))),
    }  # fmt: skip
    page = report / "notebooks" / BY_HAND / f"{name}.html"
    with write_whole(page) as unfinished:
        unfinished.write_text(templates().get_template("notebook.html.j2").render(about))
    with write_whole(data / BY_HAND / f"{name}.json") as unfinished:
        rounded = json.loads(json.dumps(numbers), parse_float=lambda text: round(float(text), 4))
        unfinished.write_text(json.dumps(rounded, ensure_ascii=False, sort_keys=True) + "\n")
    return page


def parameter(document: Mapping, name: str) -> str:
    """What an executed notebook's parameters give a name: those of the run, or else its own."""
    tagged = [cell["source"] for cell in document["cells"]
              if {"parameters", "injected-parameters"} & set(cell["metadata"].get("tags", []))]  # fmt: skip
    lines = [line for line in ast.parse("\n".join(tagged)).body if isinstance(line, ast.Assign)]
    return [ast.literal_eval(line.value) for line in lines if ast.unparse(line.targets[0]) == name][-1]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", help="the name of an executed notebook, e.g. 21_bert")
    try:
        print(keep(parser.parse_args(arguments).notebook))
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
