import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { route } from '#libs/contracts';
import { CodedError, errorCode } from '#libs/kernel';
import { parseAibrixConfig } from './aibrix-config.ts';
import { checkPolicy } from './policy.decider.ts';
import type { RoutingHeaders } from './profiles.ts';
import { builtInPolicy, resolveProfile } from './profiles.ts';
import { parseRoutingConfig } from './routing-config.ts';
import type { PolicyInForce } from './state.ts';

type Profile = { name: string; strategy: string; requestsPerSecond?: number; routingConfig?: Record<string, never> };

const inForce = (given: { lockedStrategy?: string; defaultProfile?: string; profiles: Profile[] }): PolicyInForce => ({
  policy: create(route.RoutingPolicySchema, { policyId: 'p', models: ['*'], ...given }),
  source: 'apply',
  version: 4,
  seq: 17,
  commitId: 'c',
});
const hints = (value: Record<string, number>) => value as unknown as Record<string, never>;
const counts = { promptTokens: 100, maxTokens: 0 };

describe('strategy: lock > header > profile > default', () => {
  const profiles = [
    { name: 'a', strategy: 'random' },
    { name: 'b', strategy: '' },
  ];
  const chosen = (policy: PolicyInForce, headers: RoutingHeaders): string => {
    const { chosenBy, strategy } = resolveProfile(policy, headers, counts);
    return `${chosenBy} ${strategy}`;
  };

  test.each([
    ['power-of-two', { routingStrategy: 'least-request' }, 'lock power-of-two'],
    ['', { routingStrategy: 'least-request' }, 'header least-request'],
    ['', { routingStrategy: '' }, 'profile random'],
    ['', { configProfile: 'b' }, 'default lintel'],
    ['', { configProfile: 'no such' }, 'profile random'],
  ])('lock %p, headers %j → %s', (lockedStrategy, headers, expected) => {
    expect(chosen(inForce({ lockedStrategy, defaultProfile: 'a', profiles }), headers)).toBe(expected);
  });

  test('an unknown strategy in the header is refused', () => {
    expect(() => resolveProfile(builtInPolicy, { routingStrategy: 'banana' }, counts)).toThrow(
      expect.objectContaining({ code: 'SCHEDULING_STRATEGY_UNKNOWN' }),
    );
  });

  test('one object for each version and strategy, which names the version', () => {
    const policy = inForce({ profiles });
    const first = resolveProfile(policy, {}, counts);
    expect(resolveProfile(policy, {}, counts)).toBe(first);
    expect(first.pipeline).toMatchObject({ policyId: 'p', policyVersion: 4, policySeq: 17, strategy: 'random' });
  });
});

describe('auto', () => {
  const policy = inForce({
    defaultProfile: 'rest',
    profiles: [
      { name: 'rest', strategy: 'random' },
      { name: 'long', strategy: 'random', routingConfig: hints({ promptTokensGte: 1000 }) },
      { name: 'longer', strategy: 'random', routingConfig: hints({ promptTokensGte: 5000 }) },
      { name: 'both', strategy: 'random', routingConfig: hints({ promptTokensGte: 1000, maxTokensGte: 2048 }) },
      { name: 'short', strategy: 'random', routingConfig: hints({ promptTokensLt: 50 }) },
    ],
  });

  test.each([
    [100, 0, 'rest'],
    [10, 0, 'short'],
    [1000, 0, 'long'],
    [6000, 10, 'longer'],
    [6000, 4096, 'both'],
    [500, 4096, 'rest'],
  ])('%i prompt tokens, %i asked → %s', (promptTokens, maxTokens, expected) => {
    expect(resolveProfile(policy, { configProfile: 'auto' }, { promptTokens, maxTokens }).profile).toBe(expected);
  });
});

describe("AIBrix's annotation", () => {
  test('becomes a policy', () => {
    const { policy, ignored } = parseAibrixConfig(
      JSON.stringify({
        defaultProfile: 'least-request',
        profiles: {
          'least-request': { routingStrategy: 'least-request', requestsPerSecond: 5 },
          long: { routingStrategy: 'least-kv-cache', routingConfig: { maxTokensGte: 1024, combined: true } },
        },
      }),
    );
    expect(ignored).toEqual(['long.combined']);
    expect(policy).toMatchObject({
      defaultProfile: 'least-request',
      profiles: [{ requestsPerSecond: 5 }, { name: 'long' }],
    });
    expect(() =>
      checkPolicy(create(route.RoutingPolicySchema, { policyId: 'p', models: ['m'], ...policy })),
    ).not.toThrow();
  });

  test('any text is a policy or refused with its code', () => {
    const shaped = fc.record(
      {
        lockedRoutingStrategy: fc.jsonValue(),
        defaultProfile: fc.jsonValue(),
        profiles: fc.oneof(fc.jsonValue(), fc.dictionary(fc.string(), fc.jsonValue())),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          shaped.map((value) => JSON.stringify(value)),
        ),
        (text) => {
          try {
            parseAibrixConfig(text);
          } catch (thrown) {
            expect([thrown instanceof CodedError, errorCode(thrown)]).toEqual([true, 'ROUTE_AIBRIX_CONFIG_INVALID']);
          }
        },
      ),
    );
  });
});

test('targets of a profile reach the plugins that know them; what is said of a plugin goes over them', () => {
  const strategyOf = (routingConfig: unknown): unknown =>
    resolveProfile(
      inForce({
        profiles: [{ name: 'a', strategy: 'slo-pack-load', routingConfig: routingConfig as Record<string, never> }],
      }),
      {},
      { promptTokens: 1, maxTokens: 0 },
    ).spec;
  const spec = strategyOf({ ttftMs: 800, tpotMs: 40, 'slo-pack': { tpotMs: 30 } });
  expect(spec).toMatchObject({
    filters: [{ type: 'slo-target', params: { ttftMs: 800, tpotMs: 40 } }],
    scorers: [{ type: 'slo-pack', params: { ttftMs: 800, tpotMs: 30 } }],
  });
  for (const wrong of [0, -1, '800', null]) {
    expect(() => parseRoutingConfig({ ttftMs: wrong as never })).toThrow(
      expect.objectContaining({ code: 'ROUTE_POLICY_INVALID' }),
    );
  }
});

test('any routingConfig is read or refused with its code', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.oneof(fc.string(), fc.constant('promptTokensGte')), fc.jsonValue()), (config) => {
      try {
        const { hints, params } = parseRoutingConfig(config as never);
        expect(Object.keys(hints).length + Object.keys(params).length).toBe(Object.keys(config).length);
      } catch (thrown) {
        expect(errorCode(thrown)).toBe('ROUTE_POLICY_INVALID');
      }
    }),
  );
});
