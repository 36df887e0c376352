import { fnv1a32, mix32 } from '#libs/kernel';

/** Taken once: in the contexts of a test runner each look at a global is slow, and this is called for every token. */
const { imul } = Math;

const twoTo21 = 2 ** 21;
const twoTo32 = 2 ** 32;

/** Root of a chain: the engine's seed, the adapter and the cache salt decide who may share blocks. 53 bits. */
export function rootHash(seed: number, adapter: string | undefined, cacheSalt: string | undefined): number {
  const low = fnv1a32(`${adapter ?? ''}\u0000${cacheSalt ?? ''}`, mix32(seed));
  return (mix32(low) % twoTo21) * twoTo32 + low;
}

/**
 * Hash of the block `tokens[from, to)` after `parent`: two 32-bit lanes joined to 53 bits, so that it stays a plain number.
 * Good for identity in a simulation (a collision needs about 10⁸ blocks), not against an adversary.
 */
export function blockHash(parent: number, tokens: ArrayLike<number>, from: number, to: number): number {
  let low = (parent % twoTo32) | 0;
  let high = Math.floor(parent / twoTo32) ^ 0x5bd1e995;
  for (let index = from; index < to; index++) {
    const token = tokens[index] as number;
    low = imul(low ^ token, 0x01000193) + 0x7f4a7c15;
    low ^= low >>> 15;
    high = imul(high ^ token, 0x85ebca6b);
    high = (high << 13) | (high >>> 19);
  }
  return (mix32(high) % twoTo21) * twoTo32 + mix32(low);
}
