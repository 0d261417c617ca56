// The noise that a picture begins with: what Python draws for this prompt and seed, number for number.
"use strict";

/** `count` normal numbers, a multiple of 16, for a prompt and a seed (painters_utils/engine/noise.py). */
function drawNoise(prompt, seed, count) {
  const bytes = sha256(new TextEncoder().encode(`${seed}/${prompt}`));
  const numbers = mersenneTwister(((bytes[3] << 24) | (bytes[4] << 16) | (bytes[5] << 8) | bytes[6]) >>> 0);
  const noise = Float32Array.from({ length: count }, () => (numbers() & 0xffffff) / 2 ** 24);
  for (let start = 0; start < count; start += 16) { // Box and Muller's way, as PyTorch takes it on a processor
    for (let i = start; i < start + 8; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - noise[i])), angle = 2 * Math.PI * noise[i + 8];
      noise[i] = radius * Math.cos(angle);
      noise[i + 8] = radius * Math.sin(angle);
    }
  }
  return noise;
}

/**
 * The generator of PyTorch and of Python (Matsumoto & Nishimura 1998): a function that gives 32 random bits. PyTorch fills
 * its state from the seed alone; Python stirs the seed into a state that is always the same.
 */
function mersenneTwister(seed, stirred = false) {
  const state = new Uint32Array(624), before = (i) => state[i - 1] ^ (state[i - 1] >>> 30);
  state[0] = stirred ? 19650218 : seed;
  for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, before(i)) + i;
  if (stirred) for (const [factor, rounds, added] of [[1664525, 624, () => seed], [1566083941, 623, (i) => -i]]) {
    for (let round = 0, i = rounds === 624 ? 1 : 2; round < rounds; round++) {
      state[i] = (state[i] ^ Math.imul(before(i), factor)) + added(i);
      if (++i === 624) { state[0] = state[623]; i = 1; }
    }
  }
  if (stirred) state[0] = 0x80000000;
  let next = 624;
  return () => {
    if (next === 624) {
      for (let i = 0; i < 624; i++) {
        const mixed = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
      }
      next = 0;
    }
    let bits = state[next++];
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  };
}

/** The SHA-256 digest of bytes. The browser's own is not there for a page that is opened from a file. */
function sha256(message) {
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) >>> 0;
  const hash = Uint32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
  const constants = primes.map((prime) => fraction(Math.cbrt(prime)));
  const padded = new Uint8Array(Math.ceil((message.length + 9) / 64) * 64);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer), words = new Uint32Array(64);
  view.setUint32(padded.length - 4, message.length * 8);
  const turn = (x, by) => (x >>> by) | (x << (32 - by));
  for (let start = 0; start < padded.length; start += 64) {
    for (let i = 0; i < 64; i++) {
      if (i < 16) { words[i] = view.getUint32(start + 4 * i); continue; }
      const [x, y] = [words[i - 15], words[i - 2]];
      words[i] = words[i - 16] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3))
        + words[i - 7] + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let i = 0; i < 64; i++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + constants[i] + words[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => { hash[i] += value; });
  }
  const digest = new DataView(new ArrayBuffer(32));
  hash.forEach((value, i) => digest.setUint32(4 * i, value));
  return new Uint8Array(digest.buffer);
}
