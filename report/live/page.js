// The page's hands: what is chosen, what the address holds, and when to paint. Nothing of the networks is here.
"use strict";

const element = (id) => document.getElementById(id);
const state = { model: ABOUT.first, prompt: ABOUT.prompts[0], seed: 0, steps: 0, orders: {}, away: 0, damping: 1 };
const model = () => ABOUT.models[state.model], stacks = () => model().stacks;
let painter = null, loading = ""; // the painter of `state.model`, once its weights are here
let chosen = { stack: "", places: [] }, running = 0, ended = Promise.resolve(), untouchedOf = "";

// -- weights -----------------------------------------------------------------------------------------------------

function decoded(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes.buffer;
}

/** A painter with its weights: over http from where they lie; a page that is opened from a file has them beside it. */
async function load(name) {
  const { files, stacks } = ABOUT.models[name], { http, bytes } = await (location.protocol === "file:" ? fromScript(name) : fromServer(name));
  const tensors = {};
  for (const part in files) tensors[part] = readTensors(http ? bytes[part] : decoded(bytes[part]), part === "vae" ? "decoder" : "");
  const depths = Object.fromEntries(stacks.map((stack) => [stack.name, stack.depth]));
  return new PAINTERS[name](new Memory(decoded(ABOUT.kernel), 128), tensors, ABOUT.vocabulary, depths);
}

async function fromServer(name) {
  const bytes = {};
  let had = 0;
  for (const [part, path] of Object.entries(ABOUT.models[name].files)) {
    const answer = await fetch(`../../data/models/${path}`);
    if (!answer.ok) return fromScript(name); // this is not served from the repository's root
    const chunks = [];
    for (let reader = answer.body.getReader(), read; !(read = await reader.read()).done;) {
      chunks.push(read.value);
      had += read.value.length;
      if (loading === name) showLoading(had);
    }
    bytes[part] = await new Blob(chunks).arrayBuffer();
  }
  return { http: true, bytes };
}

function fromScript(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `weights-${name}.js`;
    script.onload = () => { resolve({ bytes: WEIGHTS[name] }); delete WEIGHTS[name]; script.remove(); };
    script.onerror = () => reject(new Error("no weights"));
    document.head.append(script);
  });
}

function showLoading(had = 0) {
  const { title, bytes } = model(), millions = (count) => Math.round(count / 1e6);
  say("loading", `Loading the weights of ${title}: ${had ? `${millions(had)} of ` : ""}${millions(bytes)} MB …`);
  if (had) element("progress").value = had / bytes;
  else element("progress").removeAttribute("value");
}

/** Have the chosen model's painter, then paint. */
async function ready() {
  const name = state.model;
  if (loading === name) return;
  loading = name;
  painter = null;
  untouchedOf = "";
  showLoading();
  try {
    await ended; // the one before may still be painting
    const loaded = await load(name);
    if (loading !== name) return;
    painter = loaded;
    element("progress").value = 0;
    say("loading", "");
    update();
  } catch (error) {
    if (loading !== name) return;
    loading = "";
    element("progress").value = 0;
    say("loading", error.message === "no weights"
      ? `The weights of ${model().title} are not here. “make report” writes them beside this page; served from the repository's root, the page reads them from data/models.`
      : `${model().title} could not be loaded: ${error.message}`);
  }
}

// -- painting ----------------------------------------------------------------------------------------------------

/** Show what is chosen, keep it in the address, and paint it. */
function update() {
  for (const input of document.getElementsByName("model")) input.checked = input.value === state.model;
  for (const name of ["prompt", "seed", "steps", "away", "damping"]) element(name).value = state[name];
  element("example").value = ABOUT.prompts.includes(state.prompt) ? state.prompt : "";
  const wrongOrder = stacks().map((stack) => check(state.orders[stack.name], stack)).find(Boolean);
  say("words", wrongOrder ? `This order cannot run: ${wrongOrder}.` : `${orderInWords()}.`);
  const wrongPrompt = promptTrouble(state.prompt);
  say("hint", wrongPrompt);
  showStacks();
  const order = stacks().map((stack) => writeOrder(state.orders[stack.name])).join("/"), { seed, steps, prompt, away, damping } = state;
  const address = new URLSearchParams({ model: state.model, order, seed, steps, prompt });
  if (away) address.set("away", away);
  if (damping > 1) address.set("damping", damping);
  history.replaceState(null, "", `#${`${address}`.replace(/%2C/g, ",").replace(/%2F/g, "/").replace(/%28/g, "(").replace(/%29/g, ")")}`);
  const run = ++running;
  document.body.classList.add("stale");
  if (painter && !wrongOrder && !wrongPrompt) ended = ended.then(() => paintBoth(run));
}

