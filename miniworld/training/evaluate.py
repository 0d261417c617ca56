"""Measure the checker and the minis.

    python -m miniworld.training.evaluate checker
    python -m miniworld.training.evaluate flux-mini

The numbers go beside the weights (`metrics.json`, `scores.json`), where `miniworld/metrics.py` reads them.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKL
from PIL import Image
from scipy.stats import spearmanr
from tqdm import tqdm

from miniworld import checker, metrics
from miniworld.denoising import LEVELS, denoising_loss, held_out
from miniworld.pictures import save_grid, to_pictures, to_tensor
from miniworld.render import SIDE, render
from miniworld.scenes import OBJECTS, Scene, caption, sample_scene, unseen_scenes
from miniworld.scores import BROAD, FINE, chance, check_facts, kernel_distance, rendered_features, sprite_likeness
from miniworld.suite import build_suite, load_suite
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.stacks import find_stacks
from painters_utils.engine.strategies import build_order
from painters_utils.errors import InputError
from painters_utils.measure.intervals import ends
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.painting import paint
from painters_utils.paths import DATA

from .models import MINIS
from .pools import nothing

CARDS = DATA / "cards"  # pictures of the models' cards: the models' own folders hold what is loaded
GALLERY = 64  # pictures of random scenes on a card
STEPS = (2, 4, 6, 8, 12)  # of sampling, compared
NEAR = 0.15  # of the canvas: a found centre this close to a thing's belongs to it


def read_back(scenes: Sequence[Scene], pictures: Sequence[Image.Image]) -> dict:
    """How well the checker reads pictures of known scenes: shares right, precision and recall by class, confusions.

    A found thing belongs to the nearest painted one within NEAR. Accuracies are over the things found.
    """
    found = checker.read(pictures)
    kinds = {kind: i for i, kind in enumerate(OBJECTS)}
    confusion = np.zeros((len(OBJECTS) + 1, len(OBJECTS) + 1), int)  # rows painted, columns read; last: nothing
    right: dict[str, list[bool]] = {key: [] for key in ("kind", "colour", "accessory", "accessory colour", "position")}
    for truth, seen in zip(scenes, found, strict=True):
        left = list(seen.things)
        for thing in truth.things:
            near = [s for s in left if np.hypot(s.x - thing.x, s.y - thing.y) < NEAR]
            if not near:
                confusion[kinds[thing.kind], -1] += 1
                continue
            match = min(near, key=lambda s: np.hypot(s.x - thing.x, s.y - thing.y))
            left.remove(match)
            confusion[kinds[thing.kind], kinds[match.kind]] += 1
            right["kind"].append(match.kind == thing.kind)
            right["colour"].append(match.colour == thing.colour)
            right["position"].append(np.hypot(match.x - thing.x, match.y - thing.y) < 0.05)
            for worn, read in ((thing.hat, match.hat), (thing.sunglasses, match.sunglasses)):
                right["accessory"].append(bool(worn) == bool(read))
                if worn and read:
                    right["accessory colour"].append(worn == read)
        for extra in left:
            confusion[-1, kinds[extra.kind]] += 1
    hits = confusion.diagonal()[:-1]
    table = {
        "precision": float(hits.sum() / max(confusion[:, :-1].sum(), 1)),
        "recall": float(hits.sum() / max(confusion[:-1].sum(), 1)),
        **{key: float(np.mean(values)) for key, values in right.items() if values},
        "count": float(np.mean([len(a.things) == len(b.things) for a, b in zip(scenes, found, strict=True)])),
        "background": float(np.mean([a.background == b.background for a, b in zip(scenes, found, strict=True)])),
        "pattern": float(np.mean([a.pattern == b.pattern for a, b in zip(scenes, found, strict=True)])),
    }
    by_class = {
        kind: {
            "precision": float(hits[i] / max(confusion[:, i].sum(), 1)),
            "recall": float(hits[i] / max(confusion[i].sum(), 1)),
        }
        for kind, i in kinds.items()
    }
    return {"table": table, "by class": by_class, "confusion": confusion.tolist()}


@torch.no_grad()
def through_vae(pictures: Sequence[Image.Image], vae: AutoencoderKL) -> list[Image.Image]:
    """The pictures squeezed and decoded again: the best that a mini could paint."""
    pixels = torch.stack([to_tensor(picture) for picture in pictures])
    return [
        picture
        for part in pixels.split(64)
        for picture in to_pictures(vae.decode(vae.encode(part).latent_dist.mean).sample)
    ]


def grey_levels_apart(one: Image.Image, two: Image.Image) -> float:
    """The mean difference of two pictures' values, of 255."""
    return float(np.abs(np.asarray(one, float) - np.asarray(two, float)).mean())


