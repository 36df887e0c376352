import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { SeededRng, systemClock } from '#libs/kernel';
import { eventually } from '#libs/testkit';
import { chat, closeAll, gateway, post, rawEngine } from './serve.fixture.ts';

afterEach(closeAll);

/** LINTEL_FUZZ_S=600 for longer, LINTEL_FUZZ_SEED=7 for another run, or the same again. */
const seconds = Number(process.env['LINTEL_FUZZ_S'] ?? 10);
const seed = Number(process.env['LINTEL_FUZZ_SEED'] ?? 1);
const clients = 8;
const answerMsMax = 1_500;

const rng = new SeededRng(seed);
const below = (n: number): number => rng.uint32() % n;
const one = <T>(of: readonly T[]): T => of[below(of.length)] as T;
const chance = (percent: number): boolean => below(100) < percent;

/** Each piece of content names the connection that sent it: whatever comes back must be its own. */
const markers = /MK\d{12}/g;
const sentBy = new Map<string, number>();
const markerOf = new Map<number, string>();
function marker(connection: number): string {
  let text = markerOf.get(connection);
  if (text === undefined) {
    text = `MK${String(below(1e6)).padStart(6, '0')}${String(below(1e6)).padStart(6, '0')}`;
    markerOf.set(connection, text);
    sentBy.set(text, connection);
  }
  return text;
}

const paths =
  '/v1/chat/completions /v1/completions /v1/embeddings /v1/responses /v1/messages /v1/messages/count_tokens /v1/rerank /score /v1/classify /pooling /tokenize /v1/audio/speech'.split(
    ' ',
  );
const stray = [
  ...'\n\0"{[:,\\',
  '\r\n',
  '\\u0000',
  '--B',
  '--B--\r\n',
  '\r\n\r\n',
  '0\r\n\r\n',
  '\xff\xfe',
  'model',
].concat([
  'Transfer-Encoding: chunked\r\n',
  'Content-Length: 3\r\n',
  '"stream":true,',
  '[['.repeat(200),
  '{"a":'.repeat(300),
]);

function json(connection: number): string {
  const body: Record<string, unknown> = { model: one(['tiny', 'tiny', 'tiny', 'nope', '', 7]) };
  if (chance(50)) body['stream'] = chance(80);
  if (chance(20))
    body['stream_options'] = one([null, {}, { include_usage: false }, { include_usage: true }, { other: 1 }]);
  if (chance(20)) body['previous_response_id'] = one([`resp_${below(50)}`, '', 5]);
  body[one(['messages', 'prompt', 'input', 'system', 'query'])] = one<unknown>([
    [{ role: 'user', content: marker(connection) }],
    marker(connection),
    { deep: [[[marker(connection)]]] },
  ]);
  return JSON.stringify(body);
}

