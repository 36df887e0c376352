import { describe, expect, test } from '@jest/globals';
import { create, toBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { StoredFrame } from '#libs/event-log';
import { SeededRng } from '#libs/kernel';
import { Changes } from './changes.ts';
import { MemoryProjectionStore } from './memory-store.ts';
import type { Fold, Projection } from './projection.ts';
import type { Row } from './table.ts';
import { openUsageTable, usage, usageTable } from './usage.projection.ts';

const { Outcome, AttemptEnd } = route;
const beganMs = Date.UTC(2026, 10, 30, 22, 10);
const minuteMs = 60_000;
const outcomes = [
  Outcome.COMPLETED,
  Outcome.CLIENT_GONE,
  Outcome.UPSTREAM_ERROR,
  Outcome.REJECTED_QUOTA,
  Outcome.UPSTREAM_BROKEN,
];

type RecordInit = Parameters<typeof create<typeof route.DecisionRecordSchema>>[1] & object;

function record(rng: SeededRng, storedAtMs: number): RecordInit {
  const outcome = outcomes[rng.below(outcomes.length)] as route.Outcome;
  const reached = outcome !== Outcome.REJECTED_QUOTA;
  const counted = reached && rng.chance(0.8);
  const priced = counted && rng.chance(0.7);
  return {
    // Late, at times by hours; now and then by a clock that is broken.
    receivedAtMs: rng.chance(0.02) ? 5 : storedAtMs - rng.below(rng.chance(0.1) ? 300 * minuteMs : minuteMs),
    tenantId: `t${rng.below(2)}`,
    keyId: `k${rng.below(3)}`,
    endUser: rng.chance(0.3) ? ['ann', 'bob\0', 'bob\uFFFD', ''][rng.below(4)]! : '',
    model: ['a', 'b', 'unpriced'][rng.below(3)]!,
    outcome,
    attempts: reached ? [{ end: rng.chance(0.9) ? AttemptEnd.ANSWERED : AttemptEnd.RESET }] : [],
    ...(counted
      ? {
          usage: {
            promptTokens: rng.below(5_000),
            completionTokens: rng.below(900),
            cachedTokens: rng.below(100),
            fromEngine: true,
          },
        }
      : {}),
    ...(priced
      ? { costNano: rng.below(1_000) * 8_000_000_001, priceSeq: 7, currency: rng.chance(0.8) ? 'USD' : 'EUR' }
      : {}),
  };
}

interface World {
  readonly frames: StoredFrame[];
  /** Each once, with when it was stored. */
  readonly records: { readonly record: RecordInit; readonly storedAtMs: number }[];
}

/** Frames of some gateways as a stream keeps them: late, out of order, twice, now and then broken. */
function world(rng: SeededRng): World {
  const made: World = { frames: [], records: [] };
  const sent: Uint8Array[] = [];
  const seqs = new Map<string, number>();
  const held: { bytes: Uint8Array; records: RecordInit[] }[] = [];
  let storedAtMs = beganMs;
  const store = (bytes: Uint8Array): void => {
    made.frames.push({
      seq: made.frames.length + 1,
      storedAtMs,
      subject: 'lintel.rq.g',
      msgId: '',
      bytes,
    } as StoredFrame);
  };
  const count = (records: readonly RecordInit[]): void => {
    for (const one of records) made.records.push({ record: one, storedAtMs });
  };
  for (let step = 0; step < 60; step++) {
    storedAtMs += rng.below(rng.chance(0.1) ? 90 * minuteMs : 4 * minuteMs);
    const source = `g${rng.below(2)} b${rng.below(2)}`;
    const [gatewayId, bootId] = source.split(' ') as [string, string];
    const frameSeq = (seqs.get(source) ?? 0) + 1;
    seqs.set(source, frameSeq);
    const records = Array.from({ length: 1 + rng.below(6) }, () => record(rng, storedAtMs));
    const bytes = toBinary(
      route.RecordFrameSchema,
      create(route.RecordFrameSchema, { gatewayId, bootId, frameSeq, closedAtMs: storedAtMs, records } as never),
    );
    sent.push(bytes);
    if (rng.chance(0.1)) held.push({ bytes, records });
    else {
      store(bytes);
      count(records);
    }
    if (rng.chance(0.15)) {
      const again = sent[rng.below(sent.length)] as Uint8Array;
      if (!held.some((one) => one.bytes === again)) store(again);
    }
    if (rng.chance(0.05)) store(Uint8Array.of(0xff, 0xff));
    const late = rng.chance(0.2) ? held.shift() : undefined;
    if (late !== undefined) {
      store(late.bytes);
      count(late.records);
    }
  }
  return made;
}

type Sum = Record<'requests' | 'served' | 'prompt' | 'cached' | 'completion' | 'unpriced' | 'cost', bigint>;
const noSum = (): Sum => ({ requests: 0n, served: 0n, prompt: 0n, cached: 0n, completion: 0n, unpriced: 0n, cost: 0n });

const clean = (text: string): string => text.replaceAll('\0', '\uFFFD');
const hourOf = (atMs: number): number => Math.floor(atMs / 3_600_000) * 3_600_000;

/** What the records say, added up one by one. */
function truth({ records }: World): Record<string, Sum> {
  const sums: Record<string, Sum> = {};
  for (const { record: one, storedAtMs } of records) {
    const known = (one.priceSeq ?? 0) > 0;
    const hour = hourOf((one.receivedAtMs as number) < 1_000 ? storedAtMs : (one.receivedAtMs as number));
    const group = [hour, one.tenantId, one.keyId, clean(one.endUser as string), one.model, known ? one.currency : ''];
    const sum = (sums[JSON.stringify(group)] ??= noSum());
    const answered = one.attempts?.[0]?.end === AttemptEnd.ANSWERED;
    const isServed = [Outcome.COMPLETED, Outcome.CLIENT_GONE, Outcome.UPSTREAM_BROKEN].includes(one.outcome as never);
    const owed = one.usage !== undefined || (answered && isServed);
    sum.requests += 1n;
    sum.served += owed ? 1n : 0n;
    sum.prompt += BigInt(one.usage?.promptTokens ?? 0);
    sum.cached += BigInt(one.usage?.cachedTokens ?? 0);
    sum.completion += BigInt(one.usage?.completionTokens ?? 0);
    sum.unpriced += owed && !known ? 1n : 0n;
    sum.cost += BigInt(one.costNano ?? 0);
  }
  return sums;
}

/** What the tables say. */
function ledger(rows: readonly Row[]): Record<string, Sum> {
  const sums: Record<string, Sum> = {};
  for (const row of rows) {
    const of = (name: string): bigint => BigInt(row[name] as number);
    const group = ['hour_at', 'tenant_id', 'key_id', 'end_user', 'model', 'currency'].map((name) => row[name]);
    const sum = (sums[JSON.stringify(group)] ??= noSum());
    sum.requests += of('requests');
    sum.served += of('served');
    sum.prompt += of('prompt_tokens');
    sum.cached += of('cached_tokens');
    sum.completion += of('completion_tokens');
    sum.unpriced += of('unpriced');
    sum.cost += of('cost_units') * 1_000_000_000n + of('cost_nano');
  }
  return sums;
}

/** Folds in batches of any size; a fold that dies before its batch is stored begins again from what was. */
async function project(seed: number, projection: Projection<StoredFrame>): Promise<[Record<string, Sum>, World]> {
  const rng = new SeededRng(seed);
  const made = world(rng);
  const store = new MemoryProjectionStore();
  const { generation } = await store.open(projection as Projection);
  let fold: Fold<StoredFrame> | undefined;
  for (let at = 0; at < made.frames.length;) {
    if (fold === undefined) {
      const { state, seq } = await store.open(projection as Projection);
      fold = projection.begin(
        new Map([...state].map(([name, rows]) => [name, rng.chance(0.5) ? rows.toReversed() : rows])),
        seq,
      );
    }
    const batch = made.frames.slice(at, at + 1 + rng.below(7));
    const changes = new Changes();
    fold.apply(batch, changes);
    if (rng.chance(0.15)) {
      fold = undefined;
      continue;
    }
    const toSeq = at + batch.length;
    await store.move(generation, { fromSeq: at, toSeq, writer: '', changes, items: batch.length, headSeq: toSeq });
    at = toSeq;
    if (rng.chance(0.15)) fold = undefined;
  }
  const rows = [usageTable, openUsageTable].flatMap((table) => store.rows(projection as Projection, table));
  return [ledger(rows), made];
}

/** The same for the same sums, in whatever order. */
const textOf = (sums: Record<string, Sum>): string =>
  Object.entries(sums)
    .map(([group, sum]) => `${group} ${Object.values(sum).join(' ')}`)
    .sort()
    .join('\n');

const seeds = 300;

describe('the ledger', () => {
  test(`L55 is the sum of the records, each once, whatever comes late, twice or in between crashes (${seeds} seeds)`, async () => {
    let unpriced = 0n;
    for (let seed = 1; seed <= seeds; seed++) {
      const [sums, made] = await project(seed, usage);
      if (textOf(sums) !== textOf(truth(made))) expect([seed, sums]).toEqual([seed, truth(made)]);
      for (const sum of Object.values(sums)) unpriced += sum.unpriced;
    }
    expect(unpriced).toBeGreaterThan(1_000n);
  });

  test('the law finds a ledger that forgets what it has seen', async () => {
    const forgetful: Projection<StoredFrame> = {
      ...usage,
      begin: (state, seq) => usage.begin(new Map([...state].filter(([name]) => name !== 'ledger_source')), seq),
    };
    const found = async (seed: number): Promise<boolean> => {
      const [sums, made] = await project(seed, forgetful);
      return textOf(sums) !== textOf(truth(made));
    };
    let broken = 0;
    for (let seed = 1; seed <= 20; seed++) if (await found(seed)) broken++;
    expect(broken).toBeGreaterThan(10);
  });
});
