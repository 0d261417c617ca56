// What can be touched: the model of the page, pictures before and after, the map of roles, heat maps, claims.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// -- one model for the whole page, kept in the address ---------------------------------------------------------
const models = all(".switch button").map(button => button.dataset.model);
const telling = document.querySelector("[data-telling]")?.dataset.model;

function choose(model) {
  document.body.classList.add("chosen");
  for (const part of all(".of")) part.hidden = part.dataset.model !== model;
  for (const button of all(".switch button")) button.setAttribute("aria-pressed", button.dataset.model === model);
  for (const link of all('a[href^="live/index.html"]')) link.href = "live/index.html#model=" + model;
}

function inAddress(model) {
  const address = new URL(location.href);
  address.searchParams.set("model", model);
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.closest(".of")) address.hash = "";  // it is of the model that was left
  try { history.replaceState(null, "", address); } catch { /* a page in a frame may have no address */ }
}

function asked() {  // by a link to a figure of one model, by the address, or else the most telling
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const [own, named] = [target?.closest(".of")?.dataset.model, new URL(location.href).searchParams.get("model")];
  return [own, named, telling].find(model => models.includes(model)) ?? models[0];
}

if (models.length) {
  choose(asked());
  for (const button of all(".switch button")) button.onclick = () => {
    const before = button.getBoundingClientRect().top, section = reading();
    const offset = section?.getBoundingClientRect().top;
    choose(button.dataset.model);
    inAddress(button.dataset.model);
    if (section) scrollBy({ top: section.getBoundingClientRect().top - offset, behavior: "instant" });
  };
  const follow = () => {
    choose(asked());
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.closest("details")) target.closest("details").open = true;
    target?.scrollIntoView({ behavior: "instant" });
  };
  addEventListener("hashchange", follow);
  if (location.hash) follow();
}

// -- contents that follow --------------------------------------------------------------------------------------
function reading() {
  return all("main > section").filter(section => section.getBoundingClientRect().top < innerHeight / 3).at(-1);
}
let waiting = false;
addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const id = reading()?.id;
    for (const link of all(".contents a")) link.toggleAttribute("aria-current", link.hash === "#" + id);
  });
}, { passive: true });
const contents = document.querySelector(".contents");
const wide = matchMedia("(min-width: 88rem)");
wide.onchange = () => { contents.open = wide.matches; };
contents.open = wide.matches;
for (const link of all("a", contents)) link.addEventListener("click", () => { if (!wide.matches) contents.open = false; });
addEventListener("click", event => { if (!wide.matches && !contents.contains(event.target)) contents.open = false; });

// -- pictures before and after ---------------------------------------------------------------------------------
for (const figure of all(".compare")) {
  const [select, picked] = [figure.querySelector("select"), figure.querySelector(".picked")];
  const after = all(".after", figure), prompts = JSON.parse(picked.dataset.prompts);
  const columns = Number(figure.style.getPropertyValue("--columns"));
  const shown = () => after[Number(select.value)];
  const stages = all(".stage", figure), wipe = figure.querySelector(".wipe input");
  const cut = percent => { figure.style.setProperty("--cut", percent + "%"); wipe.value = percent; };
  wipe.oninput = () => cut(wipe.value);
  for (const stage of stages) stage.append(...prompts.map((_, number) => {
    const cell = document.createElement("i");
    cell.style.setProperty("--column", number % columns);
    cell.style.setProperty("--row", Math.floor(number / columns));
    return cell;
  }));
  let last = 0;
  function tell(number) {
    last = number;
    const kept = shown().dataset.kept.split(" ")[number];
    picked.textContent = prompts[number] + (kept && kept !== "None" ? `: ${kept.replace("-", "−")} % of this picture’s score is kept.` : "");
    for (const stage of stages) all("i", stage).forEach((cell, at) => cell.classList.toggle("on", at === number));
  }
  select.onchange = () => {
    after.forEach((one, number) => { one.hidden = number !== Number(select.value); });
    if (figure.querySelector("i.on")) tell(last);
  };
  for (const button of all(".modes button", figure)) button.onclick = () => {
    figure.classList.toggle("over", button.dataset.mode === "over");
    for (const other of all(".modes button", figure)) other.setAttribute("aria-pressed", other === button);
  };
  for (const stage of stages) {
    const at = event => {
      const box = stage.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      const rows = Number(figure.style.getPropertyValue("--rows"));
      const number = Math.floor(y * rows) * columns + Math.floor(x * columns);
      if (number >= 0 && number < prompts.length) tell(number);
      if (figure.classList.contains("over") && event.buttons) cut(100 * (x * columns % 1));
    };
    stage.onpointermove = at;
    stage.onpointerdown = event => { if (figure.classList.contains("over")) stage.setPointerCapture(event.pointerId); at(event); };
  }
}

