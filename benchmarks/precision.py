"""How wide the study's intervals are by the number of prompts: what the default profile's `suite` was chosen by.

    python -m benchmarks.precision --model sd3-mini

Paints a few variants with many prompts, then draws fewer of them again and again: the width of the 95 % interval of
what is kept, and how often the verdict ("catastrophic", "tolerable" or between) stays that of all prompts.
"""

import argparse

import numpy as np

from painters_utils.chapter import bands_to_change, verdict
from painters_utils.compare import two_level_interval
from painters_utils.studio import Studio
from painters_utils.variants import plan

STRATEGIES = ("skip", "reverse", "parallel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sd3-mini", help="a row of data/models.yaml (default %(default)s)")
    parser.add_argument("--suite", type=int, default=10, help="prompts of each task (default %(default)s)")
    parser.add_argument("--draws", type=int, default=40, help="smaller sets drawn of each size (default %(default)s)")
    options = parser.parse_args()

    from miniworld.suite import article_prompts

    out = f"results/precision/{options.model}"
    studio = Studio(options.model, article_prompts(), [0], out, suite=options.suite)
    bands = bands_to_change(options.model, studio.shown, out, **studio.call)
    variants = [v for strategy in STRATEGIES for v in plan(options.model, strategy, bands, ["matched"])]
    kept = [studio.scaled(variant).groupby("prompt")["kept"].mean() for variant in variants]
    print(f"{len(variants)} variants of {options.model}, {len(kept[0])} prompts")
    print(f"{'prompts':>8}{'width of the interval':>24}{'same verdict':>14}")
    rng = np.random.default_rng(0)
    for count in (6, 15, 24, 33, 51, len(kept[0])):
        widths, same = [], []
        for values in kept:
            whole = two_level_interval(values, values.index)
            for _ in range(options.draws):
                some = values.iloc[rng.choice(len(values), count, replace=False)]
                _, low, high = two_level_interval(some, some.index, draws=400)
                widths.append(high - low)
                same.append(verdict(low, high) == verdict(*whole[1:]))
        print(f"{count:8}{np.mean(widths):24.2f}{np.mean(same):14.0%}")


if __name__ == "__main__":
    main()
