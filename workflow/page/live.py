"""The page on which the minis paint in the reader's browser: scripts from template/live, weights of the minis.

Over http the weights are read from data/models. A page that is opened from a file may not read files, but it may run
scripts: so each mini's are written once more, as text in a script beside it, which nobody commits.
"""

import base64
import json
from pathlib import Path

import yaml
from jinja2 import Environment

from painters_utils.engine.describe import short
from painters_utils.models.model import Model
from painters_utils.paths import DATA
from painters_utils.study.experiments import halves

SCRIPTS = {"flux-mini": "flux.js", "sd3-mini": "sd3.js", "auraflow-mini": "auraflow.js"}
SHARED = ("noise.js", "network.js", "text.js", "latents.js", "painter.js")
FIRST = "sd3-mini"  # what an address without a model means: that of a page that had no other
STREAMS = {  # of a stack's blocks, by what people call it
    "MM-DiT": "Image and words run through them in two streams, which read each other.",
    "single": "Image and words run through them in one stream.",
}


def live_page(folder: Path, templates: Environment) -> dict[Path, bytes]:
    """The page's files: of the minis whose weights are here; none if there are none."""
    here = {name: files for name in SCRIPTS if (files := weights_of(name))}
    if not here:
        return {}
    scripts = Path(str(templates.get_template("live/live.html.j2").filename)).parent
    prompts, vocabulary = yaml.safe_load((DATA / "prompts.yaml").read_text()), vocabulary_of(next(iter(here)))
    about = {
        "kernel": in_base64((scripts / "kernel.wasm").read_bytes()),
        "vocabulary": vocabulary,
        "prompts": [*prompts["showcase"], *prompts["article"]["mini"][1:]],
        "first": FIRST if FIRST in here else next(iter(here)),
        "models": {name: about_model(Model.named(name), files) for name, files in here.items()},
    }
    page = {
        "about": about,
        "words": sorted(word for word in vocabulary if word.isalpha()),
        "scripts": [*SHARED, *(SCRIPTS[name] for name in here), "orders.js", "page.js"],
    }
    files = {folder / path.name: path.read_bytes() for path in scripts.iterdir() if path.suffix not in (".j2", ".wasm")}
    files[folder / "index.html"] = templates.get_template("live/live.html.j2").render(page).encode()
    for name, parts in here.items():
        texts = {part: in_base64(only(path, "decoder" if part == "vae" else "")) for part, path in parts.items()}
        script = f"(globalThis.WEIGHTS ??= {{}})[{json.dumps(name)}] = {json.dumps(texts)};\n"
        files[folder / f"weights-{name}.js"] = script.encode()
    return files


def weights_of(name: str) -> dict[str, Path]:
    """The .safetensors of a mini's transformer, text encoders and VAE; none if one is not here."""
    folders = sorted((DATA / "models" / name).glob("t*_encoder*")) + [DATA / "models" / name / "transformer"]
    folders.append(DATA / "models/vae")
    found = {folder.name: next(folder.glob("*.safetensors"), None) for folder in folders}
    return {part: path for part, path in found.items() if path} if all(found.values()) else {}


def vocabulary_of(name: str) -> dict[str, int]:
    """The number of each word that a mini knows; all minis know the same."""
    return json.loads((DATA / "models" / name / "tokenizer/tokenizer.json").read_text())["model"]["vocab"]


def about_model(model: Model, files: dict[str, Path]) -> dict:
    """What the page must know of a mini."""
    closed = model.family == "sd3"  # the last layer returns no words, so that no other can follow it
    half = halves(model)  # on which the report compares the ways to run the layers
    stacks = [
        {"name": stack, "title": short(stack), "about": STREAMS[short(stack)], "depth": depth, "closed": closed,
         "half": half.get(stack, [depth // 4, 3 * depth // 4 - 1])}
        for stack, depth in model.depths.items()
    ]  # fmt: skip
    return {
        "title": model.title,
        "short": model.title.removesuffix(" mini"),
        "script": SCRIPTS[model.name],
        "steps": model.steps,
        "guidance": model.call["guidance_scale"],
        "stacks": stacks,
        "files": {part: str(path.relative_to(DATA / "models")) for part, path in files.items()},
        "bytes": sum(path.stat().st_size for path in files.values()),
    }


def only(path: Path, part: str) -> bytes:
    """A .safetensors file with those tensors alone whose names begin with `part`."""
    content = path.read_bytes()
    if not part:
        return content
    start = 8 + int.from_bytes(content[:8], "little")
    kept, numbers = {}, bytearray()
    for name, about in json.loads(content[8:start]).items():
        if name.startswith(part):
            first, end = about["data_offsets"]
            kept[name] = about | {"data_offsets": [len(numbers), len(numbers) + end - first]}
            numbers += content[start + first : start + end]
    header = json.dumps(kept).encode()
    return len(header).to_bytes(8, "little") + header + numbers


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
