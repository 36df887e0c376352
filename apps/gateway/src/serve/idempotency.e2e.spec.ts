import { setImmediate } from 'node:timers/promises';
import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { create } from '@bufbuild/protobuf';
import { route, tenancy } from '#libs/contracts';
import { hashApiKey } from '#libs/domain/tenancy';
import { Idempotency } from './idempotency.ts';
import type { KeptAnswer, Waiter } from './idempotency.ts';
import { chat, closeAll, engine, errorOf, gateway, post, sse, token } from './serve.fixture.ts';

const { Outcome } = route;

afterEach(closeAll);

const key = (name: string): Record<string, string> => ({ 'idempotency-key': name });

/** An engine that numbers its answers, and gives them when told to. */
async function numbering(more: Parameters<typeof gateway>[1] = {}) {
  const held: (() => void)[] = [];
  let count = 0;
  const state = { hold: false, status: 200, pad: 0, gone: 0 };
  const origin = await engine((_body, response: ServerResponse) => {
    const number = ++count;
    const give = (): void => {
      const body = JSON.stringify({ number, pad: 'x'.repeat(state.pad) });
      response.writeHead(state.status, { 'content-type': 'application/json', 'x-engine': String(number) });
      response.write(body.slice(0, 5));
      response.end(body.slice(5));
    };
    response.on('close', () => (state.gone += response.writableFinished ? 0 : 1));
    if (state.hold) held.push(give);
    else give();
  });
  const lintel = await gateway([origin], more);
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await setImmediate();
  };
  const ask = async (headers: Record<string, string>, body = chat(), signal?: AbortSignal) => {
    const response = await post(lintel, body, headers, '/v1/chat/completions', signal);
    const { number } = (await response.json()) as { number?: number };
    return { status: response.status, number, replayed: response.headers.get('idempotent-replayed'), response };
  };
  return { lintel, ask, held, state, until, count: () => count };
}

describe('an idempotency key', () => {
  test('gets the same answer again, marked, and the engine is not asked twice', async () => {
    const { ask, count, lintel } = await numbering();
    const first = await ask(key('a'));
    const again = await ask(key('a'));
    expect([first.number, first.replayed, again.number, again.replayed]).toEqual([1, null, 1, 'true']);
    expect(again.response.headers.get('x-engine')).toBe('1');
    expect(again.response.headers.get('x-lintel-request-id')).not.toBe(
      first.response.headers.get('x-lintel-request-id'),
    );
    expect((await ask(key('b'))).number).toBe(2);
    expect((await ask({})).number).toBe(3);
    expect(count()).toBe(3);
    expect(lintel.records[1]).toMatchObject({ outcome: Outcome.COMPLETED, attempts: [], httpStatus: 200 });
  });

  test('waits for the one under way', async () => {
    const { ask, held, state, until, lintel, count } = await numbering();
    state.hold = true;
    const all = Array.from({ length: 5 }, () => ask(key('a')));
    await until(() => held.length === 1 && lintel.plane.inflight === 5);
    held[0]!();
    expect((await Promise.all(all)).map(({ number }) => number)).toEqual([1, 1, 1, 1, 1]);
    expect(count()).toBe(1);
  });

  test('with another body, or on another path, is 422', async () => {
    const { ask, lintel } = await numbering();
    await ask(key('a'));
    const other = await post(lintel, chat({ seed: 2 }), key('a'));
    expect([other.status, (await errorOf(other)).code]).toEqual([422, 'idempotency_key_reused']);
    expect((await post(lintel, chat(), key('a'), '/v1/completions')).status).toBe(422);
  });

  test('whose owner left passes to the next one that waits', async () => {
    const { ask, held, state, until, lintel } = await numbering();
    state.hold = true;
    const leaving = new AbortController();
    const first = ask(key('a'), chat(), leaving.signal);
    await until(() => held.length === 1);
    const second = ask(key('a'));
    await until(() => lintel.plane.inflight === 2);
    leaving.abort();
    await expect(first).rejects.toThrow();
    await until(() => held.length === 2);
    held[1]!();
    expect(await second).toMatchObject({ status: 200, number: 2, replayed: null });
    expect((await ask(key('a'))).number).toBe(2);
  });

  test('keeps no answer that is worth another try, or too long', async () => {
    const { ask, state } = await numbering({ limits: { idempotencyAnswerBytesMax: 1000 } });
    for (const status of [500, 429, 408]) {
      state.status = status;
      const { number } = await ask(key(`s${status}`));
      expect((await ask(key(`s${status}`))).number).toBe(number! + 1);
    }
    state.status = 400;
    const { number } = await ask(key('bad'));
    expect(await ask(key('bad'))).toMatchObject({ status: 400, number, replayed: 'true' });
    Object.assign(state, { status: 200, pad: 2000 });
    const long = await ask(key('long'));
    expect((await ask(key('long'))).number).toBe(long.number! + 1);
  });

  test('is of one tenant, or of one credential where nobody checks keys', async () => {
    const { lintel, ask } = await numbering({ open: false });
    for (const name of ['a', 'b']) {
      const keyHash = hashApiKey(name);
      const issued = create(tenancy.KeyIssuedSchema, { tenantId: `t-${name}`, keyId: name, keyHash });
      lintel.state.tenancy.keysByHash.set(keyHash, [{ key: issued, revoked: undefined }]);
    }
    const as = (name: string) => ({ ...key('k'), authorization: `Bearer ${name}` });
    expect([(await ask(as('a'))).number, (await ask(as('b'))).number, (await ask(as('a'))).number]).toEqual([1, 2, 1]);
    const open = await numbering();
    expect([(await open.ask(as('a'))).number, (await open.ask(as('b'))).number]).toEqual([1, 2]);
  });

  test('means nothing for a stream, and must be one', async () => {
    const lintel = await gateway([
      await engine(
        (_body, response) => void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(sse(token('a'))),
      ),
    ]);
    for (let turn = 0; turn < 2; turn++) {
      const response = await post(lintel, chat({ stream: true }), key('a'));
      expect([response.status, response.headers.get('idempotent-replayed')]).toEqual([200, null]);
      await response.text();
    }
    expect(lintel.fleet.replicas[0]!.began).toBe(2);
    const bad = await post(lintel, chat(), key('x'.repeat(256)));
    expect([bad.status, (await errorOf(bad)).code]).toEqual([400, 'invalid_idempotency_key']);
  });
});

