// What networks are made of, on matrices with a token (or a pixel) in each row. Everything that is slow is one call of
// the kernel (kernel.wat), which multiplies matrices in the same memory.
"use strict";

/** A network's memory: weights stay, what is computed is forgotten with `forget`. */
class Memory {
  constructor(wasm, megabytes) {
    const { memory, multiply } = new WebAssembly.Instance(new WebAssembly.Module(wasm)).exports;
    memory.grow(megabytes * 16); // pages of 64 KB
    this.numbers = new Float32Array(memory.buffer);
    this.multiply = multiply;
    this.top = 16;
    this.zeros = this.room(4096);
  }

  /** Room for so many numbers: where it begins. */
  room(count) {
    const start = this.top;
    this.top += Math.ceil(count / 4) * 4;
    if (this.top > this.numbers.length) throw new Error("the painter's memory is full");
    return start;
  }

  /** A matrix; the kernel may write up to three rows more. */
  matrix(rows, columns) {
    const start = this.room((Math.ceil(rows / 4) * 4) * columns);
    return { rows, columns, start, data: this.numbers.subarray(start, start + rows * columns) };
  }

  /** Do something and forget all that it has computed but the matrices that it returns, copied into those of `kept`. */
  forget(kept, work) {
    const before = this.top;
    work().forEach((matrix, i) => kept[i].data.set(matrix.data));
    this.top = before;
    return kept;
  }

  /** a · b + bias, where b has a multiple of eight columns; in `c`, if it is given. */
  product(a, b, bias = this.zeros, c = this.matrix(a.rows, b.columns)) {
    this.multiply(4 * a.start, 4 * b.start, 4 * bias, 4 * c.start, Math.ceil(a.rows / 4) * 4, b.rows, b.columns);
    return c;
  }
}

/** The tensors of a .safetensors file whose names begin with `part`, {name: {shape, data}}. */
function readTensors(buffer, part = "") {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__, ...about } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(about)) {
    if (!name.startsWith(part)) continue;
    const bytes = buffer.slice(8 + length + from, 8 + length + to);
    if (dtype === "F32") tensors[name] = { shape, data: new Float32Array(bytes) };
    else if (dtype === "BF16") { // the upper half of a float32
      const wide = Uint32Array.from(new Uint16Array(bytes), (half) => half << 16);
      tensors[name] = { shape, data: new Float32Array(wide.buffer) };
    } else throw new Error(`${name} is ${dtype}: only float32 and bfloat16 are read`);
  }
  return tensors;
}

/** Layers of a network by name, from its tensors; each is a function from matrix to matrix. */
class Layers {
  constructor(memory, tensors) {
    Object.assign(this, { memory, tensors, made: new Map() });
  }

  /** A tensor's numbers. */
  numbers(name) {
    if (!this.tensors[name]) throw new Error(`there are no weights ${name}`);
    return this.tensors[name].data;
  }

  has(name) { return name in this.tensors; }

  /** Weights (out, in, ...) as the kernel wants them, (in, out), the columns filled up to a multiple of eight. */
  weights(name) {
    if (!this.made.has(name)) {
      const { memory } = this, { shape, data } = this.tensors[`${name}.weight`];
      const [out, inside, height = 1, width = 1] = shape, area = height * width;
      const columns = Math.ceil(out / 8) * 8, matrix = memory.matrix(inside * area, columns);
      // Of a convolution, rows are place by place, channels within.
      for (let o = 0; o < out; o++) for (let i = 0; i < inside; i++) for (let p = 0; p < area; p++) {
        matrix.data[(p * inside + i) * columns + o] = data[(o * inside + i) * area + p];
      }
      const bias = memory.room(columns);
      if (this.has(`${name}.bias`)) memory.numbers.set(this.numbers(`${name}.bias`), bias);
      this.made.set(name, { matrix, bias });
      delete this.tensors[`${name}.weight`].data; // a phone has little room
    }
    return this.made.get(name);
  }

  /** Everything that `linear` and `convolution` will need, laid out before anything is computed; tables stay as they are. */
  prepare() {
    for (const [name, { shape }] of Object.entries(this.tensors)) {
      const table = /(^shared|_embedding|_bias)\.weight$/.test(name);
      if (name.endsWith(".weight") && shape.length > 1 && !table) this.weights(name.slice(0, -7));
    }
  }

  linear(name, x) {
    const { matrix, bias } = this.weights(name);
    return this.memory.product(x, matrix, bias);
  }

  /** A convolution of 3 × 3 places, or of 1 × 1, on a picture with a pixel in each row. */
  convolution(name, x, side) {
    const { memory } = this, { matrix, bias } = this.weights(name), size = Math.sqrt(matrix.rows / x.columns);
    const y = memory.matrix(x.rows, matrix.columns), before = memory.top;
    memory.product(size === 1 ? x : patches(memory, x, side, size), matrix, bias, y);
    memory.top = before;
    return y;
  }

