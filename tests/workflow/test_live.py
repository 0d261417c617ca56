"""The page on which the minis paint in a browser: what it paints, and that everybody can use it."""

import base64
import json
import os
import re
from itertools import chain

import numpy as np
import pytest
from browser import CHROMIUM, FIREFOX, Chromium, Firefox, served

from painters_utils import Model, build_order, layer_order, load_pipeline, paint
from painters_utils.engine.describe import describe
from painters_utils.engine.guidance import weaker_self
from painters_utils.engine.orders import find_loops
from painters_utils.engine.strategies import STRATEGIES
from painters_utils.paths import CODE, DATA
from painters_utils.study.experiments import halves
from workflow.page.build import templates
from workflow.page.live import live_page

LIVE = CODE / "workflow/page/template/live"
MM, JOINT, SINGLE = "transformer_blocks", "joint_transformer_blocks", "single_transformer_blocks"
JOBS = {  # of each model five ways to run its layers
    "flux-mini": [
        {},
        {MM: build_order("reverse", 19, [6, 11])},
        {SINGLE: build_order("skip", 38, [8, 15])},
        {MM: build_order("looped_parallel", 19, [6, 10]), SINGLE: build_order("middle_repeat", 38, [10, 14])},
        {SINGLE: build_order("random_order", 38, [10, 20], seed=1)},
    ],
    "sd3-mini": [
        {},
        {MM: build_order("reverse", 24, [8, 15])},
        {MM: build_order("skip", 24, [8, 15])},
        {MM: build_order("middle_repeat", 24, [9, 12])},
        {MM: build_order("looped_parallel", 24, [8, 13])},
    ],
    "auraflow-mini": [
        {},
        {JOINT: [1, 0, 2, 3]},
        {SINGLE: build_order("remove_last", 32, k=4)},
        {JOINT: [0, [1, 2], 3], SINGLE: build_order("middle_repeat", 32, [10, 14])},
        {SINGLE: build_order("reverse", 32, [20, 25])},
    ],
}
CONTROLLED = [  # an order with a control: what layer_order is given, or the weight of a weaker self
    ({SINGLE: build_order("middle_repeat", 38, [10, 14])}, {"damping": 4}),
    ({MM: [*range(8), *range(6, 8), *range(6, 19)]}, {"damping": 2}),
    ({SINGLE: build_order("skip", 38, [10, 20])}, {"away": 1}),
]
PROMPTS = [
    "a red dog left of a yellow cat on a blue background",
    "a green car and a red apple on a white background",
    "three red apples on a striped green background",
    "an owl on a gray background",
    "a purple car above a pink house on a dotted yellow background",
]
UNTIL = "(async () => {{ while (!({})) await new Promise((go) => setTimeout(go, 20)); }})()"
PAINTED = UNTIL.format("document.body.dataset.painted == running")
needs_chromium = pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="no chromium on this machine")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A checkout in small: report/live, and data/models beside it."""
    root = tmp_path_factory.mktemp("site")
    (root / "report/live").mkdir(parents=True)
    for path, content in live_page(root / "report/live", templates()).items():
        path.write_bytes(content)
    (root / "data").symlink_to(DATA)
    return root


@pytest.fixture(scope="module")
def page(site):
    return site / "report/live/index.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def pictures(browser, model, jobs):
    """What the open page's painter makes of some jobs."""
    browser.evaluate(UNTIL.format("painter"))
    script = """(async () => {
      const byte = (value) => Math.round(255 * value), made = [];
      const text = (pixels) => btoa(String.fromCharCode(...Uint8Array.from(pixels, byte)));
      for (const job of %s) made.push(text(await painter.paint(job.prompt, job)));
      return made;
    })()"""
    made = browser.evaluate(script % json.dumps([job | {"guidance": model.call["guidance_scale"]} for job in jobs]))
    return [np.frombuffer(base64.b64decode(text), np.uint8).reshape(96, 96, 3).astype(float) for text in made]


def jobs_of(model, orders):
    return [
        {"prompt": PROMPTS[number], "seed": number, "steps": model.steps, "orders": order}
        for number, order in enumerate(orders)
    ]


# -- what it paints ---------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("name", JOBS)
def test_the_browser_paints_what_the_pipeline_paints(page, chromium, name):
    pipe, model = load_pipeline(name), Model.named(name)
    jobs = jobs_of(model, JOBS[name])
    chromium.open(f"{page.as_uri()}#model={name}&prompt=")  # nothing of its own
    for job, found in zip(jobs, pictures(chromium, model, jobs), strict=True):
        with layer_order(pipe.transformer, job["orders"]):
            [expected] = paint(pipe, [job["prompt"]], [job["seed"]], **model.call)
        assert np.abs(found - np.asarray(expected.image, float)).mean() < 0.5, job
        assert found.std() > 5


