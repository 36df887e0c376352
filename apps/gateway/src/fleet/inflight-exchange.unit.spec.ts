import { create, toBinary } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { MemoryBus } from '#libs/event-log';
import type { Work } from '#libs/latency-model';
import type { OwnInflight } from './inflight-exchange.ts';
import { InflightExchange } from './inflight-exchange.ts';
import { inflightLimits } from './limits.ts';
import type { ManualTime } from './manual-time.fixture.ts';
import { manualTime } from './manual-time.fixture.ts';

function gateways(...names: string[]) {
  const time: ManualTime = manualTime();
  const bus = new MemoryBus(time.timers);
  const warned: string[] = [];
  let published = 0;
  const made = names.map((gatewayId, index) => {
    const own = new Map<string, OwnInflight>();
    const changed: string[][] = [];
    const exchange = new InflightExchange({
      gatewayId,
      bootId: `${gatewayId}-${index}`,
      telemetry: {
        publish: (subject, bytes) => {
          published++;
          bus.publish(subject, bytes);
        },
        subscribe: (pattern, handler) => bus.subscribe(pattern, handler),
      },
      environment: time,
      own: () => own,
      elsewhere: (ids) => changed.push([...ids]),
      warn: (line) => warned.push(line),
    });
    return {
      exchange,
      changed,
      set: (id: string, requests: number, work?: Work) => (own.set(id, { requests, work }), exchange.touch()),
    };
  });
  return {
    time,
    bus,
    warned,
    made,
    published: () => published,
    start: () => Promise.all(made.map(({ exchange }) => exchange.start())),
  };
}