/** What the order does, stack by stack. */
function orderInWords() {
  const changed = stacks().filter(({ name, depth }) => writeOrder(state.orders[name]) !== writeOrder(usualOrder(depth)));
  const words = changed.map(({ name, title, depth }) => `${stacks().length > 1 ? `${title} ` : ""}${describe(state.orders[name], depth)}`);
  const said = words.join("; ") || "every layer runs once, in order";
  const loops = stacks().some(({ name }) => loopsOf(state.orders[name]).some(({ often }) => often > 1));
  const damped = state.damping > 1 && loops ? `, each time 1/${state.damping} of the way` : "";
  return `${said[0].toUpperCase()}${said.slice(1)}${damped}${state.away && words.length ? "; painted away from it" : ""}`;
}

/** Paint the untouched picture, if it is another one now, and the changed one; given up when a newer run is wanted. */
async function paintBoth(run) {
  const { prompt, seed, steps, orders, away, damping } = state, { guidance } = model(), which = JSON.stringify([state.model, prompt, seed, steps]);
  const jobs = [["untouched", {}], ["changed", { orders: { ...orders }, away, damping }]].filter(([name]) => name === "changed" || which !== untouchedOf);
  for (const [number, [name, some]] of jobs.entries()) {
    const seen = async (step) => {
      element("progress").value = (number + step / steps) / jobs.length;
      await new Promise((resolve) => setTimeout(resolve));
      if (run !== running) throw new Error("given up");
    };
    const began = performance.now();
    try {
      if (run !== running) return;
      draw(element(name), await painter.paint(prompt, { seed, steps, guidance, ...some, seen }));
    } catch (error) {
      if (run === running) say("loading", `This device could not paint it: ${error.message}.`);
      return;
    }
    if (name === "untouched") untouchedOf = which;
    say("took", `${((performance.now() - began) / 1000).toFixed(1)} s a picture, on this device.`);
  }
  element("progress").value = 1;
  say("loading", "");
  document.body.classList.remove("stale");
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

/** A part of the page for each of the model's stacks. */
function makeStacks() {
  element("stacks").replaceChildren(...stacks().map((stack) => {
    const part = element("stack").content.cloneNode(true).firstElementChild, field = (name) => part.querySelector(`[name="${name}"]`);
    part.dataset.stack = stack.name;
    part.querySelector("h2").textContent = `${stack.depth} ${stack.title} layers`;
    part.querySelector(".help").textContent = stack.about;
    part.querySelector("ol").setAttribute("aria-label", `The ${stack.title} layers, in the order in which they run`);
    for (const [key, { title }] of Object.entries(STRATEGIES)) field("strategy").append(new Option(title, key));
    const [first, last] = stack.half;
    Object.assign(field("first"), { value: first, max: stack.depth - 1 });
    Object.assign(field("last"), { value: last, max: stack.depth - 1 });
    for (const name of ["strategy", "first", "last", "draw"]) field(name).onchange = () => {
      [field("first").value, field("last").value] = bandOf(part, stack)[0];
      if (field("strategy").value) change(stack.name, buildOrder(field("strategy").value, stack.depth, ...bandOf(part, stack)));
    };
    listenTo(part.querySelector("ol"), stack.name);
    return part;
  }));
}

function showStacks() {
  showWays();
  document.body.classList.toggle("choosing", chosen.places.length > 0);
  for (const part of element("stacks").children) {
    const stack = stacks().find(({ name }) => name === part.dataset.stack), order = state.orders[stack.name];
    part.querySelector("ol").replaceChildren(...order.map((step, place) => {
      const item = document.createElement("li"), button = document.createElement("button"), layers = [step].flat();
      button.type = "button";
      button.textContent = layers.join(" ∥ ");
      button.setAttribute("aria-pressed", chosen.stack === stack.name && chosen.places.includes(place));
      button.setAttribute("aria-label", `layer ${layers.join(" beside ")}, place ${place + 1} of ${order.length}`);
      button.style.setProperty("--depth", layers[0] / (stack.depth - 1));
      button.dataset.place = place;
      item.append(button);
      return item;
    }));
    showStrategy(part, stack, order);
  }
}

/** The strategy that an order comes from, and the fields that it needs. */
function showStrategy(part, stack, order) {
  const field = (name) => part.querySelector(`[name="${name}"]`), changed = changedBand(order, stack.depth);
  if (!part.dataset.shown && changed && strategyOf(order, stack.depth, "", changed, 0)) [field("first").value, field("last").value] = changed;
  part.dataset.shown = true; // an address brings a band; later it is the reader's
  const strategy = field("strategy").value = strategyOf(order, stack.depth, field("strategy").value, ...bandOf(part, stack));
  for (const name of ["first", "last"]) {
    field(name).parentElement.hidden = ["", "identity"].includes(strategy) || STRATEGIES[strategy].ends === name;
  }
  field("draw").parentElement.hidden = strategy !== "random_order";
}

/** The band that a stack's fields name, and which draw of a random order. */
function bandOf(part, { depth }) {
  const [draw, ...ends] = ["draw", "first", "last"].map((name) => Math.max(0, Math.floor(part.querySelector(`[name="${name}"]`).valueAsNumber || 0)));
  return [ends.map((layer) => Math.min(depth - 1, layer)).sort((a, b) => a - b), draw];
}

/** The report's ways to run the middle half of the deepest stack: each a press away. */
const WAYS = [
  { words: "Untouched", strategy: "identity" },
  { words: "Shuffled", strategy: "random_order" },
  { words: "Reversed", strategy: "reverse" },
  { words: "In parallel", strategy: "parallel" },
  { words: "Left out", strategy: "skip" },
  { words: "One layer in place of all", strategy: "middle_repeat" },
  { words: "One layer, damped to a quarter", strategy: "middle_repeat", damping: 4 },
  { words: "Away from itself without them", strategy: "skip", away: 1 },
];
const deepest = () => stacks().reduce((one, other) => other.depth > one.depth ? other : one);

function makeWays() {
  const { name, title, depth, half } = deepest();
  element("half").textContent = `What the report compares: ${title} layers ${half.join("–")} of ${depth}`;
  element("ways").replaceChildren(...WAYS.map(({ words, strategy, away = 0, damping = 1 }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.onclick = () => {
      untouched();
      Object.assign(state, { away, damping });
      change(name, buildOrder(strategy, depth, half));
    };
    return button;
  }));
}

/** Which of the report's ways it is that runs now. */
function showWays() {
  const { name, depth, half } = deepest(), now = writeOrder(state.orders[name]);
  const others = stacks().every((stack) => stack.name === name || writeOrder(state.orders[stack.name]) === writeOrder(usualOrder(stack.depth)));
  WAYS.forEach(({ strategy, away = 0, damping = 1 }, at) => element("ways").children[at].setAttribute("aria-pressed",
    others && away === state.away && damping === state.damping && writeOrder(buildOrder(strategy, depth, half)) === now));
}

/** Take hold of a layer and drop it elsewhere; a click chooses it. A finger holds for a moment, or it would scroll. */
function listenTo(list, stack) {
  let from = null, over = null, held = false, waiting = 0;
  const placeOf = (one) => Number(one.closest("#stacks button").dataset.place);
  const mark = () => [...list.querySelectorAll("button")].forEach((button, i) => {
    button.classList.toggle("held", held && i === from.place);
    button.classList.toggle("target", held && i === over && i !== from.place);
  });
  const release = () => { clearTimeout(waiting); held = false; mark(); from = null; };
  list.addEventListener("pointerdown", (event) => {
    if (event.button || !event.target.closest("button")) return;
    over = placeOf(event.target);
    from = { place: over, x: event.clientX, y: event.clientY };
    if (event.pointerType !== "mouse") waiting = setTimeout(() => { held = true; mark(); }, 250);
  });
  list.addEventListener("pointermove", (event) => {
    if (from && !held && Math.hypot(event.clientX - from.x, event.clientY - from.y) > 8) {
      if (event.pointerType !== "mouse") return release();
      list.setPointerCapture(event.pointerId); // from now on no click
      held = true;
    }
    if (!held) return;
    const button = document.elementFromPoint(event.clientX, event.clientY)?.closest(".layers button");
    if (button && list.contains(button)) over = placeOf(button);
    mark();
  });
  list.addEventListener("pointerup", () => {
    const moved = held && over !== from.place && [from.place, over];
    release();
    if (moved) move(stack, ...moved);
  });
  for (const end of ["pointercancel", "pointerleave"]) list.addEventListener(end, release);
  list.addEventListener("touchmove", (event) => { if (held) event.preventDefault(); }, { passive: false });
  list.addEventListener("contextmenu", (event) => { if (held) event.preventDefault(); });
  list.addEventListener("click", (event) => { if (event.target.closest("button")) choose(stack, placeOf(event.target)); });
  list.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Delete: 0 }[event.key];
    if (by === undefined || !event.target.closest("button")) return;
    const place = placeOf(event.target), next = Math.min(Math.max(place + by, 0), state.orders[stack].length - 1);
    if (by && event.altKey) move(stack, place, next);
    else if (!by) { chosen = { stack, places: [place] }; edit("off"); }
    event.preventDefault();
    focusOn(stack, next);
  });
}

