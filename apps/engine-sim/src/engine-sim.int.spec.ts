import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '#libs/testkit';
import { type EngineSimOptions, type RunningEngineSim, startEngineSim } from './index.ts';

type Body = Record<string, unknown>;
const chatPath = '/v1/chat/completions';

function post(sim: RunningEngineSim, path: string, body: Body = {}, init: RequestInit = {}): Promise<Response> {
  return fetch(sim.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...init,
  });
}

const chat = (sim: RunningEngineSim, body: Body = {}, init: RequestInit = {}): Promise<Response> =>
  post(sim, chatPath, { messages: [{ role: 'user', content: 'hi' }], ...body }, init);

interface Said {
  model: string;
  choices: { message: { content: string }; finish_reason: string; stop_reason: string | null }[];
  usage: { completion_tokens: number; prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  kv_transfer_params: Body | null;
}
const said = async (response: Response): Promise<Said> => (await response.json()) as Said;
const textOf = async (response: Response): Promise<string> => (await said(response)).choices[0]!.message.content;

/** Sum over the label sets of a metric. */
async function metric(sim: RunningEngineSim, name: string, labels = ''): Promise<number> {
  const lines = (await (await fetch(`${sim.url}/metrics`)).text()).split('\n');
  const found = lines.filter((line) => line.startsWith(`vllm:${name}{`) && line.includes(labels));
  if (found.length === 0) throw new Error(`no metric ${name} ${labels}`);
  return found.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

function started(options: EngineSimOptions = {}): { sim: RunningEngineSim } {
  const held = {} as { sim: RunningEngineSim };
  beforeAll(async () => {
    held.sim = await startEngineSim({ speed: 100, models: ['m'], ...options });
  });
  afterAll(() => held.sim.stop());
  return held;
}

describe('text', () => {
  const at = started();

  test('a stream says the same as the whole answer, also around a stop string', async () => {
    for (const more of [{}, { stop: ['n s', 'ut'] }, { stop: ' ' }]) {
      const body = { temperature: 0, max_tokens: 40, ...more };
      const whole = await textOf(await chat(at.sim, body));
      const text = await (await chat(at.sim, { ...body, stream: true })).text();
      const pieces = [...text.matchAll(/"content":("[^"]*")/g)].map((match) => JSON.parse(match[1]!) as string);
      expect(pieces.join('')).toBe(whole);
      expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
    }
  });

  test('greedy and seeded answers repeat, on another replica too; unseeded ones differ', async () => {
    const other = await startEngineSim({ speed: 100, models: ['m'], seed: 9 });
    const ask = (sim: RunningEngineSim, body: Body): Promise<string> =>
      chat(sim, { max_tokens: 20, ...body }).then(textOf);
    for (const body of [{ temperature: 0 }, { seed: 5 }]) expect(await ask(at.sim, body)).toBe(await ask(other, body));
    expect(await ask(at.sim, { seed: 5 })).not.toBe(await ask(at.sim, { seed: 6 }));
    expect(await ask(at.sim, {})).not.toBe(await ask(at.sim, {}));
    await other.stop();
  });

  test('n choices differ; each has its tokens counted', async () => {
    const { choices, usage } = await said(await chat(at.sim, { n: 3, seed: 1, max_tokens: 7 }));
    expect(new Set(choices.map(({ message }) => message.content)).size).toBe(3);
    expect(usage.completion_tokens).toBe(21);
  });

  test('a conversation that goes on finds its prefix in the cache', async () => {
    const user = { role: 'user', content: 'Tell me a long story. '.repeat(20) };
    const first = await said(
      await chat(at.sim, { messages: [user], max_tokens: 50, ignore_eos: true, temperature: 0 }),
    );
    const answer = { role: 'assistant', content: first.choices[0]!.message.content };
    const messages = [user, answer, { role: 'user', content: 'Go on.' }];
    const second = await said(await chat(at.sim, { messages, max_tokens: 5 }));
    expect(first.usage.prompt_tokens_details.cached_tokens).toBe(0);
    expect(second.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(first.usage.prompt_tokens);
  });

  test('tokens count in all metrics that tell of them', async () => {
    const names = ['prompt_tokens_total', 'generation_tokens_total', 'request_success_total'];
    const before = await Promise.all(names.map((name) => metric(at.sim, name)));
    const { usage } = await said(await chat(at.sim, { max_tokens: 9, ignore_eos: true }));
    const after = await Promise.all(names.map((name) => metric(at.sim, name)));
    expect(after.map((value, index) => value - before[index]!)).toEqual([usage.prompt_tokens, 9, 1]);
    expect(await metric(at.sim, 'time_to_first_token_seconds_count')).toBe(after[2]);
  });
});

describe('a client that leaves', () => {
  test.each([true, false])('L26 ends its request and frees its blocks; stream: %s', async (stream) => {
    const sim = await startEngineSim({ paceMs: 2, models: ['m'] });
    const leaving = new AbortController();
    const body = { max_tokens: 5000, ignore_eos: true, stream, n: 2 };
    const left = chat(sim, body, { signal: leaving.signal })
      .then((response) => response.text())
      .catch((error: unknown) => (error as Error).name);
    await eventually(async () => expect(await metric(sim, 'num_requests_running')).toBe(2));
    leaving.abort();
    expect(await left).toBe('AbortError');
    await eventually(async () => expect(await metric(sim, 'num_requests_running')).toBe(0));
    expect(await metric(sim, 'request_success_total', 'abort')).toBe(2);
    expect(await metric(sim, 'kv_cache_usage_perc')).toBe(0);
    await sim.stop();
  });
});

describe('adapters', () => {
  const at = started();

  test('serve under their name, have their own prefixes, show in metrics, and end with unload', async () => {
    const load = { lora_name: 'l0', lora_path: '/adapters/l0' };
    expect((await post(at.sim, '/v1/load_lora_adapter', load)).status).toBe(200);
    const body = { temperature: 0, max_tokens: 20, ignore_eos: true };
    const base = await said(await chat(at.sim, body));
    const adapted = await said(await chat(at.sim, { ...body, model: 'l0' }));
    expect(adapted.model).toBe('l0');
    expect(adapted.choices[0]!.message.content).not.toBe(base.choices[0]!.message.content);
    const asked = chat(at.sim, { ...body, model: 'l0', max_tokens: 4000 });
    await eventually(async () =>
      expect(await metric(at.sim, 'lora_requests_info', 'adapters="l0"')).toBeGreaterThan(0),
    );
    await (await asked).text();
    expect((await post(at.sim, '/v1/unload_lora_adapter', { lora_name: 'l0' })).status).toBe(200);
    expect((await chat(at.sim, { ...body, model: 'l0' })).status).toBe(404);
  });
});

describe('sleep and pause', () => {
  const at = started();

  test('a sleeping engine answers nobody, looks idle, and serves after waking', async () => {
    await post(at.sim, '/sleep?level=1');
    const asked = chat(at.sim, { max_tokens: 3 });
    let answered = false;
    void asked.then(() => (answered = true));
    await eventually(async () => {
      const { server_load: load } = (await (await fetch(`${at.sim.url}/load`)).json()) as { server_load: number };
      expect(load).toBe(1);
    });
    expect(await metric(at.sim, 'num_requests_waiting')).toBe(0);
    expect((await fetch(`${at.sim.url}/health`)).status).toBe(200);
    expect(await metric(at.sim, 'engine_sleep_state', 'weights_offloaded')).toBe(1);
    expect(answered).toBe(false);
    await post(at.sim, '/wake_up');
    expect((await asked).status).toBe(200);
  });

  test.each([
    ['abort', 'abort'],
    ['keep', 'length'],
    ['wait', 'length'],
  ])('a pause by %s ends what runs by %s', async (mode, reason) => {
    const asked = chat(at.sim, { max_tokens: 3000, ignore_eos: true });
    await eventually(async () => expect(await metric(at.sim, 'num_requests_running')).toBe(1));
    await post(at.sim, `/pause?mode=${mode}`);
    expect(await (await fetch(`${at.sim.url}/is_paused`)).json()).toEqual({ is_paused: true });
    expect(await metric(at.sim, 'num_requests_running')).toBe(0);
    await post(at.sim, '/resume');
    expect((await said(await asked)).choices[0]!.finish_reason).toBe(reason);
  });
});

describe('hand-over between prefill and decode', () => {
  const prefill = started({ kvTransfer: true, host: '0.0.0.0' });
  const decode = started({ kvTransfer: true });
  const content = 'Tell me a long story. '.repeat(20);
  const body = { messages: [{ role: 'user', content }], temperature: 0 };
  const remote = { do_remote_decode: true, do_remote_prefill: false };

  test('the decode side goes on with the blocks of the prefill side and says the same', async () => {
    const first = await said(await chat(prefill.sim, { ...body, max_tokens: 1, kv_transfer_params: remote }));
    expect(first.kv_transfer_params).toMatchObject({ remote_host: '127.0.0.1', remote_port: prefill.sim.port });
    expect(await metric(prefill.sim, 'kv_cache_usage_perc')).toBeGreaterThan(0);
    const request = { ...body, max_tokens: 9, ignore_eos: true };
    const second = await said(await chat(decode.sim, { ...request, kv_transfer_params: first.kv_transfer_params }));
    expect(second.usage.prompt_tokens_details.cached_tokens).toBe(0);
    expect(await metric(decode.sim, 'external_prefix_cache_hits_total')).toBe(first.usage.prompt_tokens - 1);
    expect(await metric(prefill.sim, 'kv_cache_usage_perc')).toBe(0);
    expect(await textOf(await chat(prefill.sim, request))).toBe(second.choices[0]!.message.content);
  });

  test('KV that is gone, or a dead prefill engine, is an error of the decode side', async () => {
    const first = await said(await chat(prefill.sim, { ...body, max_tokens: 1, kv_transfer_params: remote }));
    const params = first.kv_transfer_params!;
    expect((await chat(decode.sim, { ...body, kv_transfer_params: params })).status).toBe(200);
    expect((await chat(decode.sim, { ...body, kv_transfer_params: params })).status).toBe(500);
    expect((await chat(decode.sim, { ...body, kv_transfer_params: { ...params, remote_port: 1 } })).status).toBe(500);
  });
});

describe('embeddings', () => {
  const at = started({ runner: 'pooling' });

  test('base64 holds the same numbers; equal texts have equal vectors', async () => {
    const ask = async (body: Body): Promise<{ data: { embedding: unknown }[] }> =>
      (await (await post(at.sim, '/v1/embeddings', { model: 'm', ...body })).json()) as never;
    const [one, again, other] = (await ask({ input: ['a', 'a', 'b'] })).data.map(
      ({ embedding }) => embedding as number[],
    );
    expect(one).toEqual(again);
    expect(one).not.toEqual(other);
    const encoded = (await ask({ input: 'a', encoding_format: 'base64' })).data[0]!.embedding as string;
    const bytes = Buffer.from(encoded, 'base64');
    expect(one!.map((_, index) => bytes.readFloatLE(index * 4))).toEqual(one);
  });
});

describe('instant', () => {
  const at = started({ instant: true });

  test('answers a constant, whole or as a stream; the rest as ever', async () => {
    const whole = await textOf(await chat(at.sim));
    const stream = await (await chat(at.sim, { stream: true })).text();
    const pieces = [...stream.matchAll(/"content":("[^"]*")/g)].map((match) => JSON.parse(match[1]!) as string);
    expect(pieces.join('')).toBe(whole);
    expect(stream.endsWith('data: [DONE]\n\n')).toBe(true);
    expect(await (await fetch(`${at.sim.url}/v1/models`)).json()).toMatchObject({ data: [{ id: 'm' }] });
  });
});