  layerNorm(name, x) {
    return normalised(this.memory, x, 1e-5, this.numbers(`${name}.weight`), this.numbers(`${name}.bias`));
  }

  /** A norm of lengths, without means: T5's, and that of FLUX's queries and keys. */
  rootMeanSquareNorm(name, x, epsilon = 1e-6) {
    const y = this.memory.matrix(x.rows, x.columns), weight = this.numbers(`${name}.weight`);
    for (let row = 0; row < x.rows; row++) {
      const from = row * x.columns;
      let squares = 0;
      for (let i = 0; i < x.columns; i++) squares += x.data[from + i] ** 2;
      const scale = 1 / Math.sqrt(squares / x.columns + epsilon);
      for (let i = 0; i < x.columns; i++) y.data[from + i] = x.data[from + i] * scale * weight[i];
    }
    return y;
  }

  /** Rows of a table, one for each number. */
  embedding(name, ids) {
    const { shape: [, columns], data } = this.tensors[`${name}.weight`], y = this.memory.matrix(ids.length, columns);
    ids.forEach((id, row) => y.data.set(data.subarray(id * columns, (id + 1) * columns), row * columns));
    return y;
  }

  /** Mean 0 and spread 1 in each of the groups of channels, over all pixels. */
  groupNorm(name, x, groups, epsilon = 1e-6) {
    const y = this.memory.matrix(x.rows, x.columns), width = x.columns / groups;
    const weight = this.numbers(`${name}.weight`), bias = this.numbers(`${name}.bias`);
    for (let group = 0; group < groups; group++) {
      let sum = 0, squares = 0;
      for (let row = 0; row < x.rows; row++) for (let i = 0; i < width; i++) {
        const value = x.data[row * x.columns + group * width + i];
        sum += value;
        squares += value * value;
      }
      const count = x.rows * width, mean = sum / count, scale = 1 / Math.sqrt(squares / count - mean * mean + epsilon);
      for (let row = 0; row < x.rows; row++) for (let i = 0; i < width; i++) {
        const channel = group * width + i, at = row * x.columns + channel;
        y.data[at] = (x.data[at] - mean) * scale * weight[channel] + bias[channel];
      }
    }
    return y;
  }
}

/** Each row with mean 0 and spread 1, times `weight` and plus `bias` if they are given. */
function normalised(memory, x, epsilon, weight, bias) {
  const y = memory.matrix(x.rows, x.columns);
  for (let row = 0; row < x.rows; row++) {
    const from = row * x.columns;
    let sum = 0, squares = 0;
    for (let i = 0; i < x.columns; i++) sum += x.data[from + i];
    const mean = sum / x.columns;
    for (let i = 0; i < x.columns; i++) squares += (x.data[from + i] - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / x.columns + epsilon);
    for (let i = 0; i < x.columns; i++) {
      const value = (x.data[from + i] - mean) * scale;
      y.data[from + i] = weight ? value * weight[i] + bias[i] : value;
    }
  }
  return y;
}

/** Change each number in place. */
function each(x, change) {
  for (let i = 0; i < x.data.length; i++) x.data[i] = change(x.data[i]);
  return x;
}
const silu = (value) => value / (1 + Math.exp(-value));
const quickGelu = (value) => value / (1 + Math.exp(-1.702 * value));
const gelu = (value) => value / (1 + Math.exp(-1.5957691216057308 * (value + 0.044715 * value * value * value)));

/** x plus y, in x; y times `gates`, one for each column, if they are given. */
function add(x, y, gates) {
  const { data, columns } = x, other = y.data;
  if (!gates) for (let i = 0; i < data.length; i++) data[i] += other[i];
  else for (let i = 0; i < data.length;) for (let c = 0; c < columns; c++, i++) data[i] += other[i] * gates[c];
  return x;
}

/** x times y, number by number, in x. */
function times(x, y) {
  for (let i = 0; i < x.data.length; i++) x.data[i] *= y.data[i];
  return x;
}

/** Rows of one matrix above those of another. */
function stacked(memory, one, other) {
  const both = memory.matrix(one.rows + other.rows, one.columns);
  both.data.set(one.data);
  both.data.set(other.data, one.data.length);
  return both;
}

/** Columns of one matrix to the left of those of another. */
function beside(memory, one, other) {
  const both = memory.matrix(one.rows, one.columns + other.columns);
  for (let row = 0; row < both.rows; row++) {
    both.data.set(one.data.subarray(row * one.columns, (row + 1) * one.columns), row * both.columns);
    both.data.set(other.data.subarray(row * other.columns, (row + 1) * other.columns), row * both.columns + one.columns);
  }
  return both;
}

