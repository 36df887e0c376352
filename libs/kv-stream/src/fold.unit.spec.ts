import { beforeEach, describe, expect, test } from '@jest/globals';
import { Packr } from 'msgpackr';
import { encodeHoldings, hashTokens } from '#libs/prefix-index';
import type { Environment } from '#libs/kernel';
import { systemEnvironment } from '#libs/kernel';
import { KvFold } from './fold.ts';
import type { KvFrame } from './frame.ts';
import { decodeKvFrame, encodeKvFrame } from './frame.ts';
import { kvStreamLimits } from './limits.ts';

const packr = new Packr({ useRecords: false, variableMapSize: true });
const tokens = Array.from({ length: 32 }, (_, at) => at + 1);
const chain = hashTokens({ model: '' }, tokens, 16);
const stored = (seq: number) => ({
  seq,
  payload: packr.pack([
    1,
    [
      {
        type: 'BlockStored',
        block_hashes: [seq * 2 + 1, seq * 2 + 2],
        parent_block_hash: null,
        token_ids: tokens,
        block_size: 16,
      },
    ],
    0,
  ]),
});
const claim = (writer: string): KvFrame => ({ kind: 'claim', writer });
const reset = (writer = 'w1', life = 'l1'): KvFrame => ({
  kind: 'reset',
  writer,
  rank: 0,
  life,
  exact: true,
  why: 'first',
});
const batches = (seqs: number[], writer = 'w1', life = 'l1'): KvFrame => ({
  kind: 'batches',
  writer,
  rank: 0,
  life,
  batches: seqs.map(stored),
});
const beat = (next: number, writer = 'w1'): KvFrame => ({
  kind: 'beat',
  writer,
  ranks: [{ rank: 0, life: 'l1', next, exact: true }],
});

let nowMs = 0;
const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
const environment: Environment = { ...systemEnvironment, clock };
let fold: KvFold;
let seq: number;

const give = async (...frames: KvFrame[]): Promise<void> => {
  for (const frame of frames) {
    await fold.apply({ subject: 'lintel.kv.a', bytes: encodeKvFrame(frame), seq: ++seq });
  }
};
const exact = (): boolean => fold.exact('a', nowMs);
const depth = (): number => fold.index.match(chain, ['a'])[0] as number;

beforeEach(() => {
  nowMs = 0;
  fold = new KvFold(environment);
  seq = 0;
});

describe('a fold of LINTEL_KV', () => {
  test('has what the engine said, in its own order, once', async () => {
    await give(claim('w1'), reset(), batches([0]), batches([0, 1]), beat(2));
    expect([exact(), depth(), fold.counts.batches, fold.wanted()]).toEqual([true, 2, 2, []]);
  });

  test('knows nothing after a hole, and wants a snapshot', async () => {
    await give(claim('w1'), reset(), batches([0]), batches([2]));
    expect([exact(), depth(), fold.counts.gaps, fold.wanted()]).toEqual([false, 0, 1, ['a']]);
  });

  test('sees by the beat that it missed the last batch', async () => {
    await give(claim('w1'), reset(), batches([0]), beat(2));
    expect([exact(), depth(), fold.wanted()]).toEqual([false, 0, ['a']]);
  });

  test('begins at a snapshot and goes on behind it', async () => {
    await give(claim('w1'), reset(), batches([0]));
    const view = fold.replicas.get('a')?.ranks.get(0);
    const [chunk] = [...encodeHoldings(fold.index, [view!.holder], () => null)];
    fold = new KvFold(environment);
    await give(beat(1));
    expect([exact(), fold.wanted()]).toEqual([false, ['a']]);
    const snapshot = {
      kind: 'holdings',
      writer: 'w1',
      rank: 0,
      life: 'l1',
      parts: 1,
      next: 1,
      lastAtSeconds: 1,
    } as const;
    await give({ ...snapshot, part: 0, chunk: chunk! }, batches([1]));
    expect([exact(), depth(), fold.wanted()]).toEqual([true, 2, []]);
  });

  test('passes over who was replaced', async () => {
    await give(claim('w1'), reset(), batches([0]), claim('w2'), batches([1]), reset('w1', 'l2'));
    expect([fold.counts.foreign, depth()]).toEqual([2, 2]);
    await give(batches([1], 'w2'));
    expect([exact(), fold.replicas.get('a')?.writer]).toEqual([true, 'w2']);
  });

  test('believes nothing of whom nobody was heard, and keeps nothing of who is gone', async () => {
    await give(claim('w1'), reset(), batches([0]));
    nowMs += kvStreamLimits.staleMs + 1;
    expect(exact()).toBe(false);
    await give({ kind: 'gone', writer: 'w1' });
    expect([fold.index.size, fold.index.holdings, fold.replicas.size]).toEqual([0, 0, 0]);
  });

  test('keeps nothing of who was removed without a word: its follower died first, or spoke once more', async () => {
    await give(claim('w1'), reset(), batches([0]), { kind: 'gone', writer: 'w1' }, beat(1));
    expect(fold.replicas.size).toBe(1);
    nowMs += kvStreamLimits.goneMs;
    fold.forgetGone(new Set(['a']));
    expect(fold.replicas.size).toBe(1);
    fold.forgetGone(new Set());
    expect([fold.index.size, fold.index.holdings, fold.replicas.size]).toEqual([0, 0, 0]);
  });

  test('counts what cannot be read, and goes on', async () => {
    await fold.apply({ subject: 'lintel.kv.a', bytes: new Uint8Array([9, 0, 0]), seq: 1 });
    await give(claim('w1'), reset());
    expect([fold.counts.invalid, exact()]).toEqual([1, true]);
    expect(() => decodeKvFrame(encodeKvFrame(batches([0])).subarray(0, -1))).toThrow('cut');
  });
});
