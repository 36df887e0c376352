import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, equals } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';

export type PriceInit = MessageInitShape<typeof tenancy.PriceSchema>;

export interface SetPrices {
  readonly type: 'SetPrices';
  readonly currency: string;
  readonly prices: readonly PriceInit[];
  readonly source: string;
}

export interface PricesSet {
  readonly type: 'PricesSet';
  readonly data: { readonly currency: string; readonly prices: PriceInit[]; readonly source: string };
}

export interface PricesState {
  readonly currency: string;
  readonly prices: readonly tenancy.Price[];
  readonly source: string;
}

/** There is one price book: lintel.ev.tenancy.prices.book. */
export const priceBookId = 'book';

/** Bounds under which the cost of any request is a whole number that a double holds: counts of tokens have 32 bits. */
export const priceLimits = { pricesMax: 4096, tokenNanoMax: 1_000_000, requestNanoMax: 100_000_000_000_000 } as const;

const none: PricesState = { currency: '', prices: [], source: '' };

/** What models cost, and from when on. */
export const prices: Decider<PricesState, SetPrices, PricesSet> = {
  context: 'tenancy',
  aggregate: 'prices',
  initial: none,
  decide(state, { currency, prices: given, source }) {
    const list = given.map((price) => create(tenancy.PriceSchema, price));
    const problem = problemOf(currency, list);
    if (problem !== undefined) {
      throw new CodedError('TENANCY_PRICES_INVALID', problem, { advice: 'Correct it and set the prices again.' });
    }
    const same =
      state.currency === currency &&
      state.source === source &&
      state.prices.length === list.length &&
      list.every((price, index) => equals(tenancy.PriceSchema, price, state.prices[index] as tenancy.Price));
    return same ? [] : [{ type: 'PricesSet', data: { currency, prices: list, source } }];
  },
  evolve(_state, { data: { currency, prices: given, source } }) {
    return { currency, prices: given.map((price) => create(tenancy.PriceSchema, price)), source };
  },
};

const isWhole = (value: number, max: number): boolean => Number.isInteger(value) && value >= 0 && value <= max;

function problemOf(currency: string, list: readonly tenancy.Price[]): string | undefined {
  const { pricesMax, tokenNanoMax, requestNanoMax } = priceLimits;
  if (list.length > pricesMax) return `${list.length} prices, more than ${pricesMax}`;
  if (list.length > 0 && !/^[A-Z]{3}$/.test(currency)) return `"${currency}" is no currency such as USD`;
  const seen = new Set<string>();
  for (const { model, inputNano, cachedInputNano, outputNano, requestNano, effectiveFromMs } of list) {
    const about = `the price of "${model}"`;
    if (model === '' || model.length > 256) return `${about}: a model is named by 1 to 256 characters`;
    if (![inputNano, cachedInputNano, outputNano].every((nano) => isWhole(nano, tokenNanoMax))) {
      return `${about}: a token costs a whole number of billionths, at most ${tokenNanoMax}`;
    }
    if (!isWhole(requestNano, requestNanoMax)) {
      return `${about}: a request costs a whole number of billionths, at most ${requestNanoMax}`;
    }
    if (!isWhole(effectiveFromMs, Number.MAX_SAFE_INTEGER)) return `${about}: its moment is none`;
    const place = JSON.stringify([model, effectiveFromMs]);
    if (seen.has(place)) return `${about} is given twice for the same moment`;
    seen.add(place);
  }
  return undefined;
}
