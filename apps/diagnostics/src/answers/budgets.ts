import type { BudgetItem, ListAnswer } from '#libs/domain/diag';
import type { TenancyState } from '#libs/domain/tenancy';
import { isBudget, windowEnd, windowNameOf, windowStart } from '#libs/domain/tenancy';
import type { Core } from '../core.ts';
import type { ListQuery } from './lists.ts';

/** Each budget with what was reported of its window of now and of those before that the log still tells in one look. */
export async function listBudgets(core: Core, { minSeq, waitMs }: ListQuery): Promise<ListAnswer<BudgetItem>> {
  const { state, seq } = await core.fold.at(minSeq, waitMs);
  const nowMs = core.environment.clock.nowMs();
  const items = [...reported(state.tenancy, nowMs), ...unspent(state.tenancy, nowMs)];
  const order = ({ tenantId, limitId, windowStartMs }: BudgetItem): string =>
    JSON.stringify([tenantId, limitId, 1e15 - windowStartMs]);
  items.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  return { durability: core.broker.durability, atSeq: seq, items };
}

function reported({ budgets, tenants }: TenancyState, nowMs: number): BudgetItem[] {
  const items: BudgetItem[] = [];
  for (const { windows } of budgets.values()) {
    for (const { total, reached, last } of windows.values()) {
      if (last === undefined) continue;
      const { tenantId, limitId, windowMs, windowStartMs, projectId, keyId, endUser, model, currency, soft } = last;
      const isSet = tenants.get(tenantId)?.limits.find((limit) => limit.limitId === limitId);
      items.push({
        tenantId,
        limitId,
        projectId,
        keyId,
        endUser,
        model,
        currency,
        hard: !soft,
        reachedPercents: reached,
        alertPercents: isSet?.alertPercents ?? [],
        window: windowNameOf(windowMs) ?? `${windowMs} ms`,
        windowStartMs,
        windowEndMs: windowEnd(windowMs, windowStartMs),
        // The newest amount is the document's; of a budget that is gone, what it was.
        amountNano: isSet?.amount ?? last.amount,
        spentNano: total,
        isCurrent: windowStartMs === windowStart(windowMs, nowMs),
      });
    }
  }
  return items;
}

/** Budgets of which nothing is reported yet; those that count somebody apart are told once somebody spends. */
function unspent({ budgets, tenants, priceBook }: TenancyState, nowMs: number): BudgetItem[] {
  const told = new Set<string>();
  for (const { windows } of budgets.values()) {
    for (const { last } of windows.values()) {
      if (last === undefined || last.windowStartMs !== windowStart(last.windowMs, nowMs)) continue;
      told.add(JSON.stringify([last.tenantId, last.limitId]));
    }
  }
  const items: BudgetItem[] = [];
  for (const [tenantId, { limits }] of tenants) {
    for (const limit of limits) {
      const { limitId, windowMs, projectId, keyId, alertPercents, amount, soft } = limit;
      const isApart = limit.perUser || limit.perKey || limit.perModel || limit.perProject;
      if (!isBudget(limit) || isApart || told.has(JSON.stringify([tenantId, limitId]))) continue;
      const windowStartMs = windowStart(windowMs, nowMs);
      items.push({
        tenantId,
        limitId,
        projectId,
        keyId,
        endUser: '',
        model: '',
        currency: priceBook.currency,
        hard: !soft,
        alertPercents,
        reachedPercents: [],
        amountNano: amount,
        spentNano: 0,
        isCurrent: true,
        window: windowNameOf(windowMs) ?? `${windowMs} ms`,
        windowStartMs,
        windowEndMs: windowEnd(windowMs, windowStartMs),
      });
    }
  }
  return items;
}
