import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { compilePipeline } from '../../../pipeline.ts';
import { resolveStrategy } from '../../../strategy.ts';
import type { Row } from '../../../table.fixture.ts';
import { request as features, table } from '../../../table.fixture.ts';
import { pairs } from '../../plugin.fixture.ts';
import { pairFinish } from './pair-finish.scorer.ts';

const model = { ttftBaseMs: 10, ttftPerKTokenMs: 100, ttftPerDecodingMs: 1, tpotBaseMs: 10, tpotPerDecodingMs: 1 };
const idle = { inflight: 0, warmth: 1, prefixBlocks: 0, prefillTokens: 0, decoding: 0, outputTokens: 10, ...model };
const prefill: Row = { ...idle, roles: 1 | 8, pairGroup: 1 };
const decode: Row = { ...idle, roles: 2 | 4, pairGroup: 1 };
const whole: Row = { ...idle, roles: 4 };
const long = { promptTokens: 4_000, prefixBlocks: 10 };

/** Row 0 is a prefill replica: the filter before has taken it out. */
const scored = (rows: readonly Row[], request: object = long, params: Record<string, number> = {}) =>
  pairs(pairFinish, {
    rows,
    request,
    params,
    without: rows.flatMap(({ roles }, index) => (roles === prefill.roles ? [index] : [])),
  });

describe('a hand-over is chosen where it pays', () => {
  test('the costs are those of the formula', () => {
    const params = { othersWeight: 1, decodeWeight: 1, handoverMs: 10, transferPerKTokenMs: 15 };
    // Split: 10 + 400, 10 + 60, 10 + 0.1 + 2 for the last token, 10 × 13. Alone: 10 + 400 + 2 + 2 × 400 + 10 × 13.
    const busy = { ...decode, decoding: 2 };
    const { scores, partners } = scored([prefill, busy, { ...whole, decoding: 0.3 }], long, params);
    // The whole one: 10 + 400 + 0.3 + 0.3 × 400 + 10 × 11.3 = 643.3 against 622.1.
    expect(partners[1]).toBe(0);
    expect(scores.slice(1)).toEqual([1, 0]);
    const dearer = scored([prefill, busy, { ...whole, decoding: 0.2 }], long, params);
    // 410.2 + 80 + 112 = 602.2: now it is the lesser one.
    expect(dearer.scores.slice(1)).toEqual([0, 1]);
  });

  test.each<[string, Row, Row, object, number]>([
    ['a long prompt where many decode', prefill, { ...decode, decoding: 8 }, long, 0],
    ['a short prompt', prefill, { ...decode, decoding: 1 }, { promptTokens: 50 }, -1],
    ['a decode side where nobody waits', prefill, decode, long, -1],
    ['a prompt that is cached there', prefill, { ...decode, decoding: 8, prefixBlocks: 10 }, long, -1],
    ['a prefill side that is behind', { ...prefill, prefillTokens: 90_000 }, { ...decode, decoding: 8 }, long, -1],
    ['another role set', { ...prefill, pairGroup: 2 }, { ...decode, decoding: 8 }, long, -1],
    ['a prefill side for other lengths', { ...prefill, promptTokensMin: 9_000 }, { ...decode, decoding: 8 }, long, -1],
    ['a slow link, as measured', prefill, { ...decode, decoding: 8, transferPerKTokenMs: 5_000 }, long, -1],
    ['a measurement too old', prefill, { ...decode, decoding: 8, transferPerKTokenMs: [5_000, 400_000] }, long, 0],
  ])('%s', (_name, first, second, request, partner) => {
    const { partners, notes } = scored([first, second], request);
    expect(partners[1]).toBe(partner);
    if (partner >= 0) expect(notes).toEqual([]);
    else expect(['no-prefill', 'alone-cheaper']).toContain(notes[0]);
  });

  test('of several the prefill side that is done soonest, by queue and by what it has cached', () => {
    const behind = { ...prefill, prefillTokens: 5_000 };
    const cached = { ...prefill, prefixBlocks: 9, prefillTokens: 2_000 };
    expect(scored([behind, { ...decode, decoding: 8 }, prefill, cached]).partners[1]).toBe(3);
  });

  test('one that cannot answer alone is paired whatever it costs', () => {
    expect(scored([prefill, { ...decode, roles: 2 }], { promptTokens: 1 }).partners[1]).toBe(0);
  });
});

