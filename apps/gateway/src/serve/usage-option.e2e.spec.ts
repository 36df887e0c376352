import { afterEach, describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import {
  chat,
  closeAll,
  deadOrigin,
  engine,
  gateway,
  post,
  rawEngine,
  recordedAnswer,
  sse,
  token,
} from './serve.fixture.ts';

const { EngineKind, Outcome } = route;

afterEach(closeAll);

const asked = '"stream_options":{"include_usage":true},';
const withUsage = recordedAnswer('chat-stream-usage');
const usageEvent = withUsage.split('\n\n').find((event) => event.includes('"choices":[]'))!;
const without = withUsage.replace(`${usageEvent}\n\n`, '');

/** A stream in pieces of this many bytes, as a real vLLM tells it. */
const vllm = (bodies: string[] = [], piece = 100, headers: Record<string, string> = {}): Promise<string> =>
  engine((body, response, request) => {
    bodies.push(body + (request.headers['accept-encoding'] === undefined ? '' : ' encoded'));
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', ...headers });
    for (let at = 0; at < withUsage.length; at += piece) response.write(withUsage.slice(at, at + piece));
    response.end();
  });

describe('a stream without the option', () => {
  test.each([1, 100, 100_000])(
    'is asked for its usage, which the record gets and the client does not (%i bytes a piece)',
    async (piece) => {
      const bodies: string[] = [];
      const lintel = await gateway([await vllm(bodies, piece)]);
      const body = chat({ stream: true });
      const response = await post(lintel, body, { 'accept-encoding': 'gzip' });
      expect(await response.text()).toBe(without);
      expect(bodies).toEqual([body.replace('{', `{${asked}`)]);
      const { usage, outcome } = await lintel.record();
      expect(outcome).toBe(Outcome.COMPLETED);
      expect(usage).toEqual({ promptTokens: 18, completionTokens: 8, cachedTokens: 0, fromEngine: true });
    },
  );

  test('that came with a length goes on without it', async () => {
    const lintel = await gateway([await vllm([], 100_000, { 'content-length': String(Buffer.byteLength(withUsage)) })]);
    const response = await post(lintel, chat({ stream: true }));
    expect([await response.text(), response.headers.get('content-length')]).toEqual([without, null]);
  });

  test.each([
    ['the client asks itself', { stream_options: { include_usage: true } }],
    ['the client says more than we know', { stream_options: { continuous_usage_stats: true } }],
    ['nothing is streamed', { stream: false }],
  ])('is left as it is where %s', async (_name, more) => {
    const bodies: string[] = [];
    const lintel = await gateway([await vllm(bodies)]);
    const body = chat({ stream: true, ...more });
    expect(await (await post(lintel, body, { 'accept-encoding': 'gzip' })).text()).toBe(withUsage);
    expect(bodies).toEqual([`${body} encoded`]);
  });

  test.each([
    ['an engine not known to take it', EngineKind.OPENAI, {}, true, false],
    ['an engine not yet known', EngineKind.UNSPECIFIED, {}, true, false],
    ['a replica said to take it', EngineKind.OPENAI, { 'lintel.stream-usage': 'on' }, true, true],
    ['a replica said not to', EngineKind.VLLM, { 'lintel.stream-usage': 'off' }, true, false],
    ['SGLang', EngineKind.SGLANG, {}, true, true],
    ['a gateway told not to', EngineKind.VLLM, {}, false, false],
  ])('at %s', async (_name, kind, labels, streamUsage, spliced) => {
    const bodies: string[] = [];
    const lintel = await gateway([await vllm(bodies)], { streamUsage });
    Object.assign(lintel.fleet.replicas[0]!, { engine: kind, labels });
    const text = await (await post(lintel, chat({ stream: true }))).text();
    expect([bodies[0]!.includes(asked), text === without, text === withUsage]).toEqual([spliced, spliced, !spliced]);
  });

  test('goes to the next replica as that one takes it', async () => {
    const bodies: string[] = [];
    const lintel = await gateway([await deadOrigin(), await vllm(bodies)]);
    lintel.fleet.replicas[1]!.engine = EngineKind.OPENAI;
    const body = chat({ stream: true });
    for (let turn = 0; turn < 24; turn++) await (await post(lintel, body)).text();
    expect(new Set(bodies.map((each) => each.replace(' encoded', '')))).toEqual(new Set([body]));
    expect(lintel.records.some(({ attempts }) => attempts.length === 2)).toBe(true);
  });

  test('that breaks keeps what was held back, and its error is an event of its own', async () => {
    const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
    const text = `${sse(token('a'))}data: {"id":"c"`;
    const lintel = await gateway([
      await rawEngine((socket) => socket.end(`${head}${text.length.toString(16)}\r\n${text}\r\n`)),
    ]);
    const got = await (await post(lintel, chat({ stream: true }))).text();
    expect(got.startsWith(`${text}\n\ndata: {"error":`)).toBe(true);
    expect((await lintel.record()).outcome).toBe(Outcome.UPSTREAM_BROKEN);
  });
});
