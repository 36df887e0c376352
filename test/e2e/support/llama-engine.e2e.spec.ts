import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '#libs/testkit';
import { type LlamaServer, describeLlama, llamaModel, startLlama } from './llama-engine.ts';

await describeLlama('a real llama.cpp engine', () => {
  let engine: LlamaServer;
  beforeAll(async () => {
    engine = await startLlama();
  });
  afterAll(() => engine.stop());

  const chat = (body: object, signal?: AbortSignal): Promise<Response> =>
    fetch(`${engine.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: llamaModel, messages: [{ role: 'user', content: 'hi' }], ...body }),
      ...(signal === undefined ? {} : { signal }),
    });
  const metrics = async (): Promise<string> => (await fetch(`${engine.url}/metrics`)).text();

  test('is healthy and lists its model', async () => {
    expect((await fetch(`${engine.url}/health`)).status).toBe(200);
    expect(await (await fetch(`${engine.url}/v1/models`)).json()).toMatchObject({ data: [{ id: llamaModel }] });
  });

  test('streams tokens, ends with usage, counts them', async () => {
    const text = await (
      await chat({ max_tokens: 6, ignore_eos: true, stream: true, stream_options: { include_usage: true } })
    ).text();
    expect(text.match(/"delta":\{"content":/g)!.length).toBeGreaterThan(1);
    expect(text).toContain('"completion_tokens":6');
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
    expect(await metrics()).toMatch(/llamacpp:tokens_predicted_total [6-9]/);
  });

  test('ends a generation whose client leaves', async () => {
    const leaving = new AbortController();
    const left = chat({ max_tokens: 100_000, ignore_eos: true, stream: true }, leaving.signal)
      .then((response) => response.text())
      .catch((error: unknown) => (error as Error).name);
    await eventually(async () => expect(await metrics()).toMatch(/llamacpp:requests_processing 1/));
    leaving.abort();
    expect(await left).toBe('AbortError');
    await eventually(async () => expect(await metrics()).toMatch(/llamacpp:requests_processing 0/));
  });

  test('is back on its port after a kill', async () => {
    const victim = await startLlama();
    victim.kill('SIGKILL');
    expect(await victim.exited).toEqual({ status: null, signal: 'SIGKILL' });
    const again = await startLlama({ port: victim.port });
    expect(again.url).toBe(victim.url);
    await again.stop();
  });
});
