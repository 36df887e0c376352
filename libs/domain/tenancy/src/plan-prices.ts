import type { PriceInit, SetPrices } from './prices.decider.ts';
import { priceBookId, prices } from './prices.decider.ts';
import type { TenancyState } from './state.ts';

export interface DesiredPrices {
  readonly currency: string;
  readonly prices: readonly PriceInit[];
}

export interface PlannedPrices {
  readonly aggregate: 'prices';
  readonly id: string;
  readonly command: SetPrices;
  readonly change: string;
}

const isApplied = (source: string): boolean => source === 'apply';

/**
 * The command that makes the price book what a document asks for. One that names no prices leaves those that others brought.
 * @throws the refusal of the decider
 */
export function planPrices(
  desired: DesiredPrices | undefined,
  { priceBook }: TenancyState,
  options: { readonly source: string; readonly owns?: (source: string) => boolean },
): PlannedPrices[] {
  const owns = options.owns ?? ((source) => !isApplied(source));
  if (desired === undefined && (priceBook.prices.length === 0 || !owns(priceBook.source))) return [];
  const wanted = desired ?? { currency: priceBook.currency, prices: [] };
  const command: SetPrices = { type: 'SetPrices', ...wanted, source: options.source };
  if (prices.decide(priceBook, command).length === 0) return [];
  const sign = wanted.prices.length === 0 ? '-' : priceBook.prices.length === 0 ? '+' : '~';
  return [
    { aggregate: 'prices', id: priceBookId, command, change: `${sign} prices of ${modelsOf(wanted, priceBook)}` },
  ];
}

function modelsOf(wanted: DesiredPrices, { prices: before }: TenancyState['priceBook']): string {
  const list = wanted.prices.length === 0 ? before : wanted.prices;
  const models = [...new Set(list.map(({ model = '' }) => model))];
  return models.length <= 4 ? models.join(', ') : `${models.length} models`;
}
