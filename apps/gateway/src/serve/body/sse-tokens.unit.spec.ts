import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SseScanner } from './sse-scanner.ts';

const has = (line: string, ...patterns: readonly string[]): boolean => patterns.some((each) => line.includes(each));

/** The rule in plain words, one search after another. */
function carriesToken(line: string): boolean {
  if (line.length < 3) return false;
  const empty = has(line, '"content":""', '"delta":{}', '"text":""');
  return empty ? has(line, '"tool_calls":[{', '"reasoning') : !line.includes('"choices":[]');
}

const piece = fc.constantFrom(
  '"content":""',
  '"content":"a"',
  '"delta":{}',
  '"text":""',
  '"tool_calls":[{',
  '"reasoning',
  '"choices":[]',
  '"choices":[',
  '"usage":null',
  '"',
  'u',
  '{',
  ',',
);

test('a chunk says in one pass what one search after another finds in it', () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const line = pieces.join('');
      const scanner = new SseScanner();
      scanner.feed(Buffer.from(`data: ${line}\n\n`), 5);
      expect(scanner.tokenEvents > 0).toBe(carriesToken(line));
    }),
    { numRuns: 2_000 },
  );
});

test('usage is read where a chunk has it, wherever it stands', () => {
  for (const line of ['{"usage":{"prompt_tokens":1}}', '{"choices":[{"delta":{}}],"usage": {"prompt_tokens":1}}']) {
    const scanner = new SseScanner();
    scanner.feed(Buffer.from(`data: ${line}\n\n`), 5);
    expect(scanner.usage?.promptTokens).toBe(1);
  }
});
