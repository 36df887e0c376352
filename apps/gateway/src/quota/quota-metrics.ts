import { Counter, Gauge, type Registry } from '#libs/observability';
import type { Quotas } from './quotas.ts';

/** What becomes of leases and of requests under limits, and whether the clock lets anything be spent. */
export function exposeQuotas({ clock, ledger, leaser, refusals, budgets }: Quotas, registry: Registry): void {
  const totals = (name: string, help: string, label: string, of: Readonly<Record<string, number>>): void => {
    const made: Counter = new Counter({
      name: `lintel_gateway_quota_${name}_total`,
      help,
      labelNames: [label],
      registers: [registry],
      collect: () => {
        made.reset();
        for (const [value, count] of Object.entries(of)) made.inc({ [label]: value }, count);
      },
    });
  };
  const gauge = (name: string, help: string, valueOf: () => number): void => {
    const made: Gauge = new Gauge({
      name: `lintel_gateway_quota_${name}`,
      help,
      registers: [registry],
      collect: () => made.set(valueOf()),
    });
  };
  totals('leases', 'Leases and returns by what became of them', 'result', leaser.counts);
  totals('refusals', 'Requests refused under limits, by why', 'why', refusals);
  totals('budget_reports', 'Reports of what was spent of budgets, by what became of them', 'result', budgets.told);
  const alerts: Counter = new Counter({
    name: 'lintel_gateway_budget_alerts_total',
    help: 'Alerts of budgets that were reached by a report of this gateway, by percent of the budget',
    labelNames: ['percent'],
    registers: [registry],
    collect: () => {
      alerts.reset();
      for (const [percent, count] of budgets.alerts) alerts.inc({ percent: String(percent) }, count);
    },
  });
  const used: Gauge = new Gauge({
    name: 'lintel_gateway_budget_used_ratio',
    help: 'Spent of the budget in its window, as the log last said; of budgets that are not per user, key, project or model',
    labelNames: ['tenant', 'budget'],
    registers: [registry],
    collect: () => {
      used.reset();
      for (const { limit, scope, total } of budgets.counts.values()) {
        if (limit.perUser || limit.perKey || limit.perModel || limit.perProject || limit.amount === 0) continue;
        used.set({ tenant: scope.tenantId, budget: limit.limitId }, total / limit.amount);
      }
    },
  });
  gauge('counts', 'Counts of limits that are held in memory', () => ledger.accounts.size);
  gauge('clock_good', '1 where the clock lets limits be spent', () => (clock.state === 'good' ? 1 : 0));
  gauge('clock_skew_ms', "How far this clock is ahead of the broker's", () => clock.skewMs);
}
