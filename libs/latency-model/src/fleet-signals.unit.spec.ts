import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Column } from '#libs/scheduling';
import { CandidateTable, columns } from '#libs/scheduling';
import { FleetSignals, signalGroups } from './fleet-signals.ts';
import type { Flight, Landed, Sent } from './flight.ts';
import { latencyModelLimits as limits } from './limits.ts';
import type { Work } from './replica-load.ts';

const wanted = signalGroups(columns);
const sentOf = (given: Partial<Sent> = {}): Sent => ({
  tenant: 't',
  model: 'm',
  promptTokens: 1_000,
  cachedTokens: 0,
  outputTokens: 100,
  stream: true,
  ...given,
});
const whole = (outputTokens: number): Landed => ({
  whole: true,
  promptTokens: 0,
  outputTokens,
  cachedTokens: Number.NaN,
});
const lost: Landed = { whole: false, promptTokens: 0, outputTokens: 0, cachedTokens: Number.NaN };

class Fleet {
  readonly signals = new FleetSignals();
  nowMs = 0;

  send(replica: string, given: Partial<Sent> = {}, engine = 1): Flight {
    const load = this.signals.replica(replica);
    return this.signals.sent(load, this.signals.latency(load, 'm', engine), sentOf(given), this.nowMs);
  }

  /** A stream from its sending to its end. */
  serve(replica: string, ttftMs: number, tpotMs: number, tokens = 11, engine = 1): void {
    const flight = this.send(replica, {}, engine);
    this.nowMs += ttftMs;
    this.signals.firstToken(flight, this.nowMs);
    this.nowMs += tpotMs * (tokens - 1);
    this.signals.landed(flight, whole(tokens), this.nowMs);
  }

  column(replica: string, column: Column, inflight?: number, elsewhere?: Work): number {
    const { signals, nowMs } = this;
    const load = signals.replica(replica);
    const table = new CandidateTable();
    const row = table.add(replica);
    table.set(row, 'inflight', inflight ?? load.inflight);
    signals.ask({ tenant: 't', model: 'm', promptTokens: 1_000, maxTokens: 0 }, wanted, nowMs);
    signals.write(table, row, load, signals.latency(load, 'm', 1), wanted, nowMs, elsewhere);
    return table.values(column)[row] as number;
  }
}

test('tokens in flight are counted at once and leave with what they came for', () => {
  const fleet = new Fleet();
  const one = fleet.send('a', { promptTokens: 1_000, cachedTokens: 600, outputTokens: 50 });
  const other = fleet.send('a', { promptTokens: 300, outputTokens: Number.NaN });
  const seen = (): number[] => [
    fleet.column('a', 'prefillTokens'),
    fleet.column('a', 'inflightTokens'),
    fleet.column('a', 'decoding'),
  ];
  expect(seen()).toEqual([700, 750, 0]);
  fleet.signals.firstToken(one, 5);
  expect(seen()).toEqual([300, 350, 1]);
  fleet.signals.landed(other, lost, 6);
  fleet.signals.landed(other, lost, 7);
  expect(seen()).toEqual([0, 50, 1]);
  fleet.signals.landed(one, whole(40), 8);
  expect(seen()).toEqual([0, 0, 0]);
});

test('requests of other gateways count like the mean own one', () => {
  const fleet = new Fleet();
  fleet.send('a', { promptTokens: 1_000 });
  fleet.send('b', { promptTokens: 3_000 });
  expect(fleet.column('a', 'prefillTokens', 3)).toBe(1_000 + 2 * 2_000);
});

test('requests of other gateways count as those say', () => {
  const fleet = new Fleet();
  fleet.send('a');
  const elsewhere = { prefillTokens: 5_000, decoding: 2, outputTokens: 70 };
  const seen = (['prefillTokens', 'inflightTokens', 'decoding'] as const).map((column) =>
    fleet.column('a', column, 4, elsewhere),
  );
  expect(seen).toEqual([6_000, 6_170, 2]);
});

test('what is learnt: means with their age, rates, busy share', () => {
  const fleet = new Fleet();
  expect([fleet.column('a', 'ttftMs'), fleet.column('a', 'busyShare')]).toEqual([Number.NaN, 0]);
  fleet.serve('a', 200, 10);
  expect([fleet.column('a', 'ttftMs'), fleet.column('a', 'tpotMs')]).toEqual([200, 10]);
  fleet.serve('a', 400, 10);
  expect(fleet.column('a', 'ttftMs')).toBeCloseTo(240);
  expect(fleet.column('a', 'tokensPerS')).toBeCloseTo((2 * 1_011) / 30);
  expect(fleet.column('a', 'busyShare')).toBeCloseTo(800 / 4_000);
  fleet.nowMs += 60_000;
  expect([fleet.column('a', 'tokensPerS'), fleet.column('a', 'busyShare')]).toEqual([0, 0]);
});

