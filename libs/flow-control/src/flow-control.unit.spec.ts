import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { FlowControlOptions, FlowRequest } from './index.ts';
import { SeededRng } from '#libs/kernel';
import { FlowControl } from './index.ts';

const any = (): boolean => true;

function request(tenant: string, more: Partial<FlowRequest<string>> = {}): FlowRequest<string> {
  return {
    pool: 'm',
    priority: 0,
    tenant,
    weight: 1,
    inputTokens: 100,
    outputTokens: 0,
    arrivedMs: 0,
    waitMsMax: 1_000,
    deadlineMs: Number.POSITIVE_INFINITY,
    bytes: 1,
    lacks: 'room',
    payload: tenant,
    ...more,
  };
}

const flow = (options: FlowControlOptions = {}): FlowControl<string> => new FlowControl(options);

function drain(control: FlowControl<string>): string[] {
  const order: string[] = [];
  for (let next = control.next('m', any); next !== undefined; next = control.next('m', any))
    order.push(next.request.payload);
  return order;
}

describe('turns', () => {
  test('tenants take turns by tokens, not by requests', () => {
    const control = flow();
    for (let n = 0; n < 6; n++) control.offer(request('small', { inputTokens: 50 }));
    for (let n = 0; n < 3; n++) control.offer(request('large', { inputTokens: 100 }));
    expect(drain(control).join(' ')).toBe('large small small large small small large small small');
  });

  test('an output token is two input tokens', () => {
    const control = flow();
    for (let n = 0; n < 4; n++) control.offer(request('in', { inputTokens: 100 }));
    for (let n = 0; n < 2; n++) control.offer(request('out', { inputTokens: 0, outputTokens: 100 }));
    expect(drain(control).join(' ')).toBe('in out in in out in');
  });

  test('inside a tenant: first come, or earliest deadline', () => {
    const offers = [
      request('t', { payload: 'late', deadlineMs: 900 }),
      request('t', { payload: 'soon', deadlineMs: 100 }),
      request('t', { payload: 'never' }),
    ];
    const ordered = (order: 'fcfs' | 'deadline'): string[] => {
      const control = flow({ order });
      for (const offer of offers) control.offer(offer);
      return drain(control);
    };
    expect(ordered('fcfs')).toEqual(['late', 'soon', 'never']);
    expect(ordered('deadline')).toEqual(['soon', 'late', 'never']);
  });

  test('a higher band goes first, the lower one each time it was passed over too often', () => {
    const control = flow({ limits: { passedOverMax: 2 } });
    for (let n = 0; n < 5; n++) control.offer(request('t', { priority: 1, payload: 'high' }));
    for (let n = 0; n < 2; n++) control.offer(request('t', { priority: 0, payload: 'low' }));
    expect(drain(control)).toEqual(['high', 'high', 'low', 'high', 'high', 'low', 'high']);
  });

  test('priorities beyond the bounds, or none, are taken as the nearest', () => {
    const control = flow({ limits: { priorityMax: 2 } });
    for (const priority of [99, 2, Number.NaN, -99]) control.offer(request('t', { priority, payload: `${priority}` }));
    const seen: [number, number][] = [];
    control.waitingByPriority((_pool, priority, waiting) => seen.push([priority, waiting]));
    expect(seen).toEqual([
      [2, 2],
      [0, 1],
      [-2, 1],
    ]);
  });

  test('who does not fit is passed over, at most so many tenants, and keeps its turn', () => {
    const control = flow({ limits: { skipsMax: 1 } });
    for (const tenant of ['a', 'b', 'c']) control.offer(request(tenant));
    const only = (...names: string[]) =>
      control.next('m', (entry) => names.includes(entry.request.payload))?.request.payload;
    expect(only('c')).toBeUndefined();
    expect(only('b', 'c')).toBe('b');
    expect(drain(control)).toEqual(['a', 'c']);
  });

  test('pools do not see one another', () => {
    const control = flow();
    control.offer(request('a', { pool: 'other' }));
    expect(control.next('m', any)).toBeUndefined();
    expect([control.waitingIn('m'), control.waitingIn('other')]).toEqual([0, 1]);
  });
});

