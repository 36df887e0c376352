import { createServer } from 'node:http';
import type { Duplex } from 'node:stream';
import { duplexPair } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { RequestHead } from './request-head.ts';
import type { RequestSink } from './request-parser.ts';
import { RequestParser } from './request-parser.ts';

const limits = { clientHeadBytesMax: 2048, clientHeadersMax: 32 };

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, unknown>;
  readonly rawHeaders: readonly string[];
  body: string;
}

class Sink implements RequestSink {
  readonly begun: Seen[] = [];
  readonly whole: Seen[] = [];
  onHead({ method, url, headers, rawHeaders }: RequestHead): void {
    this.begun.push({ method, url, headers: { ...headers }, rawHeaders: [...rawHeaders], body: '' });
  }
  onBody(chunk: Buffer): void {
    (this.begun.at(-1) as Seen).body += chunk.toString('latin1');
  }
  onEnd(): void {
    this.whole.push(this.begun.at(-1) as Seen);
  }
}

function parse(text: string, cuts: readonly number[] = []): { sink: Sink; parser: RequestParser } {
  const bytes = Buffer.from(text, 'latin1');
  const parser = new RequestParser(limits);
  const sink = new Sink();
  let at = 0;
  for (const cut of [...[...cuts].sort((a, b) => a - b), bytes.length]) {
    const chunk = bytes.subarray(at, Math.max(at, cut));
    if (chunk.length > 0 && !parser.broken) parser.feed(chunk, sink);
    at = Math.max(at, cut);
  }
  return { sink, parser };
}

/** What node:http makes of the same bytes. */
async function byNode(text: string, count: number): Promise<readonly Seen[]> {
  const seen: Seen[] = [];
  const [client, served] = duplexPair() as [Duplex, Duplex];
  const done = new Promise<void>((resolve, reject) => {
    const server = createServer((request, response) => {
      const { method = '', url = '', headers, rawHeaders } = request;
      const one: Seen = { method, url, headers: { ...headers }, rawHeaders: [...rawHeaders], body: '' };
      request.on('data', (chunk: Buffer) => (one.body += chunk.toString('latin1')));
      request.on('end', () => {
        seen.push(one);
        response.end();
        if (seen.length === count) resolve();
      });
    });
    server.on('clientError', reject);
    server.emit('connection', served);
    client.on('error', () => {});
    client.resume();
    client.write(Buffer.from(text, 'latin1'));
  });
  await done;
  client.destroy();
  return seen;
}

const tokenText = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,20}$/);
const ours =
  /^(connection|content-length|transfer-encoding|expect|upgrade|host|trailer|keep-alive|proxy-connection|http2-settings)$/i;
const name = fc.oneof(
  tokenText.filter((text) => !ours.test(text) && text !== '__proto__'),
  fc.constantFrom('Cookie', 'X-A', 'x-a', 'Authorization', 'content-type', 'set-cookie', 'User-Agent', 'constructor'),
);
const value = fc.oneof(
  fc.stringMatching(/^[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]{0,30}[\x21-\x7e\x80-\xff])?$/),
  fc.constant(''),
);
const blanks = fc.constantFrom('', ' ', '  ', '\t');
const header = fc
  .tuple(name, blanks, value, blanks)
  .map(([key, before, text, after]) => `${key}:${before}${text}${after}\r\n`);
const chunkOf = fc.tuple(fc.stringMatching(/^[\x20-\x7e]{1,40}$/), fc.constantFrom('', ';x=1', ';name="va lue"'));
const request = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'),
    path: fc.stringMatching(/^\/[\x21-\x7e]{0,40}$/),
    headers: fc.array(header, { maxLength: 8 }),
    chunks: fc.array(chunkOf, { maxLength: 4 }),
    framing: fc.constantFrom('none', 'length', 'chunked'),
    trailer: fc.constantFrom('', 'x-end: 1\r\n'),
    lead: fc.constantFrom('', '\r\n'),
  })
  .map(({ method, path, headers, chunks, framing, trailer, lead }) => {
    const start = `${lead}${method} ${path} HTTP/1.1\r\nhost: x\r\n${headers.join('')}`;
    if (framing === 'none') return `${start}\r\n`;
    if (framing === 'length') {
      const body = chunks.map(([data]) => data).join('');
      return `${start}Content-Length: ${body.length}\r\n\r\n${body}`;
    }
    const body = chunks.map(([data, extension]) => `${data.length.toString(16)}${extension}\r\n${data}\r\n`).join('');
    return `${start}Transfer-Encoding: Chunked\r\n\r\n${body}0\r\n${trailer}\r\n`;
  });

