"""Where is LoRA best put? Teach a mini new things in many choices of layers, at equally many parameters.

    python -m workflow.loras sd3-mini

First each layer is left out, on prompts that teach nothing, to see what it is worth. Then an adapter is trained for
each lesson in each choice of layers: those that are worth most, least, the middle, both ends, chance draws, and all.
Pictures of new prompts say how much of the lesson is seen, pictures of old prompts what is still right. It takes half
an hour a model on one core, once; a stopped run goes on. What it finds is kept in data/loras/, where notebook 22_lora
and the claims read it.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from miniworld import checker
from miniworld.pictures import correlation
from miniworld.scenes import Scene, caption
from miniworld.scores import check_facts
from miniworld.suite import load_suite
from miniworld.training.lessons import LESSONS, as_lines
from miniworld.training.loop import LOG_EVERY, read_record
from miniworld.training.lora import Shown, need_peft, painted, train_lora
from painters_utils.errors import InputError
from painters_utils.files import write_whole
from painters_utils.measure.intervals import ends, interval_of_draws
from painters_utils.models.adapter import DOWN, UP, adapter
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.painting import paint, remember_texts
from painters_utils.paths import DATA, ROOT
from painters_utils.study.proxies import each_skipped
from painters_utils.study.studio import Studio
from painters_utils.study.variants import single_skips
from painters_utils.study.velocity import EARLY, Trajectory

from .search import command

LAYERS = 4  # of the stack, in every choice but "all"
DRAWS = 5  # choices by chance
TRAINING: dict[str, Any] = {"steps": 120, "batch": 8, "rate": 1e-2, "scenes": 384}
CHOOSING = 3  # prompts of each of the suite's tasks on which layers are chosen; the next KNOWN say what is still right
KNOWN = 2
NEW = 16  # prompts of a lesson that were not trained
SEEDS = (0, 1)  # pictures of each prompt
SHIPPED_RANK = 2  # to which the best adapter of each lesson is cut before it ships: a file of 30 KB


@dataclass(frozen=True)
class Choice:
    """Some layers of a stack, and the rank that gives them about as many parameters as all have at rank 1."""

    name: str
    blocks: tuple[int, ...]
    rank: int


def choices(worth: Sequence[float], proxy: Sequence[float], layers: int = LAYERS, draws: int = DRAWS) -> list[Choice]:
    """What is compared, for the worth of each layer and its cheap proxy; `InputError` if layers do not fit twice."""
    depth = len(worth)
    if depth < 2 * layers or depth % layers:
        raise InputError(f"a stack of {depth} layers cannot be split into choices of {layers}: take a divisor")
    most, told, middle = np.argsort(worth)[::-1], np.argsort(proxy)[::-1], (depth - layers) // 2
    first, rank = layers // 2, depth // layers
    sets = {
        "worth most": most[:layers], "worth least": most[-layers:], "velocity changed most": told[:layers],
        "the middle": range(middle, middle + layers),
        "both ends": [*range(first), *range(depth - (layers - first), depth)],
    }  # fmt: skip
    rng = random.Random("lora draws")
    sets |= {f"chance {draw + 1}": rng.sample(range(depth), layers) for draw in range(draws)}
    found = [Choice(name, tuple(sorted(map(int, blocks))), rank) for name, blocks in sets.items()]
    return [*found, Choice("all", tuple(range(depth)), 1)]


def layers_worth(model: Model, prompts: Sequence[str], out: Path) -> list[float]:
    """What is lost of the score, 1 of the full model's, without each layer of the first stack."""
    studio = Studio(model, prompts, [0], out)
    [skips, *_] = single_skips(model.depths).values()
    return (1 - studio.table(skips, desc="layers")["kept"]).tolist()


def velocity_changed(model: Model, prompts: Sequence[str]) -> list[float]:
    """The velocity error without each layer of the first stack, on average over the prompts."""
    way, depth = Trajectory(load_pipeline(model), prompts, model.call), next(iter(model.depths.values()))
    return each_skipped(way.transformer, lambda: way.error(EARLY)).mean(1)[:depth].tolist()


def new_scenes(lesson: str, trained: Sequence[str]) -> list[Scene]:
    """NEW scenes of a lesson, of one taught thing each, with captions that no training saw; `InputError` if too few."""
    rng, seen, found = random.Random(f"lora judged/{lesson}"), set(trained), []
    for _ in range(100 * NEW):
        scene = LESSONS[lesson].scene(rng, True)
        if caption(scene) not in seen:
            found.append(scene)
            seen.add(caption(scene))
        if len(found) == NEW:
            return found
    raise InputError(
        f"lesson {lesson!r}: {len(found)} of its captions are new, {NEW} are needed: let its scenes vary more"
    )


