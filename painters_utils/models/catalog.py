"""The table of models, and what can be checked about a run without loading one: this file needs no torch."""

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

import platformdirs
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from painters_utils.errors import InputError, unknown
from painters_utils.files import whole

ROOT = Path(__file__).parent.parent
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner/name on the model hub
JUDGES = ("clip", "dino")  # see judges.py
DIGEST = re.compile("[0-9a-f]{64}")
DIGESTS = platformdirs.user_cache_path("painters") / "digests"
SETTLED = 5  # seconds after which a file is no longer being written
MINI_TOKENS = 24  # what the minis' text encoders were trained to read, end mark included
# What a notebook asks of a cluster's node: memory in MB, minutes, GPUs. A row's own `needs` come first.
MINI_NEEDS = {"mem_mb": 6_000, "runtime": 240, "gpu": 0}
NEEDS = {"mem_mb": 64_000, "runtime": 720, "gpu": 1}


def model_table() -> dict[str, dict]:
    """The rows of `data/models.yaml`: title, path or repository, call settings and whether the model is a mini."""
    return yaml.safe_load((ROOT / "data/models.yaml").read_text())


def model_row(name: str) -> dict:
    """The row of a model: one of the table's names, "owner/name" on the model hub, or a folder with a pipeline.

    A repository may be followed by "@revision" (branch, tag or commit). What is not in the table has no family and no
    depths, and is called with its pipeline's own settings. `InputError` for anything else.
    """
    table = model_table()
    base, _, revision = str(name).partition("@")
    if name in table:
        return table[name]
    if revision and "repo" in table.get(base, {}):
        return table[base] | {"revision": revision}
    folder = Path(name).expanduser()
    if (folder / "model_index.json").is_file():
        return {"title": folder.resolve().name, "path": str(folder.resolve()), "mini": False, "call": {}}
    if folder.is_dir():
        raise InputError(f"folder {name!r} holds no model_index.json: give the folder of a whole diffusers pipeline")
    if REPOSITORY.fullmatch(base):
        return {"title": base.split("/")[1], "repo": base, "revision": revision or "main", "mini": False, "call": {}}
    raise unknown("model", name, table)


def folder_name(name: str) -> str:
    """A model's name as a folder of results and a wildcard of Snakemake: "owner/name@main" is "owner--name@main".

    Two local folders of one name stay apart by the beginning of a hash of their paths.
    """
    row = model_row(name)
    if name not in model_table() and "path" in row:
        return _plain(f"{row['title']}-{hashlib.sha256(row['path'].encode()).hexdigest()[:6]}")
    return _plain(name)


def _plain(text: str) -> str:
    return re.sub(r"[^\w.@-]", "-", text.replace("/", "--"))


def needs(name: str) -> dict[str, int]:
    """What one notebook of the model needs: `mem_mb`, `runtime` in minutes and `gpu`, of which the minis need none."""
    row = model_row(name)
    return (MINI_NEEDS if row.get("mini") else NEEDS) | row.get("needs", {})


def fingerprint(name: str) -> str:
    """Of a model's weights: another model, another fingerprint. What was computed with others is out of date.

    A hash of the files of a local model; repository and commit of one on the hub (see `hub.commit`).
    """
    row = model_row(name)
    if "repo" in row:
        from .hub import commit

        return f"{row['repo']}@{commit(row['repo'], row['revision'])}"
    return folder_fingerprint(ROOT / row["path"])


