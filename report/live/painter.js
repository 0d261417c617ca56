// The page's hands: what is chosen, what the address holds, and when to paint. Nothing of the network is here.
"use strict";

const MODEL = "sd3-mini", DEPTH = 24, PICTURE = 96;
const PARTS = ["transformer", "text_encoder", "text_encoder_2", "text_encoder_3"];
const element = (id) => document.getElementById(id);
const state = { prompt: ABOUT.prompts[0], seed: 0, steps: 8, order: presetOrder("backwards", DEPTH, [8, 15]) };
let painter = null, chosen = [], running = 0, untouchedOf = "";

/** The weights: from the script beside the page, which opens from a file, or over http from where they lie. */
async function load() {
  const decoded = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer;
  const fetched = async (path) => {
    const answer = await fetch(`../../data/models/${path}`);
    if (!answer.ok) throw new Error(answer.status);
    return answer.arrayBuffer();
  };
  const beside = await new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = `weights-${MODEL}.js`;
    script.onload = () => resolve(true);
    script.onerror = () => resolve(false);
    document.head.append(script);
  });
  const files = {};
  for (const part of [...PARTS, "vae"]) {
    const path = part === "vae" ? ABOUT.files.vae : `${MODEL}/${ABOUT.files[part]}`;
    files[part] = readTensors(beside ? decoded(WEIGHTS[part]) : await fetched(path));
  }
  return new SD3(new Memory(decoded(ABOUT.kernel), 160), files, ABOUT.vocabulary);
}

/** Show what is chosen, keep it in the address, and paint it. */
function update() {
  element("prompt").value = state.prompt;
  element("seed").value = state.seed;
  element("steps").value = state.steps;
  const wrong = check(state.order, DEPTH), unknown = unknownWords(state.prompt);
  element("words").textContent = wrong ? `This order cannot run: ${wrong}.` : `This order: ${inWords(state.order, DEPTH)}.`;
  element("hint").textContent = unknown.length ? `It has never seen: ${unknown.join(", ")}.` : "";
  showLayers();
  const now = writeOrder(state.order), band = bandChosen();
  element("preset").value = Object.keys(PRESETS).find((name) => writeOrder(presetOrder(name, DEPTH, band, state.seed)) === now) || "";
  const address = new URLSearchParams({ ...state, order: writeOrder(state.order) });
  history.replaceState(null, "", `#${address}`);
  if (painter && !wrong) paintBoth();
}

/** Paint the untouched picture, if it is another one now, and the changed one; what is painted already is given up. */
async function paintBoth() {
  const run = ++running, { prompt, seed, steps, order } = state;
  const usual = presetOrder("untouched", DEPTH, [0, 0]), which = JSON.stringify([prompt, seed, steps]);
  const jobs = [["untouched", usual], ["changed", order]].filter(([name]) => name === "changed" || which !== untouchedOf);
  for (const [name, some] of jobs) {
    const seen = async (step) => {
      element("progress").value = step / steps;
      await new Promise((resolve) => setTimeout(resolve));
      if (run !== running) throw new Error("given up");
    };
    const before = painter.memory.top;
    try {
      const began = performance.now();
      draw(element(name), await painter.paint(prompt, { seed, steps, order: some, seen }));
      element("took").textContent = `${((performance.now() - began) / 1000).toFixed(1)} s a picture, on this device.`;
      if (name === "untouched") untouchedOf = which;
    } catch (error) {
      painter.memory.top = before;
      if (run === running) throw error;
      return;
    }
  }
  element("progress").value = 1;
  document.body.dataset.painted = run;
}

function draw(canvas, pixels) {
  const context = canvas.getContext("2d"), image = context.createImageData(PICTURE, PICTURE);
  for (let i = 0; i < PICTURE * PICTURE; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round(255 * pixels[3 * i + c]);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// -- layers ------------------------------------------------------------------------------------------------------

function showLayers() {
  const list = element("layers");
  list.replaceChildren(...state.order.map((step, place) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.textContent = [step].flat().join(" ∥ ");
    button.setAttribute("aria-pressed", chosen.includes(place));
    button.setAttribute("aria-label", `layer ${[step].flat().join(" beside ")}, place ${place + 1} of ${state.order.length}`);
    button.style.setProperty("--depth", [step].flat()[0] / (DEPTH - 1));
    button.dataset.place = place;
    item.append(button);
    return item;
  }));
}

/** Take hold of a layer, by mouse or finger, and drop it elsewhere; a press alone chooses it. */
function listenToLayers() {
  const list = element("layers");
  let held = null, over = null;
  const placeAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("#layers button")?.dataset.place;
  list.addEventListener("pointerdown", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    held = over = Number(button.dataset.place);
    list.setPointerCapture(event.pointerId);
  });
  list.addEventListener("pointermove", (event) => {
    if (held === null) return;
    const place = placeAt(event);
    if (place !== undefined) over = Number(place);
    [...list.querySelectorAll("button")].forEach((button, i) => button.classList.toggle("target", i === over && i !== held));
  });
  list.addEventListener("pointerup", () => {
    if (held === null) return;
    if (over !== held) move(held, over);
    else choose(held);
    held = over = null;
  });
  list.addEventListener("pointercancel", () => { held = over = null; showLayers(); });
  list.addEventListener("keydown", (event) => {
    const place = Number(event.target.dataset?.place), by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && event.altKey) move(place, Math.min(Math.max(place + by, 0), state.order.length - 1));
    else if (by) list.querySelector(`[data-place="${place + by}"]`)?.focus();
    else if (event.key === " " || event.key === "Enter") choose(place);
    else if (event.key === "Delete") { chosen = [place]; edit("off"); } else return;
    event.preventDefault();
    list.querySelector(`[data-place="${by ? place + by : place}"]`)?.focus();
  });
}

