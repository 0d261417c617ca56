"""Lost function, or drift? Skips with the layers' mean updates in place, loops that are damped, scaled layers.

    python -m workflow.drift sd3-mini

The first prompts of each task of the suite give the mean updates, and on them is chosen; the next ones judge, every way
to run the layers beside the untouched model's pictures from the same noise. It takes about a quarter of an hour a model
on one core, once; scores are kept in results/drift/, so that a stopped run goes on. What it finds is kept in
data/drift/, stage after stage, where notebook 20_drift reads it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp
from torch import nn
from tqdm.auto import tqdm

from miniworld import checker
from miniworld.denoising import denoising_loss, held_out
from miniworld.scores import chance
from miniworld.suite import load_suite
from painters_utils.engine.blocks import named_inputs
from painters_utils.engine.means import Means, record_means
from painters_utils.engine.orders import Order
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.stacks import find_stacks
from painters_utils.engine.starts import Starts
from painters_utils.engine.strategies import build_order, split
from painters_utils.errors import InputError
from painters_utils.measure.intervals import ends, holm, middle_95
from painters_utils.measure.world import CheckerScorer
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.painting import Picture, paint, remember_texts
from painters_utils.paths import ROOT
from painters_utils.study.experiments import halves
from painters_utils.study.store import Store
from painters_utils.study.variants import sweep_variants

from .search import command, made_by

LEARNING, JUDGING = 4, 12  # prompts of each of the suite's tasks: the first, and those after them
DAMPINGS = (2, 3, 4)
WINDOW = 4  # layers of a band that is looped
SCALES = (0.0, 0.5, 0.75, 1.25, 1.5)  # of one layer's update; 0 leaves it out
SCENES, LEVELS = 12, (0.3, 0.6, 0.9)  # unseen scenes and noise levels on which the scales of single layers are tried
COSTLY = 2  # single layers on which skips are compared, those that cost most
TOGETHER = 3  # scaled layers that are judged together, those that gain most
SCORES = ("adherence", "quality")  # their mean, from 0, chance, to 1, the untouched model, is what is kept


@dataclass(frozen=True)
class Arm:
    """One way to run the layers: an order for each stack, and controls of it."""

    orders: Mapping[str, Order] = field(default_factory=dict)
    means: bool = False
    damping: int = 1
    scales: Mapping[str, Mapping[int, float]] = field(default_factory=dict)


UNTOUCHED = Arm()


class Search:
    """A model, its mean updates, and what its pictures keep of the untouched model's under an arm."""

    def __init__(self, model: Model) -> None:
        suite = load_suite().values()
        self.model, self.pipe = model, remember_texts(load_pipeline(model))
        self.store, self.key = Store(ROOT / "results/drift"), made_by(model)
        self.learning = [prompt for task in suite for prompt in task[:LEARNING]]
        self.judging = [prompt for task in suite for prompt in task[LEARNING : LEARNING + JUDGING]]
        self.scorer = CheckerScorer(self.store_as())
        self.before: dict[tuple[str, ...], list[Picture]] = {}
        floor = chance(self.judging, checker.read([picture.image for picture in self.untouched(self.judging)]))
        self.reach = self.table(UNTOUCHED, self.judging).mean() - [floor, 0.0]  # nothing found is like no sprite

    @cached_property
    def means(self) -> Means:
        """The layers' mean updates on the prompts that do not judge."""
        with record_means(self.pipe.transformer, self.model.steps) as means:
            self.paint(UNTOUCHED, self.learning)
        return means

    def store_as(self, *about: Any) -> Callable[[Any, Callable[[], pd.DataFrame]], pd.DataFrame]:
        return lambda name, make: self.store.table([*self.key, *about, name], make)

    def untouched(self, prompts: Sequence[str]) -> list[Picture]:
        """The untouched model's pictures, painted once."""
        if tuple(prompts) not in self.before:
            key = [*self.key, list(prompts), "pictures"]
            self.before[tuple(prompts)] = self.store.pictures(key, lambda: self.paint(UNTOUCHED, prompts))
        return self.before[tuple(prompts)]

    def paint(self, arm: Arm, prompts: Sequence[str]) -> list[Picture]:
        control = {"means": self.means} if arm.means else {}
        with layer_order(
            self.pipe.transformer, arm.orders, of=self.model.steps, damping=arm.damping, scales=arm.scales, **control
        ):
            return paint(self.pipe, prompts, [1], self.model.loading.batch or 32, **self.model.call)

    def table(self, arm: Arm, prompts: Sequence[str]) -> pd.DataFrame:
        """A row for each picture, with its SCORES."""

        def make() -> pd.DataFrame:
            before = self.untouched(prompts)
            after = before if arm == UNTOUCHED else self.paint(arm, prompts)
            scores = self.scorer.score(prompts, after, before)[list(SCORES)]
            scores[[not picture.finite for picture in after]] = 0.0
            return scores

        return self.store_as(list(prompts))(asdict(arm), make)

    def kept(self, arm: Arm, prompts: Sequence[str]) -> np.ndarray:
        """(pictures,): 1 is what the untouched model's picture of a prompt has, and 0 the mean at chance."""
        return (1 + (self.table(arm, prompts) - self.table(UNTOUCHED, prompts)) / self.reach).mean(axis=1).to_numpy()

    def judged(self, arm: Arm) -> np.ndarray:
        return self.kept(arm, self.judging)

    def halves(self, strategy: str, **controls: Any) -> np.ndarray:
        """What the prompts that judge keep under a strategy on the middle half, on average over the stacks."""
        orders = [{s: build_order(strategy, self.model.depths[s], band)} for s, band in halves(self.model).items()]
        return np.mean([self.judged(Arm(order, **controls)) for order in orders], axis=0)