def folder_fingerprint(folder: Path) -> str:
    """Of all weights in a folder; the tens of gigabytes of a large model are read once (see `file_digest`)."""
    files = sorted(folder.rglob("*.safetensors"))
    return hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, kept in the user's cache for as long as its size and its times stay what they are.

    The time of the last change of the file's inode is one of them: no program can set it back. As in git, what was
    written in the last seconds is not kept: it could change once more within one tick of the clock.
    """
    about = path.stat()
    key = f"{path.resolve()}/{about.st_size}/{about.st_mtime_ns}/{about.st_ctime_ns}"
    kept = DIGESTS / hashlib.sha256(key.encode()).hexdigest()
    with suppress(OSError, ValueError):  # not there, or damaged
        if DIGEST.fullmatch(found := kept.read_text()):
            return found
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - max(about.st_mtime, about.st_ctime) > SETTLED:
        with suppress(OSError), whole(kept) as unfinished:  # a home that cannot be written costs time only
            unfinished.write_text(found)
    return found


def model_depths(name: str) -> dict[str, int]:
    """How many layers each stack of a model has, from the table or else from its configuration (no weights needed)."""
    row = model_row(name)
    if "depths" in row:
        return row["depths"]
    from .skeleton import stack_depths

    return stack_depths(name)


def call_settings(name: str, **changes: object) -> dict:
    """How the model's pipeline is called (steps, guidance, size); `changes` that are None leave the table's value.

    A model that is not in the table takes its steps and guidance from its pipeline, and its size is left to it.
    """
    settings = model_row(name)["call"]
    if not settings:
        from .skeleton import default_call

        settings = default_call(name)
    settings = settings | {key: value for key, value in changes.items() if value is not None}
    for key in ("num_inference_steps", "height", "width"):
        if key in settings:
            require_positive(key, settings[key])
    return settings


# How a model is loaded and painted, and what may be chosen. None: as it suits the machine.
LOADING = {
    "dtype": ("float32", "bfloat16", "float16"),
    "device": ("cuda", "cpu", "mps", "cuda:1"),  # or any other GPU by its number
    "offload": ("none", "model", "sequential"),
    "quantize": ("none", "8bit", "4bit", "int8"),
    "batch": None,
}
STUDY_LOADING = "PAINTERS_LOADING"  # the environment variable by which `make report` hands its own choice to notebooks


def loading(name: str, **changes: object) -> dict:
    """How a model is loaded and painted: dtype, device, offload, quantize, batch; None where nothing is said.

    `changes` that are not None go before the study's (config.yaml and the command line), those before the table's. A
    model that is no mini is loaded in bfloat16 and paints one picture at a time unless something else is said.
    """
    row = model_row(name)
    usual = {} if row.get("mini") else {"dtype": "bfloat16", "batch": 1}
    chosen = usual | {key: row[key] for key in LOADING if key in row}
    for more in (json.loads(os.environ.get(STUDY_LOADING, "{}")), changes):
        chosen |= {key: value for key, value in more.items() if value is not None}
    return check_loading(chosen)


def check_loading(chosen: dict) -> dict:
    """The same with every key, and None for "none"; `InputError` for what cannot be chosen."""
    for key, value in chosen.items():
        if key not in LOADING:
            raise unknown("setting", key, LOADING)
        if key == "batch":
            require_positive(key, value)
        elif value not in LOADING[key] and not re.fullmatch(r"cuda:\d+", str(value) * (key == "device")):
            raise unknown(key, value, LOADING[key])
    return {key: None if chosen.get(key) == "none" else chosen.get(key) for key in LOADING}


def check_words(prompts: Sequence[str], tokenizer: Tokenizer | Path | None) -> None:
    """`check_prompts` for a tokenizer or its `tokenizer.json`: no model needs to be loaded to check a word."""
    if isinstance(prompts, str) or not prompts:
        raise InputError(f"prompts must be a non-empty list of texts, not {prompts!r}")
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"prompt {prompt!r} is empty or no text: write what to paint")
    if isinstance(tokenizer, Path):
        try:
            tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # tokenizers raises nothing more specific
            raise InputError(f"the tokenizer {tokenizer} is damaged ({error}): check it out again") from error
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


def check_judges(wanted: Mapping[str, str | None]) -> None:
    """Refuse what names no judge or no place of its weights; `judges.load_judges` says what is meant."""
    if not isinstance(wanted, Mapping):
        raise InputError(f"judges is {wanted!r}: give the weights of each by name, as in {{clip: folder, dino: null}}")
    for name, where in wanted.items():
        if name not in JUDGES:
            raise unknown("judge", name, JUDGES)
        if where is not None and (not isinstance(where, str) or not where.strip()):
            raise InputError(f"judge {name!r} is {where!r}: give a folder or a repository with its weights, or null")


def require_positive(name: str, value: object) -> None:
    """Refuse anything but a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}: give a whole number above 0")
