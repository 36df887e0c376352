import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { BodyScanner } from './body-scanner.ts';
import { JsonCursor } from './json-cursor.ts';
import { SseScanner } from './sse-scanner.ts';
import { BodyTail } from './usage.ts';

const limits = { bodyDepthMax: 64, modelBytesMax: 512 };
const scanner = new BodyScanner(limits);
const scan = (body: string | Uint8Array): string | undefined => scanner.scan(Buffer.from(body as string))?.code;

const parsed = (text: string): { value: unknown } | undefined => {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
};

/** JSON with one or more bytes changed, cut or added: mostly broken, sometimes not. */
const mutilated = fc
  .tuple(
    fc.json(),
    fc.nat(),
    fc.constantFrom('"', '\\', '{', '}', '[', ']', ',', ':', '0', '-', '.', 'e', 'u', ' ', '\t', '\u0001', 't', 'n'),
    fc.nat(3),
  )
  .map(
    ([json, at, piece, cut]) =>
      json.slice(0, at % (json.length + 1)) + piece + json.slice((at % (json.length + 1)) + cut),
  );

describe('the scanner of bodies', () => {
  test('agrees with JSON.parse on what is JSON', () => {
    const cursor = new JsonCursor(1000);
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string(), mutilated), (text) => {
        // Lone surrogates cannot be sent as UTF-8.
        const bytes = Buffer.from(text);
        cursor.open(bytes);
        expect(cursor.whole()).toBe(parsed(bytes.toString()) !== undefined);
      }),
      { numRuns: 3000 },
    );
  });

  test('L27 extracts what JSON.parse does, whatever stands around it and however it is spelled', () => {
    const escaped = (text: string): string =>
      `"${[...text].map((char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')}"`;
    const body = fc.record(
      {
        model: fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }),
        stream: fc.oneof(fc.boolean(), fc.constant(null)),
        max_tokens: fc.oneof(fc.nat(), fc.constant(null)),
        max_completion_tokens: fc.nat(),
        stream_options: fc.record({ include_usage: fc.boolean(), other: fc.jsonValue() }, { requiredKeys: [] }),
        messages: fc.jsonValue(),
        user: fc.string({ unit: 'grapheme' }),
        cache_salt: fc.string(),
        metadata: fc.jsonValue(),
        modeL: fc.jsonValue(),
      },
      { requiredKeys: ['model'] },
    );
    fc.assert(
      fc.property(body, fc.constantFrom(0, 1, 2), fc.boolean(), (fields, indent, spell) => {
        const plain = JSON.stringify(fields, null, indent);
        const text = spell ? plain.replace('"model"', escaped('model')).replace('"stream"', escaped('stream')) : plain;
        expect(scan(text)).toBeUndefined();
        expect(scanner.model).toBe(fields.model);
        expect(scanner.stream).toBe(fields.stream ?? false);
        expect(scanner.maxTokens).toBe(fields.max_completion_tokens ?? fields.max_tokens ?? 0);
        expect(scanner.includeUsage).toBe(fields.stream_options?.include_usage ?? false);
        expect(scanner.user).toBe(fields.user ?? '');
        expect(scanner.cacheSalt).toBe(fields.cache_salt ?? '');
        const span = Buffer.from(text).subarray(scanner.promptStart, scanner.promptEnd).toString();
        if ('messages' in fields) expect(JSON.parse(span)).toEqual(JSON.parse(JSON.stringify(fields.messages)));
        else expect(span).toBe('');
      }),
      { numRuns: 1000 },
    );
  });

  test('L27 never throws on any bytes, and accepts only what JSON.parse accepts', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const found = scan(bytes);
        if (found === undefined) expect(parsed(Buffer.from(bytes).toString())).toBeDefined();
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['', 'invalid_json'],
    ['{', 'invalid_json'],
    ['[]', 'invalid_type'],
    ['"x"', 'invalid_type'],
    ['{"model":"m"}x', 'invalid_json'],
    ['{"model":"m"} {"model":"n"}', 'invalid_json'],
    ['\ufeff{"model":"m"}', 'invalid_json'],
    ['{"model":"m","model":"n"}', 'duplicate_field'],
    ['{"model":"m","mod\\u0065l":"n"}', 'duplicate_field'],
    ['{"model":"m","messages":[],"messages":[]}', 'duplicate_field'],
    ['{"model":"m","stream_options":{"include_usage":true,"include_\\u0075sage":false}}', 'duplicate_field'],
    ['{"messages":[]}', 'missing_model'],
    ['{"model":""}', 'missing_model'],
    ['{"model":null}', 'invalid_type'],
    ['{"model":["m"]}', 'invalid_type'],
    ['{"model":"m","stream":"true"}', 'invalid_type'],
    ['{"model":"m","stream":1}', 'invalid_type'],
    ['{"model":"m","max_tokens":"5"}', 'invalid_type'],
    ['{"model":"m","max_tokens":5.5}', 'invalid_type'],
    ['{"model":"m","max_tokens":1e999}', 'invalid_type'],
    ['{"model":"m","stream_options":[]}', 'invalid_type'],
    ['{"model":"m","stream_options":{"include_usage":1}}', 'invalid_type'],
    [`{"model":"m","x":${'['.repeat(65)}${']'.repeat(65)}}`, 'body_too_deep'],
    [`{"model":"${'m'.repeat(513)}"}`, 'invalid_model'],
    ['{"model":"m","x":NaN}', 'invalid_json'],
    ["{'model':'m'}", 'invalid_json'],
    ['{"model":"m",}', 'invalid_json'],
    ['{"model":"m","x":01}', 'invalid_json'],
    ['{"model":"a\nb"}', 'invalid_json'],
  ])('%j is refused as %s', (body, code) => {
    expect(scan(body)).toBe(code);
  });

  test('bytes that are not UTF-8 are refused', () => {
    expect(scan(Buffer.from('{"model":"\xe9"}', 'latin1'))).toBe('invalid_utf8');
    expect(scan(Buffer.from('{"model":"m"}', 'utf16le'))).toBe('invalid_json');
  });
});

