import { beforeEach, describe, expect, test } from '@jest/globals';
import { type Holder, hashTokens, KvIdentity, KvIndex, type StoredBlocks } from '../index.ts';

const tokens = Array.from({ length: 24 }, (_, i) => i + 1);
const stored = (hashes: string[], more: Partial<StoredBlocks> = {}): StoredBlocks => ({
  type: 'BlockStored',
  blockHashes: hashes,
  parentBlockHash: null,
  tokenIds: tokens.slice(0, hashes.length * 4),
  blockSize: 4,
  loraId: null,
  loraName: null,
  medium: 'GPU',
  extraKeys: null,
  groupIdx: 0,
  cacheSpecKind: 'full_attention',
  slidingWindow: null,
  ...more,
});

let index: KvIndex;
let identity: KvIdentity;
let holder: Holder;
const apply = (event: Parameters<KvIdentity['apply']>[2]): void => identity.apply(holder, 'm', event);
const depth = (seed: { adapter?: string; cacheSalt?: string } = {}, of = tokens): number =>
  index.match(hashTokens({ model: 'm', ...seed }, of, 4), ['r'])[0] as number;

beforeEach(() => {
  index = new KvIndex();
  identity = new KvIdentity(index);
  holder = index.holder('r');
  apply({ type: 'AllBlocksCleared' });
});

describe('what makes a block another block', () => {
  test('adapter and salt as vLLM tells them: the adapter with each block, the salt with the first', () => {
    apply(stored(['a1', 'a2'], { loraName: 'l0', loraId: 1, extraKeys: [['l0', 's1'], ['l0']] }));
    expect([
      depth({ adapter: 'l0', cacheSalt: 's1' }),
      depth({ adapter: 'l0' }),
      depth({ cacheSalt: 's1' }),
      depth(),
    ]).toEqual([2, 0, 0, 0]);
  });

  test('a salt that is called like an adapter is no adapter', () => {
    apply(stored(['a1'], { extraKeys: [['l0']] }));
    expect([depth({ cacheSalt: 'l0' }), depth({ adapter: 'l0' })]).toEqual([1, 0]);
  });

  test('multimodal identifiers, with the block that they stand in, before the salt', () => {
    const image = ['image-1', 3] as const;
    apply(stored(['a1', 'a2'], { extraKeys: [['s1'], [image]] }));
    const of = (second: readonly (readonly [string, number])[] | null): number =>
      index.match(
        hashTokens({ model: 'm', cacheSalt: 's1' }, tokens, 4, (block) => (block === 1 ? second : null)),
        ['r'],
      )[0] as number;
    expect([of([image]), of(null), of([['image-2', 3]])]).toEqual([2, 1, 1]);
  });

  test('an adapter that an old engine only numbers is apart from the base model', () => {
    apply(stored(['a1'], { loraId: 7 }));
    expect(depth()).toBe(0);
  });

  test('the model', () => {
    apply(stored(['a1']));
    expect(index.match(hashTokens({ model: 'n' }, tokens, 4), ['r'])[0]).toBe(0);
  });
});

describe("the engine's hashes", () => {
  test('chains go on from a parent, of 16 digits or of 64 of which the last 16 count', () => {
    const long = 'f'.repeat(48);
    apply(stored([`${long}d49743e3196e2daa`]));
    apply(stored(['f77e20376976d445'], { parentBlockHash: 'd49743e3196e2daa', tokenIds: tokens.slice(4, 8) }));
    expect(depth()).toBe(2);
    apply({ type: 'BlockRemoved', blockHashes: [`${long}f77e20376976d445`], medium: 'GPU', groupIdx: 0 });
    expect(depth()).toBe(1);
  });

  test('the high words of hashes count', () => {
    apply(stored(['0000000100000001']));
    apply({ type: 'BlockRemoved', blockHashes: ['0000000200000001'], medium: 'GPU', groupIdx: 0 });
    expect([depth(), identity.counts.unknownRemovals]).toEqual([1, 1]);
  });

  test('behind an unknown parent nothing is claimed, and the holder is known in part only until it is cleared', () => {
    expect(holder.exact).toBe(true);
    apply(stored(['a2'], { parentBlockHash: 'a1', tokenIds: tokens.slice(4, 8) }));
    expect([depth(), index.size, holder.exact, identity.counts.orphans]).toEqual([0, 0, false, 1]);
    apply({ type: 'AllBlocksCleared' });
    expect(holder.exact).toBe(true);
  });

  test('stored twice, removed once: still there', () => {
    apply(stored(['a1', 'a2']));
    apply(stored(['a1', 'a2']));
    apply({ type: 'BlockRemoved', blockHashes: ['a2'], medium: 'GPU', groupIdx: 0 });
    expect(depth()).toBe(2);
    apply({ type: 'BlockRemoved', blockHashes: ['a2'], medium: 'GPU', groupIdx: 0 });
    expect(depth()).toBe(1);
  });

  test('removals one by one, in one batch, as together: also those of other groups and media between them', () => {
    const removed = (hash: string, medium = 'GPU') =>
      ({ type: 'BlockRemoved', blockHashes: [hash], medium, groupIdx: 0 }) as const;
    const many = Array.from({ length: 300 }, (_, i) => `f${i.toString(16)}`);
    const all = stored(many, { tokenIds: many.flatMap((_, i) => [i, i, i, i]) });
    identity.applyAll(holder, 'm', [stored(['a1', 'a2']), stored(['a1'], { medium: 'CPU', tokenIds: [] }), all]);
    expect(index.holdings).toBe(303);
    identity.applyAll(holder, 'm', [
      ...many.toReversed().map((hash) => removed(hash)),
      removed('a1', 'CPU'),
      removed('a2'),
      removed('f0'),
    ]);
    expect([index.holdings, depth(), identity.counts.unknownRemovals]).toEqual([1, 1, 1]);
  });

  test('a hash that comes with other tokens stands for those', () => {
    apply(stored(['a1']));
    apply(stored(['a1'], { tokenIds: [9, 9, 9, 9] }));
    expect([depth(), depth({}, [9, 9, 9, 9]), index.size]).toEqual([0, 1, 1]);
  });
});

