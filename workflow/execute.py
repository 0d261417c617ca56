"""Run one notebook with papermill: `python -m workflow.execute 03_similarity -p model=flux-mini`.

Unlike papermill's own, an unknown parameter is an error, and an unfinished notebook never replaces a finished one.
"""

import argparse
import builtins
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from painters_utils.errors import InputError, unknown
from painters_utils.files import write_whole
from painters_utils.paths import NOTEBOOKS, ROOT

from .checks import FAILED
from .processes import end_with


def execute_notebook(notebook: Path, target: Path, parameters: dict[str, Any]) -> None:
    """Run `notebook` with `parameters` and write it, outputs included, to `target`.

    Raises `InputError` for a parameter that the notebook does not declare, before anything runs. If a cell fails
    (`PapermillExecutionError`) or the kernel is killed (`DeadKernelError`), what ran is kept as *.failed.ipynb.
    """
    declared = papermill.inspect_notebook(notebook)
    if strange := [name for name in parameters if name not in declared]:
        raise unknown(f"parameter of {notebook.name}", strange[0], declared)
    failed = target.with_suffix(f"{FAILED}.ipynb")
    with write_whole(target) as unfinished:
        try:
            # A kernel's log tells of the interrupt that ends it; its history is one database for all kernels of a home
            # folder, which a cluster's nodes share over a network, where locks may not hold. And a busy machine is
            # slow, not broken: seconds to wait for a kernel to start, and for its last output. At the end it is
            # killed: asked to end, most kernels wait for three seconds, for a thread that has ended already.
            executed = papermill.execute_notebook(
                notebook, unfinished, parameters, kernel_name="python3", cwd=ROOT,
                extra_arguments=["--log-level=CRITICAL", "--HistoryManager.enabled=False"],
                progress_bar={"desc": target.stem, "leave": True}, start_timeout=600, iopub_timeout=60,
                shutdown_kernel="immediate",
            )  # fmt: skip
        except (PapermillExecutionError, DeadKernelError):
            os.replace(unfinished, failed)
            raise
        for cell in executed.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.id = "injected-parameters"  # papermill draws one, and no two pages would be equal
        nbformat.write(executed, unfinished)
    failed.unlink(missing_ok=True)


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """The options that tell one job of the study what to do."""
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="value in YAML")
    parser.add_argument("--parent", type=int, default=0, metavar="PID", help="end when this process, the parent, ends")


def read_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """The values of "name=value" texts: JSON to the letter, as the study writes it, and anything else as YAML."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"parameter {text!r} has no value: write it as name=value")
        try:
            found[name] = json.loads(value)
        except ValueError:
            try:
                found[name] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                said = " ".join(str(error).split())
                raise InputError(f"parameter {name} is {value!r}, which is no YAML ({said})") from error
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m workflow.execute", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebook", help="name of a notebook, e.g. 03_similarity")
    parser.add_argument("--target", type=Path, help="where the executed notebook goes (default: results/NAME.ipynb)")
    add_parameters(parser)
    args = parser.parse_args(arguments)
    end_with(args.parent)
    try:
        known = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
        if args.notebook not in known:
            raise unknown("notebook", args.notebook, known)
        parameters = read_parameters(args.parameter)
        execute_notebook(known[args.notebook], args.target or ROOT / f"results/{args.notebook}.ipynb", parameters)
    except InputError as error:
        sys.exit(f"error: {error}")
    except DeadKernelError:
        sys.exit(f"error: the kernel of {args.notebook} was killed: perhaps by the system, for want of memory")
    except OSError as error:
        sys.exit(f"error: {args.notebook} could not be kept: {error}")
    except PapermillExecutionError as error:
        # Bad input found inside a notebook is as short an error as any other; for the rest the cell is shown.
        kind = getattr(builtins, error.ename, object)
        short = error.ename == "InputError" or issubclass(kind, (KeyboardInterrupt, OSError))
        sys.exit(f"error: {error.evalue}" if short else f"error: {args.notebook} failed: {error}")


if __name__ == "__main__":
    main()
