"""What a run of the study does: config.yaml, a profile and the command line, checked before anything starts."""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from miniworld.grammar import parse
from originals.words import check_prompts, read_tokenizer, reads_words
from painters_utils.errors import InputError, check_seeds, unknown
from painters_utils.models.model import Model
from painters_utils.paths import DATA, ROOT
from painters_utils.study.experiments import EXPERIMENTS, FEW, experiment
from painters_utils.study.numbers import searched_alone
from painters_utils.study.settings import others_prompts, read_config
from painters_utils.study.variants import Variant, matched_bands

from .checks import check_weights, require_own, require_writable
from .notebooks import Notebook, choose_notebooks

REPORT = ROOT / "report"
# In the folder of a study: what it was run with; which files the page consists of, with their digests.
SETTINGS, PUBLISHED = "study.json", "page.json"

Count = Annotated[int, Field(gt=0)]


class Group(BaseModel, extra="forbid", frozen=True):
    """Settings that belong together; one that is not among them is an error."""


class Others(Group):
    prompts: Any  # a version of the article's, or a list
    steps: Count | None = None


class HowLoaded(Group):
    dtype: str | None = None  # `originals.machine.Loading` knows what can be chosen
    device: str | None = None
    offload: str | None = None
    quantize: str | None = None
    batch: Count | None = None


class Judges(Group):
    clip: str | None = None
    dino: str | None = None


class Settings(Group):
    """config.yaml, which says what each of them means."""

    models: list[str] = Field(min_length=1)
    notebooks: list[str] | None = Field(min_length=1)
    options: dict[str, dict[str, Any]] = {}
    prompts: list[str]
    seeds: Count
    suite: int = Field(ge=0, le=180)
    steps: Count | None
    judges: Judges
    others: Others
    loading: HowLoaded


@dataclass(frozen=True)
class Study:
    """A checked configuration. `notebooks` run for every model, the `closing` ones once, after all of them."""

    profile: str
    settings: Settings
    models: list[Model]
    notebooks: dict[str, Notebook]
    closing: dict[str, Notebook]
    out: Path  # the folder of what the run computes
    page: Path  # the report that it ends in
    figures: Path

    def notebooks_of(self, model: Model) -> list[str]:
        """The notebooks that run for a model, by name."""
        return [name for name, notebook in self.notebooks.items() if model.mini or not notebook.minis_only]

    @property
    def documents(self) -> dict[tuple[str, str], Path]:
        """Where each executed notebook lies, by whose it is (a model's key, or "study" for all) and its name."""
        names = {model.key: self.notebooks_of(model) for model in self.models} | {"study": list(self.closing)}
        return {(who, name): self.out / who / f"{name}.ipynb" for who, some in names.items() for name in some}

    def prompts_of(self, model: Model) -> list[str]:
        """What a model paints: a mini `prompts`, any other model the article's own (see `others` in config.yaml)."""
        return self.settings.prompts if model.mini else others_prompts(self.settings.others.prompts)

    def for_all(self, value_of: Callable[[Model], Any]) -> Any:
        """What all models have in common, or what each has, by name."""
        values = {model.name: value_of(model) for model in self.models}
        first, *others = values.values()
        return first if all(value == first for value in others) else values

    def settings_of(self, model: Model | None) -> dict[str, Any]:
        """All that a notebook can be told, for a model or (None) once for all of them, by the parameters' names."""
        settings, out = self.settings, from_root(self.out)
        given = settings.model_dump(include={"suite", "judges", "loading"}) | {
            "models": [model.name for model in self.models],
            "notebooks": list(self.notebooks),
            "seeds": list(range(settings.seeds)),
            "prompts": self.for_all(self.prompts_of),
            "steps": self.for_all(lambda model: model.steps),
            "out": out,
        }
        if model is None:
            return given
        # What is not quantised is said so: None would leave it to the table of models.
        plain = {key: "none" for key in ("offload", "quantize") if getattr(model.loading, key) is None}
        own = {"model": model.name, "prompts": self.prompts_of(model), "steps": model.steps}
        return given | own | {"loading": asdict(model.loading) | plain, "out": f"{out}/{model.key}"}

    def parameters(self, model: Model | None, notebook: str) -> dict[str, Any]:
        """What a notebook is run with: every setting that its parameters cell declares, none left to a default."""
        given = self.settings_of(model) | self.settings.options.get(notebook, {})
        declared = (self.notebooks | self.closing)[notebook].parameters
        return {name: value for name, value in given.items() if name in declared}

    def variants_of(self, model: Model, notebook: str) -> list[Variant]:
        """What a notebook paints. Where a model's bands lie is known only later; how many there are is known."""
        bands = {stack: matched_bands(np.eye(depth)) for stack, depth in model.depths.items()}
        options, found = self.settings.options.get(notebook, {}), []
        for row in [row for row in EXPERIMENTS if row.notebook == notebook]:
            known = inspect.signature(row.build).parameters
            found += row.variants(model, bands, **{key: options[key] for key in options if key in known})
        return found

    def pictures_each(self, model: Model, notebook: str) -> int:
        """How many pictures a notebook paints of each of its variants."""
        settings, shown = self.settings, len(self.prompts_of(model))
        suite = settings.suite if model.mini else 0
        every = (shown + suite) * settings.seeds
        if notebook in {row.notebook for row in EXPERIMENTS if row.few}:
            return shown + min(suite, FEW)
        anew = settings.options.get(notebook, {}).get("anew", False)
        alone = notebook == experiment("layer_by_layer").notebook and not anew
        return shown if alone and searched_alone(model, every) else every

    def as_json(self) -> str:
        """What to give `load_study` beside the profile to get this study again."""
        return json.dumps(self.settings.model_dump() | {"out": str(self.out)})


