import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { subjectFilter } from '#libs/event-log';
import { z } from 'zod';
import { flag, given, limitUpTo, sequence, subjectFilterOf } from './given.ts';

describe('what a client may send', () => {
  const schema = z.strictObject({ limit: limitUpTo(10).default(5), after: sequence.optional(), dry: flag });

  test.each([
    [undefined, { limit: 5, dry: false }],
    [
      { limit: '7', after: '0', dry: '1' },
      { limit: 7, after: 0, dry: true },
    ],
    [{ dry: '' }, { limit: 5, dry: true }],
    [{ dry: 'false' }, { limit: 5, dry: false }],
  ])('%j is taken', (value, expected) => expect(given(schema, value)).toEqual(expected));

  test.each([
    { limit: '0' },
    { limit: '11' },
    { limit: '1.5' },
    { after: '-1' },
    { dry: 'maybe' },
    { more: 1 },
    [],
    'text',
  ])('%j is refused by name', (value) =>
    expect(() => given(schema, value)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' })),
  );
});

describe('a filter of subjects', () => {
  test.each([
    [undefined, undefined],
    ['route.replica.r1', ['lintel.ev.route.replica.r1']],
    ['lintel.ev.route.>', ['lintel.ev.route.>']],
    ['lintel.ev.>', ['lintel.ev.>']],
    ['>', ['lintel.ev.>']],
    ['*.tenant.*', ['lintel.ev.*.tenant.*']],
  ])('%j', (text, filter) => expect(subjectFilterOf(text)).toEqual(filter));

  test.each(['', 'a b', 'route..r1', 'a.b.c.d', '>.a', 'route.>.b', 'lintel.cmd.x', '*x'])('%j is none', (text) =>
    expect(() => subjectFilterOf(text)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' })),
  );

  test('whatever is taken stays within the log', () => {
    const part = fc.oneof(fc.constantFrom('*', '>', 'lintel', 'ev', 'route', 'r-1'), fc.string());
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        let filter: readonly string[] | undefined;
        try {
          filter = subjectFilterOf(parts.join('.'));
        } catch (thrown) {
          return (thrown as { code?: string }).code === 'BAD_REQUEST';
        }
        const [taken = ''] = filter ?? [];
        return taken.startsWith('lintel.ev.') && !subjectFilter(filter)('lintel.cmd.route.DrainReplica');
      }),
    );
  });
});