describe('what gateways tell each other of their requests in flight', () => {
  test('the counts of the others are summed, each with the age of the oldest word; the own is not', async () => {
    const { time, made, start } = gateways('g1', 'g2', 'g3');
    await start();
    const [g1, g2, g3] = made as [(typeof made)[0], (typeof made)[0], (typeof made)[0]];
    g1.set('r', 7);
    g2.set('r', 2);
    await time.pass(inflightLimits.publishPeriodMs);
    g3.set('r', 3);
    await time.pass(inflightLimits.publishPeriodMs);
    expect(g1.exchange.sumFor('r')).toEqual({
      requests: 5,
      atMs: inflightLimits.publishPeriodMs,
      work: undefined,
    });
    expect(g2.exchange.sumFor('r').requests).toBe(10);
    expect(g1.changed).toEqual([['r'], ['r']]);
    expect(g1.exchange.sumFor('other')).toEqual({ requests: 0, atMs: undefined, work: undefined });
  });

  test('what their requests still need is summed, and unknown where one does not tell', async () => {
    const { time, bus, made, start } = gateways('g1', 'g2', 'g3');
    await start();
    const [g1, g2, g3] = made as [(typeof made)[0], (typeof made)[0], (typeof made)[0]];
    g2.set('r', 2, { prefillTokens: 100.5, decoding: 1, outputTokens: 40 });
    g3.set('r', 1, { prefillTokens: 0, decoding: 1, outputTokens: 7 });
    await time.pass(inflightLimits.publishPeriodMs);
    expect(g1.exchange.sumFor('r').work).toEqual({ prefillTokens: 100.5, decoding: 2, outputTokens: 47 });
    const say = (init: object): void =>
      bus.publish(
        'lintel.tm.old.inflight',
        toBinary(route.GatewayInflightSchema, create(route.GatewayInflightSchema, init)),
      );
    say({ gatewayId: 'old', bootId: 'old', requests: { r: 1 } });
    expect(g1.exchange.sumFor('r')).toMatchObject({ requests: 4, work: undefined });
    say({ gatewayId: 'old', bootId: 'old', requests: { r: 1 }, work: { r: { prefillTokens: -1, outputTokens: NaN } } });
    expect(g1.exchange.sumFor('r')).toMatchObject({ requests: 4, work: undefined });
    say({ gatewayId: 'old', bootId: 'old', requests: { r: 1 }, work: { r: { prefillTokens: 1 } } });
    expect(g1.exchange.sumFor('r').work).toEqual({ prefillTokens: 101.5, decoding: 2, outputTokens: 47 });
  });

  test('nothing is told while nothing changes; a count that stays is told again, a zero once', async () => {
    const { time, made, start, published } = gateways('g1');
    await start();
    const [g1] = made as [(typeof made)[0]];
    await time.pass(10_000);
    expect(published()).toBe(0);
    g1.set('r', 1);
    await time.pass(10 * inflightLimits.repeatMs);
    expect(published()).toBeGreaterThanOrEqual(8);
    expect(published()).toBeLessThanOrEqual(11);
    g1.set('r', 0);
    await time.pass(inflightLimits.publishPeriodMs);
    const before = published();
    await time.pass(10_000);
    expect(published()).toBe(before);
  });

  test('a gateway that falls silent is forgotten, and its replicas are summed anew', async () => {
    const { time, bus, made, start } = gateways('g1');
    await start();
    const [g1] = made as [(typeof made)[0]];
    const message = create(route.GatewayInflightSchema, { gatewayId: 'dead', bootId: 'd', requests: { r: 4 } });
    bus.publish('lintel.tm.dead.inflight', toBinary(route.GatewayInflightSchema, message));
    expect([g1.exchange.sumFor('r').requests, g1.exchange.gateways]).toEqual([4, 1]);
    await time.pass(inflightLimits.forgetMs + inflightLimits.publishPeriodMs);
    expect([g1.exchange.sumFor('r').requests, g1.exchange.gateways]).toEqual([0, 0]);
    expect(g1.changed).toEqual([['r'], ['r']]);
  });

  test('a replica that a gateway names no more has none of its requests', async () => {
    const { time, made, start } = gateways('g1', 'g2');
    await start();
    const [g1, g2] = made as [(typeof made)[0], (typeof made)[0]];
    g2.set('r', 2);
    await time.pass(inflightLimits.publishPeriodMs);
    g2.set('r', 0);
    await time.pass(inflightLimits.publishPeriodMs);
    expect(g1.exchange.sumFor('r')).toEqual({ requests: 0, atMs: undefined, work: undefined });
    expect(g1.changed.at(-1)).toEqual(['r']);
  });

  test('stopping takes the counts back at once', async () => {
    const { time, made, start } = gateways('g1', 'g2');
    await start();
    const [g1, g2] = made as [(typeof made)[0], (typeof made)[0]];
    g2.set('r', 2);
    await time.pass(inflightLimits.publishPeriodMs);
    await g2.exchange.stop();
    expect(g1.exchange.sumFor('r').requests).toBe(0);
  });

  test('two of the same name are told apart, and it is said once', async () => {
    const { time, made, start, warned } = gateways('g1', 'g1');
    await start();
    const [one, other] = made as [(typeof made)[0], (typeof made)[0]];
    other.set('r', 2);
    await time.pass(3 * inflightLimits.repeatMs);
    expect(one.exchange.sumFor('r').requests).toBe(2);
    expect(warned).toEqual(['another gateway calls itself g1: give each its own --instance']);
  });

  test('garbage and floods are counted and change nothing', async () => {
    const { bus, made, start } = gateways('g1');
    await start();
    const [g1] = made as [(typeof made)[0]];
    const send = (init: object): void =>
      bus.publish(
        'lintel.tm.x.inflight',
        toBinary(route.GatewayInflightSchema, create(route.GatewayInflightSchema, init)),
      );
    bus.publish('lintel.tm.x.inflight', Uint8Array.of(255, 255, 255));
    bus.publish('lintel.tm.x.inflight', new Uint8Array(inflightLimits.messageBytesMax + 1));
    send({ gatewayId: 'x', requests: { r: 1 } });
    for (let n = 0; n < inflightLimits.gatewaysMax + 5; n++)
      send({ gatewayId: 'x', bootId: `b${n}`, requests: { r: 1 } });
    expect(g1.exchange.unreadable).toBe(3 + 5);
    expect(g1.exchange.sumFor('r').requests).toBe(inflightLimits.gatewaysMax);
  });
});