function choose(place) {
  chosen = chosen.includes(place) ? chosen.filter((other) => other !== place) : [...chosen, place].sort((a, b) => a - b);
  showLayers();
}

function move(from, to) {
  const order = [...state.order], [step] = order.splice(from, 1);
  order.splice(to, 0, step);
  change(order);
}

/** What the buttons do with the chosen layers. */
function edit(how) {
  if (!chosen.length) { element("words").textContent = "Choose layers first: press them."; return; }
  const taken = chosen.map((place) => state.order[place]), rest = state.order.filter((_, place) => !chosen.includes(place));
  if (how === "off") change(rest);
  if (how === "twice") change(state.order.flatMap((step, place) => chosen.includes(place) ? [step, step] : [step]));
  if (how === "together") change([...rest.slice(0, chosen[0]), [...new Set(taken.flat())], ...rest.slice(chosen[0])]);
  if (how === "apart") change(state.order.flatMap((step, place) => chosen.includes(place) ? [step].flat() : [step]));
}

function change(order) {
  state.order = order;
  chosen = [];
  update();
}

// -- the rest ----------------------------------------------------------------------------------------------------

/** The first and the last of the layers that a preset changes. */
function bandChosen() {
  const ends = ["first", "last"].map((name) => Math.min(DEPTH - 2, Math.max(0, element(name).valueAsNumber || 0)));
  return ends.sort((a, b) => a - b);
}

function unknownWords(prompt) {
  const words = prompt.toLowerCase().match(/\w+|[^\w\s]+/g) || [];
  return [...new Set(words.filter((word) => !(word in ABOUT.vocabulary)))];
}

/** Words that the last one may become, and words to go on with. */
function suggest() {
  const prompt = element("prompt").value, begun = prompt.match(/\w*$/)[0].toLowerCase();
  const words = Object.keys(ABOUT.vocabulary).filter((word) => /^\w+$/.test(word) && begun && word.startsWith(begun) && word !== begun);
  element("suggestions").replaceChildren(...words.slice(0, 8).map((word) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = word;
    button.onclick = () => {
      element("prompt").value = `${prompt.slice(0, prompt.length - begun.length)}${word} `;
      element("prompt").focus();
      suggest();
    };
    return button;
  }));
}

/** What the address says, as far as it can be had. */
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1)), number = (name, most) => {
    const value = Number(given.get(name));
    return given.has(name) && Number.isInteger(value) && value >= 0 && value <= most ? value : null;
  };
  state.prompt = (given.get("prompt") ?? state.prompt).slice(0, 300);
  state.seed = number("seed", 1e9) ?? state.seed;
  state.steps = number("steps", 32) || state.steps;
  state.order = (given.has("order") && readOrder(given.get("order"), DEPTH)) || state.order;
}

function listen() {
  listenToLayers();
  element("choices").addEventListener("submit", (event) => {
    event.preventDefault();
    state.prompt = element("prompt").value.trim();
    state.seed = Math.max(0, Math.floor(element("seed").valueAsNumber || 0));
    state.steps = Math.min(32, Math.max(1, Math.floor(element("steps").valueAsNumber || 8)));
    element("suggestions").replaceChildren();
    update();
  });
  element("prompt").addEventListener("input", suggest);
  element("example").onchange = () => { state.prompt = element("example").value; update(); };
  const preset = () => element("preset").value && change(presetOrder(element("preset").value, DEPTH, bandChosen(), state.seed));
  for (const name of ["preset", "first", "last"]) element(name).onchange = preset;
  for (const how of ["off", "twice", "together", "apart"]) element(how).onclick = () => edit(how);
  element("reset").onclick = () => change(presetOrder("untouched", DEPTH, [0, 0]));
  addEventListener("hashchange", () => { readAddress(); update(); });
}

addEventListener("load", async () => {
  readAddress();
  listen();
  update();
  try {
    painter = await load();
  } catch (error) {
    element("hint").textContent = "The weights are not there. `make report` writes them beside this page; over http they are read from data/models.";
    return;
  }
  update();
});
