import { expect, test } from '@jest/globals';
import { linesOf } from './header-lines.ts';

test('a line says its header, however often and among however many', () => {
  for (let round = 0; round < 3; round++) {
    for (const value of ['e0', 'e1', 'e16', 'v'.repeat(200), '', 'e0']) {
      expect(linesOf('Target-Pod')?.lineOf(value)).toBe(`Target-Pod: ${value}\r\n`);
    }
  }
});

test.each(['a\r\nx: y', 'a\0', '\u010a', '\x7f'])('a value that would be another line is none: %j', (value) => {
  // Of a length and an end that a kept one has, too.
  linesOf('x-a')?.lineOf(`b${value.slice(1)}`.replace(/[^ -~]/g, '.'));
  expect(linesOf('x-a')?.lineOf(value)).toBe('');
  expect(linesOf('x-a')?.lineOf(value)).toBe('');
});

test('names that are none have no lines; those that bear on the head are told', () => {
  expect(linesOf('bad name')).toBeUndefined();
  expect(linesOf('')).toBeUndefined();
  expect(['Date', 'CONNECTION', 'content-length', 'etag'].map((name) => linesOf(name)?.role)).toEqual([
    'date',
    'connection',
    'content-length',
    '',
  ]);
});