class Judge:
    """The pictures of one lesson under an adapter, and what is seen of the lesson and of what the mini knew."""

    def __init__(self, model: Model, lesson: str, trained: Sequence[str], known: Sequence[str]) -> None:
        self.model, self.lesson, self.known = model, lesson, list(known)
        self.pipe = remember_texts(load_pipeline(model))
        self.scenes = new_scenes(lesson, trained)
        self.rendered = [LESSONS[lesson].seen(LESSONS[lesson].show(scene), scene) for scene in self.scenes]

    def scores(self, file: Path | None) -> dict[str, list[float]]:
        """One number a picture: how much of the lesson is "seen"; of known prompts, is everything "strict" right, which
        share of the "facts", and how alike the picture is to the "drawing" of the untouched mini's."""
        before = self.before
        with adapter(self.pipe.transformer, file) if file else nullcontext():
            new, known = self._paint([caption(scene) for scene in self.scenes]), self._paint(self.known)
        scenes = [scene for scene in self.scenes for _ in SEEDS]
        prompts = [prompt for prompt in self.known for _ in SEEDS]
        checks = [check_facts(prompt, seen) for prompt, seen in zip(prompts, checker.read(known), strict=True)]
        return {
            "seen": [LESSONS[self.lesson].seen(image, scene) for image, scene in zip(new, scenes, strict=True)],
            "strict": [float(check.strict) for check in checks], "facts": [check.share() for check in checks],
            "drawing": [
                float(np.nan_to_num(correlation(np.asarray(after, float), np.asarray(as_lines(was), float))))
                for after, was in zip(known, before, strict=True)
            ],
        }  # fmt: skip

    @cached_property
    def before(self) -> list[Image.Image]:
        """The untouched mini's pictures of the known prompts."""
        return self._paint(self.known)

    def _paint(self, prompts: Sequence[str]) -> list[Image.Image]:
        return [one.image for one in paint(self.pipe, prompts, SEEDS, 32, **self.model.call)]


