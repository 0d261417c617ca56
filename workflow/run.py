"""Run the study and make its page: `make report`. After a check of everything, Snakemake runs what is out of date.

python -m workflow.run --models flux-mini --seeds 2 --out /tmp/two-seeds
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from painters_utils.errors import InputError
from painters_utils.files import PART, file_digest, write_whole
from workflow.checks import FAILED, is_readable

from . import cluster
from .arguments import read_arguments
from .config import PUBLISHED, SETTINGS, Study, from_root
from .notebooks import figures_of, saves_numbers
from .processes import end_children, lock
from .warm import warm

SNAKEFILE = Path(__file__).parent / "Snakefile"


def main(arguments: list[str] | None = None) -> None:
    try:
        study, args = read_arguments(arguments, "python -m workflow.run", __doc__)
        if args.on is not None and args.cores != "all":
            raise InputError(f"cores is {args.cores!r}: with ON the profile's set-threads says it")
        # gpu: on one machine, notebooks that need the GPU take turns.
        where = ["--cores", args.cores, "--resources", "gpu=1", *([] if args.verbose else ["--quiet", "all"])]
        # After each timespan Snakemake looks at every file anew; once a second, its usual, takes a tenth of a core.
        where += ["--max-jobs-per-timespan", "300/3s"]
        if args.on is not None:
            where = cluster.find_options(args.on, study.out)
        if errors := show_plans(study, elsewhere=args.on is not None):
            raise InputError(errors[0])
    except InputError as error:
        sys.exit(f"error: {error}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever asks it to stop
    try:
        with lock(study.out) as locked:
            forget_damaged(study)
            run = run_here if args.on is None else cluster.run_there
            status = run(snakemake_command(study, where), locked)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on where it was")
    except OSError as error:
        sys.exit(f"error: {error}; the same command goes on where it was")
    if status:
        full = "the disk is full and " if shutil.disk_usage(study.out).free < 2**20 else ""
        sys.exit(
            f"error: {full}the study is not complete; what it has finished is kept, and the same command goes on from "
            "there (VERBOSE=1 lets Snakemake say what it does)"
        )
    print(f"the report: {from_root(study.page)}")


def show_plans(study: Study, elsewhere: bool) -> list[str]:
    """Say what the models that are no minis will take; returns what makes that impossible. Minis need no torch here."""
    errors: list[str] = []
    for model in [model for model in study.models if not model.mini]:
        from .plan import Plan

        plan = Plan(study, model, elsewhere)
        print(plan, flush=True)
        errors += plan.errors
    return errors


def snakemake_command(study: Study, where: list[str]) -> list[str]:
    """The command that runs a study, whose settings it writes for every job. No lock of Snakemake's outlives a kill."""
    settings = {"study": {"profile": study.profile, **json.loads(study.as_json())}, "run": os.getpid()}
    with write_whole(study.out / SETTINGS) as unfinished:
        unfinished.write_text(json.dumps(settings))
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(study.out),
        "--configfile", str(study.out / SETTINGS), *where, "--nolock", "--rerun-incomplete",
    ]  # fmt: skip


def run_here(command: list[str], locked: IO) -> int:
    """Run Snakemake and return its exit status. What it has started ends with this function, whatever ends that.

    In a session of their own, Snakemake and the notebooks do not hear Ctrl-C: they are killed in one go.
    """
    try:
        with warm():
            return subprocess.Popen(command, stdin=locked, start_new_session=True).wait()
    finally:
        end_children()


def forget_damaged(study: Study) -> None:
    """Delete what is damaged or was being written, so that it is made anew; of the page, the list of its files.

    Snakemake asks for a notebook only where the page is to be made: so that list goes as well if a notebook is missing.
    """
    for folder in (study.out, study.figures, study.page.parent):
        for unfinished in folder.rglob(f"*{PART}.*"):
            unfinished.unlink()
    for document in study.out.glob("*/*.ipynb"):
        if not document.stem.endswith(FAILED) and not is_intact(document):
            document.unlink()
    published = study.out / PUBLISHED
    try:
        digests = json.loads(published.read_bytes())
        intact = all(file_digest(Path(path)) == found for path, found in digests.items()) and str(study.page) in digests
    except (OSError, ValueError, AttributeError):
        intact = False
    if not (intact and all(path.exists() for path in study.documents.values())):
        published.unlink(missing_ok=True)


def is_intact(document: Path) -> bool:
    """Whether an executed notebook can be read to its end, and so can the numbers, strips and figures that it left."""
    numbers, figures = document.with_suffix(".json"), document.parent / "figures"
    left = [*(document.parent / "strips" / document.stem).glob("*")]
    try:
        executed = json.loads(document.read_bytes())
        if numbers.exists() or saves_numbers(executed):
            left.append(numbers)
        for name in figures_of(executed):
            about = json.loads((figures / f"{name}.json").read_bytes())
            left.append(figures / f"{name}{about['kind']}")
    except (OSError, ValueError, LookupError):
        return False
    return all(map(is_readable, left))


if __name__ == "__main__":
    main()
