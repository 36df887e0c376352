import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CodedError, errorCode } from '#libs/kernel';
import { canonicalJson, parsePipeline, pipelineHash } from './canonical.ts';
import { compilePipeline } from './pipeline.ts';
import { strategyNames } from './presets.ts';
import { parseStrategy, resolveStrategy } from './strategy.ts';

const codeOf = (run: () => unknown): string => {
  try {
    run();
    return 'accepted';
  } catch (thrown) {
    return errorCode(thrown);
  }
};

test.each(strategyNames)('%s compiles', (name) => {
  const spec = resolveStrategy(name);
  expect(spec.strategy).toBe(name);
  expect(parsePipeline(canonicalJson(spec))).toEqual(spec);
  expect(compilePipeline(spec).spec).toBe(spec);
});

describe('mixes', () => {
  test('hold one scorer for each member with its weight', () => {
    const { strategy, scorers, filters, picker } = resolveStrategy('least-request:2, prefix-cache');
    expect(strategy).toBe('least-request:2,prefix-cache:1');
    expect(scorers.map(({ type, weight }) => [type, weight])).toEqual([
      ['load', 2],
      ['prefix-hit', 1],
    ]);
    expect([filters.length, picker.type]).toEqual([0, 'best']);
  });

  test('a weight of 0 drops a member; what is left alone is the preset itself', () => {
    expect(resolveStrategy('prefix-cache:5,random:0')).toEqual(resolveStrategy('prefix-cache'));
  });

  test.each([
    ['least-request,round-robin', 'SCHEDULING_STRATEGY_EXCLUSIVE'],
    ['power-of-two:1,least-request:1', 'SCHEDULING_STRATEGY_EXCLUSIVE'],
    ['least-request:-1', 'SCHEDULING_STRATEGY_INVALID'],
    ['least-request:1.5', 'SCHEDULING_STRATEGY_INVALID'],
    ['least-request:1000001', 'SCHEDULING_STRATEGY_INVALID'],
    ['least-request:0', 'SCHEDULING_STRATEGY_INVALID'],
    ['least-request:1,least-request:2', 'SCHEDULING_STRATEGY_INVALID'],
    ['', 'SCHEDULING_STRATEGY_UNKNOWN'],
    ['constructor', 'SCHEDULING_STRATEGY_UNKNOWN'],
    ['least-request,', 'SCHEDULING_STRATEGY_UNKNOWN'],
    ['a'.repeat(1000), 'SCHEDULING_STRATEGY_INVALID'],
  ])('%s → %s', (text, code) => expect(codeOf(() => resolveStrategy(text))).toBe(code));

  test('a near miss is suggested', () => {
    expect(() => resolveStrategy('least-requests')).toThrow(
      expect.objectContaining({ advice: 'Did you mean least-request?' }),
    );
  });
});

test('any text either parses or is refused with a code', () => {
  const word = fc.constantFrom(...strategyNames, 'slo', '', '__proto__');
  const weight = fc.oneof(
    fc.constant(''),
    fc.integer({ min: -2, max: 2_000_000 }).map((n) => `:${n}`),
    fc.string(),
  );
  const mix = fc.array(fc.tuple(word, weight).map(([name, suffix]) => name + suffix)).map((parts) => parts.join(','));
  fc.assert(
    fc.property(fc.oneof(fc.string(), mix), (text) => {
      try {
        for (const { name, weight: given } of parseStrategy(text)) {
          expect(strategyNames).toContain(name);
          expect(given).toBeGreaterThan(0);
        }
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(CodedError);
        expect(errorCode(thrown)).toMatch(/^SCHEDULING_STRATEGY_/);
      }
    }),
  );
});

describe('parameters', () => {
  test('go over the preset and reach the plugin', () => {
    const { filters } = resolveStrategy('prefix-cache', { 'load-band': { factor: 2 } });
    expect(filters[1]).toEqual({ type: 'load-band', version: 1, params: { factor: 2 } });
  });

  test('any JSON is accepted whole or refused with a code', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('load-band', 'kv-use', 'nothing', 'toString'), fc.jsonValue()),
        (given) => {
          expect(['accepted', 'SCHEDULING_PARAM_INVALID']).toContain(
            codeOf(() => resolveStrategy('prefix-cache', given as never)),
          );
        },
      ),
    );
  });

  test.each([
    [{ 'load-band': { factor: -1 } }],
    [{ 'load-band': { factor: '1' } }],
    [{ 'load-band': { factor: Number.NaN } }],
    [{ 'load-band': { factr: 1 } }],
    [{ 'load-imbalance': { inflightGapMax: 1.5 } }],
    [{ 'prefix-hit': { relative: 1 } }],
    [{ 'no-such': {} }],
  ])('%j is refused', (params) => {
    expect(codeOf(() => resolveStrategy('random', params as never))).toBe('SCHEDULING_PARAM_INVALID');
  });
});

test('the canonical text does not depend on the order of names', () => {
  const spec = resolveStrategy('least-kv-cache');
  const turned = { picker: spec.picker, scorers: spec.scorers, filters: spec.filters, strategy: spec.strategy };
  expect(canonicalJson(turned)).toBe(canonicalJson(spec));
  expect(pipelineHash(turned)).toMatch(/^[0-9a-f]{64}$/);
});

test('a recorded plugin version that is no longer here is named', () => {
  const spec = resolveStrategy('random');
  expect(() => compilePipeline({ ...spec, picker: { ...spec.picker, version: 99 } })).toThrow(
    expect.objectContaining({ code: 'SCHEDULING_PLUGIN_MISSING', plugin: 'picker random@99' }),
  );
});

test.each(['', '{', '[]', '{"strategy":1}', '{"strategy":"a","filters":[],"scorers":[{}],"picker":{}}'])(
  'a broken recorded pipeline %s is refused',
  (json) => expect(codeOf(() => parsePipeline(json))).toBe('SCHEDULING_PIPELINE_INVALID'),
);
