"""Make the page of a finished study.

    python -m workflow.page default

reads results/default/ and writes report/index.html, report/notebooks/ and figures/.
"""

import argparse
import json
import sys

from painters_utils.errors import InputError
from workflow.config import load_study

from .build import build_page


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="?", default="default", help="the profile whose results make the page")
    parser.add_argument("--settings", default="{}", help="JSON: models, notebooks, seeds, steps, out as they were run")
    args = parser.parse_args(arguments)
    try:
        build_page(load_study(args.profile, **json.loads(args.settings)))
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
