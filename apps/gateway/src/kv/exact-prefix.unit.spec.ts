import { describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { systemEnvironment } from '#libs/kernel';
import { encodeKvFrame, KvFold } from '#libs/kv-stream';
import type { FleetReplica } from '../fleet/fleet.ts';
import { exactPrefix } from './exact-prefix.ts';

const { VLLM, SGLANG } = route.EngineKind;
const tokens = Array.from({ length: 9 }, (_, at) => at);

/** Followed from the start, with the blocks of `tokens`. */
async function foldWith(...sizes: [string, number][]): Promise<KvFold> {
  const fold = new KvFold(systemEnvironment);
  let seq = 0;
  for (const [id, blockSize] of sizes) {
    const frame = encodeKvFrame({ kind: 'reset', writer: 'w', rank: 0, life: 'l', exact: true, why: 'first' });
    await fold.apply({ subject: `lintel.kv.${id}`, bytes: frame, seq: ++seq });
    const { holder } = [...(fold.replicas.get(id)?.ranks.values() ?? [])][0]!;
    const blocks = Math.floor(tokens.length / blockSize);
    fold.identity.apply(holder, '', {
      type: 'BlockStored',
      blockHashes: Array.from({ length: blocks }, (_, at) => `${at + 1}`),
      parentBlockHash: null,
      tokenIds: tokens.slice(0, blocks * blockSize),
      blockSize,
      loraId: null,
      loraName: null,
      medium: 'GPU',
      extraKeys: null,
      groupIdx: 0,
      cacheSpecKind: 'full_attention',
      slidingWindow: null,
    });
  }
  return fold;
}

const replica = (id: string, engine = VLLM): FleetReplica =>
  ({ id, engine, routability: () => 'ready' }) as unknown as FleetReplica;
const ask = (fold: KvFold, replicas: FleetReplica[], more: { adapter?: string; cacheSalt?: string } = {}) =>
  exactPrefix(fold, { adapter: '', cacheSalt: '', tokens, replicas, ...more }, systemEnvironment.clock.monotonicMs());

describe('whether a pick can go by what the engines hold', () => {
  test('whole blocks of the prompt but its last token', async () => {
    const found = ask(await foldWith(['a', 4]), [replica('a')]);
    expect(found).toMatchObject({ blockTokens: 4, promptTokens: 9, blocks: { length: 2 } });
  });

  test.each([
    ['nobody tells of one', [['a', 4]], [replica('a'), replica('b')], {}, 'no-events:b'],
    [
      'blocks of two sizes',
      [
        ['a', 4],
        ['b', 3],
      ],
      [replica('a'), replica('b')],
      {},
      'block-size:b',
    ],
    ['an adapter on SGLang, whose events name none', [['a', 4]], [replica('a', SGLANG)], { adapter: 'x' }, 'no-keys:a'],
    ['a salt on SGLang', [['a', 4]], [replica('a', SGLANG)], { cacheSalt: 's' }, 'no-keys:a'],
  ] as [string, [string, number][], FleetReplica[], object, string][])('%s', async (_, sizes, replicas, more, why) => {
    expect(ask(await foldWith(...sizes), replicas, more)).toBe(why);
  });

  test('SGLang without either is known as others are', async () => {
    expect(ask(await foldWith(['a', 4]), [replica('a', SGLANG)])).toMatchObject({ blockTokens: 4 });
  });
});