describe('the parser of requests', () => {
  test('L28 reads what node:http reads: method, target, headers, body, one request after another', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), async (requests) => {
        const text = requests.join('');
        const { sink, parser } = parse(text);
        expect([parser.broken, parser.idle]).toEqual([false, true]);
        expect(sink.whole).toEqual(await byNode(text, requests.length));
      }),
      { numRuns: 300 },
    );
  });

  test('L28 gives the same wherever the bytes are split', () => {
    fc.assert(
      fc.property(
        fc.array(request, { minLength: 1, maxLength: 2 }),
        fc.array(fc.nat(400), { maxLength: 20 }),
        (requests, cuts) => {
          const text = requests.join('');
          expect(parse(text, cuts).sink.whole).toEqual(parse(text).sink.whole);
        },
      ),
    );
    const text =
      'POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nx: y\r\n\r\nGET /b HTTP/1.0\r\n\r\n';
    const one = parse(
      text,
      Array.from({ length: text.length }, (_, index) => index),
    );
    expect(one.sink.whole.map(({ url, body }) => [url, body])).toEqual([
      ['/a', 'hello'],
      ['/b', ''],
    ]);
  });

  const start = 'POST / HTTP/1.1\r\nhost: x\r\n';
  const chunked = `${start}transfer-encoding: chunked\r\n\r\n`;
  test.each([
    ['both lengths', `${start}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n`],
    ['both lengths, the other way round', `${start}transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n`],
    ['two lengths', `${start}content-length: 3\r\ncontent-length: 3\r\n\r\n`],
    ['a list of lengths', `${start}content-length: 3, 3\r\n\r\n`],
    ['a signed length', `${start}content-length: +3\r\n\r\n`],
    ['a length in hex', `${start}content-length: 0x3\r\n\r\n`],
    ['no length', `${start}content-length:\r\n\r\n`],
    ['a length that no number holds', `${start}content-length: 99999999999999999\r\n\r\n`],
    ['two codings', `${start}transfer-encoding: gzip, chunked\r\n\r\n`],
    ['chunked twice', `${start}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n`],
    ['another coding', `${start}transfer-encoding: identity\r\n\r\n`],
    ['a coding with a tail', `${start}transfer-encoding: chunked;q=1\r\n\r\n`],
    ['a coding behind a vertical tab', `${start}transfer-encoding: \x0bchunked\r\n\r\n`],
    ['chunks in HTTP/1.0', 'POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n'],
    ['a folded header', `${start}x: a\r\n b\r\n\r\n`],
    ['a folded first header', 'POST / HTTP/1.1\r\n host: x\r\n\r\n'],
    ['a blank before the colon', `${start}content-length : 3\r\n\r\nabc`],
    ['a tab in a name', `${start}x\ty: 3\r\n\r\n`],
    ['a header without colon', `${start}x\r\n\r\n`],
    ['a header without name', `${start}: x\r\n\r\n`],
    ['a bare line feed in a header', `${start}x: a\nb: c\r\n\r\n`],
    ['a bare carriage return in a header', `${start}x: a\rb: c\r\n\r\n`],
    ['a NUL in a value', `${start}x: a\0b\r\n\r\n`],
    ['bare line feeds alone', 'POST / HTTP/1.1\nhost: x\n'],
    ['no host', 'GET / HTTP/1.1\r\n\r\n'],
    ['two hosts', `${start}host: y\r\n\r\n`],
    ['an unknown method', 'PWN / HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['a method in lower case', 'get / HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['no target', 'GET HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['two blanks before the target', 'GET  / HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['a blank in the target', 'GET /a b HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['a tab in the target', 'GET /a\tb HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['bytes beyond ASCII in the target', 'GET /\xe9 HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['HTTP/0.9', 'GET /\r\n\r\n'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['HTTP/1.2', 'GET / HTTP/1.2\r\nhost: x\r\n\r\n'],
    ['http in lower case', 'GET / http/1.1\r\nhost: x\r\n\r\n'],
    ['a blank behind the version', 'GET / HTTP/1.1 \r\nhost: x\r\n\r\n'],
    ['TLS', '\x16\x03\x01'],
    ['many empty lines', '\r\n'.repeat(9)],
    ['an empty chunk size', `${chunked}\r\n`],
    ['a chunk size that is none', `${chunked}xyz\r\n`],
    ['a chunk size with a prefix', `${chunked}0x5\r\nhello\r\n`],
    ['a signed chunk size', `${chunked}+5\r\nhello\r\n`],
    ['a blank behind a chunk size', `${chunked}5 \r\nhello\r\n`],
    ['a chunk size beyond 32 bits', `${chunked}100000005\r\nhello\r\n`],
    ['a chunk line that ends in a line feed', `${chunked}5\nhello\r\n`],
    ['a carriage return in an extension', `${chunked}5;a\rb\r\nhello\r\n`],
    ['a chunk longer than it said', `${chunked}3\r\nhello\r\n`],
    ['a chunk that ends in a line feed', `${chunked}5\r\nhello\n`],
    ['a trailer that is none', `${chunked}0\r\nx\r\n\r\n`],
    ['a trailer of a bare line feed', `${chunked}0\r\n\n`],
  ])('L28 refuses %s', (_name, text) => {
    const { sink, parser } = parse(text);
    expect([parser.problem, sink.whole]).toEqual(['malformed', []]);
    const split = parse(
      text,
      Array.from({ length: text.length }, (_, index) => index),
    );
    expect([split.parser.problem, split.sink.whole]).toEqual(['malformed', []]);
  });

  test('holds no more than its limits', () => {
    expect(parse(`${start}x: ${'y'.repeat(2100)}`).parser.problem).toBe('headers-large');
    expect(parse(`${start}${'x: y\r\n'.repeat(40)}\r\n`).parser.problem).toBe('headers-large');
    expect(parse(`${chunked}5;${'y'.repeat(300)}`).parser.problem).toBe('extensions-large');
    expect(parse(`${chunked}0\r\n${'x: y\r\n'.repeat(2000)}`).parser.problem).toBe('headers-large');
  });

  test('stops where it is told to, and goes on with what was left', () => {
    const text = `${start}content-length: 2\r\n\r\nabGET /b HTTP/1.1\r\nhost: x\r\n\r\n`;
    const bytes = Buffer.from(text);
    const parser = new RequestParser(limits);
    const told: string[] = [];
    const sink: RequestSink = {
      onHead: ({ url }) => void told.push(url),
      onBody: (chunk) => {
        told.push(chunk.toString());
        parser.stopped = true;
      },
      onEnd: () => void told.push('end'),
    };
    const used = parser.feed(bytes, sink);
    expect([told, bytes.subarray(used).toString().slice(0, 6)]).toEqual([['/', 'ab'], 'GET /b']);
    expect(parser.feed(bytes.subarray(used), sink)).toBe(bytes.length - used);
    expect(told).toEqual(['/', 'ab', 'end', '/b', 'end']);
  });

  test('whatever comes, it neither throws nor tells more than came', () => {
    const piece = fc.oneof(
      fc.constantFrom(start, chunked, '\r\n', '\n', '0\r\n\r\n', '5\r\nhello\r\n', ':'),
      fc.string({ maxLength: 20 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), fc.array(fc.nat(300), { maxLength: 10 }), (pieces, cuts) => {
        const text = pieces.join('');
        const { sink } = parse(text, cuts);
        expect(sink.begun.reduce((sum, { body }) => sum + body.length, 0)).toBeLessThanOrEqual(text.length);
        expect(parse(text).sink.whole).toEqual(sink.whole);
      }),
      { numRuns: 500 },
    );
  });
});
