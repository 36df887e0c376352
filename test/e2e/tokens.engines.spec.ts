import { dirname, join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { ModelTokenizer, readModelFiles } from '#libs/tokenizer';
import { vllmAdapters, vllmEngines } from './vllm.ts';

let tokenizer: ModelTokenizer;
const engine = vllmEngines[0];
beforeAll(async () => {
  const adapter = Object.values(vllmAdapters)[0];
  if (adapter === undefined) return; // every test is skipped
  tokenizer = new ModelTokenizer(await readModelFiles(join(dirname(dirname(adapter)), 'model')));
});

async function ask(path: string, body: object): Promise<unknown> {
  const answer = await fetch(`${engine?.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return await answer.json();
}

const texts = [
  'the river and the winter garden',
  "It's what they're told: we'll see. 1 22 333 4444 {\"code\": [1, 2]}\n\n  // done\t\r\n",
  'naïve façade 你好 世界 привет e\u0301 😀 <s> </s> <pad> <s',
  '  leading, trailing  ',
  'the model of tokens is a stone. '.repeat(60),
];
const tool = {
  type: 'function',
  function: { name: 'f', description: 'does', parameters: { type: 'object', properties: { a: { type: 'string' } } } },
};
const chats: readonly object[] = [
  ...texts.map((content) => ({ messages: [{ role: 'user', content }] })),
  { messages: texts.map((content, index) => ({ role: index % 2 === 0 ? 'user' : 'assistant', content })) },
  { messages: [{ role: 'user', content: texts.map((text) => ({ type: 'text', text })) }] },
  {
    messages: [
      { role: 'system', content: 'x-anthropic-billing-header: a\nthe system' },
      { role: 'user', content: 'a' },
    ],
  },
  { messages: [{ role: 'user', content: 'a' }], add_generation_prompt: false },
  { messages: [{ role: 'user', content: 'a' }], add_special_tokens: true },
  {
    messages: [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'and so on ' },
    ],
    add_generation_prompt: false,
    continue_final_message: true,
  },
  { messages: [{ role: 'user', content: 'a' }], tools: [tool], chat_template_kwargs: { other: 1 } },
  {
    messages: [
      { role: 'developer', content: 'be' },
      { role: 'user', content: 'a' },
    ],
  },
];

test('prompts have the tokens that vLLM says they have', async () => {
  for (const prompt of texts) {
    for (const add_special_tokens of [true, false]) {
      const body = { prompt, add_special_tokens };
      const { tokens } = (await ask('/tokenize', { model: 'tiny', ...body })) as { tokens: number[] };
      expect([...(tokenizer.tokens('/v1/completions', JSON.stringify(body)) as Int32Array)]).toEqual(tokens);
    }
  }
}, 60_000);

test('conversations have them, too', async () => {
  for (const body of chats) {
    const mine = tokenizer.tokens('/v1/chat/completions', JSON.stringify(body));
    const { tokens } = (await ask('/tokenize', { model: 'tiny', ...body })) as {
      tokens: number[];
    };
    expect({ body, tokens: typeof mine === 'string' ? mine : [...mine] }).toEqual({ body, tokens });
  }
}, 60_000);
