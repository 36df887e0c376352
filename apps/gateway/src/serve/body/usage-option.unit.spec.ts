import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { BodyScanner } from './body-scanner.ts';
import { UsageFilter } from './usage-filter.ts';
import { spliced, usageSplice } from './usage-option.ts';

const scanner = new BodyScanner({ bodyDepthMax: 64, modelBytesMax: 512 });

/** The body as an engine gets it; undefined where it is left as it is. */
function changed(text: string): string | undefined {
  const body = Buffer.from(text);
  expect(scanner.scan(body)).toBeUndefined();
  const splice = usageSplice(scanner);
  return splice === undefined ? undefined : spliced(body, splice).toString();
}

type Body = Record<string, unknown> & { stream_options?: Record<string, unknown> | null };

describe('the usage option', () => {
  test('changes that value alone, and only where the client left it to us', () => {
    const options = fc.oneof(
      fc.constant(null),
      fc.constant({}),
      fc.record({ include_usage: fc.oneof(fc.boolean(), fc.constant(null)) }),
      fc.record({ include_usage: fc.constant(false), continuous_usage_stats: fc.boolean() }),
    );
    const bodies = fc.record(
      {
        a: fc.jsonValue(),
        stream_options: options,
        model: fc.constant('m'),
        stream: fc.boolean(),
        messages: fc.jsonValue(),
        z: fc.jsonValue(),
      },
      { requiredKeys: ['model', 'stream'] },
    );
    fc.assert(
      fc.property(
        bodies,
        fc.constantFrom(undefined, 1, '\t'),
        fc.constantFrom('', ' ', '\n\r\t'),
        (given, indent, pad) => {
          const body = given as Body;
          const text = pad + JSON.stringify(body, undefined, indent) + pad;
          const after = changed(text);
          const { stream_options: said } = body;
          const extra = Object.keys(said ?? {}).some((key) => key !== 'include_usage');
          if (body['stream'] !== true || said?.['include_usage'] === true || extra) {
            expect(after).toBeUndefined();
            return;
          }
          expect(JSON.parse(after!)).toEqual({ ...JSON.parse(text), stream_options: { include_usage: true } });
          // Byte for byte: what is before the value and what is behind it stand as they stood.
          const option = '{"include_usage":true}';
          const value = after!.indexOf(option);
          const before = after!.slice(0, value);
          const behind = after!.slice(value + option.length);
          if (said === undefined) {
            expect(text).toBe(before.slice(0, -'"stream_options":'.length) + behind.slice(1));
          } else {
            expect(text.startsWith(before)).toBe(true);
            expect(text.endsWith(behind)).toBe(true);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('the filter of usage', () => {
  const content = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom('"choices":[]', 'data: {"choices":[],"usage":{}}\n\n', '\r\n', '[DONE]', '\\'),
  );
  const usage = (more: object = {}): string =>
    JSON.stringify({ id: 'c', choices: [], usage: { prompt_tokens: 3, completion_tokens: 1 }, ...more });
  const passing = fc.oneof(
    content.map((text) => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: text } }] })}`),
    fc.constantFrom(
      ': ping',
      'data: [DONE]',
      'data: {"choices":[],"usage":null}',
      'data: {"choices":[]}',
      'data: {',
      'event: x',
    ),
    fc.constant('data: {"error":{"message":"\\"choices\\":[]"}}'),
    fc.constant(`data: ${JSON.stringify({ choices: [{ delta: {} }], usage: { prompt_tokens: 1 } })}`),
    fc.nat(30_000).map((length) => `data: "${'x'.repeat(length)}"`),
  );
  const taken = fc.constantFrom(`data: ${usage()}`, `data:${usage({ system_fingerprint: 'f' })}`);
  const events = fc.array(
    fc.record({ event: fc.oneof(passing, passing, taken), end: fc.constantFrom('\n\n', '\r\n\r\n', '\n\r\n') }),
    { maxLength: 12 },
  );

  test('takes out that event alone, however the stream is cut', () => {
    fc.assert(
      fc.property(
        events,
        fc.array(fc.nat(), { maxLength: 20 }),
        fc.constantFrom('', 'data: {"cho', 'data: x\n'),
        (all, cuts, open) => {
          const isUsage = ({ event }: { event: string }): boolean => /^data: ?\{"id":"c","choices":\[\]/.test(event);
          const text = (list: typeof all): string => list.map(({ event, end }) => event + end).join('') + open;
          const bytes = Buffer.from(text(all));
          const filter = new UsageFilter();
          const out: Buffer[] = [];
          let from = 0;
          for (const to of [...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]) {
            // One buffer for all chunks, as the connections have it: what is kept must have been copied.
            const shared = Buffer.from(bytes.subarray(from, to));
            out.push(Buffer.from(filter.feed(shared)));
            shared.fill(0);
            from = to;
          }
          out.push(filter.rest());
          expect(Buffer.concat(out).toString()).toBe(text(all.filter((one) => !isUsage(one))));
        },
      ),
      { numRuns: 500 },
    );
  });

  test('holds no token back: what cannot be usage passes before its event ends', () => {
    const filter = new UsageFilter();
    expect(filter.feed(Buffer.from('data: {"choices":[{"delta":{"content":"He')).toString()).toContain('He');
    expect(filter.feed(Buffer.from('llo"}}]}\n\ndata: {"id"')).toString()).toBe('llo"}}]}\n\n');
  });
});
