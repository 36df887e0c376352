import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { afterEach, describe, expect, test } from '@jest/globals';
import { startEngineSim } from '#apps/engine-sim';
import { route } from '#libs/contracts';
import { afterwards, closeAll, engine, gateway, post } from './serve.fixture.ts';
import type { TestGateway } from './serve.fixture.ts';

const { Outcome } = route;

afterEach(closeAll);

describe("The AI SDK's client", () => {
  const begin = async (): Promise<{
    lintel: TestGateway;
    model: ReturnType<ReturnType<typeof createOpenAICompatible>>;
  }> => {
    const running = await startEngineSim({ port: 0, models: ['tiny'], paceMs: 1 });
    afterwards(() => running.stop());
    const lintel = await gateway([running.url]);
    const provider = createOpenAICompatible({
      name: 'lintel',
      baseURL: `${lintel.url}/v1`,
      apiKey: 'any',
      includeUsage: true,
    });
    return { lintel, model: provider('tiny') };
  };
  const prompt = [{ role: 'user' as const, content: [{ type: 'text' as const, text: 'Hello' }] }];

  test('generates', async () => {
    const { lintel, model } = await begin();
    const { content, usage } = await model.doGenerate({ prompt, maxOutputTokens: 5 });
    expect(content[0]).toMatchObject({ type: 'text', text: expect.stringMatching(/./) });
    expect(JSON.stringify(usage)).toContain('5');
    expect(await lintel.record()).toMatchObject({ outcome: Outcome.COMPLETED, usage: { completionTokens: 5 } });
  });

  test('streams', async () => {
    const { lintel, model } = await begin();
    const { stream } = await model.doStream({ prompt, maxOutputTokens: 5 });
    const types = new Set<string>();
    for await (const { type } of stream as unknown as AsyncIterable<{ type: string }>) types.add(type);
    expect([...types]).toEqual(expect.arrayContaining(['text-delta', 'finish']));
    expect(types.has('error')).toBe(false);
    expect(await lintel.record()).toMatchObject({ stream: true, usage: { completionTokens: 5, fromEngine: true } });
  });
});

describe('Usage is read from', () => {
  const body = JSON.stringify({
    model: 'tiny',
    input: 'a',
    query: 'a',
    documents: ['b'],
    messages: [],
    prompt: 'a',
    max_tokens: 1,
  });
  test.each([
    [
      '/v1/chat/completions',
      { prompt_tokens: 9, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 2 } },
      [9, 4, 2],
    ],
    ['/v1/completions', { prompt_tokens: 9, completion_tokens: 4, total_tokens: 13 }, [9, 4, 0]],
    ['/v1/responses', { input_tokens: 9, output_tokens: 4, input_tokens_details: { cached_tokens: 2 } }, [9, 4, 2]],
    [
      '/v1/messages',
      { input_tokens: 5, output_tokens: 4, cache_read_input_tokens: 3, cache_creation_input_tokens: 1 },
      [9, 4, 3],
    ],
    ['/v1/embeddings', { prompt_tokens: 9, total_tokens: 9 }, [9, 0, 0]],
    ['/v1/rerank', { total_tokens: 9 }, [9, 0, 0]],
  ])('%s', async (path, usage, counted) => {
    const lintel = await gateway([
      await engine((_body, response) => {
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ id: 'x', usage }));
      }),
    ]);
    expect((await post(lintel, body, {}, path)).status).toBe(200);
    const { usage: told } = await lintel.record();
    expect([told!.promptTokens, told!.completionTokens, told!.cachedTokens, told!.fromEngine]).toEqual([
      ...counted,
      true,
    ]);
  });

  test.each([
    [
      { type: 'tokens', input_tokens: 9, output_tokens: 4, input_token_details: { audio_tokens: 9, cached_tokens: 1 } },
      [9, 4, 1],
    ],
    [{ type: 'duration', seconds: 3 }, undefined],
  ])('a transcription: %j', async (usage, counted) => {
    const lintel = await gateway([
      await engine((_body, response) => {
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ text: 'hi', usage }));
      }),
    ]);
    const form = new FormData();
    form.set('model', 'tiny');
    form.set('file', new Blob(['abc']), 'a.wav');
    const answer = await fetch(`${lintel.url}/v1/audio/transcriptions`, { method: 'POST', body: form });
    expect(answer.status).toBe(200);
    const { usage: told } = await lintel.record();
    expect(told && [told.promptTokens, told.completionTokens, told.cachedTokens]).toEqual(counted);
  });
});
