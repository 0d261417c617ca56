"""Record a model's activations, paint its baseline and score it: once, before notebooks side by side would all do it.

python -m workflow.prepare --target results/lab/flux-mini/prepared.json -p model=flux-mini -p 'seeds=[0]' …
"""

import argparse
import json
import sys
from pathlib import Path

from diffusers.utils import logging as of_diffusers
from transformers.utils import logging as of_transformers

from painters_utils.errors import InputError
from painters_utils.files import write_whole
from painters_utils.models.model import Model
from painters_utils.study.studio import Studio

from .execute import add_parameters, read_parameters
from .processes import end_with


def prepare(
    model: str, prompts: list[str] | None, seeds: list[int], suite: int, steps: int | None, judges: dict, loading: dict,
    out: str,
) -> dict[str, object]:  # fmt: skip
    """Make what a model's notebooks share, and say what it is."""
    named = Model.named(model, steps=steps, **loading)
    studio = Studio(named, prompts, seeds, out, suite=suite, judges=judges)
    if len(studio.prompts) > 1:
        studio.floor  # noqa: B018  chance is the last to be computed: it needs pictures and their scores
    return {"pictures": len(studio.baseline), "scores": len(studio.full), "bands": studio.bands}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m workflow.prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", type=Path, required=True, help="JSON that says what was made")
    add_parameters(parser)
    args = parser.parse_args(arguments)
    end_with(args.parent)
    for logging in (of_diffusers, of_transformers):
        logging.disable_progress_bar()  # a line for every part that is loaded
    try:
        made = prepare(**read_parameters(args.parameter))
        with write_whole(args.target) as unfinished:
            unfinished.write_text(json.dumps(made))
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
