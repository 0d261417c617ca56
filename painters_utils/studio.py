"""A studio: one model, its prompts and seeds, and everything that it has painted so far.

    studio = Studio("sd3-mini", prompts, seeds=[0], out="results/default/sd3-mini")
    studio.summary(variant)  # what the variant keeps of the model, score by score: 0 chance, 1 the full model

The baseline is painted once, and so is every variant; see `store.py`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import DiffusionPipeline
from tqdm.auto import tqdm

from .catalog import ROOT, call_settings, fingerprint, model_row, require_positive
from .compare import change, frequencies_kept, two_level_interval
from .errors import InputError
from .orders import layer_order, without_text
from .pipelines import Picture, check_prompts, load_pipeline, paint, remember_texts
from .stacks import find_stacks
from .store import Kept, Store
from .variants import Variant

# What the scores are called on the page. Those above the line need the checker, and so a mini; all are 1 at best.
CHECKED = {
    "adherence": "facts of the prompt",
    "broad": "broad concepts",
    "fine": "fine detail",
    "quality": "likeness to sprites",
    "layout": "layout kept",
}
SCORES = CHECKED | {"coarse": "coarse picture kept", "detail": "fine picture kept"}
OVERALL = ("adherence", "quality")  # `kept` is their mean: is it the right picture, and is it well painted?
ABOUT = (
    "name", "stack", "strategy", "preset", "place", "share", "words", "slip", "combine", "affected", "steps",
)  # fmt: skip
FLOOR_SHIFTS = 5  # chance: baseline pictures of that many other prompts in the place of a prompt's own
LEAST_REACH = 0.02  # a full model no further above chance has nothing that could be lost
# A change in any of these is a change of what is painted or of how it is scored.
CODE = [f"painters_utils/{name}.py" for name in ("blocks", "compare", "orders", "pipelines", "stacks", "studio")] + [
    f"miniworld/{name}.py" for name in ("checker", "denoising", "grammar", "render", "scenes", "scores", "train_mini")
]


class Studio:
    """Paints the prompts under variants of a model and says what is left of the pictures.

    `prompts` are shown; `suite` adds that many prompts of every task of the minis' suite, which are only scored.
    `batch` pictures are painted at a time; `pipe` is the model, if it is loaded already. Raises `InputError` for what
    cannot be painted, before anything is.
    """

    def __init__(
        self, model: str, prompts: Sequence[str], seeds: Sequence[int], out: str | Path, steps: int | None = None,
        suite: int = 0, batch: int = 32, dtype: torch.dtype | None = None, pipe: DiffusionPipeline | None = None,
    ) -> None:  # fmt: skip
        self.model, self.row, self.seeds = model, model_row(model), list(seeds)
        self.call = call_settings(model, num_inference_steps=steps)
        self.mini = bool(self.row.get("mini"))
        self.depths: dict[str, int] = self.row["depths"]
        require_positive("batch", batch)
        self.batch, self.dtype = batch, dtype or default_dtype()
        self.shown = list(dict.fromkeys(prompts))
        self.prompts = list(dict.fromkeys([*self.shown, *self._suite(suite)]))
        self.store = Store(ROOT / out / "painted")
        self._given = pipe
        self._held_out: dict[int, object] = {}

    @cached_property
    def pipe(self) -> DiffusionPipeline:
        """Loaded when something has to be painted that is not there yet."""
        pipe = self._given or remember_texts(load_pipeline(self.model, dtype=self.dtype))
        check_prompts(pipe, self.prompts)
        found = {stack: len(blocks) for stack, blocks in find_stacks(pipe.transformer).items()}
        if found != self.depths:
            raise InputError(f"{self.model!r} has the stacks {found}, not {self.depths} as data/models.yaml says")
        return pipe

    @cached_property
    def last_only(self) -> dict[str, list[int]]:
        """The layers of each stack that can only stand last, because they return no text."""
        return {stack: without_text(blocks) for stack, blocks in find_stacks(self.pipe.transformer).items()}

    # -- what is painted --------------------------------------------------------------------------------------

    @cached_property
    def baseline(self) -> list[Picture]:
        """The untouched model's pictures of all prompts and seeds."""
        return self._keep("baseline", None, lambda: (self._paint(None), pd.DataFrame()))[0]

    def pictures(self, variant: Variant | None = None) -> list[Picture]:
        """The pictures of the prompts that are shown, prompt after prompt; of the baseline if no variant is given."""
        return self._seen(self.baseline) if variant is None else self._painted(variant)[0]

    def scores(self, variant: Variant) -> pd.DataFrame:
        """A row for each picture: prompt, seed, SCORES, change, duplicates, finite. Not scaled: see `summary`."""
        return self._painted(variant)[1]

    def _painted(self, variant: Variant) -> Kept:
        def compute() -> Kept:
            pictures = self._paint(variant)
            return self._seen(pictures), self._score(pictures)

        return self._keep("variant", variant, compute)

    def _seen(self, pictures: Sequence[Picture]) -> list[Picture]:
        return [picture for picture in pictures if picture.prompt in self.shown]

    # -- what it is worth -------------------------------------------------------------------------------------

    @property
    def score_names(self) -> list[str]:
        """The scores that this model's pictures can have."""
        return [name for name in SCORES if self.mini or name not in CHECKED]

    @cached_property
    def full(self) -> pd.DataFrame:
        """The scores of the baseline itself."""
        return self._keep("full", None, lambda: ([], self._score(self.baseline)))[1]

    @cached_property
    def floor(self) -> dict[str, float]:
        """The scores of chance: baseline pictures of other prompts in the place of a prompt's own.

        For `quality`, the likeness of what is found to its sprite, 0: nothing is found.
        """
        if len(self.prompts) < 2:
            raise InputError("one prompt alone has no chance level: give two prompts at least")

        def compute() -> Kept:
            rows = []
            for shift in range(1, min(FLOOR_SHIFTS, len(self.prompts) - 1) + 1):
                start = shift * len(self.seeds)
                others = self._score(self.baseline[start:] + self.baseline[:start])
                rows.append(others[self.score_names].mean())
            return [], pd.DataFrame(rows)

        means = self._keep("floor", None, compute)[1].mean()
        return {name: 0.0 if name == "quality" else float(means[name]) for name in self.score_names}

    def summary(self, *variants: Variant) -> dict[str, float]:
        """Each score on the paper's scale, 0 chance and 1 the full model, with its 95 % interval.

        {"kept": mean, "kept low": …, "kept high": …, "adherence": …, …, "change": …, "duplicates": …, "not finite": n}.
        Intervals are bootstrapped over prompts and seeds, paired with the baseline picture by picture. Several
        variants, such as the draws of a random order, are taken together as more pictures of the same prompts.
        """
        table = pd.concat([self.scores(variant) for variant in variants])
        scaled = pd.concat([self.scaled(variant) for variant in variants])
        row: dict[str, float] = {}
        for score in ("kept", *self.score_names):
            interval = two_level_interval(scaled[score], scaled["prompt"])
            row |= {score + end: x for end, x in zip(("", " low", " high"), interval, strict=True)}
        row["change"], row["change low"], row["change high"] = two_level_interval(table["change"], table["prompt"])
        if self.mini:
            row["duplicates"] = float(table["duplicates"].mean() - self.full["duplicates"].mean())  # surplus things
        return row | {"pictures": len(table), "not finite": int((~table["finite"]).sum())}

    def scaled(self, variant: Variant) -> pd.DataFrame:
        """Each picture's scores so scaled that 1 is what the untouched model's picture of that prompt and seed has, and
        that the mean of all pictures is 0 at chance; `kept` is the mean of OVERALL.

        A score in which the full model itself is hardly above chance is NaN.
        """
        table = self.scores(variant)
        scaled = table[["prompt", "seed"]].copy()
        for score in self.score_names:
            reach = self.full[score].mean() - self.floor[score]
            scaled[score] = 1 + (table[score] - self.full[score]) / (reach if reach > LEAST_REACH else float("nan"))
        overall = OVERALL if self.mini else self.score_names
        scaled["kept"] = scaled[list(overall)].mean(axis=1)
        return scaled

    def table(self, variants: Sequence[Variant], desc: str = "variants") -> pd.DataFrame:
        """`summary` of every variant, a row each: name, stack, strategy, preset, place, share, words, slip, scores."""
        rows = []
        for variant in tqdm(variants, desc=desc, unit="variant", leave=False):
            about = {name: getattr(variant, name) for name in ABOUT}
            rows.append(about | self.summary(variant))
        return pd.DataFrame(rows)

    def loss(self, variant: Variant | None = None, scenes: int = 32) -> np.ndarray:
        """The denoising loss on held-out scenes, (levels, scenes), without painting; minis only.

        Variants of some steps only have none: the loss knows noise levels, not steps.
        """
        if not self.mini:
            raise InputError(f"{self.model!r} was not trained on the minis' scenes: the denoising loss is for minis")
        if variant is not None and variant.steps is not None:
            raise InputError(f"variant {variant.name!r} holds in some steps only: the denoising loss has no steps")
        from miniworld.denoising import denoising_loss, held_out

        def compute() -> Kept:
            if scenes not in self._held_out:
                self._held_out[scenes] = held_out(self.pipe, scenes)
            with self._order(variant):
                return [], pd.DataFrame(denoising_loss(self.pipe, self._held_out[scenes]).T)

        return self._keep(f"loss of {scenes} scenes", variant, compute)[1].to_numpy().T

    def loss_rise(self, variant: Variant, scenes: int = 32) -> tuple[float, float, float]:
        """How much the denoising loss rises, in units of the untouched model's: mean, low, high over scenes."""
        whole = self.loss(None, scenes)
        rise = (self.loss(variant, scenes) - whole).mean(0) / whole.mean()
        return two_level_interval(rise, [str(scene) for scene in range(len(rise))])

    def loss_rises(self, groups: Mapping[str, Sequence[Variant]], scenes: int = 32) -> pd.DataFrame:
        """`loss_rise` of variant after variant, a row each; columns "name", "name low", "name high" for each group."""
        columns = {}
        for name, variants in groups.items():
            rises = [self.loss_rise(variant, scenes) for variant in tqdm(variants, desc=name, leave=False)]
            for column, end in enumerate(("", " low", " high")):
                columns[name + end] = pd.Series([rise[column] for rise in rises], dtype=float)
        return pd.DataFrame(columns)

    # -- how --------------------------------------------------------------------------------------------------

    def _order(self, variant: Variant | None) -> AbstractContextManager:
        if variant is None:
            return nullcontext()
        of = self.call["num_inference_steps"]
        control = dict(combine=variant.combine, affected=variant.affected, steps=variant.steps, of=of)
        return layer_order(self.pipe.transformer, {variant.stack: variant.order}, **control)

    def _paint(self, variant: Variant | None) -> list[Picture]:
        with self._order(variant):
            desc = variant.name if variant else "baseline"
            return paint(self.pipe, self.prompts, self.seeds, batch=self.batch, desc=desc, **self.call)

    def _score(self, pictures: Sequence[Picture]) -> pd.DataFrame:
        """The scores of pictures in the place of the baseline's, one for one."""
        before = self.baseline
        after = [Picture(b.prompt, b.seed, p.image, p.finite) for b, p in zip(before, pictures, strict=True)]
        kept = np.array([frequencies_kept(b.image, a.image) for b, a in zip(before, after, strict=True)])
        table = pd.DataFrame([(a.prompt, a.seed, a.finite) for a in after], columns=["prompt", "seed", "finite"])
        table["coarse"], table["detail"] = kept.T
        table["change"] = change(before, after) if len(self.prompts) > 1 else float("nan")  # nothing to scale by
        if self.mini:
            from miniworld.scores import score_pictures

            read = score_pictures(table["prompt"], [a.image for a in after], [b.image for b in before])
            table = pd.concat([table, read], axis=1)
        broken = ~table["finite"]
        table.loc[broken, self.score_names] = table.loc[broken, self.score_names].mask(lambda x: x.notna(), 0.0)
        return table

    def _suite(self, each: int) -> list[str]:
        if not self.mini or not each:
            return []
        from miniworld.suite import load_suite

        suite = load_suite()
        most = min(map(len, suite.values()))
        if type(each) is not int or not 0 <= each <= most:
            raise InputError(f"suite is {each!r}: give a whole number from 0 to {most}, the prompts of a task")
        return [prompt for task in suite.values() for prompt in task[:each]]

    @cached_property
    def _identity(self) -> dict:
        """Everything that pictures and scores depend on, beside the variant."""
        files = [ROOT / name for name in CODE] + sorted((ROOT / "data/checker").glob("*.safetensors"))
        return {
            "model": self.model, "weights": fingerprint(self.model), "call": self.call,
            "prompts": self.prompts, "shown": self.shown, "seeds": self.seeds,
            "dtype": str(self.dtype), "files": [hashlib.sha256(path.read_bytes()).hexdigest() for path in files],
        }  # fmt: skip

    def _keep(self, what: str, variant: Variant | None, compute: object) -> Kept:
        # What a variant is called and why it is run does not change its pictures.
        names = ("stack", "order", "combine", "affected", "steps")
        about = variant and {name: getattr(variant, name) for name in names}
        return self.store.get([self._identity, what, about], compute)


def default_dtype() -> torch.dtype:
    """bf16 where the GPU or the processor computes in it, else fp32."""
    fast = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
