"""What a notebook uses where it is given nothing: the prompts and judges of config.yaml."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from originals.words import check_prompts
from painters_utils.errors import InputError, unknown
from painters_utils.models.model import Model
from painters_utils.paths import CONFIG, DATA

from .scores import JUDGED


def read_config() -> dict[str, Any]:
    """config.yaml as it stands; `InputError` if it cannot be read."""
    try:
        return yaml.safe_load(CONFIG.read_text())
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise InputError(f"config.yaml is damaged ({where}): mend that line, or check the file out again") from error


def shown_prompts(model: Model, prompts: Sequence[str] | None = None) -> list[str]:
    """The prompts given, each once; else those that config.yaml has for minis or, under `others`, for any other model.

    `InputError` unless they are a non-empty list of texts that are not empty; of a mini, of its grammar.
    """
    if prompts is None:
        config = read_config()
        prompts = config["prompts"] if model.mini else others_prompts(config["others"]["prompts"])
    if isinstance(prompts, str) or not isinstance(prompts, Sequence) or not prompts:
        raise InputError(f"prompts is {prompts!r}: give a list of texts, or None for those of config.yaml")
    check_prompts(prompts)
    if model.mini:
        from painters_utils.measure.world import require_grammar  # loads torch

        require_grammar(prompts)
    return list(dict.fromkeys(prompts))


def others_prompts(words: str | list[str]) -> list[str]:
    """The article's prompts in its own words, "intended" or "as run" (data/prompts.yaml); a list stands for itself."""
    if isinstance(words, list):
        return words
    versions = yaml.safe_load((DATA / "prompts.yaml").read_text())["article"]
    known = {name: prompts for name, prompts in versions.items() if name != "mini"}  # config.yaml has the minis' words
    if words not in known:
        raise unknown("version of the article's prompts", words, known)
    return known[words]


def wanted_judges(judges: Mapping[str, str | None] | None = None) -> dict[str, str | None]:
    """Where the weights of each judge lie, as given or else as config.yaml says."""
    if judges is not None and not isinstance(judges, Mapping):
        raise InputError(f"judges is {judges!r}: give the weights of each by name, as in {{clip: folder, dino: null}}")
    for name in judges or {}:
        if name not in JUDGED:
            raise unknown("judge", name, JUDGED)
    return dict(read_config()["judges"] if judges is None else judges)
