"""What a run of the study does: config.yaml, a profile and the command line, checked before anything starts."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from painters_utils.models.catalog import (
    ROOT,
    call_settings,
    check_judges,
    check_loading,
    check_words,
    folder_name,
    model_row,
    require_positive,
)
from painters_utils.errors import InputError, unknown
from painters_utils.files import check_weights

REPORT = ROOT / "report"
# In the folder of a study: what it was run with; which files the page consists of, with their digests.
SETTINGS, PUBLISHED = "study.json", "page.json"
CHECKER = "02_checker"
GROUPS = {"others": ("prompts", "steps"), "loading": ("dtype", "device", "offload", "quantize", "batch")}


@dataclass(frozen=True)
class Study:
    """A checked configuration. `out` holds what the run computes, `page` is the report it ends in."""

    profile: str
    models: list[str]
    notebooks: list[str]
    summary: str
    prompts: list[str]
    seeds: int
    suite: int
    scenes: int
    steps: int | None
    judges: dict[str, str | None]
    others: dict
    loading: dict
    out: Path
    page: Path
    figures: Path

    def notebooks_of(self, model: str) -> list[str]:
        """The notebooks that run for a model: the checker's own is for minis."""
        return [name for name in self.notebooks if name != CHECKER or model_row(model).get("mini")]

    def prompts_of(self, model: str) -> list[str]:
        """What a model paints: a mini `prompts`, any other the article's own (see `others` in config.yaml)."""
        if model_row(model).get("mini"):
            return self.prompts
        words = self.others["prompts"]
        return words if isinstance(words, list) else article_prompts()[words]

    def steps_of(self, model: str) -> int | None:
        """How many denoising steps a model takes; None: as many as is its own."""
        return self.steps if model_row(model).get("mini") else self.others["steps"]

    def for_all(self, value_of: Callable[[str], Any]) -> Any:
        """What all models have in common, or what each has, by name."""
        values = {model: value_of(model) for model in self.models}
        first = next(iter(values.values()))
        return first if all(value == first for value in values.values()) else values

    def call(self, model: str) -> dict:
        """How the study calls a model's pipeline."""
        return call_settings(model, num_inference_steps=self.steps_of(model))

    def parameters(self, model: str | None, notebook: str) -> dict:
        """What a notebook is run with: those of its parameters that the study sets; `out` is the model's own folder."""
        out = shown(self.out)
        given = {
            "model": model,
            "models": self.models,
            "prompts": self.prompts_of(model) if model else self.for_all(self.prompts_of),
            "seeds": list(range(self.seeds)),
            "suite": self.suite,
            "scenes": self.scenes,
            "steps": self.steps_of(model) if model else self.for_all(self.steps_of),
            "judges": self.judges,
            "out": out if notebook == self.summary else f"{out}/{folder_name(model)}",
        }
        declared = parameters_of(ROOT / "notebooks" / f"{notebook}.ipynb")
        return {name: value for name, value in given.items() if name in declared}

    def settings(self) -> str:
        """What to give `load_study` beside the profile to get this study again, as JSON."""
        names = ("models", "notebooks", "summary", "prompts", "seeds", "suite", "scenes", "steps", "judges")
        names += ("others", "loading")
        return json.dumps({name: getattr(self, name) for name in names} | {"out": str(self.out)})


