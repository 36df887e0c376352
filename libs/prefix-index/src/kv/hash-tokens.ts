import { mix32 } from '#libs/kernel';
import type { BlockHashes } from '../hash-blocks.ts';

const { imul } = Math;

const shareLow = 0x9e3779b1;
const shareHigh = 0x85ebca77;
const highBits = 0x1fffff;
const two32 = 4294967296;

/** What else than tokens makes a block another block: multimodal identifiers, cache salt. */
export type BlockExtra = string | number | boolean | null | readonly BlockExtra[];

const hashOf = (low: number, high: number): number => (high & highBits) * two32 + (low >>> 0);

/** Where a chain begins: each model and adapter has its own. `adapter` is '' for the base model. */
export function chainRoot(model: string, adapter: string): number {
  return chainText(0x517cc1b727220, `${model}\0${adapter}`);
}

function chainText(parent: number, text: string): number {
  let low = parent | 0;
  let high = Math.floor(parent / two32) | 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    low = imul(low ^ unit, shareLow);
    low ^= low >>> 15;
    high = imul((high << 13) | (high >>> 19), 5) + imul(unit + 1, shareHigh);
    high |= 0;
  }
  low = mix32(low ^ text.length) | 0;
  return hashOf(low, mix32(high ^ low) | 0);
}

const one = new Float64Array(1);

/**
 * The hash of the block `tokens[from, to)` behind `parent`, in [0, 2⁵³): it stands for all tokens up to the block's end, so it
 * carries its position. `extra` is what the engine adds to this block besides the adapter, null or empty for nothing.
 */
export function chainBlock(
  parent: number,
  tokens: ArrayLike<number>,
  from: number,
  to: number,
  extra: readonly BlockExtra[] | null = null,
): number {
  const start = extra === null || extra.length === 0 ? parent : chainText(parent, JSON.stringify(extra));
  chainBlocks(start, tokens, from, to - from, one, 1);
  return one[0] as number;
}

/** Tokens that do not come as words are laid down here, some at a time: reading all kinds of lists at one place is slow. */
const scratch = new Uint32Array(4096);

/** The hashes of `count` blocks without extras, from `tokens[from]` on, into `out[0, count)`. */
export function chainBlocks(
  parent: number,
  tokens: ArrayLike<number>,
  from: number,
  blockSize: number,
  out: Float64Array,
  count: number,
): void {
  if (tokens instanceof Uint32Array) return chainWords(parent, tokens, from, blockSize, out, 0, count);
  const room = blockSize > scratch.length ? new Uint32Array(blockSize) : scratch;
  const blocksMax = Math.floor(room.length / blockSize);
  for (let done = 0; done < count;) {
    const blocks = Math.min(blocksMax, count - done);
    const start = from + done * blockSize;
    for (let i = 0; i < blocks * blockSize; i++) room[i] = tokens[start + i] as number;
    chainWords(done === 0 ? parent : (out[done - 1] as number), room, 0, blockSize, out, done, done + blocks);
    done += blocks;
  }
}

/**
 * Of each sixteen tokens two sums of products, each token by factors of its own place, and the parent comes in last: so a processor works
 * on all of them, and on several blocks, at once. What is left over of a block is taken token by token.
 */