@pytest.mark.slow
@needs_chromium
def test_damped_loops_and_weaker_selves_are_the_packages(page, chromium):
    pipe, model = load_pipeline("flux-mini"), Model.named("flux-mini")
    jobs = [job | control for job, (_, control) in zip(jobs_of(model, [order for order, _ in CONTROLLED]), CONTROLLED,
                                                       strict=True)]  # fmt: skip
    chromium.open(f"{page.as_uri()}#model=flux-mini&prompt=")
    for job, found in zip(jobs, pictures(chromium, model, jobs), strict=True):
        away = job.get("away")
        with (weaker_self(pipe.transformer, job["orders"], away) if away
              else layer_order(pipe.transformer, job["orders"], damping=job["damping"])):  # fmt: skip
            [expected] = paint(pipe, [job["prompt"]], [job["seed"]], **model.call)
        assert np.abs(found - np.asarray(expected.image, float)).mean() < 0.5, job
    some = [[0, 1, 2, 1, 2, 3], [0, 0, 0, [1, 2], [1, 2]], [4, 5, 4, 5, 4, 5, 6], list(range(9))]
    for order in some:
        found = [(one["piece"], one["often"]) for one in chromium.evaluate(f"loopsOf({order})")]
        assert found == find_loops(order)


@pytest.mark.slow
@pytest.mark.skipif(not FIREFOX, reason="no firefox on this machine")
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")
def test_firefox_paints_what_chromium_paints(page, chromium, tmp_path):
    model = Model.named("auraflow-mini")
    jobs, address = jobs_of(model, JOBS[model.name][2:4]), f"{page.as_uri()}#model={model.name}&prompt="
    chromium.open(address)
    with Firefox(tmp_path) as firefox:
        firefox.open(address)
        pairs = zip(pictures(firefox, model, jobs), pictures(chromium, model, jobs), strict=True)
        assert all(np.abs(one - other).mean() < 0.5 and one.std() > 5 for one, other in pairs)
        firefox.open(f"{page.as_uri()}#model=auraflow-mini&order=0-3/0-7,31-8&prompt=an+owl+on+a+gray+background")
        firefox.evaluate(PAINTED)
        assert "reverse order" in firefox.evaluate("document.getElementById('words').textContent")


@pytest.mark.slow
@needs_chromium
def test_over_http_the_weights_are_those_of_the_repository(site, chromium):
    with served(site) as server:
        chromium.open(f"{server}/report/live/index.html#model=auraflow-mini&steps=1")
        chromium.evaluate(PAINTED)
        names = chromium.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        chromium.open("about:blank")
    assert [name for name in names if "/data/models/auraflow-mini/transformer/" in name] and not chromium.errors
    assert not any("weights-" in name or "sd3-mini" in name for name in names), "nothing that is not needed"


# -- orders -----------------------------------------------------------------------------------------------


@needs_chromium
def test_orders_are_those_of_the_study_in_its_own_words(tmp_path, chromium):
    ways = {"band": {"band": [5, 12]}, "k": {"k": 6}}
    known = {name: way for name in STRATEGIES if name != "swap_neighbours" for key, way in ways.items()
             if key == ("k" if name.startswith("remove") else "band")}  # fmt: skip
    page = tmp_path / "orders.html"
    page.write_text("".join(f"<script>{(LIVE / name).read_text()}</script>" for name in ("noise.js", "orders.js")))
    chromium.open(page)
    assert set(chromium.evaluate("Object.keys(STRATEGIES)")) == set(known)
    for name, way in known.items():
        for draw in range(3 if name == "random_order" else 1):
            order = build_order(name, 24, **({} if name == "identity" else way), **({"seed": draw} if draw else {}))
            band = {"remove_first": [9, 5], "remove_last": [18, 3]}.get(name, [5, 12])
            made = chromium.evaluate(f"buildOrder('{name}', 24, {band}, {draw})")
            assert made == order
            stack = json.dumps({"title": "MM-DiT", "depth": 24})
            where = chromium.evaluate(f"changedBand({order}, 24)") or [5, 12]
            found = chromium.evaluate(f"strategyOf({order}, 24, '', {where}, {draw})")
            assert chromium.evaluate(f"buildOrder('{found}', 24, {where}, {draw})") == order
            assert chromium.evaluate(f"readOrder(writeOrder({order}), {stack})") == order
            assert chromium.evaluate(f"describe({order}, 24)") == describe(order, 24)


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(("address", "said"), [
    ("model=flux-mini&order=0-18/0-38", "does not fit FLUX mini: there is no single layer 38, they are 0 to 37"),
    ("model=auraflow-mini&order=0-23", "does not fit AuraFlow mini: it is for one stack of layers, not for 2 stacks"),
    ("model=sd3-mini&order=23,0-22", "layer 23 returns no words"),
    ("model=sd3-mini&order=0-5,(7.7)", "a group holds a layer twice"),
    ("model=sd3-mini&order=constructor", "“constructor” is no part of an order"),
    ("model=sd4-mini&steps=0", "There is no model “sd4-mini” here. The steps must be from 1 to 32."),
])  # fmt: skip
def test_an_address_that_does_not_fit_is_answered(page, chromium, address, said):
    chromium.open(f"{page.as_uri()}#{address}&prompt=a+unicorn")
    assert said in chromium.evaluate("document.getElementById('note').textContent")
    assert "does not know “unicorn”" in chromium.evaluate("document.getElementById('hint').textContent")
    if "order" in address:
        assert "Every layer runs once" in chromium.evaluate("document.getElementById('words').textContent")
    assert not chromium.errors