def shown(path: Path) -> str:
    """A path as people read it: from the repository's root if it lies there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def article_prompts() -> dict[str, list[str]]:
    """The article's prompts in the versions of data/prompts.yaml that are not in the minis' words."""
    table = yaml.safe_load((ROOT / "data/prompts.yaml").read_text())["article"]
    return {name: prompts for name, prompts in table.items() if name != "mini"}


def parameters_of(notebook: Path) -> list[str]:
    """The names that a notebook's `parameters` cell assigns."""
    cells = json.loads(notebook.read_text())["cells"]
    tagged = [cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return re.findall(r"^(\w+) = ", "".join("".join(source) for source in tagged), re.M)


def load_study(profile: str = "default", out: str | Path | None = None, **changes: object) -> Study:
    """Read config.yaml, lay the profile and then `changes` (those that are not None) over it, and check it all.

    Everything goes to the folder `out`, page and figures too; by default to results/<profile>/, and page and figures
    of the default profile to where they are committed. Raises `InputError` for an unknown profile, key, model,
    notebook or word, a number that is not positive, damaged weights, and a folder that cannot be written or holds
    other things.
    """
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    profiles = config.pop("profiles")
    if profile not in profiles:
        raise unknown("profile", profile, profiles)
    for key in profiles[profile] | changes:
        if key not in config:
            raise unknown("setting", key, config)
    for over in (profiles[profile], {key: value for key, value in changes.items() if value is not None}):
        # A part of a group may be given alone.
        config |= {key: config[key] | value if key in GROUPS and isinstance(value, dict) else value
                   for key, value in over.items()}  # fmt: skip

    usual = ROOT / "results" / profile
    out = Path(os.path.abspath(out or usual))
    if out != usual:
        require_own(out)
    own = profile == "default" and out == usual
    study = Study(
        profile=profile,
        out=out,
        page=REPORT / "index.html" if own else out / "report/index.html",
        figures=ROOT / "figures" if own else out / "figures",
        **config,
    )
    check_study(study)
    return study


def check_study(study: Study) -> None:
    """Everything that can be known to fail before the first notebook runs."""
    for name, values in (("models", study.models), ("notebooks", study.notebooks), ("prompts", study.prompts)):
        if not isinstance(values, list) or not values:
            raise InputError(f"{name} is {values!r}: give a list of at least one")
    require_positive("seeds", study.seeds)
    require_positive("scenes", study.scenes)
    if type(study.suite) is not int or not 0 <= study.suite <= 20:
        raise InputError(f"suite is {study.suite!r}: give a whole number from 0 to 20, the prompts of a task")
    if study.steps is not None:
        require_positive("steps", study.steps)
    for group, keys in GROUPS.items():
        for key in (given := getattr(study, group)):
            if key not in keys:
                raise unknown(f"setting of {group}", key, keys)
        if set(given) != set(keys):
            raise InputError(f"{group} lacks {', '.join(set(keys) - set(given))}: see config.yaml")
    check_loading({key: value for key, value in study.loading.items() if value is not None})
    if study.others["steps"] is not None:
        require_positive("steps", study.others["steps"])
    words = study.others["prompts"]
    if isinstance(words, list):
        check_words(words, None)
    elif words not in article_prompts():
        raise unknown("version of the article's prompts", words, article_prompts())
    known = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    for notebook in [*study.notebooks, study.summary]:
        if notebook not in known:
            raise unknown("notebook", notebook, known)
    check_judges(study.judges)
    for model in study.models:
        row = model_row(model)
        if row.get("mini"):
            call_settings(model)
            folder = ROOT / row["path"]
            if not (folder / "model_index.json").exists():
                raise InputError(f"no weights of {model!r} in {row['path']}: train them with `make minis`")
            check_words(study.prompts, folder / "tokenizer/tokenizer.json")
        elif "path" in row and reads_words(ROOT / row["path"]) and not isinstance(words, list):
            raise InputError(
                f"{model} is a mini, which reads few words: give it a row with `mini: true` in data/models.yaml "
                "for the minis' prompts and scores, or put prompts of its words under `others` in config.yaml"
            )
        if "path" in row:
            check_weights((ROOT / row["path"]).rglob("*.safetensors"))
    check_weights((ROOT / "data/checker").glob("*.safetensors"))
    for folder in (study.out, study.page.parent, study.figures):
        require_writable(folder)


def reads_words(folder: Path) -> bool:
    """Whether a pipeline's tokenizer knows whole words only, as the minis' do."""
    try:
        return json.loads((folder / "tokenizer/tokenizer.json").read_text())["model"]["type"] == "WordLevel"
    except (OSError, ValueError, LookupError, TypeError):
        return False


def require_own(folder: Path) -> None:
    """Refuse a folder of other things: a run deletes figures and pages of earlier runs."""
    made_first = {"report", "figures", "run.lock", SETTINGS}
    if folder.is_dir() and not (folder / SETTINGS).exists() and {path.name for path in folder.iterdir()} - made_first:
        raise InputError(f"{folder} holds other files: choose a folder that is new, empty or of an earlier run")


def require_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder} ({error.strerror}): choose another with OUT=") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write to the folder {folder}: change its permissions or choose another with OUT=")