// -- the map of roles: a layer, and the pictures without it ----------------------------------------------------
for (const figure of all(".roles")) {
  const rows = JSON.parse(figure.dataset.rows), data = figure.querySelector("script");
  const strips = data ? JSON.parse(data.textContent) : [];
  const range = figure.querySelector("input"), picture = figure.querySelector(".after img");
  const words = figure.querySelector(".after p");
  function show(layer) {
    const [name, kept, scores] = rows[layer];
    range.value = layer;
    range.setAttribute("aria-valuetext", name);
    for (const cell of all(".cells i", figure)) cell.classList.toggle("on", cell.dataset.layer === String(layer));
    if (!picture) return;
    picture.src = strips[layer];
    picture.alt = `The same pictures ${name}.`;
    words.innerHTML = "<strong></strong> <span></span><br><small></small>";
    ["strong", "span", "small"].forEach((tag, at) => { words.querySelector(tag).textContent = [name, kept, scores][at]; });
  }
  range.oninput = () => show(Number(range.value));
  figure.querySelector(".back").onclick = () => show(Math.max(0, range.value - 1));
  figure.querySelector(".on").onclick = () => show(Math.min(rows.length - 1, Number(range.value) + 1));
  for (const cell of all(".cells i[data-layer]", figure)) {
    cell.onclick = () => show(Number(cell.dataset.layer));
    cell.title = `${rows[cell.dataset.layer][0]}: ${rows[cell.dataset.layer].slice(1).join("; ")}`;
  }
  show(Number(range.value));
}

// -- heat maps: the value under the finger ---------------------------------------------------------------------
for (const map of all(".heat")) {
  const levels = Uint8Array.from(atob(map.dataset.levels), sign => sign.charCodeAt(0));
  const [depth, low, edge, side] = ["depth", "low", "edge", "side"].map(name => Number(map.dataset[name]));
  const readout = map.parentElement.querySelector(".readout");
  map.onpointermove = map.onpointerdown = event => {
    const box = map.getBoundingClientRect(), scale = map.viewBox.baseVal.width / box.width;
    const column = Math.floor(((event.clientX - box.left) * scale - edge) / side * depth);
    const row = Math.floor((event.clientY - box.top) * scale / side * depth);
    if (Math.min(row, column) < 0 || Math.max(row, column) >= depth) return;
    const value = low + levels[row * depth + column] / 255 * (1 - low);
    readout.textContent = `Layers ${row} and ${column}: ${value.toFixed(2)}`;
  };
}

// -- line charts: a finger has no pointer that could rest on a dot ---------------------------------------------
for (const chart of all(".lines")) {
  const readout = Object.assign(document.createElement("p"), { className: "readout", ariaLive: "polite" });
  chart.addEventListener("click", event => {
    const said = event.target.closest("circle")?.querySelector("title")?.textContent;
    if (!said) return;
    readout.textContent = said;
    chart.after(readout);
  });
}

// -- claims: filters, and cells that open their claim ----------------------------------------------------------
for (const button of all(".filters button")) button.onclick = () => {
  for (const other of all(".filters button")) other.setAttribute("aria-pressed", other === button);
  const wanted = button.dataset.verdict;
  for (const claim of all("#study-15-verdicts details")) claim.hidden = Boolean(wanted) && !claim.dataset.verdicts.split("|").includes(wanted);
};
for (const cell of all(".claims .jump")) cell.addEventListener("click", event => {  // its claim opens with the keyboard too
  event.preventDefault();
  const target = document.getElementById(cell.dataset.to);
  target.closest("details").open = true;
  history.replaceState(null, "", "#" + target.id);
  for (const part of all(".claims .parts")) part.classList.toggle("found", part === target);
  target.scrollIntoView({ block: "center" });
});
