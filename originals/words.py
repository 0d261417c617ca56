"""Refuse prompts that a model cannot read, before anything is painted."""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from painters_utils.errors import InputError


def check_prompts(prompts: Sequence[str], tokenizer: Tokenizer | None = None, most: int = 0) -> None:
    """Refuse an empty list and an empty prompt; for a tokenizer that knows whole words only, as the minis' do, also
    unknown words and more than `most` tokens, end mark included."""
    if isinstance(prompts, str) or not prompts:
        raise InputError(f"prompts must be a non-empty list of texts, not {prompts!r}")
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"prompt {prompt!r} is empty or no text: write what to paint")
    if tokenizer is None or not isinstance(tokenizer.model, WordLevel):
        return
    known = tokenizer.get_vocab()
    for prompt in prompts:
        words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(prompt.lower())]
        if strange := [word for word in dict.fromkeys(words) if word not in known]:
            plain = [word for word in known if word.isalpha()]
            near = "; ".join(
                f"{word!r} (nearest: {', '.join(get_close_matches(word, plain, 3, 0.4)) or 'none'})" for word in strange
            )
            raise InputError(f"prompt {prompt!r} has words that a mini does not know: {near}")
        if len(words) >= most:
            raise InputError(f"prompt {prompt!r} has {len(words)} words: a mini reads {most - 1} at most")


def read_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """The tokenizer of the pipeline in a folder, and how many tokens it reads; `InputError` if it is damaged."""
    try:
        most = json.loads((folder / "tokenizer/tokenizer_config.json").read_text())["model_max_length"]
        return Tokenizer.from_file(str(folder / "tokenizer/tokenizer.json")), most
    except Exception as error:  # tokenizers raises nothing more specific
        raise InputError(f"the tokenizer in {folder} is damaged ({error}): check it out again") from error


def reads_words(folder: Path) -> bool:
    """Whether a pipeline's tokenizer knows whole words only, as the minis' do."""
    try:
        return isinstance(read_tokenizer(folder)[0].model, WordLevel)
    except InputError:
        return False
