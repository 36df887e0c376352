import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Cuts } from './cuts.ts';
import type { ModelFiles, Prompt } from './index.ts';
import { isOpen, ModelTokenizer, readModelFiles, TextEncoder } from './index.ts';
import type { TokenizerJson } from './text-encoder.ts';

const folder = join(import.meta.dirname, '../fixtures/tiny');
const llama3 = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

let files: ModelFiles;
/** The same vocabulary behind the pre-tokenizer of Llama 3. */
let split: ModelFiles;
beforeAll(async () => {
  files = await readModelFiles(folder);
  const pre_tokenizer = {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: llama3 }, behavior: 'Isolated', invert: false },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  };
  split = { ...files, tokenizer: { ...files.tokenizer, pre_tokenizer } as TokenizerJson };
});

const word = fc.constantFrom(
  'the',
  'river',
  "it's",
  "They'LL",
  '你好',
  '12',
  '4444',
  '(',
  '{"a":',
  '// ',
  '\n',
  '\n\n',
  ' ',
  '  ',
  '\t',
  'é',
  'e\u0301',
  '😀',
  '<|im_start|>',
  '<|im_end|>',
  '<|im',
  '<|endoftext|>',
  '.',
  ',',
  'straße',
  '\r\n',
  'x',
);
const text = fc
  .array(fc.tuple(word, fc.constantFrom('', ' ', '\n')), { minLength: 0, maxLength: 500, size: 'max' })
  .map((words) => words.map((each) => each.join('')).join(''));

const both = (): readonly ModelFiles[] => [files, split];
const chat = (messages: readonly unknown[], more: object = {}): string => JSON.stringify({ messages, ...more });
const path = '/v1/chat/completions';
const numbers = (tokens: unknown): number[] => [...(tokens as Int32Array)];

describe('the tokens of a text', () => {
  test('with words kept are those of the library', () => {
    for (const each of both()) {
      const encoder = new TextEncoder(each.tokenizer, each.config);
      fc.assert(
        fc.property(text, (given) => {
          expect(encoder.encode(given)).toEqual(encoder.encodeByLibrary(given));
        }),
        { numRuns: 25 },
      );
    }
  });

  test('cut where it is safe, are those of its parts', () => {
    let cuts = 0;
    for (const each of both()) {
      const encoder = new TextEncoder(each.tokenizer, each.config);
      const places = new Cuts(each.tokenizer);
      fc.assert(
        fc.property(text, (given) => {
          const parts: number[] = [];
          let at = 0;
          for (let end = places.next(given, 0); end >= 0; end = places.next(given, at)) {
            parts.push(...encoder.encodeByLibrary(given.slice(at, end)));
            at = end;
            cuts++;
          }
          parts.push(...encoder.encodeByLibrary(given.slice(at)));
          expect(parts).toEqual([...encoder.encodeByLibrary(given)]);
        }),
        { numRuns: 30 },
      );
    }
    expect(cuts).toBeGreaterThan(50);
  });

  test('looked up behind what was said before, are those of the whole', () => {
    for (const each of both()) {
      // So small that it forgets all the time.
      const kept = new ModelTokenizer(each, 8_000);
      const whole = new TextEncoder(each.tokenizer, each.config);
      fc.assert(
        fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), (turns) => {
          let said = '';
          for (const turn of turns) {
            said += turn;
            const tokens = kept.tokens('/v1/completions', JSON.stringify({ prompt: said }));
            if (said === '') expect(tokens).toBe('malformed');
            else expect(tokens).toEqual(whole.encodeByLibrary(said));
            expect(kept.cache.chars).toBeLessThanOrEqual(8_000);
          }
        }),
        { numRuns: 12 },
      );
    }
  });

  test('of the next turn need nothing but its own text', () => {
    const tokenizer = new ModelTokenizer(files);
    const messages = Array.from({ length: 40 }, (_, index) => ({
      role: index % 2 === 0 ? 'user' : 'assistant',
      content: `the river of ${index} and the stones in the morning. `.repeat(40),
    }));
    tokenizer.tokens(path, chat(messages.slice(0, 39)));
    const next = tokenizer.open(path, chat(messages)) as Prompt;
    expect(isOpen(next) && next.found.missingChars).toBeLessThan(4_000);
    expect(isOpen(next) && next.found.tokens).toBeGreaterThan(10_000);
  });
});

