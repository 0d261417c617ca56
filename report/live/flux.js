// FLUX mini, as diffusers runs it: a T5 and a CLIP read the prompt, 19 joint and 38 single blocks paint.
"use strict";

class Flux extends Painter {
  width = 32; // numbers in a head

  constructor(...given) {
    super(...given);
    // A head's numbers are turned in pairs: four pairs never, six by the patch's row and six by its column.
    const angles = [...Array(GRID * GRID).keys()].flatMap((patch) => [0, Math.floor(patch / GRID), patch % GRID].flatMap(
      (place, axis) => Array.from({ length: axis ? 6 : 4 }, (_, i) => place / 10000 ** (i / 6))));
    this.turns = { cos: Float32Array.from(angles, Math.cos), sin: Float32Array.from(angles, Math.sin) };
  }

  /** From 1000, all noise, in equal steps to 0, which is not painted any more. */
  timesteps(steps) {
    return Array.from({ length: steps }, (_, i) => 1000 * (1 - i / steps));
  }

  /** What the T5 says of each of 24 words, and the CLIP of the whole prompt. */
  read(prompt) {
    const { memory, parts, vocabulary } = this, ids = numbered(prompt, vocabulary);
    const [, pooled] = clip(memory, parts.text_encoder, ids, vocabulary["</s>"]);
    return { text: t5(memory, parts.text_encoder_2, ids), pooled };
  }

  /** The velocity at `latents` (144 of 8 channels) for a text. */
  velocity(latents, timestep, { text, pooled }, orders) {
    const { memory, parts: { transformer } } = this, signal = this.signal(timestep, pooled);
    const seen = transformer.linear("x_embedder", patched(memory, latents, channelsFirst));
    const streams = this.run(orders.transformer_blocks, [seen, transformer.linear("context_embedder", text)],
      (index, ...some) => this.joint(`transformer_blocks.${index}`, ...some, signal));
    const [both] = this.run(orders.single_transformer_blocks, [stacked(memory, ...streams)],
      (index, stream) => [this.single(`single_transformer_blocks.${index}`, stream, signal)]);
    const [scale, shift] = split(transformer.linear("norm_out.linear", signal), 2);
    const image = this.modulated(rowsOf(memory, both, 0, GRID * GRID), scale, shift);
    return unpatched(memory, transformer.linear("proj_out", image), channelsFirst);
  }

  /** A single block: image and words are one stream, which attends to itself and thinks at once. */
  single(name, x, signal) {
    const { memory, parts: { transformer } } = this, linear = (part, y) => transformer.linear(`${name}.${part}`, y);
    const [shift, scale, gate] = split(linear("norm.linear", signal), 3), seen = this.modulated(x, scale, shift);
    const [q, k] = ["q", "k"].map((part) => this.asked(`${name}.attn.to_${part}`, `${name}.attn.norm_${part}`, seen));
    const found = this.attend(q, k, linear("attn.to_v", seen));
    const both = beside(memory, found, each(linear("proj_mlp", seen), gelu));
    return add(rowsOf(memory, x), linear("proj_out", both), gate);
  }

  attend(q, k, v) {
    return super.attend(this.turned(q), this.turned(k), v);
  }

  /** Queries or keys of the image turned by where they are, so that they meet by distance; words stay as they are. */
  turned({ data, columns, ...x }) {
    const { turns: { cos, sin }, width } = this;
    for (let patch = 0; patch < GRID * GRID; patch++) for (let i = 0; i < columns; i += 2) {
      const at = patch * columns + i, pair = (patch * width + i % width) / 2, [real, imaginary] = [data[at], data[at + 1]];
      data[at] = real * cos[pair] - imaginary * sin[pair];
      data[at + 1] = imaginary * cos[pair] + real * sin[pair];
    }
    return { data, columns, ...x };
  }
}

PAINTERS["flux-mini"] = Flux;
