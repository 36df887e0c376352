import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { eventually } from '#libs/testkit';
import { type Lintel, lintel, removeFolder, startLintel, temporaryFolder } from './lintel-process.ts';
import type { VllmEngine } from './vllm.ts';
import { controlEngine, metricOf, python, vllmAdapters, vllmEngines } from './vllm.ts';

const model = 'tiny';
const prompt = 'The quick brown fox jumps over the lazy dog. ';
/** The gateway asks each replica for its models every 5 s. */
const modelsSeenMsMax = 15_000;
const longPrompt = prompt.repeat(12);

interface Why {
  readonly request: {
    readonly answeredBy: string | null;
    readonly outcome: string;
    readonly model: string;
    readonly usage: { readonly cachedTokens: number; readonly fromEngine: boolean } | null;
    readonly attempts: readonly { readonly replicaId: string; readonly end: string }[];
    readonly picks: readonly {
      readonly candidates: readonly {
        readonly replicaId: string;
        readonly inputs: Readonly<Record<string, { value: number | null; ageMs: number | null }>>;
      }[];
    }[];
  };
}

const pythonClient = `
import json, sys
from openai import OpenAI, NotFoundError
client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
text, usage = "", None
for chunk in client.chat.completions.create(model="tiny", stream=True, max_tokens=12, temperature=0,
        stream_options={"include_usage": True}, messages=[{"role": "user", "content": "Hello from Python"}]):
    if chunk.choices: text += chunk.choices[0].delta.content or ""
    if chunk.usage: usage = chunk.usage.total_tokens
whole = client.chat.completions.create(model="tiny", max_tokens=12, temperature=0,
        messages=[{"role": "user", "content": "Hello from Python"}])
try:
    client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "x"}])
    refused = None
except NotFoundError as error:
    refused = error.code
print(json.dumps({"streamed": text, "whole": whole.choices[0].message.content, "usage": usage,
        "models": [m.id for m in client.models.list()], "refused": refused}))
`;

