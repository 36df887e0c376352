import { expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { tenancy } from '#libs/contracts';
import { costNanoOf, emptyPriceBook, priceOf } from './price-book.ts';
import type { PriceBook } from './price-book.ts';
import { planPrices } from './plan-prices.ts';
import { priceLimits, prices } from './prices.decider.ts';
import type { PriceInit, SetPrices } from './prices.decider.ts';
import { emptyTenancyState, tenancyStateFromJson, tenancyStateToJson } from './state.ts';

const of = (list: readonly PriceInit[], currency = 'USD'): SetPrices => ({
  type: 'SetPrices',
  currency,
  prices: list,
  source: 'test',
});
const refused = (command: SetPrices, code: string): void => {
  expect(() => prices.decide(prices.initial, command)).toThrow(expect.objectContaining({ code }) as unknown as Error);
};

test('a price book is set once, and what cannot be counted exactly is refused', () => {
  const [event] = prices.decide(prices.initial, of([{ model: 'm', inputNano: 2500 }]));
  const state = prices.evolve(prices.initial, event!);
  expect(prices.decide(state, of([{ model: 'm', inputNano: 2500 }]))).toEqual([]);
  expect(prices.decide(state, of([{ model: 'm', inputNano: 2501 }]))).toHaveLength(1);
  for (const bad of [
    { model: '', inputNano: 1 },
    { model: 'm', inputNano: 0.5 },
    { model: 'm', outputNano: -1 },
    { model: 'm', inputNano: priceLimits.tokenNanoMax + 1 },
    { model: 'm', requestNano: Number.NaN },
    { model: 'm', effectiveFromMs: -1 },
  ]) {
    refused(of([bad]), 'TENANCY_PRICES_INVALID');
  }
  refused(of([{ model: 'm' }], 'dollars'), 'TENANCY_PRICES_INVALID');
  refused(of([{ model: 'm' }, { model: 'm' }]), 'TENANCY_PRICES_INVALID');
});

/** A book as the fold makes it, through a snapshot. */
function bookOf(list: readonly PriceInit[]): PriceBook {
  const state = emptyTenancyState();
  const made = list.map((price) => create(tenancy.PriceSchema, price));
  state.priceBook = { ...emptyPriceBook, currency: 'USD', prices: made, seq: 7, source: 'test' };
  return tenancyStateFromJson(JSON.parse(JSON.stringify(tenancyStateToJson(state)))).priceBook;
}

test('the latest price that has begun is in force; a model without one has that of "*", or none', () => {
  const book = bookOf([
    { model: 'm', inputNano: 1, effectiveFromMs: 100 },
    { model: 'm', inputNano: 2, effectiveFromMs: 200 },
    { model: '*', inputNano: 9, effectiveFromMs: 50 },
  ]);
  const at = (model: string, atMs: number): number | undefined => priceOf(book, model, atMs)?.inputNano;
  expect([at('m', 99), at('m', 100), at('m', 199), at('m', 200), at('n', 60), at('n', 49)]).toEqual([
    9,
    1,
    1,
    2,
    9,
    undefined,
  ]);
  expect([book.seq, book.currency]).toEqual([7, 'USD']);
});

test('a cost is exact, whatever the counts and prices within their bounds', () => {
  const tokens = fc.oneof(fc.nat(1000), fc.nat(0xffff_ffff));
  const nano = fc.integer({ min: 0, max: priceLimits.tokenNanoMax });
  fc.assert(
    fc.property(
      fc.tuple(tokens, tokens, tokens),
      fc.tuple(nano, nano, nano, fc.integer({ min: 0, max: priceLimits.requestNanoMax })),
      ([promptTokens, cachedTokens, completionTokens], [inputNano, cachedInputNano, outputNano, requestNano]) => {
        const price = create(tenancy.PriceSchema, { model: 'm', inputNano, cachedInputNano, outputNano, requestNano });
        const cached = BigInt(Math.min(cachedTokens, promptTokens));
        const exact =
          (BigInt(promptTokens) - cached) * BigInt(inputNano) +
          cached * BigInt(cachedInputNano) +
          BigInt(completionTokens) * BigInt(outputNano) +
          BigInt(requestNano);
        const cost = costNanoOf(price, { promptTokens, cachedTokens, completionTokens });
        expect(Number.isSafeInteger(cost)).toBe(true);
        expect(BigInt(cost)).toBe(exact);
      },
    ),
  );
});

test('a document plans one commit for its prices; one that names none takes back its own alone', () => {
  const state = emptyTenancyState();
  const desired = { currency: 'USD', prices: [{ model: 'm', inputNano: 5 }] };
  expect(planPrices(undefined, state, { source: 'config:a' })).toEqual([]);
  expect(planPrices(desired, state, { source: 'config:a' })).toMatchObject([{ change: '+ prices of m' }]);
  const made = [create(tenancy.PriceSchema, { model: 'm', inputNano: 5 })];
  state.priceBook = { ...bookOf(made), source: 'config:a' };
  expect(planPrices(desired, state, { source: 'config:a' })).toEqual([]);
  expect(planPrices(undefined, state, { source: 'config:a' })).toMatchObject([{ change: '- prices of m' }]);
  state.priceBook = { ...state.priceBook, source: 'apply' };
  expect(planPrices(undefined, state, { source: 'config:a' })).toEqual([]);
});
