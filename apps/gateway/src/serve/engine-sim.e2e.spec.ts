import { afterEach, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { startEngineSim } from '#apps/engine-sim';
import { afterwards, closeAll, gateway, post } from './serve.fixture.ts';

afterEach(closeAll);

async function engines(count: number, more: Parameters<typeof startEngineSim>[0] = {}) {
  const running = await Promise.all(
    Array.from({ length: count }, () => startEngineSim({ models: ['tiny'], speed: 100, ...more })),
  );
  afterwards(async () => void (await Promise.all(running.map((each) => each.stop()))));
  const lintel = await gateway(running.map(({ url }) => url));
  return { lintel, urls: running.map(({ url }) => url) };
}

const messages = [{ role: 'user' as const, content: 'Tell me about the river' }];

describe('model engines behind the gateway', () => {
  test('chat and complete with the official client, and tell their usage to the record alone', async () => {
    const { lintel } = await engines(2);
    const client = new OpenAI({ baseURL: `${lintel.url}/v1`, apiKey: 'any', maxRetries: 0 });
    const usages: unknown[] = [];
    let text = '';
    for await (const chunk of await client.chat.completions.create({
      model: 'tiny',
      messages,
      max_tokens: 6,
      stream: true,
    })) {
      text += chunk.choices[0]?.delta.content ?? '';
      usages.push(chunk.usage ?? undefined);
    }
    expect(text).not.toBe('');
    expect(usages.filter((usage) => usage !== undefined)).toEqual([]);
    expect(lintel.records[0]!.usage).toMatchObject({ completionTokens: 6, fromEngine: true });
    for await (const _chunk of await client.completions.create({
      model: 'tiny',
      prompt: 'a',
      max_tokens: 3,
      stream: true,
    }));
    expect(lintel.records[1]!.usage).toMatchObject({ completionTokens: 3, fromEngine: true });
  });

  test('answer responses and messages as they do without it, with usage in the record', async () => {
    const { lintel } = await engines(1);
    const client = new OpenAI({ baseURL: `${lintel.url}/v1`, apiKey: 'any', maxRetries: 0 });
    const whole = await client.responses.create({ model: 'tiny', input: 'Hello', max_output_tokens: 5 });
    expect(whole.usage?.output_tokens).toBe(5);
    const types = new Set<string>();
    for await (const event of await client.responses.create({
      model: 'tiny',
      input: 'Hello',
      max_output_tokens: 5,
      stream: true,
    })) {
      types.add(event.type);
    }
    expect(types).toContain('response.completed');
    await expect(client.responses.retrieve('resp_none')).rejects.toMatchObject({ status: 404, param: 'response_id' });
    const asked = { model: 'tiny', messages, max_tokens: 4 };
    await (await post(lintel, JSON.stringify(asked), {}, '/v1/messages')).json();
    const stream = await post(lintel, JSON.stringify({ ...asked, stream: true }), {}, '/v1/messages');
    expect(await stream.text()).toContain('event: message_stop');
    const counted = await post(lintel, JSON.stringify(asked), {}, '/v1/messages/count_tokens');
    expect(await counted.json()).toMatchObject({ input_tokens: expect.any(Number) });
    const outputs = lintel.records.map(({ usage }) =>
      usage?.fromEngine === true ? usage.completionTokens : undefined,
    );
    expect(outputs).toEqual([5, 5, undefined, 4, 4, undefined]);
  });

  test('tokenize, detokenize and embed', async () => {
    const { lintel } = await engines(1);
    const tokenized = await post(lintel, '{"model":"tiny","prompt":"The river"}', {}, '/tokenize');
    const { tokens } = (await tokenized.json()) as { tokens: number[] };
    const back = await post(lintel, JSON.stringify({ model: 'tiny', tokens }), {}, '/detokenize');
    expect(await back.json()).toMatchObject({ prompt: expect.any(String) });
    const { lintel: pooling } = await engines(1, { runner: 'pooling' });
    const client = new OpenAI({ baseURL: `${pooling.url}/v1`, apiKey: 'any', maxRetries: 0 });
    const { data, usage } = await client.embeddings.create({ model: 'tiny', input: 'x', encoding_format: 'float' });
    expect(data[0]!.embedding.length).toBeGreaterThan(0);
    expect(pooling.records[0]!.usage).toMatchObject({ promptTokens: usage.prompt_tokens, fromEngine: true });
  });
});
