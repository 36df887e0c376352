import { isSubjectId, route } from '#libs/contracts';
import type { StoredFrame } from '#libs/event-log';
import type { Changes } from './changes.ts';
import type { Fold, Projection, StateRows } from './projection.ts';
import { bootIdLengthMax, receivedAtMsOf } from './received-at.ts';
import { ledgerSourceTable, SeenFrames } from './seen-frames.ts';
import type { Row, Table } from './table.ts';
import type { UsageFacts, UsageFrame } from './usage-facts.ts';
import { isPriced, usageFrame } from './usage-facts.ts';
import { cleanText } from './value.ts';

const hourMs = 3_600_000;
const nanoPerUnit = 1_000_000_000;
/** Rows that may still grow; at more of them all are closed, and what comes later opens others. */
const openRowsMax = 50_000;

const { Outcome } = route;

const columns = {
  /** Begin of the UTC hour in which the requests were received. */
  hour_at: 'time',
  tenant_id: 'text',
  project_id: 'text',
  key_id: 'text',
  /** Whose key it is. */
  user_id: 'text',
  /** As the client names them. */
  end_user: 'text',
  model: 'text',
  /** Of the price; empty where what it cost is not known, or it cost nothing since nobody served it. */
  currency: 'text',
  /** Sequence of the frame with which the row began: an hour has another row for what comes late. */
  part: 'int',
  requests: 'int',
  /** Answered by a replica. */
  served: 'int',
  prompt_tokens: 'int',
  cached_tokens: 'int',
  completion_tokens: 'int',
  /** The cost is `cost_units` and `cost_nano` billionths of the currency. */
  cost_units: 'int',
  cost_nano: 'int',
  /** Served, and nobody knows what they cost: no price was in force, or their tokens were not counted. */
  unpriced: 'int',
} as const;

const openKey = ['hour_at', 'tenant_id', 'project_id', 'key_id', 'user_id', 'end_user', 'model', 'currency'];

/** What was used, hour by hour. */
export const usageTable: Table = {
  name: 'usage',
  view: 'usage_closed_view',
  appendOnly: true,
  columns,
  key: [...openKey, 'part'],
  indexes: [['tenant_id', 'hour_at']],
};

/** Of the hours that are not over yet. */
export const openUsageTable: Table = {
  name: 'usage_open',
  view: 'usage_open_view',
  state: true,
  columns,
  key: openKey,
};

const counts = [
  'part',
  'requests',
  'served',
  'prompt_tokens',
  'cached_tokens',
  'completion_tokens',
  'cost_units',
  'cost_nano',
  'unpriced',
] as const;
type Count = (typeof counts)[number];
/** One row, with its sums as they grow. */
type Sums = Record<Count, number> & { readonly key: Row; readonly hourAtMs: number };

const rowOf = (sums: Sums): Row => {
  const row: Record<string, Row[string]> = { ...sums.key };
  for (const count of counts) row[count] = sums[count];
  return row;
};

const servedOutcomes: ReadonlySet<number> = new Set([Outcome.COMPLETED, Outcome.UPSTREAM_BROKEN, Outcome.CLIENT_GONE]);

/** Somebody owes something for it. */
const isOwed = ({ counted, answered, outcome }: UsageFacts): boolean =>
  counted || (answered && servedOutcomes.has(outcome));

class UsageFold implements Fold<StoredFrame> {
  readonly #seen: SeenFrames;
  readonly #open = new Map<string, Sums>();
  readonly #touched = new Set<Sums>();
  #hourAtMs: number;
  #seq: number;

  constructor(state: StateRows, seq: number) {
    this.#seq = seq;
    this.#seen = new SeenFrames(state.get(ledgerSourceTable.name) ?? []);
    this.#hourAtMs = hourOf(this.#seen.lastSeenAtMs);
    for (const row of state.get(openUsageTable.name) ?? []) {
      const key = Object.fromEntries(openKey.map((name) => [name, row[name] as string]));
      const sums = { key, hourAtMs: row['hour_at'] as number } as Sums;
      for (const count of counts) sums[count] = row[count] as number;
      this.#open.set(JSON.stringify(Object.values(key)), sums);
    }
  }

