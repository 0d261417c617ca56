// SD3 mini, as diffusers runs it: two CLIPs and a T5 read the prompt, 24 blocks paint, a decoder makes pixels of it.
"use strict";

const TEXT = 24, SIDE = 12, PATCH = 2, GRID = SIDE / PATCH, CHANNELS = 8; // words; latents and patches along a side

class SD3 {
  /** `files` maps the parts of the pipeline to what their .safetensors hold; `vocabulary` maps words to numbers. */
  constructor(memory, files, vocabulary) {
    this.memory = memory;
    this.vocabulary = vocabulary;
    this.parts = Object.fromEntries(Object.entries(files).map(([part, tensors]) => [part, new Layers(memory, tensors)]));
    Object.values(this.parts).forEach((layers) => layers.prepare());
    this.depth = 24;
  }

  /** The words of a prompt as numbers: </s> ends them, <pad> fills up. */
  tokens(prompt) {
    const words = prompt.toLowerCase().match(/\w+|[^\w\s]+/g) || [];
    const ids = words.slice(0, TEXT - 1).map((word) => this.vocabulary[word] ?? this.vocabulary["<unk>"]);
    return [...ids, this.vocabulary["</s>"], ...Array(TEXT).fill(this.vocabulary["<pad>"])].slice(0, TEXT);
  }

  /** What the encoders say of a prompt: a matrix with a row for each of 48 tokens, and one vector. */
  read(prompt) {
    const { memory } = this, ids = this.tokens(prompt);
    const text = memory.matrix(2 * TEXT, 96), pooled = memory.matrix(1, 96);
    ["text_encoder", "text_encoder_2"].forEach((part, number) => {
      const [words, whole] = clip(memory, this.parts[part], ids, this.vocabulary["</s>"]);
      for (let row = 0; row < TEXT; row++) {
        text.data.set(words.data.subarray(row * 48, (row + 1) * 48), row * 96 + number * 48);
      }
      pooled.data.set(whole.data, number * 48);
    });
    text.data.set(t5(memory, this.parts.text_encoder_3, ids).data, TEXT * 96);
    return { text, pooled };
  }

  /** The velocity at `latents` (144 pixels of 8 channels) for a text, the blocks running in `order`. */
  velocity(latents, timestep, { text, pooled }, order) {
    const { memory, parts: { transformer } } = this;
    let image = transformer.linear("pos_embed.proj", patched(memory, latents));
    add(image, { data: transformer.numbers("pos_embed.pos_embed") });
    let words = transformer.linear("context_embedder", text);
    const embedded = (name, x) => transformer.linear(
      `time_text_embed.${name}.linear_2`, each(transformer.linear(`time_text_embed.${name}.linear_1`, x), silu));
    const time = embedded("timestep_embedder", waves(memory, timestep));
    const signal = each(add(time, embedded("text_embedder", pooled)), silu);
    for (const step of order) {
      const group = [step].flat().map((index) => this.block(index, image, words, signal));
      [image, words] = group.length === 1 ? group[0] : [0, 1].map((stream) => mean(memory, group.map((of) => of[stream])));
    }
    const [scale, shift] = split(transformer.linear("norm_out.linear", signal), 2);
    return unpatched(memory, transformer.linear("proj_out", modulated(memory, image, scale, shift)));
  }

  /** One block: image and words attend to each other, then each token thinks by itself. The last returns no words. */
  block(index, image, words, signal) {
    const { memory, parts: { transformer } } = this, name = `transformer_blocks.${index}`;
    const linear = (part, x) => transformer.linear(`${name}.${part}`, x);
    const last = !transformer.has(`${name}.attn.to_add_out.weight`);
    const [shift, scale, gate, shiftAlone, scaleAlone, gateAlone] = split(linear("norm1.linear", signal), 6);
    const said = split(linear("norm1_context.linear", signal), last ? 2 : 6);
    const [shiftWords, scaleWords] = last ? [said[1], said[0]] : said;
    const i = modulated(memory, image, scale, shift), w = modulated(memory, words, scaleWords, shiftWords);
    const both = ([ofImage, ofWords]) => stacked(memory, linear(`attn.${ofImage}`, i), linear(`attn.${ofWords}`, w));
    const [q, k, v] = [["to_q", "add_q_proj"], ["to_k", "add_k_proj"], ["to_v", "add_v_proj"]].map(both);
    const found = attention(memory, q, k, v, 5, 1 / Math.sqrt(16));
    const think = (part, x) => linear(`${part}.net.2`, each(linear(`${part}.net.0.proj`, x), gelu));
    const newImage = add(rowsOf(memory, image, 0, image.rows), linear("attn.to_out.0", rowsOf(memory, found, 0, image.rows)), gate);
    add(newImage, think("ff", modulated(memory, newImage, scaleAlone, shiftAlone)), gateAlone);
    if (last) return [newImage, words];
    const [, , gateWords, shiftWordsAlone, scaleWordsAlone, gateWordsAlone] = said;
    const heard = linear("attn.to_add_out", rowsOf(memory, found, image.rows, found.rows));
    const newWords = add(rowsOf(memory, words, 0, words.rows), heard, gateWords);
    add(newWords, think("ff_context", modulated(memory, newWords, scaleWordsAlone, shiftWordsAlone)), gateWordsAlone);
    return [newImage, newWords];
  }

