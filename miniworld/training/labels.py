"""Paint the pictures that are labelled by eye: `python -m miniworld.training.labels`.

EACH of every mini, a third of them under orders that harm, all of them shuffled. Prompts are drawn by a seed that
neither the suite nor the choice of steps uses. What was seen in a former sheet is lost, so that one is never replaced
unless it is asked for.
"""

import argparse
import random
import sys

from PIL import Image

from miniworld.labels import FOLDER, Label, save_sheet
from miniworld.metrics import mini_rows
from miniworld.suite import build_suite
from painters_utils.engine.describe import short
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.strategies import build_order
from painters_utils.errors import InputError
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.painting import paint

EACH, HARMED = 50, 17  # pictures of a mini, and how many of them under harmful orders
HARMS = (("skip", 0.1, 0.4), ("middle_repeat", 0.3, 0.6), ("reverse", 0.2, 0.9), ("skip", 0.5, 0.9))


def paint_sheet(name: str, prompts: list[str]) -> list[tuple[Label, Image.Image]]:
    """A picture of each prompt; the last HARMED are painted while a band of a stack runs in another way."""
    model, pipe = Model.named(name), load_pipeline(name)
    healthy = len(prompts) - HARMED
    painted = [
        (Label(name, "untouched", picture.prompt, 0), picture.image)
        for picture in paint(pipe, prompts[:healthy], [0], desc=name, **model.call)
    ]
    for i, prompt in enumerate(prompts[healthy:]):
        stack, depth = list(model.depths.items())[i % len(model.depths)]
        strategy, first, last = HARMS[i // len(model.depths) % len(HARMS)]
        band = [round(first * (depth - 1)), round(last * (depth - 1))]
        with layer_order(pipe.transformer, {stack: build_order(strategy, depth, band)}):
            [picture] = paint(pipe, [prompt], [0], desc=name, **model.call)
        painted.append((Label(name, f"{short(stack)}: {strategy} {band[0]}–{band[1]}", prompt, 0), picture.image))
    return painted


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m miniworld.training.labels", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--replace", action="store_true", help="also where a sheet and its labels are lost by it")
    args = parser.parse_args(arguments)
    rng, minis = random.Random("labels"), list(mini_rows())
    try:
        if (FOLDER / "labels.json").exists() and not args.replace:
            raise InputError(f"there is a labelled sheet in {FOLDER}: --replace paints another, without labels")
        prompts = [prompt for task in build_suite(seed=2).values() for prompt in task]
        drawn = rng.sample(prompts, EACH * len(minis))
        painted = [row for i, name in enumerate(minis) for row in paint_sheet(name, drawn[i * EACH : (i + 1) * EACH])]
        rng.shuffle(painted)
        save_sheet([label for label, _ in painted], [picture for _, picture in painted])
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