def skip_arms(model: Model) -> list[tuple[str, str, list[int]]]:
    """(what, stack, band): the middle quarter and the middle half of each stack that has one."""
    found = []
    for stack, half in halves(model).items():
        [quarter] = sweep_variants({stack: model.depths[stack]}, "skip", [0.25])
        found += [("middle quarter", stack, quarter.band), ("middle half", stack, half)]
    return found


def measure_drift(run: Search) -> list[dict]:
    """How far off the layer behind the middle half and the whole model are without it, plain and with the mean updates.

    At the first step, where all begin with the same noise: squared errors of the image's vectors and of the velocity
    as shares of their squared length.
    """
    transformer, prompts, rows = run.pipe.transformer, run.judging[::JUDGING], []
    run.means  # noqa: B018  recorded before anything is noted
    for stack, band in halves(run.model).items():
        orders = {stack: build_order("skip", run.model.depths[stack], band)}
        behind, seen = find_stacks(transformer)[stack][band[1] + 1], []

        def note(block: nn.Module, args: tuple, kwargs: dict[str, Any], seen: list = seen) -> None:
            seen.append(named_inputs(block, args, kwargs)["hidden_states"])

        def note_velocity(module: nn.Module, args: tuple, output: Any, seen: list = seen) -> None:
            seen.append(output[0])

        hooks = [
            behind.register_forward_pre_hook(note, with_kwargs=True),
            transformer.register_forward_hook(note_velocity),
        ]
        found = {}
        for name, arm in {"untouched": UNTOUCHED, "plain": Arm(orders), "mean": Arm(orders, means=True)}.items():
            seen.clear()
            run.paint(arm, prompts)
            found[name] = seen[:2]
        for hook in hooks:
            hook.remove()
        row: dict[str, Any] = {"stack": stack, "band": band}
        for at, what in enumerate(("vectors", "velocity")):
            right = found["untouched"][at]
            off = {name: ((found[name][at] - right).square().sum() / right.square().sum()).item() for name in found}
            row[f"{what} off"] = {"plain": off["plain"], "with the mean updates": off["mean"]}
        rows.append(row)
    return rows


def judge_skips(run: Search, skips: Iterable[tuple[str, str, list[int]]]) -> list[dict]:
    """Each skip plain and with the mean updates: what both keep, what the second gains, and its share of the loss."""
    rows = []
    for what, stack, band in tqdm(list(skips), desc=f"{run.model.name}: skips"):
        orders = {stack: build_order("skip", run.model.depths[stack], band)}
        plain, filled = run.judged(Arm(orders)), run.judged(Arm(orders, means=True))
        lost = ends(1 - plain)
        row = {"what": what, "stack": stack, "band": band, "plain": ends(plain), "with the mean updates": ends(filled)}
        row["gained"] = ends(filled - plain)
        if lost["low"] > 0:  # a share of nothing says nothing
            row["share given back"] = share(filled - plain, 1 - plain)
        rows.append(row)
    return rows


def judge_repeats(run: Search) -> list[dict]:
    """The middle halves, repeated and looped in parallel, plain and damped."""
    rows = []
    for stack, band in tqdm(halves(run.model).items(), desc=f"{run.model.name}: repeats"):
        depth = run.model.depths[stack]
        skipped = run.judged(Arm({stack: build_order("skip", depth, band)}))
        for strategy in ("middle_repeat", "looped_parallel"):
            orders = {stack: build_order(strategy, depth, band)}
            plain = run.judged(Arm(orders))
            for damping in (1, *DAMPINGS):
                kept = run.judged(Arm(orders, damping=damping))
                row = {"strategy": strategy, "stack": stack, "band": band, "damping": damping, "kept": ends(kept)}
                rows.append(row | {"beside plain": ends(kept - plain), "beside the skip": ends(kept - skipped)})
    return rows


def judge_loops(run: Search) -> tuple[list[dict], dict]:
    """Bands of WINDOW layers, looped K times, plain and damped by K: all on prompts that choose, the best judged."""
    rows, arms = [], []
    for stack in halves(run.model):
        depth = run.model.depths[stack]
        for share in tqdm((0.25, 0.5, 0.75), desc=f"{run.model.name}: loops"):
            first = round(share * depth) - WINDOW // 2
            before, layers, after = split(depth, [first, first + WINDOW - 1])
            for times in DAMPINGS:
                orders = {stack: before + layers * times + after}
                plain, damped = Arm(orders), Arm(orders, damping=times)
                row = {"stack": stack, "band": [layers[0], layers[-1]], "loops": times}
                row |= {name: float(run.kept(arm, run.learning).mean())
                        for name, arm in (("plain", plain), ("damped", damped))}  # fmt: skip
                rows.append(row)
                arms.append((plain, damped))
    best = int(np.argmax([row["damped"] for row in rows]))
    plain, damped = (run.judged(arm) for arm in arms[best])
    chosen = {name: rows[best][name] for name in ("stack", "band", "loops")}
    return rows, chosen | {"plain": ends(plain), "damped": ends(damped), "beside plain": ends(damped - plain)}