def evaluate_checker(vae: AutoencoderKL, count: int = 1000) -> dict:
    """The checker on unseen scenes, clean and through the VAE, and on pictures of nothing; the VAE's own error."""
    scenes = unseen_scenes(count)
    pictures = [render(scene) for scene in scenes]
    decoded = through_vae(pictures, vae)
    rng = np.random.default_rng(0)
    empty = [Image.fromarray(nothing(rng)) for _ in range(count)]
    noise = [Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(count)]
    return {
        "scenes": count,
        "clean": read_back(scenes, pictures),
        "VAE": read_back(scenes, decoded),
        "VAE error": float(np.mean([grey_levels_apart(*pair) for pair in zip(pictures, decoded, strict=True)])),
        "false objects": {
            name: float(np.mean([bool(scene.things) for scene in checker.read(some)]))
            for name, some in (("blank or grainy", empty), ("pure noise", noise))
        },
    }


def evaluate_mini(name: str, seeds: int = 2) -> dict:
    """The suite, painted and read: strict score by task, facts by name, quality, and the denoising loss."""
    pipe, call = load_pipeline(name), Model.named(name).call
    suite = load_suite()
    prompts = [prompt for task in suite.values() for prompt in task]
    pictures = paint(pipe, prompts, seeds=list(range(seeds)), desc=name, **call)
    scenes = checker.read([picture.image for picture in pictures])
    checks = [check_facts(picture.prompt, scene) for picture, scene in zip(pictures, scenes, strict=True)]
    table = pd.DataFrame(
        {
            "task": [task for task, words in suite.items() for _ in range(len(words) * seeds)],
            "prompt": [picture.prompt for picture in pictures],
            "strict": [float(check.strict) for check in checks],
            "adherence": [check.share() for check in checks],
            "broad": [check.share(BROAD) for check in checks],
            "fine": [check.share(FINE) for check in checks],
            "duplicates": [float(check.duplicates) for check in checks],
            "likeness": [sprite_likeness(p.image, s) for p, s in zip(pictures, scenes, strict=True)],
        }
    )
    report: dict = {
        "steps": call["num_inference_steps"],
        "guidance": call["guidance_scale"],
        "seeds": seeds,
        "strict": strict_score(table),
    }
    report["tasks"] = {task: strict_score(rows) for task, rows in table.groupby("task", sort=False)}
    report |= {key: float(table[key].mean()) for key in ("adherence", "broad", "fine", "duplicates", "likeness")}
    facts = pd.DataFrame([fact for check in checks for fact in check.facts], columns=["fact", "right"])
    report["facts"] = facts.groupby("fact")["right"].mean().to_dict()
    names = [picture.prompt for picture in pictures]
    report["chance"] = {
        "adherence": chance(names, scenes), "broad": chance(names, scenes, BROAD), "fine": chance(names, scenes, FINE)
    }  # fmt: skip
    rng = random.Random("painted")
    drawn = [caption(sample_scene(rng)) for _ in range(128)]
    sampled = paint(pipe, drawn, seeds=[0], desc="scenes", **call)
    report["kernel distance"] = kernel_distance(
        checker.features([p.image for p in sampled]), rendered_features(len(pictures))
    )
    loss = denoising_loss(pipe, held_out(pipe, 128)).mean(1)
    report["denoising loss"] = dict(zip(map(str, LEVELS), loss.tolist(), strict=True)) | {"mean": float(loss.mean())}
    save_grid([picture.image for picture in sampled[:GALLERY]], CARDS / f"{name}-samples.webp", columns=8,
              quality=30, method=6)  # fmt: skip
    return report


def strict_score(table: pd.DataFrame) -> dict[str, float]:
    """The share of pictures in which everything is right, with its 95 % interval over prompts and seeds."""
    return ends(table["strict"], table["prompt"])


