"""Runs a notebook's cells from top to bottom in this process, as JupyterLab would in a kernel."""

from typing import Any

import nbformat

from painters_utils.paths import NOTEBOOKS


def run_cells(name: str, **parameters: Any) -> dict[str, Any]:
    """What the cells of a notebook leave: its functions, numbers and widgets. `parameters` go before its own."""
    names: dict[str, Any] = {}
    for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
            names.update(parameters if "parameters" in cell.metadata.get("tags", []) else {})
    return names