describe('counters', () => {
  test('L44 what is measured replaces the estimate, once, and nothing used is nothing charged', () => {
    const control = flow();
    const ticket = control.pass(request('t', { inputTokens: 100, outputTokens: 50 }));
    expect(control.counterOf(request('t'))).toBe(200);
    control.settle(ticket, 100, 200);
    control.settle(ticket, 0, 0);
    expect(control.counterOf(request('t'))).toBe(500);
    control.settle(control.pass(request('t', { inputTokens: 70 })), 0, 0);
    expect(control.counterOf(request('t'))).toBe(500);
  });

  test('L44 a tenant that idled is lifted to those that wait: it goes next, and then takes turns', () => {
    const control = flow();
    control.offer(request('busy'));
    for (let n = 0; n < 50; n++) control.settle(control.pass(request('busy')), 100, 0);
    for (let n = 0; n < 4; n++) control.offer(request('busy'));
    for (let n = 0; n < 4; n++) control.offer(request('idle'));
    expect(
      drain(control)
        .slice(0, 4)
        .filter((name) => name === 'idle'),
    ).toHaveLength(2);
  });

  test('L44 an estimate that was too high is not paid back over a lift', () => {
    const control = flow();
    control.offer(request('busy'));
    const early = control.pass(request('late', { inputTokens: 50 }));
    for (let n = 0; n < 9; n++) control.settle(control.pass(request('busy')), 100, 0);
    control.offer(request('late'));
    const lifted = control.counterOf(request('late'));
    control.settle(early, 0, 0);
    expect(control.counterOf(request('late'))).toBe(lifted);
    expect(lifted).toBeGreaterThanOrEqual(900);
  });

  test('tokens that are no numbers change nothing', () => {
    const control = flow();
    control.settle(control.pass(request('t')), Number.NaN, Number.POSITIVE_INFINITY);
    expect(control.counterOf(request('t'))).toBe(0);
    expect(control.counterOf(request('nobody'))).toBeUndefined();
  });

  test('beyond the bound of tenants those that idle are forgotten, and those beyond share a counter', () => {
    const control = flow({ limits: { tenantsMax: 2 } });
    for (const tenant of ['a', 'b', 'c', 'd']) control.offer(request(tenant));
    expect(control.counterOf(request('c'))).toBeUndefined();
    expect(control.counterOf(request(''))).toBe(0);
    expect(drain(control).sort()).toEqual(['a', 'b', 'c', 'd']);
  });

  test('who idles is forgotten after a while, who has something under way or waiting is not', () => {
    const control = flow({ limits: { idleMsMax: 1_000 } });
    const open = control.pass(request('open'));
    control.offer(request('waits'));
    control.settle(control.pass(request('idle')), 100, 0);
    control.settle(control.pass(request('late', { arrivedMs: 500 })), 100, 0);
    const kept = (): string[] =>
      ['open', 'waits', 'idle', 'late'].filter((tenant) => control.counterOf(request(tenant)) !== undefined);
    control.forgetIdle(1_400);
    expect(kept()).toEqual(['open', 'waits', 'late']);
    control.settle(open, 100, 0);
    control.forgetIdle(9_000);
    expect(kept()).toEqual(['waits']);
  });

  test('beyond its share is who has more under way by weight than the tenants seen lately have on average', () => {
    const control = flow();
    const tickets = Array.from({ length: 6 }, () => control.pass(request('noisy')));
    // Alone it has all there is.
    expect(control.beyondShare(request('noisy'))).toBe(false);
    control.settle(control.pass(request('quiet')), 100, 0);
    expect(control.beyondShare(request('noisy'))).toBe(true);
    const quiet = control.pass(request('quiet'));
    expect(control.beyondShare(request('noisy', { weight: 6 }))).toBe(true);
    expect(control.beyondShare(request('noisy', { weight: 7 }))).toBe(false);
    control.settle(quiet, 100, 0);
    expect(control.beyondShare(request('quiet'))).toBe(false);
    expect(control.beyondShare(request('new'))).toBe(false);
    for (const ticket of tickets) control.settle(ticket, 0, 0);
    expect(control.beyondShare(request('noisy', { pool: 'other' }))).toBe(false);
    control.forgetIdle(1e9);
    expect(control.beyondShare(request('noisy'))).toBe(false);
  });
});

