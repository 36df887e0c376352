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
 * Two lanes for each half of the hash take the tokens by turns, and the parent comes in last: so a processor works on several
 * tokens, and on several blocks, at once.
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
  let low = parent | 0;
  let high = Math.floor(parent / two32) | 0;
  let at = from;
  for (let block = first; block < end; block++) {
    let a = 0x2545f491;
    let b = 0x517cc1b7;
    let c = 0x27220a95;
    let d = 0x6c62272e;
    const pairsEnd = at + (blockSize & ~1);
    for (; at < pairsEnd; at += 2) {
      const t = (tokens[at] as number) | 0;
      const u = (tokens[at + 1] as number) | 0;
      a = imul(a ^ t, shareLow);
      a ^= a >>> 15;
      b = imul(b ^ u, shareHigh);
      b ^= b >>> 15;
      c = (imul((c << 13) | (c >>> 19), 5) + imul(t, shareHigh)) | 0;
      d = (imul((d << 13) | (d >>> 19), 5) + imul(u, shareLow)) | 0;
    }
    if ((blockSize & 1) === 1) {
      const t = (tokens[at++] as number) | 0;
      a = imul(a ^ t, shareLow);
      a ^= a >>> 15;
      c = (imul((c << 13) | (c >>> 19), 5) + imul(t, shareHigh)) | 0;
    }
    low = imul(low ^ a, shareLow);
    low ^= low >>> 15;
    low = mix32(imul(low ^ b, shareHigh)) | 0;
    high = (imul((high << 13) | (high >>> 19), 5) + imul(c, shareHigh)) | 0;
    high = (imul((high << 13) | (high >>> 19), 5) + imul(d, shareLow)) | 0;
    high = (mix32(high ^ low) | 0) & highBits;
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
