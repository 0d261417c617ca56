"""What notebooks say of themselves: how the study runs them, which parameters they take, and what they have left."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from painters_utils.errors import unknown
from painters_utils.paths import NOTEBOOKS


@dataclass(frozen=True)
class Notebook:
    """A notebook as the study sees it: how it says that it is run, and what its `parameters` cell assigns."""

    runs: str  # "per model", "once" (after all others) or "by hand"
    minis_only: bool
    parameters: list[str]


def read_notebooks() -> dict[str, Notebook]:
    """All notebooks by name, as their metadata and their `parameters` cells describe them."""
    found = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        document = json.loads(path.read_text())
        about = document["metadata"].get("painters", {})
        tagged = [cell["source"] for cell in document["cells"] if "parameters" in cell["metadata"].get("tags", [])]
        names = re.findall(r"^(\w+) = ", "\n".join("".join(source) for source in tagged), re.M)
        found[path.stem] = Notebook(about.get("runs", "by hand"), about.get("only") == "minis", names)
    return found


def choose_notebooks(
    names: Collection[str] | None, options: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Notebook], dict[str, Notebook]]:
    """The notebooks that run for every model, all or those named, and those that run once.

    `InputError` for a name that is none of the first, and for `options` of an unknown notebook or parameter.
    """
    every = read_notebooks()
    per_model, closing = ({n: it for n, it in every.items() if it.runs == runs} for runs in ("per model", "once"))
    for wanted, known in ((names or [], per_model), (options, every)):
        if strange := [name for name in wanted if name not in known]:
            raise unknown("notebook", strange[0], known)
    for name, own in options.items():
        if strange := [option for option in own if option not in every[name].parameters]:
            raise unknown(f"parameter of {name}", strange[0], every[name].parameters)
    return {name: it for name, it in per_model.items() if name in (names or per_model)}, closing


def figures_of(document: Mapping) -> dict[str, dict]:
    """The outputs of an executed notebook that are figures, by the name that `show` gave them."""
    outputs = [output for cell in document["cells"] for output in cell.get("outputs", [])]
    named = {output.get("metadata", {}).get("painters", {}).get("figure"): output for output in outputs}
    return {name: output for name, output in named.items() if name}


def saves_numbers(document: Mapping) -> bool:
    """Whether a notebook leaves numbers; one that only explains does not."""
    code = [cell["source"] for cell in document["cells"] if cell.get("cell_type") != "markdown"]
    return any("save_numbers(" in "".join(source) for source in code)
