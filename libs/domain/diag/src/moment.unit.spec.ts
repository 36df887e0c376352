import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { momentText, parseDuration, parseMoment, parseTime } from '#libs/domain/diag';

const nowMs = Date.UTC(2026, 10, 24, 15);

describe('parseMoment', () => {
  test.each([
    ['now', { kind: 'time', atMs: nowMs }],
    ['1h', { kind: 'time', atMs: nowMs - 3_600_000 }],
    ['1h30m ago', { kind: 'time', atMs: nowMs - 5_400_000 }],
    ['120', { kind: 'seq', seq: 120 }],
    ['#120', { kind: 'seq', seq: 120 }],
    ['seq:0', { kind: 'seq', seq: 0 }],
    ['2026-11-24T15:00:00Z', { kind: 'time', atMs: nowMs }],
    ['2026-11-24 15:00', { kind: 'time', atMs: nowMs }],
    ['2026-11-24T16:00:00+01:00', { kind: 'time', atMs: nowMs }],
    ['2026-11-24', { kind: 'time', atMs: Date.UTC(2026, 10, 24) }],
  ])('%s', (text, moment) => expect(parseMoment(text, nowMs)).toEqual(moment));

  test.each(['', 'yesterday', '1x', '-5', '#', 'seq:', '2026-13-45T00:00:00Z', '1.5', '9'.repeat(16)])(
    'refuses %j and says what is possible',
    (text) => expect(() => parseMoment(text, nowMs)).toThrow(/is not a moment/),
  );

  test('every sequence and every time comes back from its own text', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 15 - 1 }), (seq) => {
        const moment = { kind: 'seq', seq } as const;
        expect(parseMoment(momentText(moment), nowMs)).toEqual(moment);
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Date.UTC(9999, 0) }), (atMs) => {
        const moment = { kind: 'time', atMs } as const;
        expect(parseMoment(momentText(moment), nowMs)).toEqual(moment);
      }),
    );
  });

  test('any other text is refused by its code and never by anything else', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          const moment = parseMoment(text, nowMs);
          return moment.kind === 'seq' ? Number.isSafeInteger(moment.seq) : Number.isFinite(moment.atMs);
        } catch (thrown) {
          return (thrown as { code?: string }).code === 'MOMENT_INVALID';
        }
      }),
    );
  });
});

test('durations add up, part by part', () => {
  const part = fc.tuple(fc.integer({ min: 0, max: 999 }), fc.constantFrom('s', 'm', 'h', 'd'));
  const unit = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
      const text = parts.map(([count, name]) => `${count}${name}`).join('');
      const sum = parts.reduce((total, [count, name]) => total + count * unit[name as keyof typeof unit], 0);
      expect(parseDuration(text)).toBe(sum);
    }),
  );
});

test('a sequence is refused where a time is needed', () => {
  expect(() => parseTime('#5', nowMs)).toThrow(/a time is needed/);
  expect(parseTime('1m', nowMs)).toBe(nowMs - 60_000);
});