def load_study(profile: str = "default", out: str | Path | None = None, **changes: object) -> Study:
    """Read config.yaml, lay the profile and then `changes` (those that are not None) over it, and check it all.

    Everything goes to the folder `out`; by default to results/<profile>/, and page and figures of the default profile
    to where they are committed. `InputError` for what is unknown, out of bounds or damaged, and for a folder that
    cannot be written or holds other things.
    """
    config = require_mapping("config.yaml", read_config())
    profiles = require_mapping("profiles", config.pop("profiles", None))
    if profile not in profiles:
        raise unknown("profile", profile, profiles)
    for over in (
        require_mapping(f"profile {profile}", profiles[profile]),
        {key: value for key, value in changes.items() if value is not None},
    ):
        groups = {key: config[key] | value for key, value in over.items()
                  if isinstance(value, Mapping) and isinstance(config.get(key), Mapping)}  # fmt: skip
        config |= {**over, **groups}  # a part of a group may be given alone
    try:
        settings = Settings(**config)
    except ValidationError as error:
        raise explain(error) from None

    usual = ROOT / "results" / profile
    out = Path(os.path.abspath(out or usual))
    committed = profile == "default" and out == usual
    page, figures = (REPORT, ROOT / "figures") if committed else (out / "report", out / "figures")
    if out != usual:
        require_own(out, SETTINGS)
    models = [Model.named(name, **settings.loading.model_dump()) for name in dict.fromkeys(settings.models)]
    models = [model.changed(settings.steps if model.mini else settings.others.steps) for model in models]
    per_model, closing = choose_notebooks(settings.notebooks, settings.options)
    study = Study(profile, settings, models, per_model, closing, out, page / "index.html", figures)
    check_words(study)
    check_options(study)
    for folder in (out, page, figures):
        require_writable(folder)
    return study


def require_mapping(name: str, found: Any) -> dict[str, Any]:
    """A part of config.yaml that holds names and values; nothing at all counts as none of them."""
    if not isinstance(found, dict | None):
        raise InputError(f"{name} is {found!r}: write names and their values, as the committed config.yaml does")
    return found or {}


def explain(error: ValidationError) -> InputError:
    """What is wrong with the settings, in one line: the bad value, then the remedy.

    Of several things a name that nobody knows is told first: it may be what another misses.
    """
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    *group, key = first["loc"]
    name, says = " ".join(map(str, first["loc"])), first["msg"].replace("Input should be", "it should be")
    if first["type"] == "extra_forbidden":
        known = (Settings.model_fields[group[0]].annotation if group else Settings).model_fields
        return unknown(f"setting of {group[0]}" if group else "setting", key, known)
    if first["type"] == "missing":
        return InputError(f"{name} is missing: config.yaml must say it")
    return InputError(f"{name} is {first['input']!r}: {says[0].lower()}{says[1:]}")


def check_options(study: Study) -> None:
    """`InputError` for options of a notebook from which no variants can be built."""
    for notebook, options in study.settings.options.items():
        if "seeds" in options:
            check_seeds(options["seeds"])
        for model in study.models if notebook in study.notebooks else ():
            try:
                study.variants_of(model, notebook)
            except InputError as error:
                raise InputError(f"options of {notebook}: {error}") from error
            except (TypeError, ValueError, LookupError, ArithmeticError) as error:
                raise InputError(
                    f"options of {notebook} cannot be used ({error}): its parameters cell shows what they look like"
                ) from error


def check_words(study: Study) -> None:
    """`InputError` for prompts that a model cannot read, and for weights that are missing or damaged."""
    own = study.settings.others.prompts
    check_prompts(others_prompts(own))
    for model in study.models:
        prompts = study.prompts_of(model)
        if model.mini:
            check_prompts(prompts, *read_tokenizer(model.folder))
            for prompt in prompts:
                parse(prompt)
        elif (folder := model.source.folder) and reads_words(folder) and not isinstance(own, list):
            raise InputError(
                f"{model.name} is a mini, which reads few words: give it a row with `mini: true` in data/models.yaml "
                "for the minis' prompts and scores, or put prompts of its words under `others` in config.yaml"
            )
        if len(set(prompts)) < 2:
            raise InputError(f"{model.name} would paint one prompt alone: give two at least, one is the other's chance")
        if model.source.folder:
            check_weights(model.source.folder.glob("*/*.safetensors"))
    check_weights((DATA / "checker").glob("*.safetensors"))


def from_root(path: Path) -> str:
    """A path as people read it: from the repository's root if it lies there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
