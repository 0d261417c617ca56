"""The table of models, and what can be checked about a run without loading one: this file needs no torch."""

import hashlib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from .errors import InputError, unknown

ROOT = Path(__file__).parent.parent
MINI_TOKENS = 24  # what the minis' text encoders were trained to read, end mark included


def model_table() -> dict[str, dict]:
    """The rows of `data/models.yaml`: title, path, call settings and whether the model is a mini."""
    return yaml.safe_load((ROOT / "data/models.yaml").read_text())


def model_row(name: str) -> dict:
    """One row of the model table; an unknown name is an `InputError`."""
    table = model_table()
    if name not in table:
        raise unknown("model", name, table)
    return table[name]


def fingerprint(name: str) -> str:
    """Of a model's weights: another model, another fingerprint. What was computed with others is out of date."""
    files = sorted((ROOT / model_row(name)["path"]).rglob("*.safetensors"))
    return hashlib.sha256("".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files).encode()).hexdigest()


def call_settings(name: str, **changes: object) -> dict:
    """How the model's pipeline is called (steps, guidance, size); `changes` that are None leave the table's value."""
    settings = model_row(name)["call"] | {key: value for key, value in changes.items() if value is not None}
    for key in ("num_inference_steps", "height", "width"):
        require_positive(key, settings[key])
    return settings


def check_words(prompts: Sequence[str], tokenizer: Tokenizer | Path | None) -> None:
    """`check_prompts` for a tokenizer or its `tokenizer.json`: no model needs to be loaded to check a word."""
    if isinstance(prompts, str) or not prompts:
        raise InputError(f"prompts must be a non-empty list of texts, not {prompts!r}")
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"prompt {prompt!r} is empty or no text: write what to paint")
    if isinstance(tokenizer, Path):
        tokenizer = Tokenizer.from_file(str(tokenizer))
    if tokenizer is None or not isinstance(tokenizer.model, WordLevel):
        return  # only the minis read whole words
    known = tokenizer.get_vocab()
    for prompt in prompts:
        words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(prompt.lower())]
        strange = [word for word in dict.fromkeys(words) if word not in known]
        if strange:
            plain = [word for word in known if word.isalpha()]
            near = "; ".join(
                f"{word!r} (nearest: {', '.join(get_close_matches(word, plain, 3, 0.4)) or 'none'})" for word in strange
            )
            raise InputError(f"prompt {prompt!r} has words that a mini does not know: {near}")
        if len(words) >= MINI_TOKENS:
            raise InputError(f"prompt {prompt!r} has {len(words)} words: a mini reads {MINI_TOKENS - 1} at most")


def require_positive(name: str, value: object) -> None:
    """Refuse anything but a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}: give a whole number above 0")
