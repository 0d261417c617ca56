"""`make bench`: run every benchmark, print the table, and keep the numbers for the report and docs/costs.md.

python -m benchmarks            writes benchmarks/results/<machine>.json and the table of docs/costs.md
python -m benchmarks --quick    do they all run? Tiny settings, nothing kept
"""

import argparse
import re

from painters_utils.paths import ROOT
from workflow.page.costs import cost_table, save_costs

from . import batching, cores, cost, growth, recorder, shares, speed
from .timing import machine, show

PAGE = ROOT / "docs/costs.md"
BENCHMARKS = {  # and their tiny settings
    cost: dict(model="sd3-mini", batch=1, steps=1, repeats=1),
    batching: dict(steps=1, repeats=1),
    cores: dict(steps=1, repeats=1),
    growth: dict(width=32, batch=1, steps=1, repeats=1),
    speed: dict(model="sd3-mini", pictures=1, steps=1, repeats=1),
    shares: dict(model="sd3-mini", steps=1, repeats=1),
    recorder: dict(steps=2, fewest=1, batch=1, width=32, repeats=1),  # takes longest
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny settings, nothing kept")
    quick = parser.parse_args().quick
    found = {"of": "The minis, the engine and the recorder", "machine": machine(), "rows": [], "points": []}
    if found["machine"]["busy"] > 0.5 * found["machine"]["cores"]:
        print(f"this machine is busy (load {found['machine']['busy']}): ratios will scatter, and times say nothing")
    for benchmark, tiny in BENCHMARKS.items():
        print(f"\n{benchmark.__doc__.splitlines()[0]}", flush=True)
        rows, points = benchmark.measure(**tiny if quick else {})
        show(rows)
        found["rows"] += rows
        found["points"] += points
        if not quick:
            keep(found)  # each time: a run that is stopped loses nothing


def keep(found: dict) -> None:
    """The machine's file, and the rows with a goal as the table of docs/costs.md."""
    save_costs(found, found["machine"]["name"])
    table = cost_table([row for row in found["rows"] if row["goal"]]).drop(columns="note").to_markdown(index=False)
    about = "{processor}, {cores} cores, torch {torch}".format(**found["machine"])
    text = f"<!-- bench -->\n{table}\n\n*{about}*\n<!-- /bench -->"
    PAGE.write_text(re.sub(r"<!-- bench -->.*<!-- /bench -->", lambda _: text, PAGE.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