(vllmEngines.length === 0 ? describe.skip : describe)('the gateway before two real vLLMs', () => {
  const [first, second] = vllmEngines as readonly [VllmEngine, VllmEngine];
  let folder: string;
  let home: string;
  let running: Lintel;
  let client: OpenAI;
  const idOf = ({ url }: VllmEngine): string => `engine-127-0-0-1-${new URL(url).port}`;
  const why = async (id: string): Promise<Why['request']> =>
    (JSON.parse((await lintel(home, 'why', id, '--json')).output) as Why).request;

  beforeAll(async () => {
    folder = await temporaryFolder();
    home = join(folder, 'home');
    running = await startLintel(
      home,
      vllmEngines.flatMap(({ url }) => ['--engine', url]),
    );
    client = new OpenAI({ baseURL: `${running.gatewayUrl}/v1`, apiKey: running.apiKey, maxRetries: 0 });
  }, 120_000);
  afterAll(async () => {
    await running?.program.end();
    await removeFolder(folder);
  });

  test('says which engine it found and its models', async () => {
    expect(running.program.output).toMatch(/vllm/i);
    const models = await client.models.list();
    expect(models.data.map(({ id }) => id)).toContain(model);
  });

  test('a chat is the same through the gateway as asked directly, streamed or whole', async () => {
    const direct = new OpenAI({ baseURL: `${first.url}/v1`, apiKey: 'none' });
    const body = {
      model,
      max_tokens: 16,
      temperature: 0,
      messages: [{ role: 'user' as const, content: 'Tell me about prefix caches.' }],
    };
    const expected = (await direct.chat.completions.create(body)).choices[0]?.message.content;
    const whole = await client.chat.completions.create(body);
    expect(whole.choices[0]?.message.content).toBe(expected);
    let text = '';
    let usage = 0;
    const stream = await client.chat.completions.create({
      ...body,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage?.completion_tokens ?? usage;
    }
    expect(text).toBe(expected);
    expect(usage).toBe(whole.usage?.completion_tokens);
  });

  test("an error of the engine's own reaches the client byte for byte", async () => {
    const body = JSON.stringify({ model, max_tokens: -1, messages: [{ role: 'user', content: 'x' }] });
    const ask = async (url: string): Promise<{ status: number; text: string }> => {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${running.apiKey}` };
      const answer = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body });
      return { status: answer.status, text: await answer.text() };
    };
    expect(await ask(running.gatewayUrl)).toEqual(await ask(first.url));
  });

  test('the official Python client works unchanged', async () => {
    const said = (await python(pythonClient, [`${running.gatewayUrl}/v1`, running.apiKey])) as Record<string, unknown>;
    expect(said).toMatchObject({ refused: 'model_not_found', models: expect.arrayContaining([model]) });
    expect(said['streamed']).toBe(said['whole']);
    expect(said['usage']).toBeGreaterThan(0);
  });

  test("a conversation stays where its prefix is, and the engine's own count proves it", async () => {
    const ask = async (turn: string): Promise<string> => {
      const { response } = await client.chat.completions
        .create({ model, max_tokens: 4, messages: [{ role: 'user', content: `${longPrompt}${turn}` }] })
        .withResponse();
      return response.headers.get('x-lintel-request-id') ?? '';
    };
    const before = await why(await ask('One.'));
    const after = await why(await ask('Two.'));
    expect(after.answeredBy).toBe(before.answeredBy);
    expect(after.usage).toMatchObject({ fromEngine: true });
    expect(after.usage?.cachedTokens).toBeGreaterThan(0);
    const chosen = after.picks[0]?.candidates.find(({ replicaId }) => replicaId === after.answeredBy);
    expect(chosen?.inputs['prefixBlocks']?.value).toBeGreaterThan(0);
  });

  test('what the engines say of their load stands in the decision with its age', async () => {
    const { response } = await client.chat.completions
      .create(
        { model, max_tokens: 4, messages: [{ role: 'user', content: 'load' }] },
        { headers: { 'routing-strategy': 'least-kv-cache' } },
      )
      .withResponse();
    const { picks } = await why(response.headers.get('x-lintel-request-id') ?? '');
    expect(picks[0]?.candidates).toHaveLength(2);
    for (const { inputs } of picks[0]?.candidates ?? []) {
      expect(inputs['kvUse']?.value).toBeGreaterThanOrEqual(0);
      expect(inputs['kvUse']?.ageMs).toBeGreaterThan(0);
    }
  });

  test('a client that leaves ends its request on the engine at once', async () => {
    const leaving = new AbortController();
    const stream = await client.chat.completions.create(
      {
        model,
        stream: true,
        max_tokens: 3000,
        messages: [{ role: 'user', content: 'go on' }],
      },
      { signal: leaving.signal },
    );
    const chunks = stream[Symbol.asyncIterator]();
    await chunks.next();
    const runs = async (): Promise<number> =>
      (await metricOf(first, 'vllm:num_requests_running')) + (await metricOf(second, 'vllm:num_requests_running'));
    await eventually(async () => expect(await runs()).toBe(1));
    leaving.abort();
    await eventually(async () => expect(await runs()).toBe(0));
  });

  test('an adapter loaded on one engine gets its requests there', async () => {
    const [name, path] = Object.entries(vllmAdapters)[0] as [string, string];
    const call = async (what: string, body: object): Promise<number> =>
      (
        await fetch(`${second.url}/v1/${what}_lora_adapter`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        })
      ).status;
    expect(await call('load', { lora_name: name, lora_path: path })).toBe(200);
    await eventually(async () => {
      expect((await client.models.list()).data.map(({ id }) => id)).toContain(name);
    }, modelsSeenMsMax);
    const { response } = await client.chat.completions
      .create({ model: name, max_tokens: 4, messages: [{ role: 'user', content: 'adapter' }] })
      .withResponse();
    const record = await why(response.headers.get('x-lintel-request-id') ?? '');
    expect(record).toMatchObject({ answeredBy: idOf(second), outcome: 'completed', model: name });
    expect(await call('unload', { lora_name: name })).toBe(200);
  });

  test('an engine killed under load costs no client an error before its first byte', async () => {
    const stopping = new AbortController();
    const failed: string[] = [];
    let done = 0;
    const one = async (index: number): Promise<void> => {
      while (!stopping.signal.aborted) {
        try {
          await client.chat.completions.create({
            model,
            max_tokens: 4,
            messages: [{ role: 'user', content: `Request ${index} ${done}` }],
          });
          done++;
        } catch (error) {
          failed.push(String(error));
        }
      }
    };
    const clients = Array.from({ length: 6 }, (_, index) => one(index));
    await eventually(() => expect(done).toBeGreaterThan(10));
    await controlEngine('kill', second.name);
    const atKill = done;
    await eventually(() => expect(done).toBeGreaterThan(atKill + 30));
    stopping.abort();
    await Promise.all(clients);
    expect(failed).toEqual([]);
    await controlEngine('start', second.name);
    await eventually(async () => {
      const { output } = await lintel(home, 'get', 'replicas', '--json');
      const { items } = JSON.parse(output) as { items: { replicaId: string; live: { healthy: boolean } | null }[] };
      expect(items.find(({ replicaId }) => replicaId === idOf(second))).toMatchObject({ live: { healthy: true } });
    });
  }, 120_000);

  test('every decision of this suite decides the same again', async () => {
    expect(await lintel(home, 'replay', '--since', '1h', '--verify')).toMatchObject({ code: 0 });
    expect(await lintel(home, 'verify', '--projections')).toMatchObject({ code: 0 });
  });
});
