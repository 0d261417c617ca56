"""What a command line asks for: the study, and where and how it runs."""

import argparse

from painters_utils.errors import InputError

from .config import HowLoaded, Study, load_study


def read_arguments(arguments: list[str] | None, program: str, about: str) -> tuple[Study, argparse.Namespace]:
    """The study that a command line asks for, and all that it says; `InputError` for what cannot be."""
    parser = argparse.ArgumentParser(
        prog=program, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="default", help="a profile of config.yaml")
    parser.add_argument("--models", nargs="+", help="models to study: names, owner/name on the model hub, folders")
    parser.add_argument("--seeds", help="pictures per prompt")
    parser.add_argument("--suite", help="further prompts of the minis' suite, scored but not shown")
    parser.add_argument("--steps", help="denoising steps")
    parser.add_argument("--cores", default="all", help="processor cores to use, of this machine")
    parser.add_argument("--on", metavar="CLUSTER", help="run there: slurm, or a folder with a Snakemake profile")
    parser.add_argument("--verbose", action="store_true", help="let Snakemake say what it does, and why")
    parser.add_argument("--out", help="folder for everything that is made (default: results/PROFILE/)")
    for name in HowLoaded.model_fields:
        parser.add_argument(f"--{name}", help="how models are loaded, see config.yaml")
    args = parser.parse_args(arguments)
    if args.cores != "all" and not (args.cores.isdecimal() and int(args.cores) > 0):
        raise InputError(f"cores is {args.cores!r}: give a whole number above 0, or all")
    loading = {name: value for name in HowLoaded.model_fields if (value := getattr(args, name)) is not None}
    study = load_study(
        args.profile, args.out, models=args.models, seeds=args.seeds, suite=args.suite, steps=args.steps,
        others=args.steps and {"steps": args.steps}, loading=loading or None,
    )  # fmt: skip
    return study, args