describe('shares of tenants that always have something waiting', () => {
  const tenants = fc.array(
    fc.record({ weight: fc.integer({ min: 1, max: 8 }), costMax: fc.integer({ min: 1, max: 2_000 }) }),
    { minLength: 2, maxLength: 5 },
  );

  /** Service by weight of each tenant, over and over; the largest gap between two of them at any time. */
  function gapOf(
    given: readonly { weight: number; costMax: number }[],
    slots: number,
    missMax: number,
    rng: SeededRng,
  ) {
    const control = flow();
    const served = given.map(() => 0);
    const running: (() => void)[] = [];
    const add = (at: number): void => {
      const { weight, costMax } = given[at] as { weight: number; costMax: number };
      const inputTokens = 1 + Math.floor(rng.next() * costMax);
      control.offer(request(`${at}`, { weight, inputTokens, payload: `${at}` }));
    };
    for (let at = 0; at < given.length; at++) for (let n = 0; n < 2; n++) add(at);
    let gap = 0;
    for (let turn = 0; turn < 400; turn++) {
      if (running.length === slots) running.splice(Math.floor(rng.next() * slots), 1)[0]?.();
      const entry = control.next('m', any) as NonNullable<ReturnType<typeof control.next>>;
      const at = Number(entry.request.payload);
      const { weight } = entry.request;
      const real = entry.request.inputTokens * (1 + rng.next() * missMax);
      served[at] = (served[at] as number) + entry.request.inputTokens / weight;
      running.push(() => {
        served[at] = (served[at] as number) + (real - entry.request.inputTokens) / weight;
        control.settle(entry.ticket as NonNullable<typeof entry.ticket>, real, 0);
      });
      add(at);
      gap = Math.max(gap, Math.max(...served) - Math.min(...served));
    }
    return gap;
  }

  const worlds = fc.record({ given: tenants, slots: fc.integer({ min: 1, max: 6 }), seed: fc.nat() });
  const largestOf = (given: readonly { weight: number; costMax: number }[]): number =>
    Math.max(...given.map(({ weight, costMax }) => costMax / weight));

  test('L44 with exact estimates no two are further apart than one request', () => {
    fc.assert(
      fc.property(worlds, ({ given, slots, seed }) => {
        expect(gapOf(given, slots, 0, new SeededRng(seed))).toBeLessThanOrEqual(largestOf(given) + 1e-6);
      }),
      { numRuns: 200 },
    );
  });

  test('L44 with estimates up to 3 times too low: than what may be under way at once', () => {
    fc.assert(
      fc.property(worlds, ({ given, slots, seed }) => {
        const bound = (1 + 2 * slots) * largestOf(given);
        expect(gapOf(given, slots, 2, new SeededRng(seed))).toBeLessThanOrEqual(bound + 1e-6);
      }),
      { numRuns: 200 },
    );
  });
});

describe('bounds', () => {
  test('L46 where there is no place the lowest band goes first, then the latest deadline; a worse newcomer finds none', () => {
    const control = flow({ limits: { waitingMax: 3, tenantRoomFactor: 100 } });
    control.offer(request('a', { priority: 1, payload: 'high' }));
    control.offer(request('a', { priority: 0, deadlineMs: 100, payload: 'low soon' }));
    control.offer(request('a', { priority: 0, deadlineMs: 900, payload: 'low late' }));
    const went = (more: Partial<FlowRequest<string>>) => {
      const { entry, evicted } = control.offer(request('b', more));
      return [entry.outcome, ...evicted.map((one) => `${one.request.payload}: ${one.outcome}`)];
    };
    expect(went({ priority: 0, deadlineMs: 950 })).toEqual(['rejected_capacity']);
    expect(went({ priority: 0, deadlineMs: 500 })).toEqual([undefined, 'low late: evicted_pressure']);
    expect(went({ priority: 2 })).toEqual([undefined, 'b: evicted_pressure']);
    expect(went({ priority: 2 })).toEqual([undefined, 'low soon: evicted_pressure']);
  });

  test('L46 nobody goes where that would not make room enough', () => {
    const control = flow({ limits: { waitingBytesMax: 100, evictionsMax: 2 } });
    for (let n = 0; n < 4; n++) control.offer(request(`t${n}`, { bytes: 25 }));
    const { entry, evicted } = control.offer(request('big', { priority: 1, bytes: 75 }));
    expect([entry.outcome, evicted.length, control.waiting]).toEqual(['rejected_capacity', 0, 4]);
    expect(control.offer(request('big', { priority: 1, bytes: 50 })).evicted).toHaveLength(2);
    expect(control.waitingBytes).toBe(100);
  });

  test('a tenant that floods leaves room for the others, and for its own in another band', () => {
    const control = flow({ limits: { waitingMax: 30 } });
    const places = (tenant: string, priority: number): number => {
      let count = 0;
      while (control.offer(request(tenant, { priority })).entry.outcome === undefined) count++;
      return count;
    };
    expect(places('flood', 0)).toBe(20);
    expect(places('quiet', 0)).toBeGreaterThanOrEqual(6);
    expect(control.ended.evicted_pressure).toBe(0);
    // What a lower band holds is free for a higher one.
    expect(places('flood', 1)).toBe(20);
    expect(control.ended.evicted_pressure).toBeGreaterThan(0);
  });

  test('L45 a wait ends at the bound of the queue or at the deadline, and says which', () => {
    const control = flow();
    control.offer(request('t', { payload: 'deadline', deadlineMs: 300 }));
    control.offer(request('t', { payload: 'wait', waitMsMax: 500 }));
    control.offer(request('t', { payload: 'replica', waitMsMax: 700, lacks: 'replica' }));
    expect([control.nextDueMs, control.tick(299)]).toEqual([300, []]);
    expect(control.tick(500).map(({ request: { payload }, outcome }) => `${payload}: ${outcome}`)).toEqual([
      'deadline: evicted_deadline',
      'wait: evicted_wait',
    ]);
    expect(control.tick(9_000).map(({ outcome }) => outcome)).toEqual(['rejected_no_replica']);
    expect(control.waiting).toBe(0);
  });
});
