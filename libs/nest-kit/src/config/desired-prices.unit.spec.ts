import { expect, test } from '@jest/globals';
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
