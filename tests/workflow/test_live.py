"""The painter that runs in a browser paints what the pipeline paints, from a file, without a server."""

import base64
import html
import json
import os
import re
import shutil
import subprocess
from itertools import chain

import numpy as np
import pytest

from painters_utils import Model, build_order, layer_order, load_pipeline, paint
from painters_utils.paths import CODE

LIVE = CODE / "workflow/page/live"
PARTS = ("transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "vae")
JOBS = [  # a prompt, a seed, and how the 24 layers run
    ("a red dog left of a yellow cat on a blue background", 0, build_order("identity", 24)),
    ("a green car and a red apple on a white background", 1, build_order("reverse", 24, [8, 15])),
    ("three red apples on a striped green background", 2, build_order("skip", 24, [8, 15])),
    ("an owl on a gray background", 0, build_order("middle_repeat", 24, [9, 12])),
    ("a purple car above a pink house on a dotted yellow background", 3, build_order("looped_parallel", 24, [8, 13])),
]
PROBE = """
const decoded = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer;
window.onerror = (message) => { document.title = "probe " + JSON.stringify({ error: message }); };
onload = async () => {
  const files = Object.fromEntries(Object.entries(FILES).map(([part, text]) => [part, readTensors(decoded(text))]));
  const painter = new SD3(new Memory(decoded(KERNEL), 160), files, VOCABULARY), pictures = [];
  for (const [prompt, seed, order] of JOBS) {
    const pixels = await painter.paint(prompt, { seed, order });
    pictures.push(btoa(String.fromCharCode(...Uint8Array.from(pixels, (value) => Math.round(255 * value)))));
  }
  document.title = "probe " + JSON.stringify({ pictures });
};
"""


def in_base64(path):
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium") and not os.environ.get("CI"), reason="no chromium on this machine")
def test_the_browser_paints_what_the_pipeline_paints(tmp_path):
    folder = Model.named("sd3-mini").source.folder
    files = {part: in_base64(next((folder / part).glob("*.safetensors"))) for part in PARTS}
    vocabulary = json.loads((folder / "tokenizer/tokenizer.json").read_text())["model"]["vocab"]
    given = dict(KERNEL=in_base64(LIVE / "kernel.wasm"), FILES=files, VOCABULARY=vocabulary, JOBS=JOBS)
    constants = [f"const {name} = {json.dumps(value)};" for name, value in given.items()]
    scripts = [(LIVE / f"{name}.js").read_text() for name in ("noise", "network", "sd3")]
    page = tmp_path / "page.html"
    page.write_text("".join(f"<script>{script}</script>\n" for script in [*constants, *scripts, PROBE]))
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=120000", "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    title = re.search(r"<title>probe (.*?)</title>", done.stdout)
    assert title, done.stderr[-2000:]
    said = json.loads(html.unescape(title.group(1)))
    assert "error" not in said, said

    pipe, model = load_pipeline("sd3-mini"), Model.named("sd3-mini")
    for (prompt, seed, order), picture in zip(JOBS, said["pictures"], strict=True):
        with layer_order(pipe.transformer, {"transformer_blocks": order}):
            [expected] = paint(pipe, [prompt], [seed], **model.call)
        found = np.frombuffer(base64.b64decode(picture), np.uint8).reshape(96, 96, 3).astype(float)
        assert np.abs(found - np.asarray(expected.image, float)).mean() < 0.5, (prompt, order)
        assert found.std() > 5


def test_the_kernel_is_the_one_whose_source_lies_beside_it():
    source, binary = (LIVE / "kernel.wat").read_text(), (LIVE / "kernel.wasm").read_bytes()
    assert f"{len(binary)} bytes" in source and binary[:4] == b"\0asm"
    assert all(name.encode() in binary for name in chain(*re.findall(r'\(export "(\w+)"()', source)))
