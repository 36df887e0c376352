import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import type { ErrorBody } from '../serve.fixture.ts';
import { chat, closeAll, engine, gateway, post, sse, token } from '../serve.fixture.ts';

afterEach(closeAll);

const usage = { prompt_tokens: 4, completion_tokens: 2, total_tokens: 6 };
const whole = JSON.stringify({ id: 'c', model: 'tiny', choices: [], usage });

const answering = (body: string, type = 'application/json', status = 200): Promise<string> =>
  engine((_body, response) => {
    response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
  });

/** In pieces, so that it does not come whole. */
const inPieces = (pieces: readonly string[], type: string): Promise<string> =>
  engine(async (_body, response) => {
    response.writeHead(200, { 'content-type': type });
    for (const piece of pieces) {
      response.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
  });

const stream = 'text/event-stream';
const broken = `data: {"choices":[],"usage":{"prompt_tokens":\n\n`;

describe("AIBrix's markers of answers", () => {
  test.each([
    ['x-error-response-unmarshal', 'an answer that is no JSON', () => answering('<html>busy</html>'), {}],
    ['x-error-response-unmarshal', 'one that is cut', () => answering(whole.slice(0, -3)), {}],
    ['x-error-response-unmarshal', 'a list', () => answering('[1]'), {}],
    ['x-error-response-unmarshal', 'one that comes in pieces', () => inPieces(['<ht', 'ml>'], 'text/html'), {}],
    ['x-error-streaming', 'an event with usage that is no JSON', () => answering(broken, stream), { stream: true }],
  ])('%s: %s is 500, and its replica is charged', async (marker, _what, start, more) => {
    const lintel = await gateway([await start()], { compat: 'aibrix' });
    const response = await post(lintel, chat(more));
    expect([response.status, response.headers.get(marker)]).toEqual([500, 'true']);
    expect(((await response.json()) as ErrorBody).error).toMatchObject({
      code: 'upstream_failed',
      type: 'server_error',
    });
    const record = await lintel.record();
    expect(record).toMatchObject({
      outcome: route.Outcome.UPSTREAM_FAILED,
      attempts: [{ end: route.AttemptEnd.BAD_ANSWER, httpStatus: 200 }],
    });
  });

  test('another replica does better: the client sees nothing of it', async () => {
    const lintel = await gateway([await answering('<html>'), await answering(whole)], { compat: 'aibrix' });
    for (let i = 0; i < 4; i++) {
      const response = await post(lintel, chat());
      expect([response.status, await response.text()]).toEqual([200, whole]);
      expect(response.headers.get('x-error-response-unmarshal')).toBeNull();
    }
  });

  test.each([
    ['nested, with its code', { error: { message: 'too long', code: 400 } }, 400, 'too long'],
    ['flat', { object: 'error', message: 'gone', code: 404 }, 404, 'gone'],
    ['without a code', { error: { message: 'oops', code: 'odd' } }, 500, 'oops'],
  ])('an error under status 200 gets its own status: %s', async (_what, body, status, message) => {
    const lintel = await gateway([await answering(JSON.stringify(body))], { compat: 'aibrix' });
    const response = await post(lintel, chat());
    expect([response.status, response.headers.get('x-error-response-unknown')]).toEqual([status, 'true']);
    expect(((await response.json()) as ErrorBody).error.message).toContain(message);
    expect(await lintel.record()).toMatchObject({
      outcome: route.Outcome.UPSTREAM_ERROR,
      httpStatus: status,
      attempts: [{ end: route.AttemptEnd.ANSWERED, httpStatus: status }],
    });
  });

  test("an engine's own error goes on as it is, marked", async () => {
    const lintel = await gateway([await answering('{"error":"no"}', 'application/json', 422)], { compat: 'aibrix' });
    const response = await post(lintel, chat());
    expect([response.status, response.headers.get('x-error-response-unknown'), await response.text()]).toEqual([
      422,
      'true',
      '{"error":"no"}',
    ]);
  });

  test('sound answers go through: whole, in pieces, as streams, and of endpoints that nobody reads', async () => {
    const events = sse(token('a'), { choices: [], usage }, '[DONE]');
    for (const [start, more, path, text] of [
      [() => answering(whole), {}, '/v1/chat/completions', whole],
      [() => inPieces([whole.slice(0, 5), whole.slice(5)], 'application/json'), {}, '/v1/chat/completions', whole],
      [
        () => answering(events, stream),
        { stream: true, stream_options: { include_usage: true } },
        '/v1/chat/completions',
        events,
      ],
      [() => answering('RIFF', 'audio/wav'), { input: 'hi' }, '/v1/audio/speech', 'RIFF'],
    ] as const) {
      const lintel = await gateway([await start()], { compat: 'aibrix' });
      const response = await post(lintel, chat(more), {}, path);
      expect([response.status, await response.text()]).toEqual([200, text]);
    }
  });

  test('without compat every answer goes on as the engine gave it', async () => {
    const lintel = await gateway([await answering('<html>')]);
    const response = await post(lintel, chat());
    expect([response.status, await response.text()]).toEqual([200, '<html>']);
  });
});

test('x-error-stream: a stream that is neither true nor false', async () => {
  const lintel = await gateway([await answering(whole)], { compat: 'aibrix' });
  const response = await post(lintel, chat({ stream: 'yes' }));
  expect([response.status, response.headers.get('x-error-stream')]).toEqual([400, 'stream incorrectly set']);
});
