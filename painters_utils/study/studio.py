"""A studio: one model, its prompts and seeds, and everything that it has painted so far.

    studio = Studio("sd3-mini", prompts, seeds=[0], out="results/default/sd3-mini")
    studio.summary(variant)  # what the variant keeps of the model, score by score: 0 chance, 1 the full model

The baseline is painted once, and so is every variant; see `store.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import DiffusionPipeline
from tqdm.auto import tqdm

from painters_utils.models.catalog import (
    ROOT,
    call_settings,
    check_judges,
    file_digest,
    fingerprint,
    loading,
    model_depths,
    model_row,
)
from painters_utils.measure.pictures import change, frequencies_kept, two_level_interval
from painters_utils.measure.denoising import denoising_loss as own_loss
from painters_utils.measure.denoising import own_latents, why_no_loss
from painters_utils.errors import InputError
from painters_utils.engine.orders import layer_order, without_text
from painters_utils.models.pipelines import Picture, check_prompts, load_pipeline, paint, remember_texts
from painters_utils.engine.stacks import find_stacks
from .store import Kept, Store
from .variants import Variant

# What the scores are called on the page; all are 1 at best. CHECKED need the checker, and so a mini; JUDGED need the
# weights of a judge, for models that are no minis; those that only compare pictures are always there.
CHECKED = {
    "adherence": "facts of the prompt",
    "broad": "broad concepts",
    "fine": "fine detail",
    "quality": "likeness to sprites",
    "layout": "layout kept",
}
JUDGED = {"clip": "fit to the prompt", "dino": "look kept"}
COMPARED = {"coarse": "coarse picture kept", "detail": "fine picture kept"}
SCORES = CHECKED | JUDGED | COMPARED
OVERALL = ("adherence", "quality")  # a mini's `kept` is their mean: is it the right picture, and is it well painted?
ABOUT = (
    "name", "stack", "strategy", "preset", "place", "share", "words", "slip", "combine", "affected", "steps",
)  # fmt: skip
BATCH = 32  # pictures of a mini that are painted at a time
FLOOR_SHIFTS = 5  # chance: baseline pictures of that many other prompts in the place of a prompt's own
LEAST_REACH = 0.02  # a full model no further above chance has nothing that could be lost
# A change in any of these is a change of what is painted or of how it is scored.
CODE = [
    f"painters_utils/{name}.py"
    for name in ("blocks", "compare", "denoising", "orders", "pipelines", "stacks", "studio")
] + [f"miniworld/{name}.py" for name in ("checker", "denoising", "grammar", "render", "scenes", "scores", "train_mini")]


class Studio:
    """Paints the prompts under variants of a model and says what is left of the pictures.

    `prompts` are shown; `suite` adds that many prompts of every task of the minis' suite, which are only scored.
    `batch` pictures are painted at a time; `pipe` is the model, if it is loaded already; batch, dtype and how it is
    loaded are as `catalog.loading` says unless given. `judges` says where the
    weights are that score models which are no minis (see `judges.load_judges`). Raises `InputError` for what cannot be
    painted, before anything is.
    """

    def __init__(
        self, model: str, prompts: Sequence[str], seeds: Sequence[int], out: str | Path, steps: int | None = None,
        suite: int = 0, batch: int | None = None, dtype: torch.dtype | None = None,
        pipe: DiffusionPipeline | None = None,
        judges: Mapping[str, str | None] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.row, self.seeds = model, model_row(model), list(seeds)
        self.call = call_settings(model, num_inference_steps=steps)
        self.mini = bool(self.row.get("mini"))
        self.depths: dict[str, int] = model_depths(model)
        how = loading(model, batch=batch)
        check_judges(judges or {})
        self._wanted = {} if self.mini else dict(judges or {})
        self.batch, self.quantize = how["batch"] or BATCH, how["quantize"]
        self.dtype = dtype or (getattr(torch, how["dtype"]) if how["dtype"] else default_dtype())
        self.shown = list(dict.fromkeys(prompts))
        self.prompts = list(dict.fromkeys([*self.shown, *self._suite(suite)]))
        self.store = Store(ROOT / out / "painted")
        self._given = pipe
        self._held_out: dict[int, tuple] = {}

    @cached_property
    def pipe(self) -> DiffusionPipeline:
        """Loaded when something has to be painted that is not there yet."""
        pipe = self._given or remember_texts(load_pipeline(self.model, dtype=self.dtype))
        check_prompts(pipe, self.prompts)
        found = {s: len(blocks) for s, blocks in find_stacks(pipe.transformer).items() if s in self.depths}
        if found != self.depths:
            raise InputError(f"{self.model!r} has the stacks {found}, not {self.depths}")
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
        """A row for each picture: prompt, seed, its scores, change, finite; not scaled: see `summary`.

        Of a mini also duplicates, and the kernel distance of the variant's pictures to rendered ones.
        """
        pictures, table = self._painted(variant)
        if not self.judges:
            return table
        # Kept apart, so that a judge that comes later judges what is painted already.
        judged = self._keep(self._judged("judged"), variant, lambda: ([], self._judge(pictures)))[1]
        return pd.concat([table, judged], axis=1)

    def _painted(self, variant: Variant) -> Kept:
        def compute() -> Kept:
            pictures = self._paint(variant)
            return self._seen(pictures), self._compare(pictures)

        return self._keep("variant", variant, compute)

    def _seen(self, pictures: Sequence[Picture]) -> list[Picture]:
        return [picture for picture in pictures if picture.prompt in self.shown]

    # -- what it is worth -------------------------------------------------------------------------------------

    @cached_property
    def _found(self) -> tuple[dict, dict[str, str]]:
        if self.mini:
            return {}, {}
        from painters_utils.measure.judges import load_judges

        return load_judges(self._wanted)

    @property
    def judges(self) -> dict:
        """The judges whose weights are there, by score."""
        return self._found[0]

    @property
    def score_names(self) -> list[str]:
        """The scores that this model's pictures can have."""
        there = COMPARED | (CHECKED if self.mini else self.judges)
        return [name for name in SCORES if name in there]

    @cached_property
    def overall(self) -> list[str]:
        """The scores whose mean is `kept`: OVERALL for a mini, else the judges', and where none can be had COMPARED."""
        if self.mini:
            return list(OVERALL)
        alone = len(self.prompts) < 2  # and so without a chance level
        return [name for name in self.judges if alone or self._reach(name) > LEAST_REACH] or list(COMPARED)

    def _reach(self, score: str) -> float:
        """How far the full model is above chance."""
        return float(self.full[score].mean() - self.floor[score])

    def lacks(self, score: str) -> str:
        """Why this model's pictures have no such score; empty if they have it."""
        if score in ("kept", *self.score_names) or (score == "duplicates" and self.mini):
            return ""
        if score in JUDGED:
            return "minis are scored by the checker" if self.mini else self._found[1][score]
        return "the checker reads nothing but the minis' painted world"

    @cached_property
    def full(self) -> pd.DataFrame:
        """The scores of the baseline itself."""
        return self._keep(self._judged("full"), None, lambda: ([], self._score(self.baseline)))[1]

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

        means = self._keep(self._judged("floor"), None, compute)[1].mean()
        return {name: 0.0 if name == "quality" else float(means[name]) for name in self.score_names}

    def summary(self, *variants: Variant) -> dict[str, float]:
        """Each score on the paper's scale, 0 chance and 1 the full model, with its 95 % interval.

        {"kept": mean, "kept low": …, "kept high": …, "adherence": …, …, "change": …, "pictures": n, "not finite": n};
        of a mini also "duplicates", the surplus over the untouched model's, and "distance" and "distance untouched",
        the kernel distances of the variant's and of the untouched model's pictures to rendered ones.
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
            row["distance"], row["distance untouched"] = (float(x["distance"].mean()) for x in (table, self.full))
        return row | {"pictures": len(table), "not finite": int((~table["finite"]).sum())}

    def scaled(self, variant: Variant) -> pd.DataFrame:
        """Each picture's scores so scaled that 1 is what the untouched model's picture of that prompt and seed has, and
        that the mean of all pictures is 0 at chance; `kept` is the mean of those in `overall`.

        A score in which the full model itself is hardly above chance is NaN.
        """
        table = self.scores(variant)
        scaled = table[["prompt", "seed"]].copy()
        for score in self.score_names:
            reach = self._reach(score)
            scaled[score] = 1 + (table[score] - self.full[score]) / (reach if reach > LEAST_REACH else float("nan"))
        scaled["kept"] = scaled[self.overall].mean(axis=1)
        return scaled

    def table(self, variants: Sequence[Variant], desc: str = "variants") -> pd.DataFrame:
        """`summary` of every variant, a row each: name, stack, strategy, preset, place, share, words, slip, scores."""
        rows = []
        for variant in tqdm(variants, desc=desc, unit="variant", leave=False):
            about = {name: getattr(variant, name) for name in ABOUT}
            rows.append(about | self.summary(variant))
        return pd.DataFrame(rows)

    @cached_property
    def no_loss(self) -> str:
        """Why the model has no denoising loss; empty if it has one."""
        return "" if self.mini else why_no_loss(self.pipe)

    def loss(self, variant: Variant | None = None, scenes: int = 32) -> np.ndarray:
        """The denoising loss, (levels, pictures), without painting: of a mini on held-out scenes, of any other model on
        its own baseline pictures, `scenes` at most.

        Variants of some steps only have none: the loss knows noise levels, not steps.
        """
        if self.no_loss:
            raise InputError(f"{self.model!r} has no denoising loss: {self.no_loss}")
        if variant is not None and variant.steps is not None:
            raise InputError(f"variant {variant.name!r} holds in some steps only: the denoising loss has no steps")

        def compute() -> Kept:
            loss, given = self._loss_of(scenes)
            with self._order(variant):
                return [], pd.DataFrame(loss(self.pipe, *given).T)

        return self._keep(f"loss of {scenes} scenes", variant, compute)[1].to_numpy().T

    def loss_on(self, scenes: int = 32) -> str:
        """What the denoising loss is taken on: "32 unseen scenes", "6 pictures of its own"."""
        if self.mini:
            return f"{scenes} unseen scenes"
        return f"{min(scenes, len(self.prompts) * len(self.seeds))} pictures of its own"

    def _loss_of(self, scenes: int) -> tuple[Callable[..., np.ndarray], tuple]:
        """The loss, and the pictures to take it on."""
        if scenes not in self._held_out:
            if self.mini:
                from miniworld.denoising import denoising_loss, held_out

                self._held_out[scenes] = denoising_loss, (held_out(self.pipe, scenes),)
            else:
                jobs = [(prompt, seed) for prompt in self.prompts for seed in self.seeds][:scenes]
                latents = own_latents(self.pipe, jobs, batch=self.batch, **self.call)
                loss = partial(own_loss, batch=self.batch, **self.call)
                self._held_out[scenes] = loss, (jobs, latents)
        return self._held_out[scenes]

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
        of, steps = self.call["num_inference_steps"], variant.steps
        if steps is not None and self.passes > 1:
            steps, of = [steps[0] * self.passes, (steps[1] + 1) * self.passes - 1], of * self.passes
        control = dict(combine=variant.combine, affected=variant.affected, steps=steps, of=of)
        return layer_order(self.pipe.transformer, {variant.stack: variant.order}, **control)

    @cached_property
    def passes(self) -> int:
        """How often the pipeline calls its transformer in a step: 1, or 2 where it guides by a pass of its own."""
        if "depths" in self.row:
            return 1  # of the article's families
        calls: list[int] = []
        hook = self.pipe.transformer.register_forward_hook(lambda *_: calls.append(1))
        paint(self.pipe, self.prompts[:1], self.seeds[:1], **self.call)
        hook.remove()
        passes, rest = divmod(len(calls), self.call["num_inference_steps"])
        if rest:
            raise InputError(f"{self.model!r} passes {len(calls)} times in {self.call['num_inference_steps']} steps: "
                             "a variant of some steps only cannot be told them")  # fmt: skip
        return passes

    def _paint(self, variant: Variant | None) -> list[Picture]:
        with self._order(variant):
            desc = variant.name if variant else "baseline"
            return paint(self.pipe, self.prompts, self.seeds, batch=self.batch, desc=desc, **self.call)

    def _score(self, pictures: Sequence[Picture]) -> pd.DataFrame:
        """All scores of pictures in the place of the baseline's, one for one."""
        table = self._compare(pictures)
        return pd.concat([table, self._judge(pictures)], axis=1) if self.judges else table

    def _judge(self, pictures: Sequence[Picture]) -> pd.DataFrame:
        """The judges' scores; of a picture that is not finite, 0."""
        images, before = ([picture.image for picture in some] for some in (pictures, self.baseline))
        prompts, finite = [picture.prompt for picture in self.baseline], [picture.finite for picture in pictures]
        scores = {name: judge.score(prompts, images, before) for name, judge in self.judges.items()}
        return pd.DataFrame({name: np.where(finite, score, 0.0) for name, score in scores.items()})

    def _judged(self, what: str) -> str:
        """What is kept, by which judges it was scored and how."""
        code = file_digest(ROOT / "painters_utils/judges.py") if self.judges else ""
        return " ".join([what, *(f"{name} {judge.fingerprint}" for name, judge in self.judges.items()), code]).strip()

    def _compare(self, pictures: Sequence[Picture]) -> pd.DataFrame:
        """What comparing pictures with the baseline's and reading a mini's pictures says."""
        before = self.baseline
        after = [Picture(b.prompt, b.seed, p.image, p.finite) for b, p in zip(before, pictures, strict=True)]
        kept = np.array([frequencies_kept(b.image, a.image) for b, a in zip(before, after, strict=True)])
        table = pd.DataFrame([(a.prompt, a.seed, a.finite) for a in after], columns=["prompt", "seed", "finite"])
        table["coarse"], table["detail"] = kept.T
        table["change"] = change(before, after) if len(self.prompts) > 1 else float("nan")  # nothing to scale by
        if self.mini:
            from miniworld.scores import painted_distance, score_pictures

            read = score_pictures(table["prompt"], [a.image for a in after], [b.image for b in before])
            table = pd.concat([table, read], axis=1)
            table["distance"] = painted_distance([a.image for a in after if a.finite])
        scores = [name for name in SCORES if name in table]
        broken = ~table["finite"]
        table.loc[broken, scores] = table.loc[broken, scores].mask(lambda x: x.notna(), 0.0)
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
            "dtype": str(self.dtype), "quantize": self.quantize, "files": [file_digest(path) for path in files],
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