function form(connection: number): string {
  const part = (name: string, value: string): string =>
    `--B\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
  const parts = [
    part('model', one(['tiny', 'tiny', 'nope'])),
    part('file', marker(connection).repeat(1 + below(3_000))),
  ];
  if (chance(20)) parts.push(part(one(['stream', 'model', 'x']), 'true'));
  return `${(chance(50) ? parts : parts.toReversed()).join('')}--B--\r\n`;
}

function request(connection: number): string {
  const kind = below(10);
  const multipart = kind < 3;
  const stored = kind === 9;
  const body = multipart ? form(connection) : stored ? '' : json(connection);
  const path = multipart
    ? one(['/v1/audio/transcriptions', '/v1/audio/translations'])
    : stored
      ? `/v1/responses/resp_${below(50)}${one(['', '/cancel', '/x', '%2e'])}`
      : one(paths);
  const headers = [`host: x`, `content-type: ${multipart ? 'multipart/form-data; boundary=B' : 'application/json'}`];
  if (chance(15)) headers.push(`idempotency-key: ${marker(connection)}-${below(3)}`);
  if (chance(15)) headers.push(`x-request-timeout-ms: ${one(['1', '50', '1000', '0', 'x'])}`);
  if (chance(10)) headers.push(`routing-strategy: ${one(['random', 'prefix-cache', 'nope', 'a:b:c'])}`);
  const method = stored ? one(['GET', 'DELETE', 'POST']) : chance(97) ? 'POST' : one(['GET', 'PUT', 'OPTIONS']);
  const start = `${method} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n`;
  if (chance(70)) return `${start}content-length: ${Buffer.byteLength(body, 'latin1')}\r\n\r\n${body}`;
  const cut = below(body.length + 1);
  const chunks = [body.slice(0, cut), body.slice(cut)].filter((chunk) => chunk !== '');
  const framed = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('');
  return `${start}transfer-encoding: chunked\r\n\r\n${framed}0\r\n\r\n`;
}

function mutated(text: string): string {
  let out = text;
  for (let rounds = below(4); rounds > 0; rounds--) {
    const at = below(out.length + 1);
    const cut = one([0, 0, 1, 1, 5, 100]);
    out =
      out.slice(0, at) +
      one(['', one(stray), String.fromCharCode(below(256)), out.slice(at, at + below(50))]) +
      out.slice(at + cut);
  }
  return out;
}

/** An engine that answers what it was sent, mostly; else it breaks in one way or another. */
function misbehave(socket: Socket, held: Map<Socket, string>, data: string): void {
  const text = (held.get(socket) ?? '') + data;
  const end = text.indexOf('\r\n\r\n');
  const head = text.slice(0, end).toLowerCase();
  const length = Number(/content-length: (\d+)/.exec(head)?.[1] ?? 0);
  const whole = head.includes('transfer-encoding') ? text.endsWith('0\r\n\r\n') : text.length >= end + 4 + length;
  if (end < 0 || (!whole && !chance(3))) {
    held.set(socket, text);
    return;
  }
  held.delete(socket);
  const echoed = [...new Set(text.match(markers) ?? [])].join(' ');
  const body = `{"id":"resp_${below(50)}","said":"${echoed}","usage":{"prompt_tokens":1}}`;
  const plain = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  const events = `data: {"choices":[{"delta":{"content":"${echoed}"}}]}\n\nevent: response.created\ndata: {"response":{"id":"resp_1"}}\n\ndata: {"choices":[],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n`;
  const stream = `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n${events.length.toString(16)}\r\n${events}\r\n0\r\n\r\n`;
  const answer = text.includes('"stream":true') ? stream : plain;
  const how = below(40);
  if (how === 0) socket.resetAndDestroy();
  else if (how === 1) socket.end(answer.slice(0, below(answer.length)));
  else if (how === 2) socket.write(mutated(answer), 'latin1');
  else if (how === 3) socket.write(`HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n`);
  else if (how === 4) socket.write(answer + answer);
  else if (how > 5) {
    // In two pieces, as a network would.
    const cut = below(answer.length);
    socket.write(answer.slice(0, cut), 'latin1');
    socket.write(answer.slice(cut), 'latin1');
  }
  // What is still to come of the request must not be taken for a part of the next one on the connection.
  if (!whole) socket.end();
}

/** One connection with a few requests on it. Gives what came back. */
function converse(port: number, connection: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    socket.setTimeout(answerMsMax, () => socket.destroy());
    socket.on('data', (data) => {
      received += data.toString('latin1');
      if (chance(20)) socket.destroy();
      else if (chance(50)) socket.end();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(received));
    for (let count = 1 + below(2); count > 0; count--) {
      const bytes = Buffer.from(mutated(request(connection)), 'latin1');
      const cut = below(bytes.length + 1);
      socket.write(bytes.subarray(0, cut));
      socket.write(bytes.subarray(cut));
    }
    if (chance(15)) socket.end();
  });
}

test(
  `whatever comes, from clients and from engines, for ${seconds} s: nothing falls, nothing is left, nothing goes to another client (seed ${seed})`,
  async () => {
    const held = new Map<Socket, string>();
    const origins = [1, 2].map(() => rawEngine((socket, data) => misbehave(socket, held, data)));
    const lintel = await gateway(await Promise.all(origins), {
      limits: {
        firstByteTimeoutMs: 200,
        answerTimeoutMs: 200,
        idleTimeoutMs: 200,
        clientStallTimeoutMs: 500,
        formLookAheadBytesMax: 20_000,
        bodyBytesMax: 60_000,
        idempotencyKeysMax: 20,
        responseHoldersMax: 40,
      },
    });
    const endMs = systemClock.monotonicMs() + seconds * 1000;
    let connections = 0;
    let answered = 0;
    // What a mutation made of a marker is nobody's.
    const own = (text: string, connection: number): boolean =>
      (text.match(markers) ?? []).every((found) => (sentBy.get(found) ?? connection) === connection);
    const client = async (): Promise<void> => {
      while (systemClock.monotonicMs() < endMs) {
        const connection = ++connections;
        const text = await converse(lintel.port, connection);
        if (text === '') continue;
        answered++;
        expect(text.slice(0, 9)).toBe('HTTP/1.1 ');
        if (!own(text, connection)) throw new Error(`connection ${connection} got what is another's: ${text}`);
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
    // Enough was asked, and enough of it was sound, for this to mean something.
    const completed = lintel.records.filter(({ outcome }) => outcome === route.Outcome.COMPLETED).length;
    expect(answered).toBeGreaterThan(seconds * 10);
    expect(completed).toBeGreaterThan(seconds);
    expect(lintel.records.filter(({ outcome }) => outcome === route.Outcome.INTERNAL_ERROR)).toEqual([]);
    // What hung ends at its deadline; then nothing is left of any of it.
    await eventually(() => expect(lintel.plane.inflight).toBe(0), 10_000);
    for (const replica of lintel.fleet.replicas) expect(replica.inflight).toBe(0);
    expect((lintel.plane as unknown as { heldBytes: number }).heldBytes).toBe(0);
    await eventually(async () => expect((await post(lintel, chat())).status).toBe(200), 10_000);
  },
  (seconds + 40) * 1000,
);
