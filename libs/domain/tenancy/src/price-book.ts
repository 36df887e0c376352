import { fromJson, toJson } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { DecodedEvent } from '#libs/event-log';
import type { PricesSet, PricesState } from './prices.decider.ts';
import { prices } from './prices.decider.ts';

/** Prices as requests ask for them. */
export interface PriceBook extends PricesState {
  /** Of the commit that set them: their version. 0 where none were ever set. */
  readonly seq: number;
  /** Of each model, the latest first. */
  readonly byModel: ReadonlyMap<string, readonly tenancy.Price[]>;
}

export const emptyPriceBook: PriceBook = { ...prices.initial, seq: 0, byModel: new Map() };

/** The price book after the events of one commit. */
export function evolvePriceBook(book: PriceBook, events: readonly DecodedEvent[], seq: number): PriceBook {
  let state: PricesState = book;
  for (const event of events) state = prices.evolve(state, event as unknown as PricesSet);
  return bookOf(state, seq);
}

function bookOf({ currency, prices: list, source }: PricesState, seq: number): PriceBook {
  const byModel = new Map<string, tenancy.Price[]>();
  for (const price of list.toSorted((a, b) => b.effectiveFromMs - a.effectiveFromMs)) {
    const known = byModel.get(price.model);
    if (known === undefined) byModel.set(price.model, [price]);
    else known.push(price);
  }
  return { currency, prices: list, source, seq, byModel };
}

/** The price in force for a model at a moment; undefined where there is none. */
export function priceOf({ byModel }: PriceBook, model: string, atMs: number): tenancy.Price | undefined {
  return inForce(byModel.get(model), atMs) ?? inForce(byModel.get('*'), atMs);
}

function inForce(list: readonly tenancy.Price[] | undefined, atMs: number): tenancy.Price | undefined {
  if (list === undefined) return undefined;
  for (const price of list) if (price.effectiveFromMs <= atMs) return price;
  return undefined;
}

export interface CountedTokens {
  /** With those that were cached. */
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

/** What so many tokens cost at a price, in billionths: a whole number, without rounding. */
export function costNanoOf(
  price: tenancy.Price,
  { promptTokens, cachedTokens, completionTokens }: CountedTokens,
): number {
  const cached = Math.min(cachedTokens, promptTokens);
  return (
    (promptTokens - cached) * price.inputNano +
    cached * price.cachedInputNano +
    completionTokens * price.outputNano +
    price.requestNano
  );
}

/** The most that so many tokens may cost: whatever of the prompt is cached. */
export const costMaxNanoOf = (price: tenancy.Price, promptTokens: number, completionTokens: number): number =>
  promptTokens * Math.max(price.inputNano, price.cachedInputNano) +
  completionTokens * price.outputNano +
  price.requestNano;

export const priceBookToJson = ({ currency, prices: list, source, seq }: PriceBook): unknown => ({
  currency,
  prices: list.map((price) => toJson(tenancy.PriceSchema, price)),
  source,
  seq,
});

/** @throws where the JSON is not what priceBookToJson made */
export function priceBookFromJson(json: unknown): PriceBook {
  const {
    currency,
    prices: list,
    source,
    seq,
  } = json as Omit<PricesState, 'prices'> & { prices: never[]; seq: number };
  return bookOf({ currency, prices: list.map((price) => fromJson(tenancy.PriceSchema, price)), source }, seq);
}