/** Give a layer the focus, which it loses when the layers are shown anew. */
function focusOn(stack, place) {
  const buttons = document.querySelectorAll(`[data-stack="${stack}"] .layers button`);
  buttons[Math.min(place, buttons.length - 1)]?.focus();
}

/** Choose a layer, or no longer; layers of one stack only. */
function choose(stack, place) {
  const places = chosen.stack === stack ? chosen.places : [];
  chosen = { stack, places: places.includes(place) ? places.filter((other) => other !== place) : [...places, place].sort((a, b) => a - b) };
  showStacks();
  focusOn(stack, place);
}

function move(stack, from, to) {
  const order = [...state.orders[stack]], [step] = order.splice(from, 1);
  order.splice(to, 0, step);
  change(stack, order);
}

/** What the buttons do with the chosen layers. */
function edit(how) {
  const { stack, places } = chosen, order = state.orders[stack], ours = (_, place) => places.includes(place);
  if (!places.length) return say("words", "Choose layers first: press them.");
  const taken = order.filter(ours), rest = order.filter((...one) => !ours(...one));
  if (how === "off") change(stack, rest);
  if (how === "twice") change(stack, order.flatMap((step, place) => ours(step, place) ? [step, step] : [step]));
  if (how === "together") change(stack, [...rest.slice(0, places[0]), [...new Set(taken.flat())], ...rest.slice(places[0])]);
  if (how === "apart") change(stack, order.flatMap((step, place) => ours(step, place) ? [step].flat() : [step]));
  if (how === "earlier" || how === "later") {
    const by = how === "later" ? 1 : -1, moved = [...order];
    if (places[0] + by < 0 || places.at(-1) + by >= order.length) return;
    for (const place of by > 0 ? [...places].reverse() : places) [moved[place], moved[place + by]] = [moved[place + by], moved[place]];
    change(stack, moved);
    chosen = { stack, places: places.map((place) => place + by) };
    showStacks();
  }
}