  apply(items: readonly StoredFrame[], changes: Changes): void {
    for (const stored of items) {
      if (stored.seq > this.#seq + 1) changes.count('expired', stored.seq - this.#seq - 1);
      this.#seq = stored.seq;
      this.#frame(stored, changes);
    }
    for (const sums of this.#touched) changes.put(openUsageTable, rowOf(sums));
    this.#touched.clear();
    this.#seen.flush(changes);
  }

  #frame(stored: StoredFrame, changes: Changes): void {
    let frame: UsageFrame;
    try {
      frame = usageFrame(stored.bytes);
    } catch {
      // The projection of requests notes the hole, with why.
      changes.count('undecodable');
      return;
    }
    const { gatewayId, bootId, frameSeq, records } = frame;
    const isNumbered = Number.isSafeInteger(frameSeq) && frameSeq >= 1;
    if (!isNumbered || !isSubjectId(gatewayId) || bootId.length > bootIdLengthMax) {
      changes.count('undecodable');
      return;
    }
    this.#turnHour(stored.storedAtMs, changes);
    if (!this.#seen.see(gatewayId, cleanText(bootId), frameSeq, stored.seq, stored.storedAtMs, changes)) {
      changes.count('duplicates');
      return;
    }
    for (const facts of records) this.#count(facts, stored);
    if (this.#open.size > openRowsMax) this.#close(Number.POSITIVE_INFINITY, changes);
  }

  #count(facts: UsageFacts, stored: StoredFrame): void {
    const sums = this.#sumsOf(facts, stored);
    const owed = isOwed(facts);
    sums.requests++;
    if (owed) sums.served++;
    sums.prompt_tokens += facts.promptTokens;
    sums.cached_tokens += facts.cachedTokens;
    sums.completion_tokens += facts.completionTokens;
    if (isPriced(facts)) {
      const nano = sums.cost_nano + (facts.costNano % nanoPerUnit);
      sums.cost_nano = nano % nanoPerUnit;
      sums.cost_units += Math.floor(facts.costNano / nanoPerUnit) + Math.floor(nano / nanoPerUnit);
    } else if (owed) sums.unpriced++;
    this.#touched.add(sums);
  }

  #sumsOf(facts: UsageFacts, stored: StoredFrame): Sums {
    const hourAtMs = hourOf(receivedAtMsOf(facts.receivedAtMs, stored.storedAtMs));
    const { tenantId, projectId, keyId, userId, endUser, model, currency } = facts;
    const named = [tenantId, projectId, keyId, userId, endUser, model, isPriced(facts) ? currency : ''];
    const values = [hourAtMs, ...named.map(cleanText)];
    const id = JSON.stringify(values);
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const key = Object.fromEntries(openKey.map((name, index) => [name, values[index] as string | number]));
    const made = { key, hourAtMs } as unknown as Sums;
    for (const count of counts) made[count] = 0;
    made.part = stored.seq;
    this.#open.set(id, made);
    return made;
  }

  /** Hours grow no more when the one after them is over: what comes later still opens rows of its own. */
  #turnHour(storedAtMs: number, changes: Changes): void {
    const hourAtMs = hourOf(storedAtMs);
    if (hourAtMs <= this.#hourAtMs) return;
    this.#hourAtMs = hourAtMs;
    this.#close(hourAtMs - hourMs, changes);
  }

  #close(beforeMs: number, changes: Changes): void {
    for (const [id, sums] of this.#open) {
      if (sums.hourAtMs >= beforeMs) continue;
      this.#open.delete(id);
      this.#touched.delete(sums);
      changes.put(usageTable, rowOf(sums));
      changes.delete(openUsageTable, sums.key);
    }
  }
}

const hourOf = (atMs: number): number => Math.floor(atMs / hourMs) * hourMs;

/**
 * The ledger: what each tenant, project, key, user and model used and what it cost, as the sum of the request records, each counted once
 * (L55). Sums are whole numbers.
 */
export const usage: Projection<StoredFrame> = {
  name: 'usage',
  version: 1,
  source: 'frames',
  tables: [usageTable, openUsageTable, ledgerSourceTable],
  begin: (state, seq) => new UsageFold(state, seq),
};
