// What the three painters share: the loop from noise to a picture, stacks that run in any order, and a joint block.
"use strict";

class Painter {
  /**
   * `files` maps the parts of the pipeline to what their .safetensors hold, `vocabulary` words to numbers, `depths` each
   * stack to how many blocks it has. A painter defines `read(prompt)`, and `velocity(latents, timestep, text, orders)`.
   */
  constructor(memory, files, vocabulary, depths) {
    Object.assign(this, { memory, vocabulary, depths });
    this.parts = Object.fromEntries(Object.entries(files).map(([part, tensors]) => [part, new Layers(memory, tensors)]));
    Object.values(this.parts).forEach((layers) => layers.prepare());
  }

  /**
   * Paint a prompt: pixels (96 × 96, red, green, blue, 0 to 1). `orders` maps a stack to a list of its blocks, in which
   * a list is a group that runs in parallel; a stack that is not named runs as usual. With a `guidance` above 1 each step
   * goes away from what would be painted without a prompt. With `away`, the orders make a weaker self, and each step goes
   * so far beyond the untouched model, away from it. With `damping`, what runs several times in a row goes 1/damping of
   * its way each time. `seen(step)` is called before each step and may wait.
   */
  async paint(prompt, { seed = 0, steps = 8, guidance = 0, orders = {}, away = 0, damping = 1, seen = () => {} } = {}) {
    const { memory, depths } = this, start = memory.top, times = [...this.timesteps(steps), 0];
    this.damping = damping;
    const usual = Object.fromEntries(Object.keys(depths).map((stack) => [stack, [...Array(depths[stack]).keys()]]));
    try {
      const texts = (guidance > 1 ? [prompt, ""] : [prompt]).map((text) => this.read(text));
      const latents = latentsFirst(memory, drawNoise(prompt, seed, SIDE * SIDE * CHANNELS));
      const step = memory.matrix(latents.rows, latents.columns);
      const velocity = (timestep, some) => {
        const [wanted, without] = texts.map((text) => this.velocity(latents, timestep, text, { ...usual, ...some }));
        if (!without) return wanted;
        return add(each(without, (value) => value * (1 - guidance)), each(wanted, (value) => value * guidance));
      };
      for (let i = 0; i < steps; i++) {
        await seen(i);
        memory.forget([step], () => {
          const under = velocity(times[i], orders);
          if (!away) return [under];
          return [add(each(velocity(times[i], {}), (value) => value * (1 + away)), each(under, (value) => value * -away))];
        });
        add(latents, each(step, (value) => value * (times[i + 1] - times[i]) / 1000));
      }
      return Float32Array.from(decode(memory, this.parts.vae, latents).data);
    } finally {
      memory.top = start;
    }
  }

  /** From 1000, all noise, in equal steps down to 1. */
  timesteps(steps) {
    return Array.from({ length: steps }, (_, i) => steps > 1 ? 1000 - (999 * i) / (steps - 1) : 1000);
  }

  /** Streams through a stack's blocks in an order. `block(index, ...streams)` returns them anew; a group's are averaged. */
  run(order, streams, block) {
    const { memory, damping } = this, kept = streams.map((stream) => rowsOf(memory, stream));
    const through = (steps, state) => {
      for (const step of steps) memory.forget(state, () => {
        const group = [step].flat().map((index) => block(index, ...state));
        return state.map((_, stream) => mean(memory, group.map((of) => of[stream])));
      });
      return state;
    };
    for (const { piece, often } of loopsOf(order)) for (let turn = 0; turn < often; turn++) {
      if (often === 1 || damping === 1) through(piece, kept);
      else memory.forget(kept, () => through(piece, kept.map((stream) => rowsOf(memory, stream))).map((after, stream) =>
        add(each(after, (value) => value / damping), each(rowsOf(memory, kept[stream]), (value) => value * (1 - 1 / damping)))));
    }
    return kept;
  }

  /** The timestep and the whole prompt as one row, from which every block takes how to stretch and shift. */
  signal(timestep, pooled) {
    const { memory, parts: { transformer } } = this;
    const embedded = (name, x) => transformer.linear(
      `time_text_embed.${name}.linear_2`, each(transformer.linear(`time_text_embed.${name}.linear_1`, x), silu));
    const time = embedded("timestep_embedder", waves(memory, timestep));
    return each(add(time, embedded("text_embedder", pooled)), silu);
  }

  /** Each row normalised, then stretched and shifted. */
  modulated(x, scale, shift, epsilon = 1e-6) {
    return modulate(normalised(this.memory, x, epsilon), scale, shift);
  }

  /** Queries or keys by name; FLUX normalises them, head by head. */
  asked(name, norm, x) {
    const { transformer } = this.parts, y = transformer.linear(name, x);
    if (!transformer.has(`${norm}.weight`)) return y;
    return { ...transformer.rootMeanSquareNorm(norm, reshaped(y, this.width)), rows: y.rows, columns: y.columns };
  }

  attend(q, k, v) {
    return attention(this.memory, q, k, v, q.columns / this.width, 1 / Math.sqrt(this.width));
  }

  /**
   * A block of SD3 and of FLUX's first stack: image and words attend to each other, then each token thinks by itself.
   * SD3's last one returns no words.
   */
  joint(name, image, words, signal) {
    const { memory, parts: { transformer } } = this, linear = (part, x) => transformer.linear(`${name}.${part}`, x);
    const last = !transformer.has(`${name}.attn.to_add_out.weight`);
    const [shift, scale, gate, shiftAlone, scaleAlone, gateAlone] = split(linear("norm1.linear", signal), 6);
    const said = split(linear("norm1_context.linear", signal), last ? 2 : 6);
    const [shiftWords, scaleWords] = last ? [said[1], said[0]] : said;
    const i = this.modulated(image, scale, shift), w = this.modulated(words, scaleWords, shiftWords);
    const ask = (part, norm, x) => this.asked(`${name}.attn.${part}`, `${name}.attn.${norm}`, x);
    const q = stacked(memory, ask("to_q", "norm_q", i), ask("add_q_proj", "norm_added_q", w));
    const k = stacked(memory, ask("to_k", "norm_k", i), ask("add_k_proj", "norm_added_k", w));
    const v = stacked(memory, linear("attn.to_v", i), linear("attn.add_v_proj", w));
    const found = this.attend(q, k, v);
    const think = (part, x) => linear(`${part}.net.2`, each(linear(`${part}.net.0.proj`, x), gelu));
    const newImage = add(rowsOf(memory, image), linear("attn.to_out.0", rowsOf(memory, found, 0, image.rows)), gate);
    add(newImage, think("ff", this.modulated(newImage, scaleAlone, shiftAlone)), gateAlone);
    if (last) return [newImage, words];
    const [, , gateWords, shiftWordsAlone, scaleWordsAlone, gateWordsAlone] = said;
    const heard = linear("attn.to_add_out", rowsOf(memory, found, image.rows));
    const newWords = add(rowsOf(memory, words), heard, gateWords);
    add(newWords, think("ff_context", this.modulated(newWords, scaleWordsAlone, shiftWordsAlone)), gateWordsAlone);
    return [newImage, newWords];
  }
}

const PAINTERS = {}; // by the model's name
