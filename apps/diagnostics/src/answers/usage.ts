import type { UsageAnswer, UsageItem } from '#libs/domain/diag';
import { CodedError } from '#libs/kernel';
import type { UsageDimension, UsageQuery, UsageRow } from '#libs/projections-postgres';
import { usageRowsMax } from '#libs/projections-postgres';
import type { Core } from '../core.ts';

const hourMs = 3_600_000;

/** What was used and what it cost, as the ledger says. @throws DB_UNAVAILABLE the ledger is in Postgres alone */
export async function tellUsage(core: Core, query: UsageQuery): Promise<UsageAnswer> {
  const { readers, why } = core.projector;
  if (readers === undefined) {
    throw new CodedError('DB_UNAVAILABLE', `the ledger of usage is in Postgres, and ${why}`, {
      advice: 'Give diagnostics a database: LINTEL_DATABASE_URL.',
    });
  }
  const sinceMs = Math.floor(query.sinceMs / hourMs) * hourMs;
  const untilMs = Math.ceil(query.untilMs / hourMs) * hourMs;
  const checkpoint = await readers.checkpoints.live('usage');
  const rows = await readers.usage.report({ ...query, sinceMs, untilMs });
  const notes: string[] = [];
  if (checkpoint?.stale === true) notes.push(`the rows are stale (${checkpoint.state})`);
  if (rows.length > usageRowsMax) {
    rows.length = usageRowsMax;
    notes.push(`only the first ${usageRowsMax} rows: ask for a shorter time or by less`);
  }
  return {
    durability: core.broker.durability,
    atSeq: checkpoint?.seq ?? 0,
    by: query.by,
    sinceMs,
    untilMs,
    items: rows.map((row) => itemOf(query.by, row)),
    ...(notes.length === 0 ? {} : { note: notes.join('; ') }),
  };
}

function itemOf(by: readonly UsageDimension[], row: UsageRow): UsageItem {
  return {
    group: Object.fromEntries(by.map((name, index) => [name, row.group[index] ?? ''])),
    requests: Number(row.requests),
    served: Number(row.served),
    promptTokens: Number(row.promptTokens),
    cachedTokens: Number(row.cachedTokens),
    completionTokens: Number(row.completionTokens),
    unpriced: Number(row.unpriced),
    costs: [...row.costs].map(([currency, nano]) => ({ currency, nano: String(nano) })),
  };
}