describe('media', () => {
  const media = (): number[] => {
    const found = index.matchMedia(hashTokens({ model: 'm' }, tokens, 4), ['r']);
    return [found.device[0], found.host[0], found.storage[0]] as number[];
  };

  test('a copy comes without tokens, by the hash; each medium is let go by itself', () => {
    apply(stored(['a1', 'a2', 'a3']));
    apply(stored(['a1', 'a2'], { medium: 'CPU', tokenIds: [], parentBlockHash: null }));
    apply(stored(['a1'], { medium: 'STORAGE', tokenIds: [] }));
    apply({ type: 'BlockRemoved', blockHashes: ['a1', 'a2', 'a3'], medium: 'GPU', groupIdx: 0 });
    expect(media()).toEqual([0, 2, 2]);
    apply({ type: 'BlockRemoved', blockHashes: ['a1'], medium: 'cpu_pinned', groupIdx: 0 });
    expect(media()).toEqual([0, 0, 2]);
    apply({ type: 'AllBlocksCleared' });
    expect([media(), index.size]).toEqual([[0, 0, 0], 0]);
  });

  test('a copy of what is not known is lost, and said to be', () => {
    apply(stored(['a1'], { medium: 'CPU', tokenIds: [] }));
    expect([index.size, identity.counts.orphans, holder.exact]).toEqual([0, 1, false]);
  });
});

describe('groups', () => {
  test('a window of 5 tokens needs one block behind, not the whole prompt', () => {
    apply(stored(['a1', 'a2', 'a3', 'a4']));
    expect(depth()).toBe(4);
    const sliding = { groupIdx: 1, cacheSpecKind: 'sliding_window', slidingWindow: 5 };
    apply(stored(['a1', 'a2', 'a3', 'a4'], sliding));
    apply({ type: 'BlockRemoved', blockHashes: ['a1', 'a4'], medium: 'GPU', groupIdx: 1 });
    expect(depth()).toBe(3);
    apply({ type: 'BlockRemoved', blockHashes: ['a1'], medium: 'GPU', groupIdx: 0 });
    expect(depth()).toBe(0);
  });

  test('the state of a mamba layer is needed at the end only; a window that is not told is all', () => {
    apply(stored(['a1', 'a2']));
    apply(stored(['a1', 'a2'], { groupIdx: 1, cacheSpecKind: 'mamba' }));
    apply({ type: 'BlockRemoved', blockHashes: ['a1'], medium: 'GPU', groupIdx: 1 });
    expect(depth()).toBe(2);
    apply(stored(['a1', 'a2'], { groupIdx: 2, cacheSpecKind: 'sliding_window' }));
    apply({ type: 'BlockRemoved', blockHashes: ['a1'], medium: 'GPU', groupIdx: 2 });
    expect(depth()).toBe(0);
  });

  test('of several ranks the best counts, and each is cleared by itself', () => {
    apply(stored(['a1']));
    const other = index.holder('r', 1);
    identity.apply(other, 'm', stored(['a1', 'a2']));
    expect(depth()).toBe(2);
    identity.apply(other, 'm', { type: 'AllBlocksCleared' });
    expect(depth()).toBe(1);
  });
});

test.each([
  ['tokens that do not fill the blocks', { tokenIds: [1, 2, 3] }],
  ['another block size than the blocks before', { blockSize: 8, tokenIds: tokens.slice(0, 8) }],
  ['a group beyond the bound', { groupIdx: 64 }],
])('%s: counted, not claimed, and the holder is known in part only', (_, more) => {
  apply(stored(['a1']));
  apply(stored(['b1'], more));
  expect([identity.counts.misfits, index.holdings, holder.exact]).toEqual([1, 1, false]);
});