def loss_and_scores(name: str, orders: int = 12, prompts_each: int = 4) -> dict:
    """How well the rise of the denoising loss predicts what pictures lose: one point an order, and rank correlations.

    The orders skip one, two, four … layers somewhere in a stack, drawn by a fixed seed; the pictures are the first
    prompts of every task of the suite.
    """
    pipe, call, rng = load_pipeline(name), Model.named(name).call, random.Random(0)
    prompts = [prompt for task in load_suite().values() for prompt in task[:prompts_each]]
    scenes = held_out(pipe, 64)
    stacks = {stack: len(blocks) for stack, blocks in find_stacks(pipe.transformer).items()}

    def measure() -> tuple[float, float, float]:
        pictures = paint(pipe, prompts, seeds=[0], **call)
        found = checker.read([picture.image for picture in pictures])
        shares = [check_facts(picture.prompt, scene).share() for picture, scene in zip(pictures, found, strict=True)]
        likeness = [sprite_likeness(p.image, s) for p, s in zip(pictures, found, strict=True)]
        # A picture in which nothing is found has no likeness to anything.
        return float(denoising_loss(pipe, scenes).mean()), float(np.mean(shares)), float(np.nan_to_num(likeness).mean())

    base = measure()
    points = []
    for i in tqdm(range(orders), desc=f"{name}: orders"):
        stack = list(stacks)[i % len(stacks)]
        depth = stacks[stack]
        size = min((1, 1, 2, 4, 8, 12)[i // len(stacks) % 6], depth // 2)
        first = rng.randrange(0, depth - size)
        with layer_order(pipe.transformer, {stack: build_order("skip", depth, [first, first + size - 1])}):
            loss, share, likeness = measure()
        points.append({
            "order": f"{stack}: skip {first}–{first + size - 1}",
            "loss rise": loss - base[0], "adherence lost": base[1] - share, "likeness lost": base[2] - likeness,
        })  # fmt: skip
    table = pd.DataFrame(points)
    return {
        "points": points,
        "rank correlation": {
            key: float(spearmanr(table["loss rise"], table[key]).statistic)
            for key in ("adherence lost", "likeness lost")
        },
    }


def steps_curve(name: str, steps: Sequence[int] = STEPS, seeds: int = 1) -> dict[str, dict]:
    """Strict score by number of sampling steps, and how far it is below the best one's on the same pictures' noise.

    On other prompts than the suite's: the number of steps is chosen by them, and the suite then tells its score.
    """
    model, pipe = Model.named(name), load_pipeline(name)
    known = {prompt for task in load_suite().values() for prompt in task}
    prompts = [prompt for task in build_suite(seed=1).values() for prompt in task if prompt not in known]
    right = {}
    for number in steps:
        call = dict(model.call) | {"num_inference_steps": number}
        pictures = paint(pipe, prompts, list(range(seeds)), batch=32, desc=f"{name}, {number} steps", **call)
        found = checker.read([picture.image for picture in pictures])
        right[number] = [float(check_facts(p.prompt, s).strict) for p, s in zip(pictures, found, strict=True)]
    table, groups = pd.DataFrame(right), [picture.prompt for picture in pictures]
    best = table[table.mean().idxmax()]
    return {
        str(number): ends(table[number], groups) | {"below best": ends(best - table[number], groups)}
        for number in steps
    }


def write_numbers(path: Path, numbers: dict) -> None:
    """JSON with four digits: more would be noise."""
    rounded = json.loads(json.dumps(numbers), parse_float=lambda text: round(float(text), 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rounded, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m miniworld.training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["checker", *MINIS], help="what to measure")
    parser.add_argument("--seeds", type=int, default=2, help="pictures a prompt (minis)")
    args = parser.parse_args(arguments)
    try:
        if args.what == "checker":
            vae = AutoencoderKL.from_pretrained(metrics.mini_folder("flux-mini") / "vae").eval()
            report = evaluate_checker(vae)
            write_numbers(metrics.CHECKER, report)
            tables = {key: report[key]["table"] for key in ("clean", "VAE")}
            print(json.dumps(tables | {"false objects": report["false objects"]}, indent=1))
            return
        report = evaluate_mini(args.what, args.seeds)
        report |= {"by steps": steps_curve(args.what), "loss and scores": loss_and_scores(args.what)}
        write_numbers(metrics.mini_folder(args.what) / "scores.json", report)
        print(json.dumps({key: report[key] for key in ("strict", "tasks", "facts", "chance")}, indent=1))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
