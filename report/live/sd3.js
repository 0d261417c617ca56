// SD3 mini, as diffusers runs it: two CLIPs and a T5 read the prompt, 24 joint blocks paint.
"use strict";

class SD3 extends Painter {
  width = 16; // numbers in a head

  /** What the encoders say of a prompt: a matrix with a row for each of 48 tokens, and one vector. */
  read(prompt) {
    const { memory, parts, vocabulary } = this, ids = numbered(prompt, vocabulary);
    const [one, other] = [parts.text_encoder, parts.text_encoder_2].map((part) => clip(memory, part, ids, vocabulary["</s>"]));
    const text = stacked(memory, beside(memory, one[0], other[0]), t5(memory, parts.text_encoder_3, ids));
    return { text, pooled: beside(memory, one[1], other[1]) };
  }

  /** The velocity at `latents` (144 of 8 channels) for a text. */
  velocity(latents, timestep, { text, pooled }, orders) {
    const { memory, parts: { transformer } } = this, signal = this.signal(timestep, pooled);
    const seen = transformer.linear("pos_embed.proj", patched(memory, latents, placesFirst));
    add(seen, { data: transformer.numbers("pos_embed.pos_embed") });
    const [image] = this.run(orders.transformer_blocks, [seen, transformer.linear("context_embedder", text)],
      (index, ...streams) => this.joint(`transformer_blocks.${index}`, ...streams, signal));
    const [scale, shift] = split(transformer.linear("norm_out.linear", signal), 2);
    return unpatched(memory, transformer.linear("proj_out", this.modulated(image, scale, shift)), placesFirst);
  }
}

PAINTERS["sd3-mini"] = SD3;
