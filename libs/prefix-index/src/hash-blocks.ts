import { mix32 } from '#libs/kernel';

/** Taken once: in the contexts of a test runner each look at a global is slow, and this is called for every token. */
const { imul } = Math;

/** A prompt's blocks as numbers in [0, 2⁵³): each stands for all text up to its end. */
export type BlockHashes = Float64Array;

export const prefixLimits = {
  /** Bytes of a block; with four bytes a token about 32 tokens, two of vLLM's blocks. */
  blockBytes: 128,
  /** Blocks hashed of one prompt: 1 MiB of text. The rest is not looked at. */
  blocksPerPromptMax: 8192,
  /** Blocks in the index, over all replicas. */
  blocksIndexedMax: 200_000,
  replicasMax: 4096,
} as const;

const shareLow = 0x9e3779b1;
const shareHigh = 0x85ebca77;

/** Where prompts of usual size are laid on a word's border: a buffer for each would cost more than the hashing, in collecting them. */
const scratch = new Int32Array(16 * 1024);
const scratchBytes = new Uint8Array(scratch.buffer);

/** The first `length` bytes as words, valid until the next call. */
function wordsOf(bytes: Uint8Array, length: number): Int32Array {
  if (length <= scratchBytes.length) {
    scratchBytes.set(length === bytes.length ? bytes : bytes.subarray(0, length));
    return scratch;
  }
  // Whole words are read where the bytes lie on a word's border; a copy puts them there otherwise.
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes.subarray(0, length));
  return new Int32Array(aligned.buffer, aligned.byteOffset, length >> 2);
}

/** Two 32-bit lanes from the texts that must keep prompts apart: model, adapter, cache salt. */
function lanesOf(seed: string): [low: number, high: number] {
  let low = 0x2545f491;
  let high = 0x517cc1b7;
  for (let i = 0; i < seed.length; i++) {
    low = imul(low ^ seed.charCodeAt(i), shareLow);
    high = imul(high ^ seed.charCodeAt(i), shareHigh) ^ (high >>> 15);
  }
  return [mix32(low), mix32(high)];
}

/**
 * Hashes of the whole blocks of a prompt, each chained to the one before; the incomplete last block is left out, since the engine
 * does not share it. `seed` names what must not be mixed up, parts joined by '\0'. Not secure against a client who seeks collisions:
 * the worst is a request sent to a replica without the prefix.
 */
export function hashBlocks(
  seed: string,
  prompt: string | Uint8Array,
  blockBytes: number = prefixLimits.blockBytes,
): BlockHashes {
  const bytes = typeof prompt === 'string' ? Buffer.from(prompt, 'utf8') : prompt;
  const words = blockBytes >> 2;
  const blocks = Math.min(Math.floor(bytes.length / blockBytes), prefixLimits.blocksPerPromptMax);
  const out = new Float64Array(blocks);
  const input = wordsOf(bytes, blocks * blockBytes);
  let [low, high] = lanesOf(seed);
  for (let block = 0, word = 0; block < blocks; block++) {
    for (const end = word + words; word < end; word++) {
      const value = input[word] as number;
      low = imul(low ^ value, shareLow);
      low ^= low >>> 15;
      high = imul((high << 13) | (high >>> 19), 5) + imul(value, shareHigh);
    }
    low = mix32(low) | 0;
    high = mix32(high ^ low) | 0;
    out[block] = (high & 0x1fffff) * 4294967296 + (low >>> 0);
  }
  return out;
}
