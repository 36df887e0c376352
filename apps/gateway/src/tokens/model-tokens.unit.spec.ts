import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { systemTimers } from '#libs/kernel';
import { readModelFiles, TextEncoder } from '#libs/tokenizer';
import { eventually } from '#libs/testkit';
import type { Encoding } from './encoding.ts';
import type { EngineTokens } from './engine-tokens.ts';
import { tokensLimits } from './limits.ts';
import { ModelTokens } from './model-tokens.ts';

const path = join(import.meta.dirname, '../../../../libs/tokenizer/fixtures/tiny');
const completions = '/v1/completions';
const body = (prompt: string): Buffer => Buffer.from(JSON.stringify({ model: 'm', prompt }));

interface Set {
  readonly tokens: ModelTokens;
  readonly said: string[];
  readonly encoder: TextEncoder;
}

async function started(engine?: EngineTokens, encode?: Encoding['encode']): Promise<Set> {
  const { tokenizer, config } = await readModelFiles(path);
  const encoder = new TextEncoder(tokenizer, config);
  const said: string[] = [];
  const encoding: Encoding = {
    load: () => {},
    forget: () => {},
    encode: encode ?? (async (_key, pieces) => pieces.map((piece) => encoder.encode(piece))),
    stop: async () => {},
  };
  const tokens = new ModelTokens({ encoding, engine, timers: systemTimers, say: (line) => said.push(line) });
  await tokens.configure({ m: { path } });
  return { tokens, said, encoder };
}

test('a short prompt is known at once, a model without a tokenizer never', async () => {
  const { tokens, encoder } = await started();
  expect(tokens.of('m', completions, body('the river'))).toEqual(encoder.encode('the river'));
  expect(tokens.of('other', completions, body('the river'))).toBe('no-tokenizer');
  await tokens.configure({});
  expect(tokens.any).toBe(false);
  expect(tokens.of('m', completions, body('the river'))).toBe('no-tokenizer');
});

test('a long prompt is encoded beside, and known the next time', async () => {
  const { tokens, encoder } = await started();
  const long = 'the river and the winter garden '.repeat(1_000);
  expect(tokens.of('m', completions, body(long))).toBe('computing');
  await eventually(() => expect(tokens.of('m', completions, body(long))).toEqual(encoder.encode(long)));
  tokens.stop();
});

test('where too many wait, the request goes on without', async () => {
  const { tokens } = await started(undefined, () => undefined);
  expect(tokens.of('m', completions, body('a long one '.repeat(2_000)))).toBe('overloaded');
  tokens.stop();
});

test('an engine that makes other tokens ends their use, and it is said', async () => {
  const { tokens, said } = await started(async () => [1, 2, 3]);
  expect(tokens.of('m', completions, body('the river'))).toBeInstanceOf(Int32Array);
  await eventually(async () => {
    expect(tokens.of('m', completions, body('the river'))).toBe('differs');
  });
  expect(said.join()).toContain('the engine makes other tokens');
  tokens.stop();
});

test('the first requests are compared, then no more for a while', async () => {
  let asked = 0;
  const { tokens, encoder } = await started(async () => {
    asked++;
    return [...encoder.encode('the river')];
  });
  for (let each = 1; each <= tokensLimits.checkedFirst + 5; each++) {
    await new Promise(setImmediate);
    expect(tokens.of('m', completions, body('the river'))).toBeInstanceOf(Int32Array);
  }
  expect(asked).toBe(tokensLimits.checkedFirst);
  tokens.stop();
});
