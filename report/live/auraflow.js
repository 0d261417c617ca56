// AuraFlow mini, as diffusers runs it: a UMT5 reads the prompt, 4 joint and 32 single blocks paint.
"use strict";

class AuraFlow extends Painter {
  width = 40; // numbers in a head

  /** What the UMT5 says of each of 24 words; those that only fill up are not heard and say nothing. */
  read(prompt) {
    const { memory, parts, vocabulary } = this, ids = numbered(prompt, vocabulary);
    const heard = ids.indexOf(vocabulary["</s>"]) + 1, text = t5(memory, parts.text_encoder, ids, heard);
    text.data.fill(0, heard * text.columns);
    return text;
  }

  /** The velocity at `latents` (144 of 8 channels) for a text. Eight registers stand beside the words, as if read. */
  velocity(latents, timestep, text, orders) {
    const { memory, parts: { transformer } } = this;
    const seen = transformer.linear("pos_embed.proj", patched(memory, latents, channelsFirst));
    add(seen, { data: transformer.numbers("pos_embed.pos_embed") });
    const registers = memory.matrix(8, seen.columns);
    registers.data.set(transformer.numbers("register_tokens"));
    const words = stacked(memory, registers, transformer.linear("context_embedder", text));
    const time = each(transformer.linear("time_step_proj.linear_1", waves(memory, timestep)), silu);
    const signal = each(transformer.linear("time_step_proj.linear_2", time), silu);
    const streams = this.run(orders.joint_transformer_blocks, [seen, words],
      (index, ...some) => this.block(`joint_transformer_blocks.${index}`, some, signal));
    const [both] = this.run(orders.single_transformer_blocks, [stacked(memory, ...streams)],
      (index, ...some) => this.block(`single_transformer_blocks.${index}`, some, signal));
    const [scale, shift] = split(transformer.linear("norm_out.linear", signal), 2);
    const image = modulate(rowsOf(memory, both, 0, seen.rows), scale, shift);
    return unpatched(memory, transformer.linear("proj_out", image), placesFirst);
  }

  /**
   * A block of either stack, on image and words or on both in one stream: all attend to each other, then each token
   * thinks by itself. What it found is thought about, but not kept: only the thought is added.
   */
  block(name, streams, signal) {
    const { memory, parts: { transformer } } = this, linear = (part, x) => transformer.linear(`${name}.${part}`, x);
    const together = ([one, other]) => other ? stacked(memory, one, other) : one;
    const said = ["norm1", "norm1_context"].slice(0, streams.length).map((norm) => split(linear(`${norm}.linear`, signal), 6));
    const seen = streams.map((x, i) => this.modulated(x, said[i][1], said[i][0], 1e-5));
    const [q, k, v] = [["to_q", "add_q_proj"], ["to_k", "add_k_proj"], ["to_v", "add_v_proj"]].map(
      (parts) => together(seen.map((x, i) => linear(`attn.${parts[i]}`, x))));
    const found = this.attend(q, k, v);
    let first = 0;
    return streams.map((x, i) => {
      const [, , gate, shiftAlone, scaleAlone, gateAlone] = said[i], part = ["ff", "ff_context"][i];
      const heard = linear(`attn.${["to_out.0", "to_add_out"][i]}`, rowsOf(memory, found, first, first += x.rows));
      const alone = this.modulated(add(rowsOf(memory, x), heard, gate), scaleAlone, shiftAlone, 1e-5);
      const gated = times(each(linear(`${part}.linear_1`, alone), silu), linear(`${part}.linear_2`, alone));
      return add(rowsOf(memory, x), linear(`${part}.out_projection`, gated), gateAlone);
    });
  }

  /** Queries and keys are normalised, head by head. */
  attend(q, k, v) {
    const even = (x) => ({ ...normalised(this.memory, reshaped(x, this.width), 1e-5), rows: x.rows, columns: x.columns });
    return super.attend(even(q), even(k), v);
  }
}

PAINTERS["auraflow-mini"] = AuraFlow;
