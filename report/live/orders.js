// Orders of layers: the strategies of the study, their short form for the address, and what they are called in words.
"use strict";

/**
 * After painters_utils/engine/strategies.py: what runs in place of a band of layers, and what people call it. Where the
 * band must reach the beginning or the end of the stack, `ends` names the field that this settles.
 */
const STRATEGIES = {
  identity: { title: "untouched", build: (band) => band },
  skip: { title: "skip", build: () => [] },
  middle_repeat: { title: "repeat the middle layer", build: (band) => band.map(() => band[Math.floor((band.length - 1) / 2)]) },
  reverse: { title: "reverse", build: (band) => [...band].reverse() },
  random_order: { title: "random order", build: shuffled },
  parallel: { title: "parallel", build: (band) => [band] },
  looped_parallel: { title: "looped parallel, 3 times", build: (band) => [band, band, band] },
  remove_first: { title: "without the first layers", build: () => [], ends: "first" },
  remove_last: { title: "without the last layers", build: () => [], ends: "last" },
};

const usualOrder = (depth) => [...Array(depth).keys()];

/** The order of `depth` layers in which the band from `first` to `last`, both included, runs as a strategy says. */
function buildOrder(strategy, depth, [first, last], seed = 0) {
  const layers = usualOrder(depth), { build, ends } = STRATEGIES[strategy];
  const [from, to] = [ends === "first" ? 0 : first, ends === "last" ? depth - 1 : last];
  return [...layers.slice(0, from), ...build(layers.slice(from, to + 1), seed), ...layers.slice(to + 1)];
}

/** The strategy that makes an order of a band: `chosen` if it does, "" if none does. */
function strategyOf(order, depth, chosen, band, seed) {
  const now = writeOrder(order), fits = (name) => name && writeOrder(buildOrder(name, depth, band, seed)) === now;
  return [chosen, ...Object.keys(STRATEGIES)].find(fits) || "";
}

/** The layers from the first to the last that are not where they were; null if all are. */
function changedBand(order, depth) {
  const until = (place) => place < 0 ? order.length : place, first = until(order.findIndex((step, i) => step !== i));
  const last = depth - 1 - until([...order].reverse().findIndex((step, i) => step !== depth - 1 - i));
  return first <= last ? [first, last] : null;
}