def scan_scales(run: Search) -> pd.DataFrame:
    """A row for each layer and scale: by which share the denoising loss rises, and the p value of a paired t-test over
    scenes. A loss tells small differences far sooner than pictures do, so it picks, and pictures judge."""
    scenes = held_out(run.pipe, SCENES)
    rows = []
    layers = [(stack, layer) for stack, depth in run.model.depths.items() for layer in range(depth)]
    with Starts(run.pipe.transformer):  # every arm changes one layer
        before = denoising_loss(run.pipe, scenes, LEVELS).mean(0)
        for stack, layer in tqdm(layers, desc=f"{run.model.name}: scales"):
            for scale in SCALES:
                with layer_order(run.pipe.transformer, {}, scales={stack: {layer: scale}}):
                    rise = denoising_loss(run.pipe, scenes, LEVELS).mean(0) / before - 1
                p = ttest_1samp(rise, 0).pvalue
                rows.append({"stack": stack, "layer": layer, "scale": scale, "rise": rise.mean(), "p": p})
    return pd.DataFrame(rows)


def search(name: str) -> Iterator[dict]:
    """Everything of one mini, stage after stage: what the claims ask first."""
    model = Model.named(name)
    if not model.mini:
        raise InputError(f"{name!r} is no mini: only minis' pictures can be read by the checker")
    run = Search(model)
    skipped, filled = run.halves("skip"), run.halves("skip", means=True)
    repeated, damped = run.halves("middle_repeat"), run.halves("middle_repeat", damping=4)
    found: dict[str, Any] = {
        "command": f"python -m workflow.drift {name}", "weights": model.weights, "means of": len(run.learning),
        "loops chosen on": len(run.learning), "judged on": len(run.judging),
    }  # fmt: skip
    claimed = found["found"] = {
        "share of the loss without the middle half that the mean updates give back": share(
            filled - skipped, 1 - skipped
        ),
        "score kept by a repeat damped to a quarter, less a plain repeat's": ends(damped - repeated),
        "score kept by a repeat damped to a quarter, less that without the half": ends(damped - skipped),
    }
    found["drift"] = measure_drift(run)
    yield found
    found["loops"], found["best loop"] = judge_loops(run)
    claimed["score kept with the best damped loop of four layers"] = found["best loop"]["damped"]
    yield found
    found["skips"] = judge_skips(run, skip_arms(model))
    yield found
    found["repeats"] = judge_repeats(run)
    yield found
    table = run.store_as()(["scales", SCENES, LEVELS, SCALES], lambda: scan_scales(run))
    tried = table[table["scale"] > 0].assign(sure=lambda rows: holm(rows["p"]))
    best = tried.sort_values("rise").drop_duplicates(["stack", "layer"]).head(TOGETHER)
    scales: dict[str, dict[int, float]] = {}
    for row in as_rows(best):
        scales.setdefault(row["stack"], {})[row["layer"]] = row["scale"]
    found["scales"] = {
        "scenes": SCENES, "tried": len(tried),
        "surely better": as_rows(tried[tried["sure"] & (tried["rise"] < 0)].sort_values("rise"))[:10],
        "number surely better": int((tried["sure"] & (tried["rise"] < 0)).sum()),
        "number surely worse": int((tried["sure"] & (tried["rise"] > 0)).sum()),
        "best": as_rows(best), "best together": ends(run.judged(Arm(scales=scales))),
    }  # fmt: skip
    yield found
    costly = as_rows(table[table["scale"] == 0].nlargest(COSTLY, "rise"))
    layers = [(f"layer {row['layer']}", row["stack"], [row["layer"]] * 2) for row in costly]
    found["skips"] += judge_skips(run, layers)
    yield found


def as_rows(table: pd.DataFrame) -> list[dict]:
    return [{"stack": row.stack, "layer": int(row.layer), "scale": float(row.scale), "rise": float(row.rise)}
            for row in table.itertuples()]  # fmt: skip


def share(part: np.ndarray, whole: np.ndarray, draws: int = 2000) -> dict[str, float]:
    """The sum of one over the sum of the other, with the interval of prompts that are drawn anew."""
    chosen = np.random.default_rng(0).integers(0, len(part), (draws, len(part)))
    low, high = middle_95(part[chosen].sum(1) / whole[chosen].sum(1))
    return {"mean": float(part.sum() / whole.sum()), "low": low, "high": high}


def main(arguments: Sequence[str] | None = None) -> None:
    command(search, "drift", __doc__, arguments)


if __name__ == "__main__":
    main()
