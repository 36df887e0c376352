import { expect, test } from '@jest/globals';
import { applyHoldings, type CacheEvent, encodeHoldings, hashTokens, KvIdentity, KvIndex } from '../index.ts';

const blockTokens = 4;
const ids = ['a', 'b', 'c'];
/** Repeatable, in [0, below). */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * below);
  };
}

interface Engine {
  /** Local hash → the engine's own, least recently used first. */
  readonly held: Map<number, number>;
  readonly blocksMax: number;
}

const words = (hashes: number[]): Uint32Array => Uint32Array.from(hashes.flatMap((hash) => [hash, ~hash]));

const stored = (blockHashes: Uint32Array, parentBlockHash: Uint32Array | null, tokenIds: Uint32Array): CacheEvent => ({
  type: 'BlockStored',
  blockHashes,
  parentBlockHash,
  tokenIds,
  blockSize: blockTokens,
  loraId: null,
  loraName: null,
  medium: 'GPU',
  extraKeys: null,
  groupIdx: 0,
  cacheSpecKind: null,
  slidingWindow: null,
});

// Thousands of blocks, so that tables grow and are built anew meanwhile: prompts that branch from each other, evicted from their ends or
// anywhere, beside what was only routed.
test.each([1, 2, 3, 4])('L50 thousands of blocks on three engines, seed %i', (seed) => {
  const next = numbers(seed);
  const index = new KvIndex({ speculativeMs: 50 });
  const identity = new KvIdentity(index);
  const engines: Engine[] = [600, 1500, 4000].map((blocksMax) => ({ held: new Map(), blocksMax }));
  for (const id of ids) identity.apply(index.holder(id), '', { type: 'AllBlocksCleared' });
  const prompts: Uint32Array[] = [];
  let engineHash = 0;
  for (let turn = 0; turn < 150; turn++) {
    const before = prompts[next(prompts.length)] ?? new Uint32Array(0);
    const kept = next(before.length + 1);
    const prompt = new Uint32Array(kept + 40 + next(700)).map((_, i) => (i < kept ? (before[i] as number) : next(1e5)));
    prompts.push(prompt);
    const chain = hashTokens({ model: '' }, prompt, blockTokens);
    const which = next(3);
    const { held, blocksMax } = engines[which] as Engine;
    const id = ids[which] as string;
    const holder = index.holder(id);
    if (next(4) === 0) index.insert(chain, ids[next(3)] as string, turn);
    let known = 0;
    while (known < chain.length && held.has(chain[known] as number)) known++;
    // What is held behind a hole is stored anew, under a hash of its own: let it be removed first.
    const stale = [...chain.subarray(known)].filter((hash) => held.has(hash));
    const remove = (hashes: number[]): void => {
      const engines64 = words(hashes.map((hash) => held.get(hash) as number));
      for (const hash of hashes) held.delete(hash);
      if (hashes.length > 0) {
        identity.apply(holder, '', { type: 'BlockRemoved', blockHashes: engines64, medium: 'GPU', groupIdx: 0 });
      }
    };
    remove(stale);
    const parent = known === 0 ? null : words([held.get(chain[known - 1] as number) as number]);
    const fresh = [...chain.subarray(known)].map(() => ++engineHash);
    const tokens = prompt.subarray(known * blockTokens, chain.length * blockTokens);
    identity.apply(holder, '', stored(words(fresh), parent, tokens));
    for (const [i, hash] of fresh.entries()) held.set(chain[known + i] as number, hash);
    for (const hash of [...chain].toReversed()) {
      const of = held.get(hash) as number;
      held.delete(hash);
      held.set(hash, of);
    }
    const over = [...held.keys()].slice(0, Math.max(0, held.size - blocksMax));
    remove(next(3) === 0 ? over.toReversed() : over);
    // And some in the middle of prompts, as no engine does on purpose.
    if (next(5) === 0) remove([...held.keys()].filter(() => next(20) === 0));
    index.expire(turn + 1e6);
    for (let i = 0; i < 4; i++) {
      const asked = hashTokens({ model: '' }, prompts[next(prompts.length)] as Uint32Array, blockTokens);
      const depths = engines.map(({ held: of }) => {
        let depth = 0;
        while (depth < asked.length && of.has(asked[depth] as number)) depth++;
        return depth;
      });
      expect([seed, turn, ...index.match(asked, ids)]).toEqual([seed, turn, ...depths]);
    }
  }
  expect(index.size).toBe(new Set(engines.flatMap(({ held }) => [...held.keys()])).size);
  expect(index.holdings).toBe(engines.reduce((sum, { held }) => sum + held.size, 0));

  // A snapshot, to an index that already has blocks of the same prompts from somebody else.
  const copy = new KvIndex();
  const other = new KvIdentity(copy);
  const union = new Set(engines.flatMap(({ held }) => [...held.keys()]));
  for (const prompt of prompts.slice(-20)) {
    const chain = hashTokens({ model: '' }, prompt, blockTokens);
    const tokens = prompt.subarray(0, chain.length * blockTokens);
    other.apply(copy.holder('d'), '', stored(words([...chain]), null, tokens));
    for (const hash of chain) union.add(hash);
  }
  for (const chunk of encodeHoldings(index, index.holders(), () => null)) applyHoldings(copy, chunk);
  expect([copy.size, index.holdings]).toEqual([union.size, copy.holdings - copy.holder('d').holdings.size]);
  for (const prompt of prompts) {
    const asked = hashTokens({ model: '' }, prompt, blockTokens);
    expect([...copy.match(asked, ids)]).toEqual([...index.match(asked, ids)]);
  }

  for (const id of ids) index.forgetReplica(id);
  expect([index.size, index.holdings]).toEqual([0, 0]);
});
