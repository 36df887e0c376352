import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { eventually } from '#libs/testkit';
import { type Lintel, lintel, removeFolder, startLintel, temporaryFolder } from './lintel-process.ts';
import { controlEngine, metricOf, vllmEngines } from './vllm.ts';

interface Why {
  readonly request: {
    readonly outcome: string;
    readonly usage: { readonly promptTokens: number; readonly completionTokens: number; readonly fromEngine: boolean };
    readonly attempts: readonly {
      readonly replicaId: string;
      readonly end: string;
      readonly error: string;
      readonly hedge: boolean;
    }[];
  };
}

(vllmEngines.length === 0 ? describe.skip : describe)('streams before two real vLLMs', () => {
  let folder: string;
  let home: string;
  let running: Lintel;
  let client: OpenAI;
  /** Whole words alone may be said: however a text is cut into tokens, it is cut the same way again. */
  let words: number[];
  const why = async (id: string | null): Promise<Why['request']> =>
    (JSON.parse((await lintel(home, 'why', id ?? '', '--json')).output) as Why).request;

  beforeAll(async () => {
    words = await wholeWords();
    folder = await temporaryFolder();
    home = join(folder, 'home');
    const file = join(folder, 'lintel.yaml');
    const replicas = vllmEngines.map(({ name, url }) => ({ id: name, url }));
    const profiles = {
      default: { strategy: 'round-robin', routingConfig: { continuation: { completions: true } } },
      fast: { strategy: 'round-robin', routingConfig: { hedge: { delayMs: 1, budget: 1 } } },
    };
    await writeFile(file, JSON.stringify({ replicas, policies: [{ id: 'p', models: ['*'], profiles }] }));
    running = await startLintel(home, ['--config', file]);
    client = new OpenAI({ baseURL: `${running.gatewayUrl}/v1`, apiKey: running.apiKey, maxRetries: 0 });
  }, 120_000);
  afterAll(async () => {
    await running?.program.end();
    await removeFolder(folder);
  }, 60_000);

  /** Tokens that are a space and a word, and that the tokenizer makes of that text again. */
  async function wholeWords(): Promise<number[]> {
    const { url } = vllmEngines[0]!;
    const post = async <T>(path: string, body: object): Promise<T> => {
      const headers = { 'content-type': 'application/json' };
      const answer = await fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
      return (await answer.json()) as T;
    };
    const found: number[] = [];
    const look = async (id: number): Promise<void> => {
      const { prompt } = await post<{ prompt: string }>('/detokenize', { model: 'tiny', tokens: [id] });
      if (!/^ [a-z]{3,}$/.test(prompt)) return;
      const again = { model: 'tiny', prompt, add_special_tokens: false };
      const { tokens } = await post<{ tokens: number[] }>('/tokenize', again);
      if (tokens.length === 1 && tokens[0] === id) found.push(id);
    };
    for (let id = 256; id < 512; id += 32) await Promise.all(Array.from({ length: 32 }, (_, next) => look(id + next)));
    return found;
  }

  test('a stream whose engine is killed goes on with the other one: the same text as unbroken, and the record says so', async () => {
    expect(words.length).toBeGreaterThan(20);
    const maxTokens = 600;
    const ask = {
      model: 'tiny',
      prompt: 'Tell me about the river',
      temperature: 0,
      max_tokens: maxTokens,
      stream: true as const,
      stream_options: { include_usage: true },
      ignore_eos: true,
      allowed_token_ids: words,
    };
    const tell = async (atText: (text: string) => Promise<void>): Promise<[string, number, number, string | null]> => {
      const { data: stream, response } = await client.completions.create(ask).withResponse();
      let text = '';
      let usage: OpenAI.CompletionUsage | undefined;
      const ids = new Set<string>();
      for await (const chunk of stream) {
        ids.add(chunk.id);
        text += chunk.choices[0]?.text ?? '';
        usage = chunk.usage ?? usage;
        await atText(text);
      }
      expect(ids.size).toBe(1);
      return [
        text,
        usage?.prompt_tokens ?? 0,
        usage?.completion_tokens ?? 0,
        response.headers.get('x-lintel-request-id'),
      ];
    };
    const [unbroken, promptTokens, completionTokens] = await tell(async () => undefined);
    expect(completionTokens).toBe(maxTokens);
    expect(new Set(unbroken.split(' ')).size).toBeGreaterThan(5);

    let killed: string | undefined;
    const [text, prompt, completion, id] = await tell(async (soFar) => {
      if (killed !== undefined || soFar.length < 200) return;
      killed = '';
      for (const engine of vllmEngines) {
        if ((await metricOf(engine, 'vllm:num_requests_running')) > 0) killed = engine.name;
      }
      expect(killed).not.toBe('');
      await controlEngine('kill', killed);
    });
    expect(text).toBe(unbroken);
    expect([prompt, completion]).toEqual([promptTokens, completionTokens]);
    const told = await why(id);
    const other = vllmEngines.find(({ name }) => name !== killed)!.name;
    expect(told).toMatchObject({
      outcome: 'completed',
      attempts: [
        { replicaId: killed, end: 'broken_stream' },
        { replicaId: other, end: 'answered', error: expect.stringMatching(/^went on after \d+ tokens$/) },
      ],
      usage: { promptTokens, completionTokens, fromEngine: true },
    });
    const metrics = await (await fetch(`${running.gatewayUrl}/metrics`)).text();
    expect(metrics).toMatch(/^lintel_gateway_continuations_total(?:\{[^}]*\})? 1$/m);
    await controlEngine('start', killed!);
    await eventually(async () => {
      const { output } = await lintel(home, 'get', 'replicas', '--json');
      const { items } = JSON.parse(output) as { items: { live: { healthy: boolean } | null }[] };
      expect(items.map(({ live }) => live?.healthy)).toEqual([true, true]);
    }, 30_000);
  }, 120_000);

  test('a stream whose first byte is late is asked of the other engine, too; the one that loses ends there', async () => {
    const { data: stream, response } = await client.completions
      .create(
        { model: 'tiny', prompt: 'a story of water and stone. '.repeat(150), max_tokens: 4, stream: true },
        { headers: { 'config-profile': 'fast' } },
      )
      .withResponse();
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0]?.text ?? '';
    expect(text).not.toBe('');
    const { attempts, outcome } = await why(response.headers.get('x-lintel-request-id'));
    expect(outcome).toBe('completed');
    expect(attempts.map(({ hedge }) => hedge).sort()).toEqual([false, true]);
    expect(attempts.map(({ end }) => end).sort()).toEqual(['answered', 'hedge_lost']);
    await eventually(async () => {
      for (const engine of vllmEngines) expect(await metricOf(engine, 'vllm:num_requests_running')).toBe(0);
    });
  });
});
