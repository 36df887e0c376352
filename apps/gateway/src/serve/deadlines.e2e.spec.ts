import { connect } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { chat, closeAll, engine, errorOf, gateway, post, rawEngine, sse, token } from './serve.fixture.ts';

const { AttemptEnd, Outcome } = route;

afterEach(closeAll);

const timeout = (ms: number | string): Record<string, string> => ({ 'x-request-timeout-ms': String(ms) });

describe('a deadline of the client', () => {
  test('goes on to the engine as what is left of it', async () => {
    const seen: unknown[] = [];
    const lintel = await gateway([
      await engine((_body, response, { headers }) => {
        seen.push(headers['x-request-timeout-ms']);
        response.end('{}');
      }),
    ]);
    expect((await post(lintel, chat(), timeout(60_000))).status).toBe(200);
    await post(lintel, chat());
    const [left, none] = seen;
    expect(Number(left)).toBeGreaterThan(50_000);
    expect(Number(left)).toBeLessThanOrEqual(60_000);
    expect(none).toBeUndefined();
  });

  test('that passes before the answer is 504, ends the request at the engine and is not held against it', async () => {
    const closed = Promise.withResolvers<void>();
    const lintel = await gateway([
      await engine((_body, response) => void response.on('close', () => closed.resolve())),
      await engine((_body, response) => void response.on('close', () => closed.resolve())),
    ]);
    const response = await post(lintel, chat(), timeout(120));
    expect([response.status, response.headers.get('x-lintel-outcome')]).toEqual([504, 'evicted_deadline']);
    expect((await errorOf(response)).code).toBe('deadline_exceeded');
    await closed.promise;
    const { outcome, attempts, timings } = await lintel.record();
    expect([outcome, attempts.length, attempts[0]!.end]).toEqual([Outcome.EVICTED_DEADLINE, 1, AttemptEnd.CLIENT_GONE]);
    expect(timings!.totalMs).toBeGreaterThanOrEqual(120);
    expect(timings!.totalMs).toBeLessThan(2_000);
  });

  test('that passes inside a stream ends it with an error event', async () => {
    const lintel = await gateway([
      await engine(
        (_body, response) =>
          void response.writeHead(200, { 'content-type': 'text/event-stream' }).write(sse(token('a'))),
      ),
    ]);
    const text = await (await post(lintel, chat({ stream: true }), timeout(150))).text();
    const last = text.trimEnd().split('\n\n').at(-1)!.trim();
    expect(JSON.parse(last.slice(6))).toMatchObject({ error: { code: 'deadline_exceeded' } });
    expect((await lintel.record()).outcome).toBe(Outcome.EVICTED_DEADLINE);
    expect(lintel.fleet.replicas[0]!.ends).toEqual([AttemptEnd.CLIENT_GONE]);
  });

  test('that passes inside another answer cuts it', async () => {
    const lintel = await gateway([
      await rawEngine((socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"a":')),
    ]);
    const response = await post(lintel, chat(), timeout(150));
    await expect(response.text()).rejects.toThrow();
    expect((await lintel.record()).outcome).toBe(Outcome.EVICTED_DEADLINE);
  });

  test('counts while the body is still coming', async () => {
    const lintel = await gateway([await engine((_body, response) => response.end('{}'))]);
    const socket = connect(lintel.port, '127.0.0.1');
    const answer = new Promise<string>((resolve) => socket.once('data', (data) => resolve(data.toString())));
    socket.write(
      'POST /v1/completions HTTP/1.1\r\nhost: x\r\nx-request-timeout-ms: 100\r\ncontent-length: 500\r\n\r\n{"mod',
    );
    expect(await answer).toMatch(/^HTTP\/1\.1 504 /);
    socket.destroy();
    expect(await lintel.record()).toMatchObject({ outcome: Outcome.EVICTED_DEADLINE, attempts: [] });
  });

  test('that was met is no matter afterwards', async () => {
    const lintel = await gateway([await engine((_body, response) => response.end('{}'))]);
    const response = await post(lintel, chat(), timeout(100_000));
    expect(await response.json()).toEqual({});
    expect((await lintel.record()).outcome).toBe(Outcome.COMPLETED);
  });

  test.each(['0', '-1', '1.5', 'soon', '86400001', '999999999999', ''])('of "%s" is 400', async (value) => {
    const lintel = await gateway([await engine((_body, response) => response.end('{}'))]);
    const response = await post(lintel, chat(), timeout(value));
    expect([response.status, (await errorOf(response)).code]).toEqual([400, 'invalid_request_timeout']);
  });
});
