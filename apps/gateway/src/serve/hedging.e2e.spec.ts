import type { ServerResponse } from 'node:http';
import { afterEach, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { afterwards, chat, closeAll, engine, gateway, post, sse, token } from './serve.fixture.ts';
import type { TestGateway } from './serve.fixture.ts';
import { setProfile } from './streams.fixture.ts';
import { eventually } from '#libs/testkit';

const { AttemptEnd } = route;
afterEach(closeAll);

interface Held {
  readonly origin: string;
  readonly waiting: ServerResponse[];
  gone: number;
}

/** Answers streams only when told. */
async function held(): Promise<Held> {
  const waiting: ServerResponse[] = [];
  const one = { origin: '', waiting, gone: 0 };
  one.origin = await engine((_body, response) => {
    waiting.push(response);
    response.on('close', () => void (response.writableFinished || one.gone++));
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
  });
  afterwards(() => {
    for (const response of waiting) response.destroy();
  });
  return one;
}

const answers = (text: string): Promise<string> =>
  engine((_body, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(sse(token(text), '[DONE]'));
  });

/** The first replica is asked first. */
async function hedged(origins: readonly string[], hedge: Record<string, number>): Promise<TestGateway> {
  const lintel = await gateway(origins);
  setProfile(lintel, { hedge }, 'least-request');
  for (const [index, replica] of lintel.fleet.replicas.entries()) replica.inflight = index * 100;
  return lintel;
}

const hedges = async ({ registry }: TestGateway): Promise<Record<string, number>> =>
  Object.fromEntries(
    [...(await registry.metrics()).matchAll(/lintel_gateway_hedges_total\{result="(\w+)"\} (\d+)/g)].map(
      ([, result, count]) => [result as string, Number(count)],
    ),
  );

test('no first byte in time: a second replica answers, the first request is ended at its engine, both are in the record', async () => {
  const slow = await held();
  const lintel = await hedged([slow.origin, await answers('fast')], { delayMs: 20 });
  const text = await (await post(lintel, chat({ stream: true }))).text();
  expect(text).toContain('fast');
  await eventually(() => expect(slow.gone).toBe(1));
  const { attempts, picks } = lintel.records[0]!;
  expect(picks).toHaveLength(2);
  expect(attempts.map(({ replicaId, end, hedge, pick }) => [replicaId, end, hedge, pick])).toEqual([
    ['r1', AttemptEnd.HEDGE_LOST, false, 0],
    ['r2', AttemptEnd.ANSWERED, true, 1],
  ]);
  expect(await hedges(lintel)).toEqual({ sent: 1, won: 1 });
});

test('the first one answers after all: the second is ended, and the client has one answer', async () => {
  const [first, second] = [await held(), await held()];
  const lintel = await hedged([first.origin, second.origin], { delayMs: 10 });
  const response = post(lintel, chat({ stream: true }));
  await eventually(() => expect(second.waiting).toHaveLength(1));
  first.waiting[0]!.end(sse(token('first'), '[DONE]'));
  expect(await (await response).text()).toBe(sse(token('first'), '[DONE]'));
  await eventually(() => expect(second.gone).toBe(1));
  expect(lintel.records[0]!.attempts.map(({ replicaId, end }) => [replicaId, end])).toEqual([
    ['r2', AttemptEnd.HEDGE_LOST],
    ['r1', AttemptEnd.ANSWERED],
  ]);
  expect(await hedges(lintel)).toEqual({ sent: 1, lost: 1 });
  expect(lintel.fleet.replicas.map(({ inflight }) => inflight)).toEqual([0, 100]);
});

test('the first one dies while both are asked: the second one goes on as the only one', async () => {
  const [first, second] = [await held(), await held()];
  const lintel = await hedged([first.origin, second.origin, await answers('third')], { delayMs: 10 });
  const response = post(lintel, chat({ stream: true }));
  await eventually(() => expect(second.waiting).toHaveLength(1));
  first.waiting[0]!.destroy();
  await eventually(() => expect(lintel.fleet.replicas[0]!.ends).toEqual([AttemptEnd.RESET]));
  second.waiting[0]!.end(sse(token('second'), '[DONE]'));
  expect(await (await response).text()).toContain('second');
});

test('the second one fails: the first is still waited for', async () => {
  const first = await held();
  const full = await engine((_body, response) => void response.writeHead(503).end());
  const lintel = await hedged([first.origin, full], { delayMs: 10 });
  const response = post(lintel, chat({ stream: true }));
  await eventually(() => expect(lintel.fleet.replicas[1]!.ends).toEqual([AttemptEnd.OVERLOADED]));
  first.waiting[0]!.end(sse(token('first'), '[DONE]'));
  expect(await (await response).text()).toContain('first');
  expect(await hedges(lintel)).toEqual({ sent: 1, failed: 1 });
});

test('a client that leaves ends both', async () => {
  const [first, second] = [await held(), await held()];
  const lintel = await hedged([first.origin, second.origin], { delayMs: 10 });
  const leaving = new AbortController();
  const response = post(lintel, chat({ stream: true }), {}, undefined, leaving.signal).catch(() => undefined);
  await eventually(() => expect(second.waiting).toHaveLength(1));
  leaving.abort();
  await response;
  await eventually(() => expect([first.gone, second.gone]).toEqual([1, 1]));
  expect((await lintel.record()).attempts.map(({ end }) => end)).toEqual([
    AttemptEnd.CLIENT_GONE,
    AttemptEnd.CLIENT_GONE,
  ]);
});

test('no more than the budget is hedged', async () => {
  const slow = await held();
  const lintel = await hedged([slow.origin, await answers('fast')], { delayMs: 10, budget: 0.001 });
  lintel.fleet.replicas[1]!.inflight = 1e6;
  const pending = Array.from({ length: 14 }, () => post(lintel, chat({ stream: true })));
  await eventually(async () => {
    expect(await hedges(lintel)).toMatchObject({ sent: 10, no_budget: 4 });
  });
  await eventually(() => expect(slow.waiting.length).toBe(14));
  for (const response of slow.waiting) if (!response.destroyed) response.end(sse(token('slow'), '[DONE]'));
  await Promise.all(pending.map(async (one) => await (await one).text()));
});

test('what has effects, or comes whole, is asked once', async () => {
  const slow = await held();
  const lintel = await hedged([slow.origin, await answers('fast')], { delayMs: 5 });
  const pending = [
    post(lintel, JSON.stringify({ model: 'tiny', input: 'a', stream: true }), {}, '/v1/responses'),
    post(lintel, chat()),
  ];
  await eventually(() => expect(slow.waiting).toHaveLength(2));
  // Longer than the delay of a hedge, and its tick.
  await post(lintel, chat({ stream: true })).then(async (response) => await response.text());
  expect(await hedges(lintel)).toEqual({ sent: 1, won: 1 });
  for (const response of slow.waiting) if (!response.destroyed) response.end('{}');
  await Promise.all(pending);
});

test('without a delay the quantile learnt decides: nothing before it is known, then only what is late', async () => {
  let delayed: ServerResponse | undefined;
  const first = await engine((body, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (body.includes('stuck')) {
      delayed = response;
      response.flushHeaders();
    } else response.end(sse(token('a'), token('b'), '[DONE]'));
  });
  afterwards(() => void delayed?.destroy());
  const lintel = await hedged([first, await answers('fast')], { quantile: 0.99, budget: 1 });
  for (let round = 0; round < 100; round++) await (await post(lintel, chat({ stream: true }))).text();
  const before = await hedges(lintel);
  expect(before['not_known']).toBeGreaterThanOrEqual(50);
  const text = await (await post(lintel, chat({ stream: true, stuck: true }))).text();
  expect(text).toContain('fast');
  expect((await hedges(lintel))['won']).toBeGreaterThanOrEqual(1);
});
