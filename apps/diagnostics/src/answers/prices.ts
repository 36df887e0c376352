import type { ListAnswer, PriceItem } from '#libs/domain/diag';
import type { Core } from '../core.ts';
import type { ListQuery } from './lists.ts';

/** The price book as the log has it: a model's prices together, the latest first. */
export async function listPrices(core: Core, { minSeq, waitMs }: ListQuery): Promise<ListAnswer<PriceItem>> {
  const { state, seq } = await core.fold.at(minSeq, waitMs);
  const { byModel, currency, seq: version, source } = state.tenancy.priceBook;
  const nowMs = core.environment.clock.nowMs();
  const items: PriceItem[] = [];
  for (const [, list] of [...byModel].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const inForce = list.find(({ effectiveFromMs }) => effectiveFromMs <= nowMs);
    for (const price of list) {
      const { model, inputNano, cachedInputNano, outputNano, requestNano, effectiveFromMs } = price;
      const state = price === inForce ? 'in-force' : effectiveFromMs > nowMs ? 'to-come' : 'over';
      const nano = { inputNano, cachedInputNano, outputNano, requestNano };
      items.push({ model, currency, ...nano, effectiveFromMs, state, seq: version, source });
    }
  }
  return { durability: core.broker.durability, atSeq: seq, items };
}