/** The rows from `first` on, up to `end`. */
function rowsOf(memory, x, first = 0, end = x.rows) {
  const some = memory.matrix(end - first, x.columns);
  some.data.set(x.data.subarray(first * x.columns, end * x.columns));
  return some;
}

/**
 * Attention: every token asks all tokens (Vaswani et al. 2017). q, k, v: (tokens, heads × width).
 * `scale` multiplies what a query finds; `bias(head, from, to)` is added to it.
 */
function attention(memory, q, k, v, heads, scale, bias) {
  const tokens = q.rows, wide = Math.ceil(tokens / 8) * 8, width = q.columns / heads;
  const found = memory.matrix(tokens, q.columns), before = memory.top;
  for (let head = 0; head < heads; head++) {
    memory.top = before;
    const [queries, keys, values] = [memory.matrix(tokens, width), memory.matrix(width, wide), memory.matrix(wide, width)];
    keys.data.fill(0);
    values.data.fill(0);
    for (let token = 0; token < tokens; token++) for (let i = 0; i < width; i++) {
      const at = token * q.columns + head * width + i;
      queries.data[token * width + i] = q.data[at] * scale;
      keys.data[i * wide + token] = k.data[at];
      values.data[token * width + i] = v.data[at];
    }
    const weights = memory.product(queries, keys);
    for (let from = 0; from < tokens; from++) {
      const row = weights.data.subarray(from * wide, from * wide + wide);
      if (bias) for (let to = 0; to < tokens; to++) row[to] += bias(head, from, to);
      let most = -Infinity, sum = 0;
      for (let to = 0; to < tokens; to++) most = Math.max(most, row[to]);
      for (let to = 0; to < tokens; to++) sum += row[to] = Math.exp(row[to] - most);
      for (let to = 0; to < tokens; to++) row[to] /= sum;
      row.fill(0, tokens);
    }
    const read = memory.product(weights, values);
    for (let token = 0; token < tokens; token++) {
      found.data.set(read.data.subarray(token * width, (token + 1) * width), token * q.columns + head * width);
    }
  }
  memory.top = before;
  return found;
}

/** For each pixel of a square picture those around it, side by side; nothing is outside. */
function patches(memory, x, side, size) {
  const y = memory.matrix(x.rows, size * size * x.columns), reach = (size - 1) / 2;
  for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
    let at = (row * side + column) * y.columns;
    for (let down = -reach; down <= reach; down++) for (let across = -reach; across <= reach; across++) {
      const [r, c] = [row + down, column + across];
      if (r < 0 || c < 0 || r >= side || c >= side) y.data.fill(0, at, at + x.columns);
      else y.data.set(x.data.subarray((r * side + c) * x.columns, (r * side + c + 1) * x.columns), at);
      at += x.columns;
    }
  }
  return y;
}

/** A picture of twice the side: each pixel four times. */
function doubled(memory, x, side) {
  const y = memory.matrix(4 * x.rows, x.columns);
  for (let row = 0; row < 2 * side; row++) for (let column = 0; column < 2 * side; column++) {
    const from = ((row >> 1) * side + (column >> 1)) * x.columns;
    y.data.set(x.data.subarray(from, from + x.columns), (row * 2 * side + column) * x.columns);
  }
  return y;
}

/** A timestep as 128 cosines and 128 sines of ever longer waves. */
function waves(memory, timestep) {
  const x = memory.matrix(1, 256);
  for (let i = 0; i < 128; i++) {
    const angle = timestep * Math.exp(-Math.log(10000) * i / 128);
    x.data[i] = Math.cos(angle);
    x.data[128 + i] = Math.sin(angle);
  }
  return x;
}

/** The parts of one row. */
function split(row, count) {
  const width = row.data.length / count;
  return Array.from({ length: count }, (_, i) => row.data.subarray(i * width, (i + 1) * width));
}

/** x, stretched and shifted column by column, in x: what the timestep and the prompt have a say in. */
function modulate(x, scale, shift) {
  const { data, columns } = x;
  for (let i = 0; i < data.length;) for (let c = 0; c < columns; c++, i++) data[i] = data[i] * (1 + scale[c]) + shift[c];
  return x;
}

/** The same numbers with so many in a row: a row for each head of a token. */
function reshaped(x, columns) {
  return { ...x, rows: x.data.length / columns, columns };
}

/** The mean of matrices of one shape: what a group in parallel returns. */
function mean(memory, some) {
  const sum = rowsOf(memory, some[0], 0, some[0].rows);
  some.slice(1).forEach((x) => add(sum, x));
  return each(sum, (value) => value / some.length);
}
