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
from workflow.page.build import templates
from workflow.page.live import live_page

LIVE = CODE / "workflow/page/template/live"
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


def probed(page, folder, address=""):
    """What a page says of itself in its title, in a browser that opens it from its file."""
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--no-first-run", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=120000", "--dump-dom",
         page.as_uri() + address],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    title = re.search(r"<title>probe (.*?)</title>", done.stdout)
    assert title, done.stderr[-2000:]
    return json.loads(html.unescape(title.group(1)))


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
    said = probed(page, tmp_path)
    assert "error" not in said, said

    pipe, model = load_pipeline("sd3-mini"), Model.named("sd3-mini")
    for (prompt, seed, order), picture in zip(JOBS, said["pictures"], strict=True):
        with layer_order(pipe.transformer, {"transformer_blocks": order}):
            [expected] = paint(pipe, [prompt], [seed], **model.call)
        found = np.frombuffer(base64.b64decode(picture), np.uint8).reshape(96, 96, 3).astype(float)
        assert np.abs(found - np.asarray(expected.image, float)).mean() < 0.5, (prompt, order)
        assert found.std() > 5


HANDS = """<script>
const errors = [], wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
addEventListener("error", (event) => errors.push(event.message));
const painted = async (before) => { while (document.body.dataset.painted === before) await wait(20); };
const difference = () => {
  const [one, other] = ["untouched", "changed"].map((id) =>
    document.getElementById(id).getContext("2d").getImageData(0, 0, 96, 96).data);
  return one.reduce((sum, value, i) => sum + Math.abs(value - other[i]), 0) / one.length;
};
addEventListener("load", async () => {
  const seen = [], note = () => seen.push(
    { difference: difference(), hash: location.hash, words: document.getElementById("words").textContent });
  await painted(undefined);
  note();
  for (const act of [
    () => document.getElementById("reset").click(),
    () => { document.querySelector("#layers li:nth-child(10) button").dispatchEvent(
      new KeyboardEvent("keydown", { key: "Delete", bubbles: true })); },
    () => { choose(3); choose(4); edit("together"); },
  ]) { const before = document.body.dataset.painted; act(); await painted(before); note(); }
  document.title = "probe " + JSON.stringify({ seen, errors, wide: document.documentElement.scrollWidth > innerWidth,
    small: [...document.querySelectorAll("button")].filter((button) => button.offsetHeight < 44).length });
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium") and not os.environ.get("CI"), reason="no chromium on this machine")
def test_layers_are_rearranged_by_hand(tmp_path):
    for path, content in live_page(tmp_path / "live", templates()).items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    page = tmp_path / "live/index.html"
    page.write_text(page.read_text().replace("</head>", HANDS + "</head>"))
    said = probed(page, tmp_path, "#prompt=an+owl+on+a+gray+background&seed=1&steps=2&order=0-7,15-8,16-23")
    first, usual, without, grouped = said["seen"]
    assert "backwards" in first["words"] and "order=0-7%2C15-8%2C16-23" in first["hash"] and first["difference"] > 1
    assert usual["difference"] == 0 and "order=0-23" in usual["hash"], "the untouched picture, and the address says so"
    assert "layer 9 left out" in without["words"] and without["difference"] > 0
    assert "order=0-2%2C%283.4%29%2C5-8%2C10-23" in grouped["hash"] and "parallel" in grouped["words"]
    assert said["errors"] == [] and not said["wide"] and said["small"] == 0


def test_without_its_weights_there_is_no_painter(tmp_path, monkeypatch):
    monkeypatch.setattr("workflow.page.live.DATA", tmp_path)
    assert live_page(tmp_path / "live", templates()) == {}


def test_the_kernel_is_the_one_whose_source_lies_beside_it():
    source, binary = (LIVE / "kernel.wat").read_text(), (LIVE / "kernel.wasm").read_bytes()
    assert f"{len(binary)} bytes" in source and binary[:4] == b"\0asm"
    assert all(name.encode() in binary for name in chain(*re.findall(r'\(export "(\w+)"()', source)))