describe('a chat request', () => {
  const encoded = (prompt: string): number[] => [
    ...new TextEncoder(files.tokenizer, files.config).encodeByLibrary(prompt),
  ];
  const tokensOf = (body: string): unknown => new ModelTokenizer(files).tokens(path, body);

  test('goes through the template, parts joined by line breaks', () => {
    const body = chat([
      { role: 'system', content: 'x-anthropic-billing-header: cch=1\nthe system' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'the' },
          { type: 'text', text: 'river' },
        ],
      },
    ]);
    expect(numbers(tokensOf(body))).toEqual(
      encoded(
        '<|im_start|>system\nthe system<|im_end|>\n<|im_start|>user\nthe\nriver<|im_end|>\n<|im_start|>assistant\n',
      ),
    );
  });

  test('is left open where its last message is to go on', () => {
    const body = chat(
      [
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'and so' },
      ],
      {
        add_generation_prompt: false,
        continue_final_message: true,
      },
    );
    expect(numbers(tokensOf(body))).toEqual(encoded('<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nand so'));
  });

  test('shows tools and tool calls as the engine writes them', () => {
    const tools = [
      { type: 'function', function: { parameters: { type: 'object' }, name: 'f', strict: null }, more: 1 },
    ];
    const calls = [{ id: '1', type: 'function', function: { name: 'f', arguments: '{"a":[1,2]}' } }];
    const body = chat([{ role: 'assistant', content: null, tool_calls: calls }], {
      tools,
      add_generation_prompt: false,
    });
    const shown =
      '{"type": "function", "function": {"name": "f", "description": null, "parameters": {"type": "object"}}}';
    expect(numbers(tokensOf(body))).toEqual(
      encoded(
        `<|im_start|>system\n# Tools\n${shown}\n<|im_end|>\n<|im_start|>assistant\n\n<tool_call>f {"a": [1, 2]}</tool_call><|im_end|>\n`,
      ),
    );
  });

  test.each([
    ['multimodal', chat([{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:' } }] }])],
    ['chat-template', chat([{ role: 'user', content: 'a' }], { chat_template: '{{ messages }}' })],
    ['truncated', chat([{ role: 'user', content: 'a' }], { truncate_prompt_tokens: 10 })],
    ['malformed', chat([{ content: 'a' }])],
    ['malformed', '{'],
    ['malformed', chat([{ role: 'user', content: 'a' }], { continue_final_message: true })],
    [
      'inexact-json',
      `{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"default":1.0}}}]}`,
    ],
    [
      'inexact-json',
      chat([{ role: 'assistant', tool_calls: [{ function: { name: 'f', arguments: '{"b":1,"1":2}' } }] }]),
    ],
  ])('is %s: %s', (reason, body) => {
    expect(tokensOf(body)).toBe(reason);
  });
});

test('a completion is its text, its only text, or the ids that the client gives', () => {
  const tokenizer = new ModelTokenizer(files);
  const of = (prompt: unknown): unknown => tokenizer.tokens('/v1/completions', JSON.stringify({ prompt }));
  expect(of('the river')).toEqual(of(['the river']));
  expect(numbers(of([1, 2, 3]))).toEqual([1, 2, 3]);
  expect(numbers(of([[1, 2]]))).toEqual([1, 2]);
  expect(of(['a', 'b'])).toBe('several-prompts');
  expect(tokenizer.tokens('/v1/responses', '{"input":"a"}')).toBe('endpoint');
});

describe('a folder', () => {
  test('without a tokenizer is refused with what to do', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'lintel-tokenizer-'));
    try {
      await expect(readModelFiles(empty)).rejects.toMatchObject({ code: 'TOKENIZER_UNREADABLE' });
      await writeFile(join(empty, 'tokenizer.json'), '[]');
      await expect(readModelFiles(empty)).rejects.toMatchObject({ code: 'TOKENIZER_UNREADABLE' });
    } finally {
      await rm(empty, { recursive: true });
    }
  });

  test('whose tokens the library makes otherwise is refused', () => {
    const tokenizer = { ...files.tokenizer, added_tokens: [{ id: 1, content: 'x', single_word: true }] };
    expect(() => new TextEncoder(tokenizer as TokenizerJson, {})).toThrow('counts as a word');
  });
});
