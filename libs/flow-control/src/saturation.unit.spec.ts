import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { LoadColumns } from './index.ts';
import { capacityOf, roomBounds, roomOf, roomOfAll } from './index.ts';

const unknown = Number.NaN;

interface Load {
  readonly inflight: number;
  readonly slots?: number;
  readonly waiting?: number;
  readonly running?: number;
  readonly kvUse?: number;
  readonly prefillTokens?: number;
  readonly ageMs?: number;
}

function columnsOf(...loads: readonly Load[]): LoadColumns {
  const column = (value: (load: Load) => number | undefined): number[] => loads.map((load) => value(load) ?? unknown);
  const ages = column(({ ageMs }) => ageMs ?? 0);
  return {
    count: loads.length,
    inflight: column(({ inflight }) => inflight),
    slots: column(({ slots }) => slots),
    waiting: column(({ waiting }) => waiting),
    waitingAgeMs: ages,
    running: column(({ running }) => running),
    runningAgeMs: ages,
    kvUse: column(({ kvUse }) => kvUse),
    kvUseAgeMs: ages,
    prefillTokens: column(({ prefillTokens }) => prefillTokens),
  };
}

const roomFor = (load: Load): number => roomOf(columnsOf(load), 0, roomBounds);
const staleMs = roomBounds.signalAgeMsMax + 1;

describe('room of a replica', () => {
  test('up to its slots, own requests in flight counted at once', () => {
    expect(roomFor({ inflight: 3, slots: 4, waiting: 0, running: 0 })).toBe(1);
    expect(roomFor({ inflight: 4, slots: 4, waiting: 0, running: 0 })).toBe(0);
    expect(roomFor({ inflight: 9, slots: 4 })).toBe(0);
  });

  test('with something waiting there: only as many as it runs, whatever its slots', () => {
    const waiting = roomBounds.waitingMax + 1;
    expect(roomFor({ inflight: 10, slots: 64, waiting, running: 10 })).toBe(0);
    // One has ended since the poll.
    expect(roomFor({ inflight: 9, slots: 64, waiting, running: 10 })).toBe(1);
    expect(roomFor({ inflight: 10, waiting, running: 10 })).toBe(0);
  });

  test('without known slots: what it was seen to run and some more, while nothing waits', () => {
    expect(roomFor({ inflight: 10, waiting: 0, running: 10 })).toBe(roomBounds.probeMin);
    expect(roomFor({ inflight: 200, waiting: 0, running: 200 })).toBe(100);
    // A burst since the last poll counts at once.
    expect(roomFor({ inflight: roomBounds.probeMin, waiting: 0, running: 0 })).toBe(0);
  });

  test('with its KV full: no more than it runs', () => {
    expect(roomFor({ inflight: 12, slots: 64, waiting: 0, running: 12, kvUse: 0.99 })).toBe(0);
    expect(roomFor({ inflight: 12, slots: 64, waiting: 0, running: 12, kvUse: 0.5 })).toBe(52);
  });

  test('an idle replica always takes one', () => {
    expect(roomFor({ inflight: 0, waiting: 9, running: 0, kvUse: 1 })).toBe(1);
  });

  const loads = fc.record({
    inflight: fc.nat(600),
    slots: fc.option(fc.integer({ min: 1, max: 500 }), { nil: unknown }),
    waiting: fc.option(fc.nat(50), { nil: unknown }),
    running: fc.option(fc.nat(500), { nil: unknown }),
    kvUse: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: unknown }),
    ageMs: fc.option(fc.nat(2 * staleMs), { nil: unknown }),
  });

  test('L14 unknown or stale goes by the coarser bound: neither free for ever nor full while idle', () => {
    fc.assert(
      fc.property(loads, (load) => {
        const capacity = capacityOf(columnsOf(load), 0, roomBounds);
        const { slots, running, waiting } = load;
        const known = slots > 0;
        expect(capacity).toBeGreaterThanOrEqual(1);
        if (known) expect(capacity).toBeLessThanOrEqual(slots);
        const blind = !(load.ageMs <= roomBounds.signalAgeMsMax) || Number.isNaN(running) || Number.isNaN(waiting);
        if (blind) expect(capacity).toBe(known ? slots : roomBounds.blindMax);
        expect(roomOf(columnsOf({ ...load, inflight: 0 }), 0, roomBounds)).toBe(capacity);
        expect(roomOf(columnsOf({ ...load, inflight: capacity }), 0, roomBounds)).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  test('L14 one more in flight never makes more room, and a count that is not there is one at a time', () => {
    fc.assert(
      fc.property(loads, (load) => {
        const more = columnsOf({ ...load, inflight: load.inflight + 1 });
        expect(roomOf(more, 0, roomBounds)).toBeLessThanOrEqual(roomOf(columnsOf(load), 0, roomBounds));
        expect(roomOf(columnsOf({ ...load, inflight: unknown }), 0, roomBounds)).toBe(1);
      }),
    );
  });

  test('what is kept for others is not there for a tenant beyond its share, and of one slot nothing is kept', () => {
    const room = (inflight: number, slots: number) => roomOf(columnsOf({ inflight, slots }), 0, roomBounds, true);
    expect([room(0, 32), room(27, 32), room(28, 32)]).toEqual([28, 1, 0]);
    expect([room(0, 1), room(1, 1), room(0, 2), room(1, 2)]).toEqual([1, 0, 1, 0]);
  });

  test('a tenant beyond its share puts no prompt beside one that is being computed; the others may', () => {
    const columns = columnsOf(
      { inflight: 3, slots: 32, prefillTokens: 200 },
      { inflight: 3, slots: 32, prefillTokens: 0 },
    );
    expect([0, 1].map((i) => roomOf(columns, i, roomBounds, true))).toEqual([0, 25]);
    expect([0, 1].map((i) => roomOf(columns, i, roomBounds))).toEqual([29, 29]);
  });

  test('of a table: each, and how many have some', () => {
    const out = new Float64Array(3);
    const columns = columnsOf({ inflight: 4, slots: 4 }, { inflight: 1, slots: 4 }, { inflight: 1 });
    expect(roomOfAll(columns, roomBounds, out)).toBe(2);
    expect([...out]).toEqual([0, 3, roomBounds.blindMax - 1]);
  });
});