  /**
   * Paint a prompt: pixels (96 × 96, red, green, blue, 0 to 1). `order` is a list of blocks, a list in it a group that
   * runs in parallel. `seen(step)` is called before each step and may wait, so that the page can show how far it is.
   */
  async paint(prompt, { seed = 0, steps = 8, guidance = 2.5, order = [...Array(this.depth).keys()], seen = () => {} } = {}) {
    const { memory } = this, start = memory.top;
    const said = this.read(prompt), unsaid = this.read("");
    const latents = pixelsFirst(memory, drawNoise(prompt, seed, SIDE * SIDE * CHANNELS));
    const timesteps = Array.from({ length: steps }, (_, i) => steps > 1 ? 1000 - (999 * i) / (steps - 1) : 1000);
    const step = memory.matrix(latents.rows, latents.columns);
    for (const [i, timestep] of timesteps.entries()) {
      await seen(i);
      const width = ((timesteps[i + 1] ?? 0) - timestep) / 1000;
      memory.forget(step, () => {
        const [wanted, without] = [said, unsaid].map((text) => this.velocity(latents, timestep, text, order));
        return add(each(without, (value) => value * (1 - guidance)), each(wanted, (value) => value * guidance));
      });
      add(latents, each(step, (value) => value * width));
    }
    const pixels = Float32Array.from(decode(memory, this.parts.vae, latents).data);
    memory.top = start;
    return pixels;
  }
}

/** A CLIP: what its last layer but one says of each word, and of the whole prompt where it ends. */
function clip(memory, layers, ids, end) {
  let x = layers.embedding("text_model.embeddings.token_embedding", ids), words = x;
  add(x, { data: layers.numbers("text_model.embeddings.position_embedding.weight") });
  for (let layer = 0; layers.has(`text_model.encoder.layers.${layer}.mlp.fc1.weight`); layer++) {
    words = rowsOf(memory, x, 0, x.rows);
    const name = `text_model.encoder.layers.${layer}`, linear = (part, y) => layers.linear(`${name}.${part}`, y);
    const seen = layers.layerNorm(`${name}.layer_norm1`, x);
    const [q, k, v] = ["q_proj", "k_proj", "v_proj"].map((part) => linear(`self_attn.${part}`, seen));
    const backwards = (_, from, to) => to > from ? -Infinity : 0; // a word hears only those before it
    add(x, linear("self_attn.out_proj", attention(memory, q, k, v, 3, 1 / Math.sqrt(16), backwards)));
    add(x, linear("mlp.fc2", each(linear("mlp.fc1", layers.layerNorm(`${name}.layer_norm2`, x)), quickGelu)));
  }
  const ended = rowsOf(memory, layers.layerNorm("text_model.final_layer_norm", x), ids.indexOf(end), ids.indexOf(end) + 1);
  return [words, layers.linear("text_projection", ended)];
}

