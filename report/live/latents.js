// From noise to pixels: latents as the transformers see them, in patches, and the decoder that makes a picture of them.
"use strict";

const SIDE = 12, PATCH = 2, GRID = SIDE / PATCH, CHANNELS = 8, PICTURE = 96; // latents and patches along a side; pixels

/** Latents as PyTorch has them, channel after channel, as a matrix with a latent in each row. */
function latentsFirst(memory, numbers) {
  const x = memory.matrix(SIDE * SIDE, CHANNELS);
  for (let p = 0; p < x.rows; p++) for (let c = 0; c < CHANNELS; c++) x.data[p * CHANNELS + c] = numbers[c * x.rows + p];
  return x;
}

/** How a patch's 2 × 2 latents of 8 channels lie in a row: place by place, channels within, or the other way round. */
const placesFirst = (place, channel) => place * CHANNELS + channel;
const channelsFirst = (place, channel) => channel * PATCH * PATCH + place;

/** 36 patches of 2 × 2 latents, a patch in each row. */
function patched(memory, latents, layout) {
  const y = memory.matrix(GRID * GRID, PATCH * PATCH * CHANNELS);
  eachLatent((at, patch, place, channel) => { y.data[patch * y.columns + layout(place, channel)] = latents.data[at]; });
  return y;
}

/** The way back. */
function unpatched(memory, x, layout) {
  const y = memory.matrix(SIDE * SIDE, CHANNELS);
  eachLatent((at, patch, place, channel) => { y.data[at] = x.data[patch * x.columns + layout(place, channel)]; });
  return y;
}

function eachLatent(visit) {
  for (let row = 0; row < SIDE; row++) for (let column = 0; column < SIDE; column++) {
    const patch = Math.floor(row / PATCH) * GRID + Math.floor(column / PATCH), place = (row % PATCH) * PATCH + (column % PATCH);
    for (let c = 0; c < CHANNELS; c++) visit((row * SIDE + column) * CHANNELS + c, patch, place, c);
  }
}

/** The VAE's decoder: 12 × 12 latents to 96 × 96 pixels, red, green, blue from 0 to 1. */
function decode(memory, vae, latents, groups = 8) {
  let x = each(rowsOf(memory, latents), (value) => value / 0.9262), side = SIDE;
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
