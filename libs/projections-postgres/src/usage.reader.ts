import type { Database } from './database.ts';

/** What usage can be told by. */
export const usageDimensions = [
  'tenant',
  'project',
  'key',
  'user',
  'end-user',
  'model',
  'month',
  'day',
  'hour',
] as const;
export type UsageDimension = (typeof usageDimensions)[number];

const expressions: Readonly<Record<UsageDimension, string>> = {
  tenant: 'tenant_id',
  project: 'project_id',
  key: 'key_id',
  user: 'user_id',
  'end-user': 'end_user',
  model: 'model',
  month: `to_char(hour_at at time zone 'UTC', 'YYYY-MM')`,
  day: `to_char(hour_at at time zone 'UTC', 'YYYY-MM-DD')`,
  hour: `to_char(hour_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:00"Z"')`,
};

export interface UsageQuery {
  readonly by: readonly UsageDimension[];
  /** Hours that begin at or after it, and before `untilMs`. */
  readonly sinceMs: number;
  readonly untilMs: number;
  /** By column: only rows with these values. */
  readonly only: Readonly<Partial<Record<'tenant' | 'project' | 'key' | 'user' | 'end-user' | 'model', string>>>;
}

export interface UsageRow {
  /** In the order of `by`. */
  readonly group: readonly string[];
  readonly requests: bigint;
  readonly served: bigint;
  readonly promptTokens: bigint;
  readonly cachedTokens: bigint;
  readonly completionTokens: bigint;
  readonly unpriced: bigint;
  /** Billionths, by currency; none where no cost is known. */
  readonly costs: ReadonlyMap<string, bigint>;
}

/** Groups of one answer. */
export const usageRowsMax = 50_000;

const sums = ['requests', 'served', 'prompt_tokens', 'cached_tokens', 'completion_tokens', 'unpriced'] as const;

/** The ledger as sums. Throws DB_UNAVAILABLE while the database is away. */
export class UsageReader {
  constructor(private readonly database: Database) {}

  /** Ordered by the group. One more than `usageRowsMax` where there are more. */
  async report({ by, sinceMs, untilMs, only }: UsageQuery): Promise<UsageRow[]> {
    const values: unknown[] = [new Date(sinceMs), new Date(untilMs)];
    const where = ['hour_at >= $1', 'hour_at < $2'];
    for (const [name, value] of Object.entries(only)) {
      values.push(value);
      where.push(`${expressions[name as UsageDimension]} = $${values.length}`);
    }
    const condition = where.join(' and ');
    const dimensions = by.map((name, index) => `(${expressions[name]}) collate "C" as d${index}`);
    const places = by.map((_, index) => `d${index}`);
    const rows = await this.database.query<Record<string, string>>(
      `select ${[...dimensions, 'currency'].join(', ')},
         ${sums.map((name) => `sum(${name})::text as ${name}`).join(', ')},
         (sum(cost_units::numeric) * 1000000000 + sum(cost_nano))::text as cost
       from (select * from lintel.usage_closed_view where ${condition}
         union all select * from lintel.usage_open_view where ${condition}) as u
       group by ${[...places, 'currency'].join(', ')}
       order by ${[...places, 'currency'].join(', ')}`,
      values,
    );
    return merged(rows, by.length);
  }
}

/** Rows of one group that differ in their currency alone, as one. */
function merged(rows: readonly Record<string, string>[], width: number): UsageRow[] {
  const groups = new Map<string, UsageRow & { costs: Map<string, bigint> }>();
  for (const row of rows) {
    const group = Array.from({ length: width }, (_, index) => row[`d${index}`] ?? '');
    const id = JSON.stringify(group);
    const before = groups.get(id);
    if (before === undefined && groups.size > usageRowsMax) break;
    const costs = before?.costs ?? new Map<string, bigint>();
    const { currency = '' } = row;
    if (currency !== '') costs.set(currency, BigInt(row['cost'] ?? '0'));
    const of = (name: (typeof sums)[number]): bigint => BigInt(row[name] ?? '0');
    groups.set(id, {
      group,
      requests: of('requests') + (before?.requests ?? 0n),
      served: of('served') + (before?.served ?? 0n),
      promptTokens: of('prompt_tokens') + (before?.promptTokens ?? 0n),
      cachedTokens: of('cached_tokens') + (before?.cachedTokens ?? 0n),
      completionTokens: of('completion_tokens') + (before?.completionTokens ?? 0n),
      unpriced: of('unpriced') + (before?.unpriced ?? 0n),
      costs,
    });
  }
  return [...groups.values()];
}
