import type { tenancy } from '#libs/contracts';
import type { PriceBook } from '#libs/domain/tenancy';
import { costNanoOf, priceOf } from '#libs/domain/tenancy';
import type { RecordedCost, RecordedUsage } from '#libs/recording';

/** What a request cost by the price in force when it was received; undefined where no price or no usage is known. */
export function costOf(
  book: PriceBook,
  model: string,
  receivedAtMs: number,
  usage: RecordedUsage | undefined,
): RecordedCost | undefined {
  if (book.byModel.size === 0 || usage === undefined) return undefined;
  const price = priceOf(book, model, receivedAtMs);
  if (price === undefined) return undefined;
  return { nano: costNanoOf(price, usage), priceSeq: book.seq, currency: book.currency };
}

/** The price of a model, where there are any. */
export const priceNow = (book: PriceBook, model: string, atMs: number): tenancy.Price | undefined =>
  book.byModel.size === 0 ? undefined : priceOf(book, model, atMs);