function change(stack, order) {
  state.orders = { ...state.orders, [stack]: order };
  chosen = { stack: "", places: [] };
  say("note", "");
  update();
}

function untouched() {
  state.orders = Object.fromEntries(stacks().map(({ name, depth }) => [name, usualOrder(depth)]));
  chosen = { stack: "", places: [] };
}

/** Another model: its own number of steps, and the middle half of its deepest stack shuffled to begin with. */
function chooseModel(name) {
  state.model = name;
  Object.assign(state, { steps: model().steps, away: 0, damping: 1 });
  untouched();
  const { name: stack, depth, half } = deepest();
  state.orders[stack] = buildOrder("random_order", depth, half);
  makeStacks();
  makeWays();
}

// -- the rest ----------------------------------------------------------------------------------------------------

/** Show a message, and no room for it if it is empty. */
function say(id, message) {
  if (element(id).textContent !== message) element(id).textContent = message;
}

/** Why a prompt cannot be painted; empty if it can. */
function promptTrouble(prompt) {
  const words = wordsOf(prompt), known = (word) => Object.hasOwn(ABOUT.vocabulary, word) && !word.startsWith("<");
  const unknown = [...new Set(words.filter((word) => !known(word)))].map((word) => `“${word}”`);
  if (!words.length) return "Write what to paint.";
  if (unknown.length) return `It does not know ${unknown.join(", ")}: a mini has learned the words below and no others.`;
  if (words.length >= TEXT) return `The prompt has ${words.length} words: a mini reads ${TEXT - 1} at most.`;
  return "";
}