describe('L14 missing signals', () => {
  test.each<[string, Row, Row, string]>([
    ['on the prefill side', { ...prefill, ttftBaseMs: Number.NaN }, decode, 'unknown:ttftBaseMs'],
    ['on the decode side', prefill, { ...decode, tpotBaseMs: Number.NaN }, 'unknown:tpotBaseMs'],
  ])('a model unknown %s: long prompts are handed over, short ones are not', (_name, first, second, note) => {
    const far = scored([first, second]);
    expect(far).toEqual(expect.objectContaining({ partners: [-1, 0], notes: [note] }));
    const near = scored([first, second], { promptTokens: 511 });
    expect(near).toEqual(expect.objectContaining({ partners: [-1, -1], notes: [note, 'alone-cheaper'] }));
  });

  test('no token counts: the least busy of each side', () => {
    const busy = { ...prefill, inflight: 3 };
    const silent = { ...prefill, prefillTokens: Number.NaN };
    const { partners, notes } = scored([busy, decode, silent]);
    expect([partners[1], notes]).toEqual([2, ['unknown:prefillTokens']]);
  });

  test('no counts at all: the first, and the notes say so', () => {
    const blind = { inflight: Number.NaN, prefillTokens: Number.NaN };
    const { partners, notes } = scored([
      { ...prefill, ...blind },
      { ...decode, ...blind },
    ]);
    expect(partners[1]).toBe(0);
    expect(notes).toEqual(['unknown:prefillTokens', 'unknown:inflight']);
  });

  test('without role sets each is judged as it answers alone', () => {
    expect(scored([idle, { ...idle, decoding: 4 }])).toEqual({
      scores: [1, 0],
      partners: [-1, -1],
      notes: ['no-prefill'],
    });
  });
});

const any = fc.record({
  roles: fc.constantFrom(1, 9, 2, 6, 4, Number.NaN),
  pairGroup: fc.nat(2),
  inflight: fc.nat(20),
  prefillTokens: fc.oneof(fc.nat(50_000), fc.constant(Number.NaN)),
  decoding: fc.nat(100),
  prefixBlocks: fc.nat(10),
  promptTokensMin: fc.constantFrom(0, 1_000),
  transferPerKTokenMs: fc.oneof(fc.nat(500), fc.constant(Number.NaN)),
});

test('L15 the same inputs give the same pair, of one role set, and never a prefill side alone while another answers', () => {
  const compiled = compilePipeline(resolveStrategy('pd'));
  fc.assert(
    fc.property(fc.array(any, { minLength: 1, maxLength: 8 }), fc.nat(9_000), fc.nat(), (rows, promptTokens, seed) => {
      const asked = features({ promptTokens, prefixBlocks: 10 });
      const candidates = table(...rows.map((row) => ({ ...idle, ...row })));
      const { chosen, partner } = compiled.decide(asked, candidates, seed);
      const again = compilePipeline(resolveStrategy('pd')).decide(asked, candidates, seed);
      expect([again.chosen, again.partner]).toEqual([chosen, partner]);
      if (chosen < 0) return;
      const bits = rows[chosen]!.roles;
      if (partner >= 0) {
        expect(rows[partner]!.roles & 1).toBe(1);
        expect(bits & 2).toBe(2);
        expect(rows[partner]!.pairGroup).toBe(rows[chosen]!.pairGroup);
      } else expect(Number.isNaN(bits) || (bits & (4 | 8)) !== 0).toBe(true);
    }),
  );
});
