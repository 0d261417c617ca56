"""`make report`: check the configuration, then let Snakemake run what is missing or out of date."""

import argparse
import json
import subprocess
import sys

from .catalog import ROOT
from .config import load_study
from .errors import InputError


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make report", description=__doc__)
    parser.add_argument("--profile", default="default", help="a profile of config.yaml")
    parser.add_argument("--models", nargs="+", help="models to study")
    parser.add_argument("--seeds", help="pictures per prompt")
    parser.add_argument("--suite", help="further prompts of each of the suite's nine tasks, scored but not shown")
    parser.add_argument("--steps", help="denoising steps")
    parser.add_argument("--cores", default="all", help="processor cores to use")
    args = parser.parse_args(arguments)
    try:
        numbers = {name: _number(getattr(args, name)) for name in ("seeds", "suite", "steps")}
        study = load_study(args.profile, models=args.models, **numbers)
        if args.cores != "all" and not (args.cores.isdecimal() and int(args.cores) > 0):
            raise InputError(f"cores is {args.cores!r}: give a whole number above 0, or all")
    except InputError as error:
        sys.exit(f"error: {error}")
    settings = study.out / "study.json"
    settings.write_text(json.dumps({"study": {"profile": study.profile, **json.loads(study.settings())}}))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(ROOT),
        "--configfile", str(settings), "--cores", args.cores, "--rerun-incomplete", "--quiet", "all",
    ]  # fmt: skip
    try:
        code = subprocess.run(command).returncode
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on where it was")
    if code:
        sys.exit(
            "error: the study is not complete; what it has finished is kept, and the same command goes on from there"
        )
    print(f"the report: {study.page.relative_to(ROOT)}")


def _number(text: str | None) -> int | str | None:
    """A whole number if it is one; anything else goes on as it is, for the check to name it."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