/** Words that the last one may become. */
function suggest() {
  const prompt = element("prompt").value, begun = prompt.match(/\w*$/)[0].toLowerCase();
  const words = WORDS.filter((word) => begun && word.startsWith(begun) && word !== begun);
  element("suggestions").replaceChildren(...words.slice(0, 6).map((word) => {
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
  say("hint", /\S\s+$/.test(prompt) ? promptTrouble(prompt) : ""); // not in the middle of a word
}
const WORDS = Object.keys(ABOUT.vocabulary).filter((word) => /^\w+$/.test(word));

/** What the address says, as far as it can be had; what cannot is said. */
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1)), notes = [], name = given.get("model") ?? ABOUT.first;
  if (!Object.hasOwn(ABOUT.models, name)) notes.push(`There is no model “${name.slice(0, 40)}” here.`);
  chooseModel(Object.hasOwn(ABOUT.models, name) ? name : ABOUT.first);
  for (const [key, least, most] of [["seed", 0, 1e9], ["steps", 1, 32]]) {
    if (!given.has(key)) continue;
    const value = Number(given.get(key));
    if (/^\d+$/.test(given.get(key)) && value >= least && value <= most) state[key] = value;
    else notes.push(`The ${key} must be from ${least} to ${most}.`);
  }
  for (const name of ["away", "damping"]) {
    if (!given.has(name)) continue;
    if ([...element(name).options].some(({ value }) => value === given.get(name))) state[name] = Number(given.get(name));
    else notes.push(`There is no “${name}” of ${given.get(name).slice(0, 20)} here.`);
  }
  state.prompt = (given.get("prompt") ?? state.prompt).slice(0, 300);
  if (given.has("order")) {
    const texts = given.get("order").split("/");
    try {
      const counted = ({ length }) => length === 1 ? "one stack" : `${length} stacks`;
      if (texts.length !== stacks().length) throw new Error(`it is for ${counted(texts)} of layers, not for ${counted(stacks())}`);
      state.orders = Object.fromEntries(stacks().map((stack, i) => [stack.name, readOrder(texts[i], stack)]));
    } catch (error) {
      untouched();
      notes.push(`The order in the address does not fit ${model().title}: ${error.message}. Here is the untouched order.`);
    }
  }
  say("note", notes.join(" "));
}

function listen() {
  for (const input of document.getElementsByName("model")) input.onchange = () => {
    chooseModel(input.value);
    say("note", "");
    ready();
    update();
  };
  element("choices").addEventListener("submit", (event) => {
    event.preventDefault();
    state.prompt = element("prompt").value.trim();
    state.seed = Math.min(1e9, Math.max(0, Math.floor(element("seed").valueAsNumber || 0)));
    state.steps = Math.min(32, Math.max(1, Math.floor(element("steps").valueAsNumber || model().steps)));
    element("suggestions").replaceChildren();
    update();
  });
  element("prompt").addEventListener("input", suggest);
  element("example").onchange = () => { state.prompt = element("example").value || state.prompt; element("suggestions").replaceChildren(); update(); };
  for (const how of ["off", "twice", "together", "apart", "earlier", "later"]) element(how).onclick = () => edit(how);
  for (const name of ["away", "damping"]) element(name).onchange = () => { state[name] = Number(element(name).value); update(); };
  element("reset").onclick = () => { untouched(); Object.assign(state, { away: 0, damping: 1 }); say("note", ""); update(); };
  addEventListener("hashchange", () => { readAddress(); ready(); update(); });
}

/** Whether this browser runs the kernel: WebAssembly with SIMD. */
const able = () => typeof WebAssembly === "object" && WebAssembly.validate(decoded(ABOUT.kernel));

addEventListener("load", () => {
  element("unable").hidden = able();
  element("app").hidden = !able();
  if (!able()) return;
  readAddress();
  listen();
  ready();
  update();
});
