import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { a100Llama8b } from '#libs/engine-model';
import { SeededRng } from '#libs/kernel';
import { embed } from './embeddings.ts';
import { ApiError } from './errors.ts';
import { Faults, parseFault } from './faults.ts';
import { parseFlags } from './flags.ts';
import { wireHash } from './kv-wire.ts';
import { withDefaults } from './options.ts';
import { Histogram } from './prometheus.ts';
import { chatPrompt, prompts } from './prompt.ts';
import { decode, encode, vocabularySize } from './tokenizer.ts';
import { checkTypes, parseBody } from './validate.ts';

/** Runs what reads a client's text: anything may be refused, nothing may go wrong otherwise. */
function refusesOnly(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(ApiError);
  }
}

describe('what clients send', () => {
  test('any body, fault, prompt is read or refused with an answer', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        refusesOnly(() => parseBody('application/json', text));
        refusesOnly(() => parseFault(text));
      }),
    );
    fc.assert(
      fc.property(fc.jsonValue(), fc.array(fc.jsonValue()), (value, list) => {
        refusesOnly(() => prompts(value));
        refusesOnly(() => chatPrompt(list));
        refusesOnly(() => checkTypes({ x: value }, { x: 'int' }, ['x']));
      }),
    );
  });

  test('a fault reads as it is written', () => {
    expect(parseFault('delay=500, reset-after=3')).toEqual({ delayMs: 500, resetAfter: 3 });
    for (const bad of [
      '',
      'delay',
      'delay=',
      'delay=-1',
      'hang=1',
      'status=200',
      'status=700',
      '__proto__',
      'constructor=1',
    ]) {
      expect(() => parseFault(bad)).toThrow(ApiError);
    }
  });

  test('a rule of half a chance befalls about half', () => {
    const faults = new Faults(new SeededRng(1), [{ fault: 'hang', probability: 0.5 }]);
    const hits = Array.from({ length: 1000 }, () => faults.take('/v1', undefined)).filter(({ hang }) => hang);
    expect(hits.length).toBeGreaterThan(400);
    expect(hits.length).toBeLessThan(600);
    expect(faults.take('/sim/faults', undefined)).toEqual({});
  });
});

describe('tokens', () => {
  test('plain text comes back as it was, in ids of the vocabulary', () => {
    const text = 'You are helpful.\nuser: Hello, wörld! 😀😀\n\nassistant: yes';
    const tokens = encode(text);
    expect(decode(tokens)).toBe(text);
    expect(tokens.every((token) => Number.isInteger(token) && token >= 0 && token < vocabularySize)).toBe(true);
    expect(tokens.length).toBeLessThan(text.length / 2);
  });

  test('no piece is half a character', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        for (const token of encode(text)) expect(decode([token]).isWellFormed()).toBe(true);
      }),
    );
  });

  test('a conversation that goes on begins with the tokens of the earlier one', () => {
    const first = [{ role: 'user', content: 'What is the sea?' }];
    const before = chatPrompt(first);
    const after = chatPrompt([
      ...first,
      { role: 'assistant', content: ' the sea and old' },
      { role: 'user', content: 'So?' },
    ]);
    expect(after.slice(0, before.length)).toEqual(before);
  });
});

describe('small parts', () => {
  test('hashes on the wire stay apart and use all 64 bits', () => {
    const hashes = Array.from({ length: 1000 }, (_, index) => wireHash(index * 9_007_199_254 + 1));
    expect(new Set(hashes).size).toBe(1000);
    expect(hashes.some((hash) => hash > 2n ** 63n)).toBe(true);
  });

  test('a value on a bound counts in its bucket', () => {
    const histogram = new Histogram([1, 2]);
    for (const value of [0.5, 1, 1.5, 9]) histogram.observe(value);
    const out: string[] = [];
    histogram.lines('x', 'a="b"', out);
    expect(out).toEqual([
      'x_bucket{a="b",le="1.0"} 2.0',
      'x_bucket{a="b",le="2.0"} 3.0',
      'x_bucket{a="b",le="+Inf"} 4.0',
      'x_count{a="b"} 4.0',
      'x_sum{a="b"} 12.0',
    ]);
  });

  test('an embedding is a unit vector', () => {
    const squares = embed([1, 2, 3]).reduce((sum, value) => sum + value * value, 0);
    expect(squares).toBeCloseTo(1, 5);
  });

  test('flags become options; a context never exceeds the blocks', () => {
    const options = parseFlags([
      '--model',
      'a',
      '--model',
      'b',
      '--pace-ms',
      '50',
      '--kv-events-port',
      '0',
      '--blocks',
      '10',
    ]);
    expect(options).toMatchObject({ models: ['a', 'b'], kvEvents: { port: 0, replayPort: 0 }, profile: a100Llama8b });
    expect(withDefaults(options)).toMatchObject({ maxModelLen: 160, profile: { stepMs: 50, contextTokenMs: 0 } });
    expect(withDefaults({}).models).toEqual(['sim-8b']);
  });
});