describe('the model of a kind of engine', () => {
  test('is unknown at first, then the same for all of the kind, corrected for each replica', () => {
    const fleet = new Fleet();
    expect(fleet.column('a', 'ttftPerKTokenMs')).toBeNaN();
    for (let i = 0; i < 100; i++) {
      fleet.serve('quick', 100, 10);
      fleet.serve('slow', 300, 30);
    }
    const quick = fleet.column('quick', 'ttftBaseMs') + fleet.column('quick', 'ttftPerKTokenMs');
    const slow = fleet.column('slow', 'ttftBaseMs') + fleet.column('slow', 'ttftPerKTokenMs');
    expect(slow / quick).toBeGreaterThan(2.2);
    expect(slow / quick).toBeLessThan(3.5);
    // Each is predicted as it is, though they share one model.
    expect(quick / 100).toBeGreaterThan(0.8);
    expect(quick / 100).toBeLessThan(1.2);
    expect(fleet.column('slow', 'tpotBaseMs') / fleet.column('quick', 'tpotBaseMs')).toBeGreaterThan(2.2);
    // Two of each request, but for times per token before it is known what prompts take.
    expect(fleet.column('quick', 'modelVersion')).toBe(2 * 200 - (limits.samplesMin - 1));
    const flight = fleet.send('slow');
    expect(Math.abs(flight.predictedTtftMs / 300 - 1)).toBeLessThan(0.2);
  });

  test('learns nothing from a request that failed', () => {
    const fleet = new Fleet();
    for (let i = 0; i < 50; i++) fleet.signals.landed(fleet.send('a'), lost, (fleet.nowMs += 1));
    expect([fleet.column('a', 'modelVersion'), fleet.column('a', 'ttftMs')]).toEqual([0, Number.NaN]);
  });

  test('answers in one piece teach both times', () => {
    const fleet = new Fleet();
    for (let i = 0; i < 40; i++) fleet.serve('a', 100, 10, 21);
    for (let i = 0; i < 40; i++) {
      const flight = fleet.send('b', { stream: false });
      fleet.nowMs += 100 + 20 * 10;
      fleet.signals.landed(flight, whole(21), fleet.nowMs);
    }
    expect(Math.abs(fleet.column('b', 'ttftMs') / 100 - 1)).toBeLessThan(0.2);
    expect(Math.abs(fleet.column('b', 'tpotMs') / 10 - 1)).toBeLessThan(0.1);
  });

  test('an answer in one piece stops to be prefill when its first token should have come', () => {
    const fleet = new Fleet();
    for (let i = 0; i < 40; i++) fleet.serve('a', 100, 10);
    fleet.send('a', { stream: false });
    expect([fleet.column('a', 'prefillTokens'), fleet.column('a', 'decoding')]).toEqual([1_000, 0]);
    fleet.nowMs += 150;
    expect([fleet.column('a', 'prefillTokens'), fleet.column('a', 'decoding')]).toEqual([0, 1]);
  });
});

test('the length of an answer is expected as learnt, and no longer than the client lets it be', () => {
  const { signals } = new Fleet();
  const asked = { tenant: 't', model: 'm', promptTokens: 1_000, maxTokens: 0 };
  expect(signals.outputTokens(asked)).toBeNaN();
  expect(signals.outputTokens({ ...asked, maxTokens: 500 })).toBe(500);
  for (let i = 0; i < 20; i++) signals.lengths.observe('t', 'm', 1_000, 100);
  expect(signals.outputTokens({ ...asked, maxTokens: 500 })).toBeCloseTo(104, -1);
  expect(signals.outputTokens({ ...asked, maxTokens: 16 })).toBe(16);
});

test('a tenant stands by its share of what the one with most had', () => {
  const { signals } = new Fleet();
  signals.tenants.count('heavy', 1_000, 500, 0);
  signals.tenants.count('light', 100, 50, 0);
  expect(['heavy', 'light', 'new', ''].map((tenant) => signals.tenants.level(tenant, 10))).toEqual([
    1,
    0.1,
    0,
    Number.NaN,
  ]);
  const laterMs = limits.tenantWindowMs + 1;
  signals.tenants.count('light', 100, 50, laterMs);
  expect(signals.tenants.level('light', laterMs)).toBe(1);
});

test('whatever comes in whatever order, counts are what is in flight, and nothing is negative or infinite', () => {
  const step = fc.tuple(fc.constantFrom('send', 'first', 'whole', 'lost'), fc.nat(3), fc.nat(500), fc.boolean());
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const fleet = new Fleet();
      const flights: Flight[] = [];
      for (const [what, at, size, stream] of steps) {
        fleet.nowMs += size;
        const flight = flights[size % Math.max(1, flights.length)];
        if (what === 'send') flights.push(fleet.send(`r${at}`, { promptTokens: size, outputTokens: at, stream }));
        else if (flight === undefined) continue;
        else if (what === 'first' && flight.sent.stream) fleet.signals.firstToken(flight, fleet.nowMs);
        else fleet.signals.landed(flight, what === 'whole' ? whole(at * 10) : lost, fleet.nowMs);
      }
      for (const [id, load] of fleet.signals.replicas) {
        const open = flights.filter(({ load: on, landed }) => on.replicaId === id && !landed);
        expect(load.inflight).toBe(open.length);
        const busy = fleet.column(id, 'busyShare');
        expect(busy >= 0 && busy <= 1).toBe(true);
        const prefilling = open.filter(({ decoding }) => !decoding);
        expect(load.prefillTokens).toBe(prefilling.reduce((sum, { uncachedTokens }) => sum + uncachedTokens, 0));
        expect(load.decoding).toBe(open.length - prefilling.length);
        for (const column of columns) {
          const value = fleet.column(id, column);
          expect(Number.isNaN(value) || (Number.isFinite(value) && value >= 0)).toBe(true);
        }
      }
    }),
  );
});
