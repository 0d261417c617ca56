"""The page on which a mini paints in the reader's browser: scripts from template/live, weights of the mini.

Over http the weights are read from data/models. A page that is opened from a file may not read files, but it may run
scripts: so they are written once more, as text in a script beside it, which nobody commits.
"""

import base64
import json
from pathlib import Path

import yaml
from jinja2 import Environment

from painters_utils.paths import DATA

MODEL = "sd3-mini"
PARTS = ("transformer", "text_encoder", "text_encoder_2", "text_encoder_3")


def live_page(folder: Path, templates: Environment) -> dict[Path, bytes]:
    """The page's files; none if the mini's weights are not here."""
    models = DATA / "models"
    weights = {part: next((models / MODEL / part).glob("*.safetensors"), None) for part in PARTS}
    weights["vae"] = next((models / "vae").glob("*.safetensors"), None)
    if not all(weights.values()):
        return {}
    scripts = Path(str(templates.get_template("live/live.html.j2").filename)).parent
    prompts = yaml.safe_load((DATA / "prompts.yaml").read_text())
    about = {
        "kernel": in_base64((scripts / "kernel.wasm").read_bytes()),
        "vocabulary": json.loads((models / MODEL / "tokenizer/tokenizer.json").read_text())["model"]["vocab"],
        "files": {
            part: str(path.relative_to(models / MODEL if part != "vae" else models)) for part, path in weights.items()
        },
        "prompts": [*prompts["article"]["mini"][1:], *prompts["showcase"]],
    }
    texts = {
        part: in_base64(only(path, "decoder") if part == "vae" else path.read_bytes()) for part, path in weights.items()
    }
    files = {folder / script.name: script.read_bytes() for script in [*scripts.glob("*.js"), *scripts.glob("kernel.*")]}
    files[folder / "live.css"] = (scripts / "live.css").read_bytes()
    files[folder / f"weights-{MODEL}.js"] = f"const WEIGHTS = {json.dumps(texts)};\n".encode()
    files[folder / "index.html"] = templates.get_template("live/live.html.j2").render(about=about, depth=24).encode()
    return files


def only(path: Path, part: str) -> bytes:
    """A .safetensors file with those tensors alone whose names begin with `part`."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    kept, numbers = {}, b""
    for name, about in json.loads(content[8:start]).items():
        if name.startswith(part):
            first, end = about["data_offsets"]
            kept[name] = about | {"data_offsets": [len(numbers), len(numbers) + end - first]}
            numbers += content[start + first : start + end]
    header = json.dumps(kept).encode()
    return len(header).to_bytes(8, "little") + header + numbers


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
