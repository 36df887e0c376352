import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ResponseSink } from './response-parser.ts';
import { ResponseParser } from './response-parser.ts';

class Sink implements ResponseSink {
  status = 0;
  headers: readonly string[] = [];
  body = '';
  ended = 0;
  onHead(status: number, _reason: string, headers: readonly string[]): void {
    this.status = status;
    this.headers = headers;
  }
  onBody(chunk: Buffer): void {
    this.body += chunk.toString('latin1');
  }
  onEnd(): void {
    this.ended++;
  }
}

const limits = { upstreamHeadBytesMax: 1024, upstreamHeadersMax: 16 };

function parse(
  text: string,
  cuts: readonly number[] = [],
  close = false,
): { sink: Sink; parser: ResponseParser; left: number } {
  const bytes = Buffer.from(text, 'latin1');
  const parser = new ResponseParser(limits);
  const sink = new Sink();
  parser.next();
  let at = 0;
  let left = 0;
  for (const cut of [...[...cuts].sort((a, b) => a - b), bytes.length]) {
    const chunk = bytes.subarray(at, Math.max(at, cut));
    if (chunk.length > 0 && !parser.broken) left += chunk.length - (parser.done ? 0 : parser.feed(chunk, sink));
    at = Math.max(at, cut);
  }
  if (close) parser.finish(sink);
  return { sink, parser, left };
}

const sized = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-a:  b \r\n\r\nhello';
const chunked =
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 \r\ntransfer-encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0A\r\n0123456789\r\n0\r\ntrailer: x\r\n\r\n';

describe('the parser of answers', () => {
  test('L28 gives the same wherever the bytes are split', () => {
    const cases = [
      [sized, 200, 'hello'],
      [chunked, 201, 'hello0123456789'],
    ] as const;
    for (const [text, status, body] of cases) {
      fc.assert(
        fc.property(fc.array(fc.nat(text.length), { maxLength: 20 }), (cuts) => {
          const { sink, parser, left } = parse(text, cuts);
          expect([sink.status, sink.body, sink.ended, parser.done, parser.keepAlive, left]).toEqual([
            status,
            body,
            1,
            true,
            true,
            0,
          ]);
        }),
      );
    }
    expect(parse(sized).sink.headers).toEqual(['Content-Length', '5', 'x-a', 'b']);
  });

  test('a body without length ends with the connection, and only there', () => {
    const { sink, parser } = parse('HTTP/1.0 200 OK\r\n\r\nabc', [], true);
    expect([sink.body, sink.ended, parser.keepAlive]).toEqual(['abc', 1, false]);
    const cut = parse(sized.slice(0, -1), [], true);
    expect([cut.sink.ended, cut.parser.done]).toEqual([0, false]);
  });

  test('L28 bytes after the answer are told as left over', () => {
    expect(parse(`${sized}HTTP/1.1 200 OK\r\n`).left).toBe(17);
  });

  test.each([
    ['SSH-2.0-OpenSSH\r\n'],
    ['HTTP/2 200 OK\r\n\r\n'],
    ['HTTP/1.1 2000 OK\r\n\r\n'],
    ['HTTP/1.1 20x OK\r\n\r\n'],
    ['HTTP/1.1  200 OK\r\n\r\n'],
    ['HTTP/1.1 200 O\x00K\r\n\r\n'],
    ['HTTP/1.1 101 Switching\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nno colon\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nname : x\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\na: x\r\n folded\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\na: x\ny: z\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\na: \x00\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nab\r\n'],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n'],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffff\r\n'],
    [`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;${'x'.repeat(300)}`],
    [`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(2000)}`],
    [`HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(20)}\r\n`],
    ['HTTP/1.1 100 Continue\r\n\r\n'.repeat(10)],
    [`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n${'a: b\r\n'.repeat(2000)}`],
  ])('%j is refused, in one piece or byte by byte', (text) => {
    const whole = parse(text);
    expect([whole.parser.broken, whole.parser.problem !== '', whole.sink.ended]).toEqual([true, true, 0]);
    const bytewise = parse(
      text,
      Array.from({ length: text.length }, (_, index) => index),
    );
    expect(bytewise.parser.broken).toBe(true);
  });

  test('survives any bytes', () => {
    const start = fc.constantFrom('', 'HTTP/1.1 200 OK\r\n', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
    fc.assert(
      fc.property(start, fc.string({ unit: 'binary-ascii' }), fc.array(fc.nat(60)), (head, rest, cuts) => {
        const { sink } = parse(head + rest, cuts, true);
        expect(sink.ended).toBeLessThanOrEqual(1);
      }),
      { numRuns: 1000 },
    );
  });
});