function chainWords(
  parent: number,
  tokens: Uint32Array,
  from: number,
  blockSize: number,
  out: Float64Array,
  first: number,
  end: number,
): void {
  const single = blockSize & 15;
  const sixteens = blockSize - single;
  let low = parent | 0;
  let high = Math.floor(parent / two32) | 0;
  let at = from;
  for (let block = first; block < end; block++) {
    for (const sixteensEnd = at + sixteens; at < sixteensEnd; at += 16) {
      let a =
        (imul(tokens[at] as number, 0x2c1b3c6d) +
          imul(tokens[at + 1] as number, 0x297a2d39) +
          imul(tokens[at + 2] as number, 0x1b56c4e9) +
          imul(tokens[at + 3] as number, 0x6c8e9cf5)) |
        0;
      let b =
        (imul(tokens[at] as number, 0x7feb352d) +
          imul(tokens[at + 1] as number, 0x5bd1e995) +
          imul(tokens[at + 2] as number, 0x4b7c2f1d) +
          imul(tokens[at + 3] as number, 0x38b34ae5)) |
        0;
      a =
        (a +
          imul(tokens[at + 4] as number, 0x3c6ef373) +
          imul(tokens[at + 5] as number, 0x51ed270b) +
          imul(tokens[at + 6] as number, 0x2545f491) +
          imul(tokens[at + 7] as number, 0x4cf5ad43)) |
        0;
      b =
        (b +
          imul(tokens[at + 4] as number, 0x1b873593) +
          imul(tokens[at + 5] as number, 0x7c3e9f13) +
          imul(tokens[at + 6] as number, 0x6a09e667) +
          imul(tokens[at + 7] as number, 0x3b67ae85)) |
        0;
      a =
        (a +
          imul(tokens[at + 8] as number, 0x510e527f) +
          imul(tokens[at + 9] as number, 0x1f83d9ab) +
          imul(tokens[at + 10] as number, 0x5be0cd19) +
          imul(tokens[at + 11] as number, 0x428a2f99)) |
        0;
      b =
        (b +
          imul(tokens[at + 8] as number, 0x71374491) +
          imul(tokens[at + 9] as number, 0x35c0fbcf) +
          imul(tokens[at + 10] as number, 0x69b5dba5) +
          imul(tokens[at + 11] as number, 0x3956c25b)) |
        0;
      a =
        (a +
          imul(tokens[at + 12] as number, 0x59f111f1) +
          imul(tokens[at + 13] as number, 0x123f82a5) +
          imul(tokens[at + 14] as number, 0x2b1c5ed5) +
          imul(tokens[at + 15] as number, 0x5807aa99)) |
        0;
      b =
        (b +
          imul(tokens[at + 12] as number, 0x12835b01) +
          imul(tokens[at + 13] as number, 0x243185bf) +
          imul(tokens[at + 14] as number, 0x550c7dc3) +
          imul(tokens[at + 15] as number, 0x72be5d75)) |
        0;
      low = imul(low ^ a, shareLow);
      low ^= low >>> 15;
      low = imul((low + b) | 0, shareHigh);
      low ^= low >>> 13;
      high = imul(high ^ b, shareHigh);
      high ^= high >>> 15;
      high = imul((high + low) | 0, shareLow);
      high ^= high >>> 16;
    }
    for (const blockEnd = at + single; at < blockEnd; at++) {
      const token = (tokens[at] as number) | 0;
      low = imul(low ^ token, shareLow);
      low ^= low >>> 15;
      high = imul((high ^ low) + token, shareHigh);
      high ^= high >>> 16;
    }
    if (single !== 0) {
      low = mix32(low) | 0;
      high = mix32(high) | 0;
    }
    high &= highBits;
    out[block] = high * two32 + (low >>> 0);
  }
}

export interface ChainSeed {
  readonly model: string;
  readonly adapter?: string;
  readonly cacheSalt?: string;
}

/**
 * A prompt's whole blocks as a router hashes them; equal to what `KvIdentity` makes of the engine's events. `out`, where given,
 * must have room for them and saves making an array. The salt is the first block's, as in vLLM; `extraOf` names the multimodal
 * identifiers of a block, which stand before the salt.
 */
export function hashTokens(
  seed: ChainSeed,
  tokens: ArrayLike<number>,
  blockSize: number,
  extraOf?: (block: number) => readonly BlockExtra[] | null,
  out: BlockHashes = new Float64Array(Math.floor(tokens.length / blockSize)),
): BlockHashes {
  let hash = chainRoot(seed.model, seed.adapter ?? '');
  const extrasEnd = extraOf !== undefined ? out.length : seed.cacheSalt === undefined ? 0 : Math.min(1, out.length);
  for (let block = 0; block < extrasEnd; block++) {
    let extra = extraOf?.(block) ?? null;
    if (block === 0 && seed.cacheSalt !== undefined) extra = [...(extra ?? []), seed.cacheSalt];
    hash = chainBlock(hash, tokens, block * blockSize, (block + 1) * blockSize, extra);
    out[block] = hash;
  }
  const plain = out.subarray(extrasEnd);
  chainBlocks(hash, tokens, extrasEnd * blockSize, blockSize, plain, plain.length);
  return out;
}
