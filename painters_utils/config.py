"""What a run of the study does: config.yaml, a profile and the command line, checked before anything starts."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from .catalog import ROOT, call_settings, check_words, model_table, require_positive
from .errors import InputError, unknown

REPORT = ROOT / "report"


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
    out: Path
    page: Path
    figures: Path

    def parameters(self, model: str, notebook: str) -> dict:
        """What a notebook is run with: those of its parameters that the study sets; `out` is the model's own folder."""
        out = str(self.out.relative_to(ROOT))
        given = {
            "model": model,
            "models": self.models,
            "prompts": self.prompts,
            "seeds": list(range(self.seeds)),
            "suite": self.suite,
            "scenes": self.scenes,
            "steps": self.steps,
            "out": out if notebook == self.summary else f"{out}/{model}",
        }
        declared = parameters_of(ROOT / "notebooks" / f"{notebook}.ipynb")
        return {name: value for name, value in given.items() if name in declared}

    def settings(self) -> str:
        """What to give `load_study` beside the profile to get this study again, as JSON."""
        names = ("models", "notebooks", "summary", "prompts", "seeds", "suite", "scenes", "steps")
        return json.dumps({name: getattr(self, name) for name in names})


def parameters_of(notebook: Path) -> list[str]:
    """The names that a notebook's `parameters` cell assigns."""
    cells = json.loads(notebook.read_text())["cells"]
    tagged = [cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return re.findall(r"^(\w+) = ", "".join("".join(source) for source in tagged), re.M)


def load_study(profile: str = "default", **changes: object) -> Study:
    """Read config.yaml, lay the profile and then `changes` (those that are not None) over it, and check it all.

    Raises `InputError` for an unknown profile, key, model, notebook or word, a number that is not positive and a
    folder that cannot be written.
    """
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    profiles = config.pop("profiles")
    if profile not in profiles:
        raise unknown("profile", profile, profiles)
    for key in profiles[profile] | changes:
        if key not in config:
            raise unknown("setting", key, config)
    config |= profiles[profile] | {key: value for key, value in changes.items() if value is not None}

    own = profile == "default"
    out = ROOT / "results" / profile
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
    known = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    for notebook in [*study.notebooks, study.summary]:
        if notebook not in known:
            raise unknown("notebook", notebook, known)
    table = model_table()
    for model in study.models:
        call_settings(model)
        folder = ROOT / table[model]["path"]
        if not (folder / "model_index.json").exists():
            raise InputError(f"no weights of {model!r} in {folder.relative_to(ROOT)}: train them with `make minis`")
        if table[model].get("mini"):
            check_words(study.prompts, folder / "tokenizer/tokenizer.json")
    for folder in (study.out, study.page.parent, study.figures):
        require_writable(folder)


def require_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder} ({error.strerror}): choose another") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write to the folder {folder}: change its permissions or choose another")
