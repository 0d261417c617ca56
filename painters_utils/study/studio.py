"""A studio: one model, its prompts and seeds, and everything that it has painted so far.

    studio = Studio(Model.named("sd3-mini"), prompts, seeds=[0], out="results/lab/sd3-mini")
    studio.summary(variant)  # what the variant keeps of the model, score by score: 0 chance, 1 the full model

The baseline is painted once, and so is every variant. Pictures depend on the engine and the model, scores also on who
looks at them: another checker scores anew and paints nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from diffusers import DiffusionPipeline
from tqdm.auto import tqdm

from painters_utils.engine.rearrange import layer_order, without_text
from painters_utils.engine.recording import Recording
from painters_utils.engine.stacks import find_stacks
from painters_utils.errors import InputError, check_seeds
from painters_utils.measure.pictures import change, frequencies_kept
from painters_utils.measure.world import CheckerScorer, suite_prompts
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.models.painting import Picture, check_readable, paint, remember_texts
from painters_utils.paths import ROOT

from .recordings import code_digests, load_or_record, looks_digests, matched_bands_of
from .scores import COMPARED, SCORES, Scorer, reach, scale, summarise, without_broken
from .settings import shown_prompts, wanted_judges
from .store import Store
from .variants import MatchedBands, Variant

ABOUT = ("name", "stack", "strategy", "preset", "place", "share", "words", "slip", "combine", "affected", "steps")
FLOOR_SHIFTS = 5  # chance: baseline pictures of that many other prompts in the place of a prompt's own


class Studio:
    """Paints the prompts under variants of a model and says what is left of the pictures.

    `prompts` are shown; `suite` adds that many prompts of the minis' suite, which are only scored.
    `judges` says where the weights are that score models which are no minis. Prompts and judges that are None are those
    of config.yaml. `pipe` is the model, if it is loaded already. `InputError` for what cannot be painted, before
    anything is.
    """

    def __init__(
        self, model: Model, prompts: Sequence[str] | None = None, seeds: Sequence[int] = (0,),
        out: str | Path = "results/lab", suite: int = 0, judges: Mapping[str, str | None] | None = None,
        pipe: DiffusionPipeline | None = None,
    ) -> None:  # fmt: skip
        self.model, self.seeds, self.out = model, check_seeds(seeds), out
        self.shown = shown_prompts(model, prompts)
        self.prompts = list(dict.fromkeys([*self.shown, *(suite_prompts(suite) if model.mini else [])]))
        self.store = Store(ROOT / out / "painted")
        self._judges, self._pipe = wanted_judges(judges), pipe

    @cached_property
    def pipe(self) -> DiffusionPipeline:
        """Loaded when something has to be painted that is not there yet."""
        pipe = self._pipe or remember_texts(load_pipeline(self.model))
        check_readable(pipe, self.prompts)
        stacks, depths = find_stacks(pipe.transformer), dict(self.model.depths)
        if (found := {stack: len(stacks[stack]) for stack in depths if stack in stacks}) != depths:
            raise InputError(f"{self.model.name!r} has the stacks {found}, not {depths}")
        return pipe

    @cached_property
    def last_only(self) -> dict[str, list[int]]:
        """The layers of each stack that can only stand last, because they return no text."""
        return {stack: without_text(blocks) for stack, blocks in find_stacks(self.pipe.transformer).items()}

    @cached_property
    def recordings(self) -> dict[str, Recording]:
        """The model's activations while it paints the shown prompts, by measure (`load_or_record`)."""
        return load_or_record(self.model, self.shown, self.out)

    @cached_property
    def bands(self) -> MatchedBands:
        """The matched bands of every stack, from the model's activations."""
        return matched_bands_of(self.recordings["cosine"])

    # -- what is painted --------------------------------------------------------------------------------------

    @cached_property
    def baseline(self) -> list[Picture]:
        """The untouched model's pictures of all prompts and seeds."""
        return self._painted(None)

    def pictures(self, variant: Variant | None = None) -> list[Picture]:
        """The pictures of the prompts that are shown, prompt after prompt; of the baseline if no variant is given."""
        pictures = self.baseline if variant is None else self._painted(variant)
        return [picture for picture in pictures if picture.prompt in self.shown]

    def _painted(self, variant: Variant | None) -> list[Picture]:
        """The pictures of all prompts, with the variant's seeds."""

        def compute() -> list[Picture]:
            desc, batch = variant.name if variant else "baseline", self.model.loading.batch or 1
            seeds = variant.seeds_of(self.seeds) if variant else self.seeds
            with self.order(variant):
                return paint(self.pipe, self.prompts, seeds, batch=batch, desc=desc, **self.model.call)

        return self.store.pictures([self._paints, variant and variant.run], compute)

    def order(self, variant: Variant | None) -> AbstractContextManager:
        """Let the loaded model run as a variant says, as long as the context is open."""
        if variant is None:
            return nullcontext()
        of, steps = self.model.steps, variant.steps
        if steps is not None and self.passes > 1:
            steps, of = [steps[0] * self.passes, (steps[1] + 1) * self.passes - 1], of * self.passes
        control: dict[str, Any] = dict(combine=variant.combine, affected=variant.affected, steps=steps, of=of)
        return layer_order(self.pipe.transformer, {variant.stack: variant.order}, **control)

    @cached_property
    def passes(self) -> int:
        """How often the pipeline calls its transformer in a step: 1, or 2 where it guides by a pass of its own."""
        if self.model.family:
            return 1  # all of the article's
        calls: list[int] = []
        hook = self.pipe.transformer.register_forward_hook(lambda *_: calls.append(1))
        paint(self.pipe, self.prompts[:1], self.seeds[:1], **self.model.call)
        hook.remove()
        passes, rest = divmod(len(calls), self.model.steps)
        if rest:
            raise InputError(f"{self.model.name!r} passes {len(calls)} times in {self.model.steps} steps: a variant of "
                             "some steps only cannot be told them")  # fmt: skip
        return passes

    # -- what it is worth -------------------------------------------------------------------------------------

    @cached_property
    def scorer(self) -> Scorer:
        """Who looks at the pictures: the checker for a mini, judges for any other model."""
        if self.model.mini:
            return CheckerScorer(lambda name, make: self.store.table([name, self._looks], make))
        from originals.judges import JudgeScorer  # loads networks of transformers

        return JudgeScorer(self._judges)

    @cached_property
    def score_names(self) -> list[str]:
        """The scores that this model's pictures can have."""
        return [name for name in SCORES if name in (*self.scorer.names, *COMPARED)]

    @cached_property
    def overall(self) -> list[str]:
        """The scores whose mean is `kept`: the scorer's, and where none of them can be had those of COMPARED."""
        alone = len(self.prompts) < 2  # and so without a chance level
        above = {} if alone else reach(self.full, self.floor)
        return [name for name in self.scorer.overall if alone or above[name] > 0] or list(COMPARED)

    def lacks(self, score: str) -> str:
        """Why this model's pictures have no such score; empty if they have it."""
        return "" if score in ("kept", *COMPARED) else self.scorer.lacks(score)

    def scores(self, variant: Variant) -> pd.DataFrame:
        """A row for each picture: prompt, seed, its scores, change, finite; not scaled: see `summary`."""

        def compute() -> pd.DataFrame:
            seeds = variant.seeds_of(self.seeds)
            # The baseline itself, not a list that is equal: the scorer has looked at it already.
            before = [picture for picture in self.baseline if picture.seed in seeds] if variant.turn else None
            return self.score(self._painted(variant), before)

        return self._kept("scores", variant, compute)

    @cached_property
    def full(self) -> pd.DataFrame:
        """The scores of the baseline itself."""
        return self._kept("full", None, lambda: self.score(self.baseline))

    @cached_property
    def floor(self) -> dict[str, float]:
        """The mean scores of chance: baseline pictures of other prompts in the place of a prompt's own.

        Likeness to sprites is 0 there: nothing is found. `InputError` for one prompt alone.
        """
        if len(self.prompts) < 2:
            raise InputError("one prompt alone has no chance level: give two prompts at least")

        def compute() -> pd.DataFrame:
            rows = []
            for shift in range(1, min(FLOOR_SHIFTS, len(self.prompts) - 1) + 1):
                start = shift * len(self.seeds)
                rows.append(self.score(self.baseline[start:] + self.baseline[:start])[self.score_names].mean())
            return pd.DataFrame(rows)

        means = self._kept("floor", None, compute).mean()
        return {name: 0.0 if name in self.scorer.floor_zero else float(means[name]) for name in self.score_names}

    def scaled(self, variant: Variant) -> pd.DataFrame:
        """Each picture's scores between chance, 0, and the full model, 1 (`scores.scale`)."""
        return scale(self.scores(variant), self.full, self.floor, self.overall)

    def summary(self, *variants: Variant) -> dict[str, float]:
        """What is left: each score's mean and 95 % interval (`scores.summarise`).

        Several variants, such as the draws of a random order, are averaged picture by picture.
        """
        table, scaled = (pd.concat([of(variant) for variant in variants]) for of in (self.scores, self.scaled))
        return summarise(table, scaled, self.full, self.score_names) | {"orders": len(variants)}

    def table(self, variants: Sequence[Variant], desc: str = "variants") -> pd.DataFrame:
        """`summary` of every variant, a row each: name, stack, strategy, preset, place, share, words, slip, scores."""
        rows = []
        for variant in tqdm(variants, desc=desc, unit="variant", leave=False):
            rows.append({name: getattr(variant, name) for name in ABOUT} | self.summary(variant))
        return pd.DataFrame(rows)

    def score(self, pictures: Sequence[Picture], before: Sequence[Picture] | None = None) -> pd.DataFrame:
        """All scores of pictures in the place of the baseline's, or of those of them in `before`, one for one."""
        before = self.baseline if before is None else before
        after = [Picture(b.prompt, b.seed, p.image, p.finite) for b, p in zip(before, pictures, strict=True)]
        table = pd.DataFrame([(a.prompt, a.seed, a.finite) for a in after], columns=["prompt", "seed", "finite"])
        kept = [frequencies_kept(b.image, a.image) for b, a in zip(before, after, strict=True)]
        table[["coarse", "detail"]] = kept
        alone = len(self.prompts) < 2  # with nothing to scale a change by
        table["change"] = float("nan") if alone else change(before, after, self.baseline)
        return without_broken(pd.concat([table, self.scorer.score(list(table["prompt"]), after, before)], axis=1))

    # -- what it all depends on -------------------------------------------------------------------------------

    @cached_property
    def _paints(self) -> dict[str, Any]:
        """Everything that pictures depend on, beside the variant."""
        how = self.model.loading
        return {
            "weights": self.model.weights, "settings": self.model.settings, "call": dict(self.model.call),
            "prompts": self.prompts, "seeds": self.seeds,
            "dtype": how.dtype, "quantize": how.quantize,
            "code": code_digests(),
        }  # fmt: skip

    @cached_property
    def _looks(self) -> list[str]:
        """Everything that scores depend on, beside the pictures."""
        return [self.scorer.fingerprint, *looks_digests()]

    def _kept(self, what: str, variant: Variant | None, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        return self.store.table([what, self._paints, self._looks, variant and variant.run], compute)