def parameters(file: Path) -> int:
    """How many numbers an adapter holds."""
    return sum(tensor.numel() for tensor in load_file(file).values())


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` gives, from `path` if an earlier run left it there."""
    if not path.exists():
        with write_whole(path) as unfinished:
            unfinished.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def teach(model: Model, lesson: str, choice: Choice, folder: Path, shown: Shown) -> Path:
    """The adapter of a lesson in a choice of layers, its file: trained, or what an earlier run trained."""
    file = folder / "-".join([model.name, lesson, *map(str, choice.blocks)]) / "pytorch_lora_weights.safetensors"
    if not file.exists():
        train_lora(model.name, lesson, choice.blocks, folder, rank=choice.rank, shown=shown, **TRAINING)
    return file


def follows(worth: Sequence[float], learned: np.ndarray, draws: int = 2000) -> dict[str, float]:
    """Spearman's correlation of what choices are worth with what is learned there, and its 95 % interval.

    `learned` is (lessons, choices, prompts): the correlation is taken in each lesson, of the means over its prompts,
    and then averaged. Choices and prompts are drawn anew, with replacement.
    """
    values, rng = np.asarray(worth, float), np.random.default_rng(0)
    lessons, sets, prompts = learned.shape

    def mean_of(which: np.ndarray, seen: np.ndarray) -> float:
        means = seen[:, which].mean(2)
        # Where nothing is learned, or as much everywhere, worth tells nothing.
        found = [spearmanr(values[which], one).statistic if np.ptp(one) > 0 else 0.0 for one in means]
        return float(np.mean(found))

    drawn = []
    while len(drawn) < draws:
        which = rng.integers(0, sets, sets)
        if len(set(values[which])) > 2:  # of one or two choices there is no correlation
            drawn.append(mean_of(which, learned[:, :, rng.integers(0, prompts, prompts)]))
    _, low, high = interval_of_draws(np.array(drawn))
    return {"mean": mean_of(np.arange(sets), learned), "low": low, "high": high}


def search(name: str, threads: int = 1) -> dict[str, Any]:
    """Measure the layers, teach every lesson in every choice of them, and judge; leaves the adapters that ship."""
    need_peft()
    torch.set_num_threads(threads)
    model = Model.named(name)
    if not model.mini:
        raise InputError(f"{name!r} is no mini: lessons are scenes of the minis' painted world")
    folder = ROOT / "results/loras" / model.key / f"{model.weights[:8]}-{'-'.join(map(str, TRAINING.values()))}"
    suite = load_suite().values()
    choosing = [prompt for task in suite for prompt in task[:CHOOSING]]
    known = [prompt for task in suite for prompt in task[CHOOSING : CHOOSING + KNOWN]]
    worth = kept(folder / "worth.json", lambda: layers_worth(model, choosing, folder / "studio"))
    proxy = kept(folder / "velocity-error.json", lambda: velocity_changed(model, choosing))
    found = {lesson: try_choices(model, lesson, choices(worth, proxy), known, folder) for lesson in LESSONS}
    lessons = {lesson: about for lesson, (about, _) in found.items()}
    rows = [row for about in lessons.values() for row in about["choices"]]
    for row in rows:
        row["worth"] = float(np.mean([worth[block] for block in row["blocks"]]))
        row["velocity changed"] = float(np.mean([proxy[block] for block in row["blocks"]]))
    learned = np.array([gained for _, gained in found.values()])  # (lessons, choices, prompts)
    few, of = learned[:, :-1], rows[: len(rows) // len(lessons) - 1]  # "all", the last, is no choice
    losses = np.array([[row["loss"] for row in about["choices"][:-1]] for about in lessons.values()])
    return {
        "command": f"python -m workflow.loras {name}", "weights": model.weights, "stack": next(iter(model.depths)),
        "training": TRAINING, "logged": LOG_EVERY, "chosen on": len(choosing), "new pictures": NEW * len(SEEDS),
        "known pictures": len(known) * len(SEEDS), "worth": worth, "velocity changed": proxy, "lessons": lessons,
        "worth tells what is learned": follows([row["worth"] for row in of], few),
        "velocity tells what is learned": follows([row["velocity changed"] for row in of], few),
        "worth tells how far the loss falls": follows([row["worth"] for row in of], -losses[..., None]),
        "worth most beside all": ends((learned[:, 0] - learned[:, -1]).mean(0)),
    }  # fmt: skip


def try_choices(
    model: Model, lesson: str, sets: Sequence[Choice], known: Sequence[str], folder: Path
) -> tuple[dict[str, Any], list[list[float]]]:
    """What a lesson left in each choice of layers: a row each, and how much is learned of it, prompt by prompt."""
    shown = painted(load_pipeline(model), lesson, TRAINING["scenes"], 0)
    judge, rows, learned = Judge(model, lesson, shown[1], known), [], []
    before = kept(folder / lesson / "untouched.json", lambda: judge.scores(None))

    for choice in tqdm(sets, desc=f"{model.name}: {lesson}", unit="choice"):
        file = teach(model, lesson, choice, folder / lesson, shown)
        after = kept(file.with_name("scores.json"), lambda file=file: judge.scores(file))
        [record] = (folder / lesson / "checkpoints").glob(f"{file.parent.name}-{TRAINING['steps']}-*.jsonl")
        row, gained = told(choice, before, after, judge)
        rows.append(row | {"parameters": parameters(file), "loss": read_record(record)[-1]["loss"], "file": file})
        learned.append(gained)
    best, shipped = max(rows[:-1], key=lambda row: row["learned"]["mean"]), f"{model.name}-{lesson}.safetensors"
    small = shrink(best["file"], DATA / "loras" / shipped)
    after = kept(folder / lesson / "shipped" / best["file"].parent.name / "scores.json", lambda: judge.scores(small))
    row, _ = told(Choice(best["name"], tuple(best["blocks"]), SHIPPED_RANK), before, after, judge)
    return {
        "untouched": float(np.mean(before["seen"])), "rendered": float(np.mean(judge.rendered)),
        "strict untouched": float(np.mean(before["strict"])),
        "prompts": [caption(scene) for scene in judge.scenes[:3]], "shipped": row | {"file": shipped},
        "choices": [{key: value for key, value in row.items() if key != "file"} for row in rows],
    }, learned  # fmt: skip


def shrink(file: Path, place: Path, rank: int = SHIPPED_RANK) -> Path:
    """Write the nearest adapter of a lower rank, in half precision: small enough to ship. Returns `place`."""
    tensors, small = load_file(file), {}
    for key in (key for key in tensors if key.endswith(DOWN)):
        up = key.removesuffix(DOWN) + UP
        left, size, right = torch.linalg.svd(tensors[up] @ tensors[key], full_matrices=False)
        small[up] = (left[:, :rank] * size[:rank]).half().contiguous()
        small[key] = right[:rank].half().contiguous()
    with write_whole(place) as unfinished:
        save_file(small, unfinished)
    return place


def told(
    choice: Choice, before: Mapping[str, list[float]], after: Mapping[str, list[float]], judge: Judge
) -> tuple[dict[str, Any], list[float]]:
    """A row of the table, and how much each new prompt shows of what was learned: 0 the untouched mini, 1 rendered."""
    reach = float(np.mean(judge.rendered) - np.mean(before["seen"]))
    gained = (np.array(after["seen"]) - before["seen"]) / reach
    prompts = [prompt for prompt in judge.known for _ in SEEDS]
    row: dict[str, Any] = {
        "name": choice.name, "blocks": list(choice.blocks), "rank": choice.rank,
        "learned": ends(gained, np.repeat(range(NEW), len(SEEDS))),
        "drawing": ends(after["drawing"], prompts),
    }  # fmt: skip
    for score in ("strict", "facts"):
        row[f"{score} gained"] = ends(np.array(after[score]) - before[score], prompts)
    return row, gained.reshape(NEW, len(SEEDS)).mean(1).tolist()


def main(arguments: Sequence[str] | None = None) -> None:
    command(search, "loras", __doc__, arguments, threads=(1, "processor threads"))


if __name__ == "__main__":
    main()
