import { expect, test } from '@jest/globals';
import { docExamples } from '#libs/testkit';
import { desiredOf } from './desired.ts';
import { parseConfig } from './load.ts';

const priced = (price: string): number | undefined =>
  desiredOf(parseConfig(`prices: { currency: USD, models: [{ model: m, input: ${price} }] }`, 'f'), 'test').prices
    ?.prices[0]?.inputNano;

test.each([
  ['2.50', 2500],
  ['0.075', 75],
  ['0.3', 300],
  ['0.001', 1],
  ['1000', 1_000_000],
  ['"15.000"', 15_000],
  ['0', 0],
])('%s per million tokens is %i billionths per token', (text, nano) => {
  expect(priced(text)).toBe(nano);
});

test.each(['0.0001', '1e-7', '-1', '1000.5', '"2,50"', '.inf', 'abc'])('%s is refused', (text) => {
  expect(() => priced(text)).toThrow(/input/);
});

test('cached input costs what input does, unless it is said; a moment is read with its zone', () => {
  const text = `prices:
  currency: EUR
  models:
    - { model: m, input: 1, cachedInput: 0.1, output: 4, request: 0.000000001, from: "2026-12-01T00:00:00+01:00" }
    - { model: "*", input: 3 }
`;
  expect(desiredOf(parseConfig(text, 'f'), 'test').prices).toEqual({
    currency: 'EUR',
    prices: [
      {
        model: 'm',
        inputNano: 1000,
        cachedInputNano: 100,
        outputNano: 4000,
        requestNano: 1,
        effectiveFromMs: Date.UTC(2026, 10, 30, 23),
      },
      { model: '*', inputNano: 3000, cachedInputNano: 3000, outputNano: 0, requestNano: 0, effectiveFromMs: 0 },
    ],
  });
});

const limited = (limits: string): unknown[] => [
  ...(desiredOf(parseConfig(`tenants: [{ id: a, limits: [${limits}] }]`, 'f'), 'test').tenants[0]?.limits ?? []),
];

test('limits of cost are told in the currency and kept in billionths; with alerts they are budgets', () => {
  const month = 31 * 86_400_000;
  expect(limited('{ cost: { day: 2.5 } }')).toMatchObject([
    { limitId: 'cost/day', amount: 2_500_000_000, windowMs: 86_400_000 },
  ]);
  expect(limited('{ id: team, per: [project], cost: { month: 500 }, alerts: [50, 80, 100] }')).toMatchObject([
    {
      limitId: 'team cost/month per project',
      amount: 500_000_000_000,
      windowMs: month,
      alertPercents: [50, 80, 100],
      soft: true,
      perProject: true,
    },
  ]);
  expect(limited('{ project: search, cost: { month: 1 }, alerts: [100], hard: true }')).toMatchObject([
    { limitId: 'project search cost/month', projectId: 'search', soft: false },
  ]);
  expect(limited('{ requests: { month: 9 } }')).toMatchObject([{ limitId: 'requests/month', windowMs: month }]);
});

test.each([
  '{ requests: { day: 1 }, alerts: [50] }',
  '{ cost: { day: 1 }, alerts: [80, 50] }',
  '{ cost: { day: 1 }, hard: true }',
  '{ cost: { day: 1e10 } }',
])('%s is refused', (limits) => {
  expect(() => limited(limits)).toThrow();
});

test('the example of prices and budgets in docs/gateway.md is one', () => {
  const [example = ''] = docExamples('docs/gateway.md', 'yaml', 'Prices, usage and budgets');
  const { prices, tenants } = desiredOf(parseConfig(example, 'docs/gateway.md'), 'test');
  expect(prices?.prices.map(({ model, inputNano, cachedInputNano }) => [model, inputNano, cachedInputNano])).toEqual([
    ['llama-70b', 600, 150],
    ['llama-70b', 500, 500],
    ['*', 200, 200],
  ]);
  expect(tenants[0]?.limits).toMatchObject([
    { limitId: 'cost/day', amount: 50_000_000_000 },
    { limitId: 'team cost/month', soft: true, alertPercents: [50, 80, 100] },
    { limitId: 'search project search cost/month', soft: false, amount: 120_500_000_000 },
  ]);
});