# -- hands ------------------------------------------------------------------------------------------------

SEEN = """({
  words: document.getElementById("words").textContent, hash: location.hash, order: state.orders.transformer_blocks,
  difference: (([one, other]) => one.reduce((sum, value, i) => sum + Math.abs(value - other[i]), 0) / one.length)(
    ["untouched", "changed"].map((id) => document.getElementById(id).getContext("2d").getImageData(0, 0, 96, 96).data)),
})"""
MIDDLE = """((place) => {
  const button = document.querySelectorAll(".layers button")[place];
  button.scrollIntoView({ block: "center" });
  const { x, y, width, height } = button.getBoundingClientRect();
  return [x + width / 2, y + height / 2];
})"""
KEY = """document.querySelectorAll(".layers button")[{}].dispatchEvent(
  new KeyboardEvent("keydown", {{ key: "{}", altKey: {}, bubbles: true }}))"""


@pytest.mark.slow
@needs_chromium
def test_layers_are_rearranged_by_hand(page, chromium):
    def then(act):
        chromium.evaluate(f"(() => {{ {act} }})()")
        chromium.evaluate(PAINTED)
        return chromium.evaluate(SEEN)

    order = "#prompt=an+owl+on+a+gray+background&seed=1&steps=2&order=0-7,15-8,16-23"
    chromium.open(page.as_uri() + order, width=390)
    first = then("")
    assert first["words"] == "Layers 8–15 run in reverse order." and first["difference"] > 1
    assert "order=0-7,15-8,16-23" in first["hash"]
    usual = then("document.getElementById('reset').click()")
    assert usual["difference"] == 0 and "order=0-23" in usual["hash"], "the untouched picture"
    without = then(KEY.format(9, "Delete", "false"))
    assert without["words"] == "Layer 9 is skipped." and without["difference"] > 0
    moved = then(KEY.format(2, "ArrowRight", "true"))
    assert moved["order"][:4] == [0, 1, 3, 2]
    grouped = then("choose('transformer_blocks', 4); choose('transformer_blocks', 5); edit('together')")
    assert "order=0-1,3-2,(4.5),6-8,10-23" in grouped["hash"] and "run in parallel" in grouped["words"]
    field = "document.querySelector('[name={}]')"
    preset = then(f"const chosen = {field.format('strategy')}; chosen.value = 'random_order'; chosen.onchange()")
    assert preset["order"] == build_order("random_order", 24, [8, 15])
    preset = then(f"const draw = {field.format('draw')}; draw.value = 2; draw.onchange()")
    assert preset["order"] == build_order("random_order", 24, [8, 15], seed=2)

    then("document.getElementById('reset').click()")
    start, end = (chromium.evaluate(f"{MIDDLE}({place})") for place in (8, 10))
    chromium.touch(start, end, hold=0.4)
    assert then("")["order"][8:11] == [9, 10, 8], "a finger that was held for a moment carries the layer"
    start, end = (chromium.evaluate(f"{MIDDLE}({place})") for place in (3, 5))
    chromium.touch(start, end)
    assert then("")["order"][3:6] == [3, 4, 5], "one that was not scrolls"
    chromium.touch(start)
    assert chromium.evaluate("chosen.places") == [3], "a press chooses"
    chromium.evaluate("document.getElementById('twice').click()")
    assert then("")["order"][3:5] == [3, 3]
    for kind, (x, y) in [("Pressed", start), ("Moved", end), ("Released", end)]:
        chromium.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, button="left", buttons=1, clickCount=1)
    assert then("")["order"][3:6] == [3, 4, 3], "a mouse carries it at once"
    assert chromium.evaluate("chosen.places") == []
    assert not chromium.errors


