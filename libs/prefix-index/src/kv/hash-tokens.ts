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
  let low = start | 0;
  let high = Math.floor(start / two32) | 0;
  for (let at = from; at < to; at++) {
    const token = tokens[at] as number;
    low = imul(low ^ token, shareLow);
    low ^= low >>> 15;
    high = imul((high << 13) | (high >>> 19), 5) + imul(token, shareHigh);
    high |= 0;
  }
  low = mix32(low) | 0;
  return hashOf(low, mix32(high ^ low) | 0);
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
  for (let block = 0; block < out.length; block++) {
    let extra = extraOf?.(block) ?? null;
    if (block === 0 && seed.cacheSalt !== undefined) extra = [...(extra ?? []), seed.cacheSalt];
    hash = chainBlock(hash, tokens, block * blockSize, (block + 1) * blockSize, extra);
    out[block] = hash;
  }
  return out;
}