describe('the memory of keys', () => {
  const limits = {
    idempotencyKeysMax: 8,
    idempotencyWaitersMax: 3,
    idempotencyKeptMs: 100,
    idempotencyAnswerBytesMax: 50,
    idempotencyBytesMax: 120,
  };
  const step = fc.record({
    what: fc.constantFrom('begin', 'begin', 'end', 'fail', 'leave', 'sweep'),
    key: fc.nat(11).map(String),
    bytes: fc.nat(60),
    passMs: fc.nat(60),
  });

  test('stays within its bounds, runs each key once at a time, and answers or promotes whoever waits', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const all = new Idempotency(limits);
        const running = new Map<string, number>();
        const waiting = new Map<string, Set<Waiter>>();
        let nowMs = 0;
        for (const { what, key: name, bytes, passMs } of steps) {
          nowMs += passMs;
          const waiters = waiting.get(name) ?? new Set<Waiter>();
          waiting.set(name, waiters);
          if (what === 'begin') {
            const waiter: Waiter = {
              answered: () => void waiters.delete(waiter),
              promoted: () => {
                waiters.delete(waiter);
                running.set(name, (running.get(name) ?? 0) + 1);
              },
            };
            const turn = all.begin(name, 'f', waiter, nowMs);
            if (turn === 'first') running.set(name, (running.get(name) ?? 0) + 1);
            if (turn === 'waits') waiters.add(waiter);
            if (typeof turn === 'object') expect(running.get(name) ?? 0).toBe(0);
          } else if (what === 'leave') {
            const [one] = waiters;
            if (one !== undefined) all.leave(name, one);
            if (one !== undefined) waiters.delete(one);
          } else if (what === 'sweep') all.sweep(nowMs);
          else if ((running.get(name) ?? 0) > 0) {
            running.set(name, 0);
            const answer: KeptAnswer = { status: 200, headers: [], body: Buffer.alloc(bytes) };
            all.end(name, what === 'fail' ? undefined : answer, nowMs);
          }
          expect(Math.max(0, ...running.values())).toBeLessThanOrEqual(1);
          for (const [each, set] of waiting) if (set.size > 0) expect(running.get(each)).toBe(1);
          expect(all.size).toBeLessThanOrEqual(limits.idempotencyKeysMax);
          expect(all.bytes).toBeLessThanOrEqual(limits.idempotencyBytesMax);
        }
        nowMs += 1000;
        all.sweep(nowMs);
        expect(all.bytes).toBe(0);
      }),
      { numRuns: 500 },
    );
  });
});
