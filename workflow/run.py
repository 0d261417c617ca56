"""`make report`: check the configuration, then let Snakemake run what is missing or out of date."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from . import cluster
from painters_utils.models.catalog import ROOT, model_row
from .config import GROUPS, PUBLISHED, SETTINGS, Study, load_study, shown
from painters_utils.errors import InputError
from painters_utils.files import FAILED, PART, digest, readable, whole
from .processes import alone, end_children


def main(arguments: list[str] | None = None) -> None:
    try:
        study, args = read_arguments(arguments, "make report", __doc__)
        if args.on is not None and args.cores != "all":
            raise InputError(f"cores is {args.cores!r}: with ON the profile's set-threads says it")
        # gpu: on one machine, notebooks that need the GPU take turns.
        here = ["--cores", args.cores, "--resources", "gpu=1", "--quiet", "all"]
        where = here if args.on is None else cluster.options(args.on, study.out)
        if errors := show_plans(study, elsewhere=args.on is not None):
            raise InputError(errors[0])
    except InputError as error:
        sys.exit(f"error: {error}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever asks it to stop
    try:
        with alone(study.out) as lock:
            forget_damaged(study)
            start = run_to_the_end if args.on is None else cluster.run_to_the_end
            code = start(snakemake(study, where), lock)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on where it was")
    except OSError as error:
        sys.exit(f"error: {error}; the same command goes on where it was")
    if code:
        full = "the disk is full and " if shutil.disk_usage(study.out).free < 2**20 else ""
        sys.exit(
            f"error: {full}the study is not complete; what it has finished is kept, and the same command goes on from "
            f"there (Snakemake's words: {shown(study.out)}/.snakemake/log/)"
        )
    print(f"the report: {shown(study.page)}")


def show_plans(study: Study, elsewhere: bool) -> list[str]:
    """Say what the models that are no minis will take; returns what makes that impossible. Minis need no torch here."""
    if all(model_row(model).get("mini") for model in study.models):
        return []
    from . import plan

    return plan.show_plans(study, elsewhere)


def read_arguments(arguments: list[str] | None, program: str, about: str) -> tuple[Study, argparse.Namespace]:
    """The study that a command line asks for, and all that it says; `InputError` for what cannot be."""
    parser = argparse.ArgumentParser(prog=program, description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--profile", default="default", help="a profile of config.yaml")
    parser.add_argument("--models", nargs="+", help="models to study: names, owner/name on the model hub, folders")
    parser.add_argument("--seeds", help="pictures per prompt")
    parser.add_argument("--suite", help="further prompts of each of the suite's nine tasks, scored but not shown")
    parser.add_argument("--steps", help="denoising steps")
    parser.add_argument("--cores", default="all", help="processor cores to use, of this machine")
    parser.add_argument("--on", metavar="CLUSTER", help="run there: slurm, or a folder with a Snakemake profile")
    parser.add_argument("--out", help="folder for everything that is made (default: results/PROFILE/)")
    for name in GROUPS["loading"]:
        parser.add_argument(f"--{name}", help="how models are loaded, see config.yaml")
    args = parser.parse_args(arguments)
    numbers = {name: _number(getattr(args, name)) for name in ("seeds", "suite", "steps", "batch")}
    batch, steps = numbers.pop("batch"), numbers["steps"]
    how = {name: getattr(args, name) for name in GROUPS["loading"] if name != "batch"} | {"batch": batch}
    study = load_study(
        args.profile, args.out, models=args.models, **numbers,
        others={"steps": steps} if steps is not None else None,
        loading={name: value for name, value in how.items() if value is not None},
    )  # fmt: skip
    if args.cores != "all" and not (args.cores.isdecimal() and int(args.cores) > 0):
        raise InputError(f"cores is {args.cores!r}: give a whole number above 0, or all")
    return study, args


def snakemake(study: Study, where: list[str]) -> list[str]:
    """The command that runs a study; its settings are written where every job finds them.

    Without Snakemake's own lock, which would outlive a kill: `alone` keeps others out.
    """
    settings = {"study": {"profile": study.profile, **json.loads(study.settings())}, "run": os.getpid()}
    with whole(study.out / SETTINGS) as unfinished:
        unfinished.write_text(json.dumps(settings))
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(study.out),
        "--configfile", str(study.out / SETTINGS), *where, "--nolock", "--rerun-incomplete",
    ]  # fmt: skip


def run_to_the_end(command: list[str], lock: IO) -> int:
    """Run Snakemake and return its exit status. What it has started ends with this function, whatever ends that.

    In a session of their own, Snakemake and the notebooks do not hear Ctrl-C: they are killed in one go, which all the
    files that they write are made to bear.
    """
    try:
        return subprocess.Popen(command, stdin=lock, start_new_session=True).wait()
    finally:
        end_children()


def forget_damaged(study: Study) -> None:
    """Have what is damaged made anew: an executed notebook goes if it, its numbers or its strips cannot be read to the
    end, and the list of the page's files if one of them is not as it was written. What was being written goes, too.
    """
    for folder in (study.out, study.figures, study.page.parent):
        for unfinished in folder.rglob(f"*{PART}.*"):
            unfinished.unlink()
    for document in study.out.glob("*/*.ipynb"):
        left = [document, document.with_suffix(".json"), *(document.parent / "strips" / document.stem).glob("*")]
        if not document.stem.endswith(FAILED) and not all(readable(path) for path in left):
            document.unlink()
    published = study.out / PUBLISHED
    try:
        whole_page = all(digest(Path(path)) == is_ for path, is_ in json.loads(published.read_bytes()).items())
    except (OSError, ValueError, AttributeError):
        whole_page = False
    if not whole_page:
        published.unlink(missing_ok=True)


def _number(text: str | None) -> int | str | None:
    """A whole number if it is one; anything else goes on as it is, for the check to name it."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
