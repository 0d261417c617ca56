// What reads a prompt: words as numbers, and the encoders that say what each word means among the others.
"use strict";

const TEXT = 24, WIDTH = 16; // words that a mini reads, with the end mark; numbers in a head of its encoders

/** A text in the units that the vocabulary counts: words and signs. */
const wordsOf = (text) => text.toLowerCase().match(/\w+|[^\w\s]+/g) || [];

/** The words of a prompt as numbers: </s> ends them, <pad> fills up. */
function numbered(prompt, vocabulary) {
  const ids = wordsOf(prompt).slice(0, TEXT - 1).map((word) => vocabulary[word] ?? vocabulary["<unk>"]);
  return [...ids, vocabulary["</s>"], ...Array(TEXT).fill(vocabulary["<pad>"])].slice(0, TEXT);
}

/** A CLIP: what its last layer but one says of each word, and its last of the whole prompt, where the word `end` stands. */
function clip(memory, layers, ids, end) {
  const model = layers.has("final_layer_norm.weight") ? "" : "text_model.";
  let x = layers.embedding(`${model}embeddings.token_embedding`, ids), words = x;
  add(x, { data: layers.numbers(`${model}embeddings.position_embedding.weight`) });
  for (let layer = 0; layers.has(`${model}encoder.layers.${layer}.mlp.fc1.bias`); layer++) {
    words = rowsOf(memory, x);
    const name = `${model}encoder.layers.${layer}`, linear = (part, y) => layers.linear(`${name}.${part}`, y);
    const seen = layers.layerNorm(`${name}.layer_norm1`, x);
    const [q, k, v] = ["q_proj", "k_proj", "v_proj"].map((part) => linear(`self_attn.${part}`, seen));
    const backwards = (_, from, to) => to > from ? -Infinity : 0; // a word hears only those before it
    add(x, linear("self_attn.out_proj", attention(memory, q, k, v, x.columns / WIDTH, 1 / Math.sqrt(WIDTH), backwards)));
    add(x, linear("mlp.fc2", each(linear("mlp.fc1", layers.layerNorm(`${name}.layer_norm2`, x)), quickGelu)));
  }
  const last = layers.layerNorm(`${model}final_layer_norm`, x), at = ids.indexOf(end);
  const whole = rowsOf(memory, last, at, at + 1);
  return [words, layers.has("text_projection.weight") ? layers.linear("text_projection", whole) : whole];
}

/**
 * A T5's encoder: every word hears all others, nearer ones in another tone. In a UMT5 each block has tones of its own.
 * Of the words only the first `heard` are listened to.
 */
function t5(memory, layers, ids, heard = ids.length) {
  const x = layers.embedding("shared", ids), heads = x.columns / WIDTH;
  for (let block = 0; layers.has(`encoder.block.${block}.layer.0.layer_norm.weight`); block++) {
    const name = `encoder.block.${block}.layer`, linear = (part, y) => layers.linear(`${name}.${part}`, y);
    const [own, first] = [block, 0].map((i) => `encoder.block.${i}.layer.0.SelfAttention.relative_attention_bias.weight`);
    const tones = layers.numbers(layers.has(own) ? own : first);
    const bias = (head, from, to) => to < heard ? tones[distance(to - from) * heads + head] : -Infinity;
    const seen = layers.rootMeanSquareNorm(`${name}.0.layer_norm`, x);
    const [q, k, v] = ["q", "k", "v"].map((part) => linear(`0.SelfAttention.${part}`, seen));
    add(x, linear("0.SelfAttention.o", attention(memory, q, k, v, heads, 1, bias)));
    const alone = layers.rootMeanSquareNorm(`${name}.1.layer_norm`, x);
    const gated = times(each(linear("1.DenseReluDense.wi_0", alone), gelu), linear("1.DenseReluDense.wi_1", alone));
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
