// Orders of layers: presets, their short form for the address, and what they are called in words.
"use strict";

const PRESETS = { // after painters_utils/engine/strategies.py; `band` is [first, last], both included
  "untouched": () => [],
  "left out": () => null,
  "backwards": (band) => band.reverse(),
  "shuffled": (band, random) => shuffled(band, random),
  "in parallel": (band) => [band],
  "in parallel, 3 times": (band) => [band, band, band],
  "middle one in place of all": (band) => band.map(() => band[Math.floor(band.length / 2)]),
};

/** The order of `depth` layers in which a band runs as a preset says. */
function presetOrder(name, depth, [first, last], seed = 0) {
  const layers = [...Array(depth).keys()];
  if (name === "untouched") return layers;
  const band = layers.slice(first, last + 1), numbers = mersenneTwister(seed);
  const changed = PRESETS[name](band, () => numbers() / 2 ** 32) || [];
  return [...layers.slice(0, first), ...changed, ...layers.slice(last + 1)];
}

function shuffled(band, random) {
  const order = [...band];
  do {
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
  } while (order.length > 1 && order.every((layer, i) => layer === band[i]));
  return order;
}

/** "0-7,(8.9.10),16-23": runs up or down, and groups in parallel. */
function writeOrder(order) {
  const parts = [];
  for (let i = 0; i < order.length;) {
    if (Array.isArray(order[i])) { parts.push(`(${order[i++].join(".")})`); continue; }
    let end = i;
    for (const step of [1, -1]) {
      let reach = i;
      while (!Array.isArray(order[reach + 1]) && order[reach + 1] === order[reach] + step) reach++;
      end = Math.max(end, reach);
    }
    parts.push(end === i ? `${order[i]}` : `${order[i]}-${order[end]}`);
    i = end + 1;
  }
  return parts.join(",");
}

/** The order that `writeOrder` wrote; null for anything else and for layers that are not there. */
function readOrder(text, depth) {
  const order = [];
  for (const part of text ? text.split(",") : []) {
    const [, group, from, to] = part.match(/^(?:\(([\d.]+)\)|(\d+)(?:-(\d+))?)$/) || [];
    if (group) order.push(group.split(".").map(Number));
    else if (from !== undefined) {
      const [start, end] = [Number(from), Number(to ?? from)];
      for (let i = start; end >= start ? i <= end : i >= end; i += end >= start ? 1 : -1) order.push(i);
    } else return null;
    if (order.length > 200) return null;
  }
  return check(order, depth) ? null : order;
}

/** What is wrong with an order; empty if it can run. SD3's last layer returns no words, so nothing can follow it. */
function check(order, depth) {
  if (order.flat().some((layer) => !(layer >= 0 && layer < depth))) return `layers are 0 to ${depth - 1}`;
  const last = order.findIndex((step) => [step].flat().includes(depth - 1));
  if (last >= 0 && last < order.length - 1) return `layer ${depth - 1} returns no words: nothing can follow it`;
  if (last >= 0 && Array.isArray(order[last]) && order[last].length > 1) return `layer ${depth - 1} returns no words: it cannot run in parallel`;
  return "";
}

/** "Layers 8 to 15 are left out." What differs from the usual order, in words. */
function inWords(order, depth) {
  const flat = order.flat(), count = (layer) => flat.filter((other) => other === layer).length;
  const layers = [...Array(depth).keys()], said = [];
  const missing = layers.filter((layer) => !count(layer)), often = layers.filter((layer) => count(layer) > 1);
  const groups = order.filter((step) => Array.isArray(step) && step.length > 1);
  if (missing.length) said.push(`${named(missing)} left out`);
  for (const layer of often) said.push(`layer ${layer} runs ${count(layer)} times`);
  if (groups.length) said.push(`${named([...new Set(groups.flat())])} running in parallel`);
  const single = order.filter((step) => !Array.isArray(step));
  let turned = 0;
  for (let i = 0; i < single.length; i++) { // runs of neighbours that go down are backwards, other steps back are counted
    let end = i;
    while (single[end + 1] === single[end] - 1) end++;
    if (end > i + 1) said.push(`${named(single.slice(i, end + 1))} running backwards`);
    else if (end > i) turned++;
    if (single[end + 1] < single[end]) turned++;
    i = end;
  }
  if (turned && !often.length) said.push(`${turned} ${turned > 1 ? "steps" : "step"} back to an earlier layer`);
  return said.length ? said.join("; ") : "every layer once, in its usual place";
}

/** "layers 8–11 and 14". */
function named(layers) {
  const runs = writeOrder([...layers].sort((a, b) => a - b)).split(",").map((run) => run.replace("-", "–"));
  const list = runs.length > 1 ? `${runs.slice(0, -1).join(", ")} and ${runs.at(-1)}` : runs[0];
  return `${layers.length > 1 ? "layers" : "layer"} ${list}`;
}