/** A band as `random.Random(seed).shuffle` of Python leaves it; once more if that changes nothing. */
function shuffled(band, seed) {
  const bits = mersenneTwister(seed, true), order = [...band];
  const below = (n) => {
    let drawn;
    do drawn = bits() >>> Math.clz32(n); while (drawn >= n);
    return drawn;
  };
  do {
    for (let i = order.length - 1; i > 0; i--) {
      const j = below(i + 1);
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

/** The order that `writeOrder` wrote; an error that says what is wrong with anything else. */
function readOrder(text, stack) {
  const order = [];
  for (const part of text.split(",")) {
    const [, group, from, to] = part.match(/^(?:\((\d{1,3}(?:\.\d{1,3})*)\)|(\d{1,3})(?:-(\d{1,3}))?)$/) || [];
    if (group) order.push(group.split(".").map(Number));
    else if (from !== undefined) {
      const [start, end] = [Number(from), Number(to ?? from)];
      for (let i = start; end >= start ? i <= end : i >= end; i += end >= start ? 1 : -1) order.push(i);
    } else throw new Error(`“${part.slice(0, 20)}” is no part of an order`);
  }
  const wrong = check(order, stack);
  if (wrong) throw new Error(wrong);
  return order;
}

/** An order as pieces and how often each runs in a row, as `find_loops` of Python: read from the left, the shortest first. */
function loopsOf(order) {
  const pieces = [], same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  for (let at = 0; at < order.length;) {
    let piece = order.slice(at, at + 1), often = 1;
    for (let size = 1; 2 * size <= order.length - at; size++) {
      const loop = order.slice(at, at + size), again = () => same(loop, order.slice(at + often * size, at + (often + 1) * size));
      if (!again()) continue;
      piece = loop;
      while (again()) often++;
      break;
    }
    pieces.push({ piece, often });
    at += piece.length * often;
  }
  return pieces;
}

/** What is wrong with an order of a stack; empty if it can run. After SD3's last layer, which returns no words, nothing can. */
function check(order, { title, depth, closed }) {
  const strange = order.flat().find((layer) => layer >= depth), last = order.findIndex((step) => [step].flat().includes(depth - 1));
  if (strange !== undefined) return `there is no ${title} layer ${strange}, they are 0 to ${depth - 1}`;
  if (!order.length) return "it leaves no layer";
  if (order.length > 200) return "more than 200 places are too many";
  if (order.some((step) => Array.isArray(step) && new Set(step).size < step.length)) return "a group holds a layer twice";
  if (closed && last >= 0 && last < order.length - 1) return `layer ${depth - 1} returns no words, so nothing can follow it`;
  return "";
}

/** What an order does to a stack, in the words of painters_utils/engine/describe.py. */
function describe(order, depth) {
  const steps = order.map((step) => [step].flat().sort((a, b) => a - b)), facts = [], loops = [], runs = new Map(), told = new Map();
  for (const step of steps) {
    if (`${loops.at(-1)?.step}` === `${step}`) loops.at(-1).times++; // a step and how often it runs on end
    else loops.push({ step, times: 1 });
    for (const layer of step) runs.set(layer, (runs.get(layer) || 0) + 1);
  }
  const skipped = usualOrder(depth).filter((layer) => !runs.has(layer));
  if (skipped.length) facts.push(`${named(skipped)} ${skipped.length === 1 ? "is" : "are"} skipped`);
  for (const { step, times } of loops) if (step.length > 1) for (const layer of step) told.set(layer, times);
  for (const times of [...new Set(runs.values())].sort((a, b) => a - b)) {
    const often = usualOrder(depth).filter((layer) => times > 1 && runs.get(layer) === times && told.get(layer) !== times);
    if (often.length) facts.push(`${named(often)} ${often.length === 1 ? "is" : "are each"} run ${times} times`);
  }
  for (const { step, times } of loops) {
    if (step.length > 1) facts.push(`${named(step)} run in parallel${times > 1 ? `, ${times} times over` : ""}`);
  }
  for (const tangle of tangles(loops.map(({ step }) => step))) {
    const layers = tangle.flat(), sorted = [...layers].sort((a, b) => a - b);
    if (layers.length > tangle.length || `${layers}` !== `${[...sorted].reverse()}`) facts.push(`order changed: ${spelled(tangle).join(", ")}`);
    else facts.push(layers.length === 2 ? `${named(sorted)} change places` : `${named(sorted)} run in reverse order`);
  }
  return facts.join("; ") || "every layer runs once, in order";
}

/** The shortest stretches outside of which the layers ascend: cut wherever all before lies below all after. */
function tangles(steps) {
  const found = [];
  for (let start = 0, end = 1; end <= steps.length; end++) {
    if (end < steps.length && Math.max(...steps.slice(start, end).flat()) >= Math.min(...steps.slice(end).flat())) continue;
    if (end - start > 1) found.push(steps.slice(start, end));
    start = end;
  }
  return found;
}

/** [7] is "layer 7", [3, 4] "layers 3 and 4", [3, 4, 5, 9] "layers 3–5 and 9". */
function named(layers) {
  const runs = layers.length === 2 ? layers : ranges(layers), others = runs.slice(0, -1).join(", ");
  return `${layers.length > 1 ? "layers" : "layer"} ${others && `${others} and `}${runs.at(-1)}`;
}

/** Layers that count up by one drawn together: [3, 4, 5, 9] is "3–5", "9". */
function ranges(layers) {
  const runs = [];
  for (const layer of layers) runs.at(-1)?.at(-1) === layer - 1 ? runs.at(-1).push(layer) : runs.push([layer]);
  return runs.map((run) => run.length > 1 ? `${run[0]}–${run.at(-1)}` : `${run[0]}`);
}

/** Steps in the order in which they run, groups in brackets: "5", "2–4", "[0–1]". */
function spelled(steps) {
  const parts = [];
  let single = [];
  const close = () => { parts.push(...ranges(single)); single = []; };
  for (const step of steps) {
    if (step.length === 1) single.push(step[0]);
    else { close(); parts.push(`[${ranges(step).join(", ")}]`); }
  }
  close();
  return parts;
}