/** A T5's encoder: every word hears all others, nearer ones in another tone. */
function t5(memory, layers, ids) {
  const x = layers.embedding("shared", ids), tones = layers.numbers("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
  const bias = (head, from, to) => tones[distance(to - from) * 6 + head];
  for (let block = 0; layers.has(`encoder.block.${block}.layer.0.layer_norm.weight`); block++) {
    const name = `encoder.block.${block}.layer`, linear = (part, y) => layers.linear(`${name}.${part}`, y);
    const seen = layers.rootMeanSquareNorm(`${name}.0.layer_norm`, x);
    const [q, k, v] = ["q", "k", "v"].map((part) => linear(`0.SelfAttention.${part}`, seen));
    add(x, linear("0.SelfAttention.o", attention(memory, q, k, v, 6, 1, bias)));
    const alone = layers.rootMeanSquareNorm(`${name}.1.layer_norm`, x);
    const gated = each(linear("1.DenseReluDense.wi_0", alone), gelu), with_ = linear("1.DenseReluDense.wi_1", alone);
    for (let i = 0; i < gated.data.length; i++) gated.data[i] *= with_.data[i];
    add(x, linear("1.DenseReluDense.wo", gated));
  }
  return layers.rootMeanSquareNorm("encoder.final_layer_norm", x);
}

/** T5's class of a distance between words: 16 forwards, 16 backwards, exact up to 7 and coarser beyond. */
function distance(steps, exact = 8, most = 128) {
  const far = Math.abs(steps), side = steps > 0 ? 2 * exact : 0;
  if (far < exact) return side + far;
  return side + Math.min(exact + Math.floor(Math.log(far / exact) / Math.log(most / exact) * exact), 2 * exact - 1);
}

/** The VAE's decoder: 12 × 12 latents to 96 × 96 pixels, red, green, blue from 0 to 1. */
function decode(memory, vae, latents, groups = 8) {
  let x = each(rowsOf(memory, latents, 0, latents.rows), (value) => value / 0.9262), side = SIDE;
  const calm = (name, y) => each(vae.groupNorm(name, y, groups), silu);
  const resnet = (name, y) => {
    const before = vae.has(`${name}.conv_shortcut.weight`) ? vae.convolution(`${name}.conv_shortcut`, y, side) : y;
    const once = vae.convolution(`${name}.conv1`, calm(`${name}.norm1`, y), side);
    return add(vae.convolution(`${name}.conv2`, calm(`${name}.norm2`, once), side), before);
  };
  x = vae.convolution("decoder.conv_in", x, side);
  for (const number of [0, 1]) x = resnet(`decoder.mid_block.resnets.${number}`, x);
  for (let block = 0; block < 4; block++) {
    for (const number of [0, 1]) x = resnet(`decoder.up_blocks.${block}.resnets.${number}`, x);
    if (block === 3) break;
    x = doubled(memory, x, side);
    side *= 2;
    x = vae.convolution(`decoder.up_blocks.${block}.upsamplers.0.conv`, x, side);
  }
  const last = vae.convolution("decoder.conv_out", calm("decoder.conv_norm_out", x), side);
  const pixels = memory.matrix(last.rows, 3); // the kernel has filled them up to eight columns
  for (let row = 0; row < last.rows; row++) for (let i = 0; i < 3; i++) {
    pixels.data[3 * row + i] = Math.min(1, Math.max(0, last.data[row * last.columns + i] / 2 + 0.5));
  }
  return pixels;
}

/** Latents as PyTorch has them, channel after channel, as a matrix with a pixel in each row. */
function pixelsFirst(memory, numbers) {
  const x = memory.matrix(SIDE * SIDE, CHANNELS);
  for (let p = 0; p < x.rows; p++) for (let c = 0; c < CHANNELS; c++) x.data[p * CHANNELS + c] = numbers[c * x.rows + p];
  return x;
}

/** 36 patches of 2 × 2 latents: place by place, channels within, as `Layers.weights` lays out a convolution. */
function patched(memory, latents) {
  const y = memory.matrix(GRID * GRID, PATCH * PATCH * CHANNELS);
  eachLatent((pixel, patch, place) => {
    y.data.set(latents.data.subarray(pixel * CHANNELS, (pixel + 1) * CHANNELS), patch * y.columns + place * CHANNELS);
  });
  return y;
}

/** The way back: what the last layer says of a patch, place by place, channels within. */
function unpatched(memory, x) {
  const y = memory.matrix(SIDE * SIDE, CHANNELS);
  eachLatent((pixel, patch, place) => {
    const from = patch * x.columns + place * CHANNELS;
    y.data.set(x.data.subarray(from, from + CHANNELS), pixel * CHANNELS);
  });
  return y;
}

function eachLatent(visit) {
  for (let row = 0; row < SIDE; row++) for (let column = 0; column < SIDE; column++) {
    const patch = Math.floor(row / PATCH) * GRID + Math.floor(column / PATCH);
    visit(row * SIDE + column, patch, (row % PATCH) * PATCH + (column % PATCH));
  }
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

/** Normalised, then stretched and shifted as the timestep and the prompt say. */
function modulated(memory, x, scale, shift) {
  const y = normalised(memory, x, 1e-6);
  for (let i = 0; i < y.data.length; i++) y.data[i] = y.data[i] * (1 + scale[i % y.columns]) + shift[i % y.columns];
  return y;
}

/** The mean of matrices of one shape: what a group in parallel returns. */
function mean(memory, some) {
  const sum = rowsOf(memory, some[0], 0, some[0].rows);
  some.slice(1).forEach((x) => add(sum, x));
  return each(sum, (value) => value / some.length);
}