describe('the scanner of streams', () => {
  const usage = { prompt_tokens: 5, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 4 } };
  const text = [
    ': a comment',
    'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}',
    'data: {"choices":[{"delta":{"content":"Hé"}}]}\r',
    'event: other',
    'data:{"choices":[{"delta":{"content":"\\"usage\\":{"}}],"usage":null}',
    'data: {"choices":[{"delta":{"content":"","tool_calls":[{"index":0}]}}]}',
    'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}',
    `data: {"choices":[],"usage":${JSON.stringify(usage)}}`,
    'data: [DONE]',
    '',
  ].join('\n\n');

  test('gives the same wherever the bytes are split', () => {
    const bytes = Buffer.from(text);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 30 }), (cuts) => {
        const stream = new SseScanner();
        let at = 0;
        for (const cut of [...cuts.sort((a, b) => a - b), bytes.length]) {
          stream.feed(bytes.subarray(at, cut), 0);
          at = cut;
        }
        const { tokenEvents, done, errorTold, usage: read, atLineStart } = stream;
        expect({ tokenEvents, done, errorTold, atLineStart }).toEqual({
          tokenEvents: 3,
          done: true,
          errorTold: false,
          atLineStart: true,
        });
        expect(read).toEqual({ promptTokens: 5, completionTokens: 3, cachedTokens: 4, fromEngine: true });
      }),
    );
  });

  test('times the first token and the gaps, by when a line was whole', () => {
    const stream = new SseScanner();
    const event = 'data: {"choices":[{"delta":{"content":"x"}}]}\n\n';
    stream.feed(Buffer.from(event.slice(0, 20)), 1);
    stream.feed(Buffer.from(event.slice(20)), 3);
    stream.feed(Buffer.from(event), 10);
    stream.feed(Buffer.from(event), 12);
    expect(stream).toMatchObject({ firstTokenMs: 3, lastTokenMs: 12, gapMsMax: 7, tokenEvents: 3, tokenGaps: 2 });
  });

  test('survives any bytes, and a line without end is passed over', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array()), (chunks) =>
        chunks.forEach((chunk) => new SseScanner().feed(Buffer.from(chunk), 0)),
      ),
    );
    const stream = new SseScanner();
    for (let chunk = 0; chunk < 10; chunk++) stream.feed(Buffer.alloc(64 * 1024, 'a'), 0);
    stream.feed(Buffer.from('\ndata: [DONE]\n'), 0);
    expect(stream.done).toBe(true);
  });

  test("an engine's error inside a stream is seen", () => {
    const stream = new SseScanner();
    stream.feed(Buffer.from('data: {"error":{"message":"x"}}\n\n'), 0);
    expect(stream.errorTold).toBe(true);
  });
});

test('usage is read from the end of a body, however it was split, and not from its strings', () => {
  const usage = { prompt_tokens: 7, completion_tokens: 9 };
  const body = Buffer.from(
    JSON.stringify({
      choices: [{ text: `${'x'.repeat(20_000)}"usage":{"prompt_tokens":1}` }],
      usage,
      kv_transfer_params: null,
    }),
  );
  fc.assert(
    fc.property(fc.array(fc.nat(body.length), { maxLength: 6 }), (cuts) => {
      const tail = new BodyTail();
      let at = 0;
      for (const cut of [...cuts.sort((a, b) => a - b), body.length]) {
        tail.feed(body.subarray(at, cut));
        at = cut;
      }
      expect(tail.usage()).toEqual({ promptTokens: 7, completionTokens: 9, cachedTokens: 0, fromEngine: true });
    }),
  );
  const other = new BodyTail();
  other.feed(Buffer.from('{"usage":"none"}'));
  expect(other.usage()).toBeUndefined();
});