@pytest.mark.slow
@needs_chromium
def test_another_model_is_one_press_away_and_words_are_completed(page, chromium):
    chromium.open(f"{page.as_uri()}#steps=1&prompt=a+red+dog")
    chromium.evaluate(PAINTED)
    chromium.evaluate("document.querySelector('[value=auraflow-mini]').click()")
    assert "Loading the weights of AuraFlow mini" in chromium.evaluate("document.getElementById('loading').textContent")
    chromium.evaluate(PAINTED)
    half = halves(Model.named("auraflow-mini"))["single_transformer_blocks"]
    shown = "state.orders.single_transformer_blocks"
    assert chromium.evaluate("location.hash").startswith("#model=auraflow-mini&order=0-3/")
    assert chromium.evaluate(shown) == build_order("random_order", 32, half), "the report's half, shuffled"
    pressed = "[...document.querySelectorAll('#ways [aria-pressed=true]')].map((one) => one.textContent)"
    assert chromium.evaluate(pressed) == ["Shuffled"]
    chromium.evaluate("document.querySelector('#ways button:nth-child(5)').click()")
    assert chromium.evaluate(pressed) == ["Left out"]
    assert chromium.evaluate(shown) == build_order("skip", 32, half)
    chromium.evaluate("document.querySelector('#ways button:last-child').click()")
    assert chromium.evaluate(pressed) == ["Away from itself without them"] and "&away=1" in chromium.evaluate(
        "location.hash"
    )
    assert chromium.evaluate("document.getElementById('words').textContent").endswith("; painted away from it.")
    chromium.evaluate(PAINTED)
    assert chromium.evaluate("document.querySelectorAll('.layers').length") == 2
    typed = "(() => { const input = document.getElementById('prompt'); input.value = 'a red mic'; suggest(); })()"
    chromium.evaluate(typed)
    chromium.evaluate("document.querySelector('#suggestions button').click()")
    assert chromium.evaluate("document.getElementById('prompt').value") == "a red microphone "
    assert not chromium.errors


READABLE = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const light = (colour) => { // of a colour on what is behind it
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const linear = (value) => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => linear(value / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const faint = [], visible = (one) => one.checkVisibility() && one.getBoundingClientRect().width;
  for (const one of document.querySelectorAll("body *")) {
    const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!visible(one) || !(text || one.matches("input:not([type=radio]), select"))) continue;
    const over = [], style = getComputedStyle;
    for (let around = one; around; around = around.parentElement) over.unshift(style(around).backgroundColor);
    const [paper, ink] = [over.map(light).at(-1), light(style(one).color)].sort((a, b) => b - a);
    if ((paper + .05) / (ink + .05) < 4.5) faint.push(one.outerHTML.slice(0, 80));
  }
  const small = [...document.querySelectorAll("button, select, input, summary")].filter(visible).filter(
    (one) => one.offsetHeight < 44 || one.offsetWidth < 44).map((one) => one.outerHTML.slice(0, 80));
  return { faint, small, wide: document.documentElement.scrollWidth - document.documentElement.clientWidth };
})()"""


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (768, "light"), (390, "dark"), (360, "light")])
def test_it_is_readable_and_fits_every_screen(page, chromium, width, scheme):
    group = ".".join(map(str, range(30)))
    address = f"{page.as_uri()}#model=flux-mini&order=0-18/({group}),30-37,40&prompt=a+unicorn+on+a+red+hat"
    chromium.open(address.replace(",40", ""), width=width, prefers_color_scheme=scheme)
    chromium.evaluate("(() => { say('note', 'A note.'); choose('transformer_blocks', 2); suggest(); })()")
    assert chromium.evaluate(READABLE) == {"faint": [], "small": [], "wide": 0}
    assert not chromium.errors


@needs_chromium
@pytest.mark.slow
def test_a_browser_that_cannot_paint_says_so(page, tmp_path):
    with Chromium(tmp_path) as browser:
        shown = "document.getElementById('{}').checkVisibility()"
        script = browser.call("Page.addScriptToEvaluateOnNewDocument", source="WebAssembly.validate = () => false")
        browser.open(page)
        assert browser.evaluate(shown.format("unable")) and not browser.evaluate(shown.format("app"))
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
        browser.call("Emulation.setScriptExecutionDisabled", value=True)
        browser.open(page)
        assert "switched off" in browser.evaluate("document.querySelector('noscript').innerText")
        assert not browser.evaluate(shown.format("app"))


def test_without_their_weights_there_are_no_painters(tmp_path, monkeypatch):
    monkeypatch.setattr("workflow.page.live.DATA", tmp_path)
    assert live_page(tmp_path / "live", templates()) == {}


def test_the_kernel_is_the_one_whose_source_lies_beside_it():
    source, binary = (LIVE / "kernel.wat").read_text(), (LIVE / "kernel.wasm").read_bytes()
    assert f"{len(binary)} bytes" in source and binary[:4] == b"\0asm"
    assert all(name.encode() in binary for name in chain(*re.findall(r'\(export "(\w+)"()', source)))
