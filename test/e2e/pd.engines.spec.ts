import { writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '#libs/testkit';
import { type Lintel, lintel, removeFolder, startLintel, temporaryFolder } from './lintel-process.ts';
import type { VllmEngine } from './vllm.ts';
import { controlEngine, metricOf, startEngine, vllmEngines } from './vllm.ts';

const prompt = (about: string): string => `${about}: ${'the quick brown fox jumps over the lazy dog. '.repeat(60)}`;
const model = 'tiny';

interface Why {
  readonly request: {
    readonly picks: readonly { readonly chosen: string; readonly partner: string | null }[];
    readonly attempts: readonly { readonly replicaId: string; readonly role: string | null; readonly end: string }[];
    readonly handover: { readonly connector: string; readonly prefillMs: number; readonly transferMs: number } | null;
    readonly usage: { readonly promptTokens: number; readonly completionTokens: number; readonly fromEngine: boolean };
    readonly outcome: string;
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

(vllmEngines.length === 0 ? describe.skip : describe)('two real vLLMs that hand KV over by NIXL', () => {
  let folder: string;
  let home: string;
  let running: Lintel;
  let prefill: VllmEngine;
  let decode: VllmEngine;
  const plain = vllmEngines[0] as VllmEngine;

  /** A vLLM on the CPU with one end of a NIXL connection. */
  const side = async (name: string, role: 'kv_producer' | 'kv_consumer'): Promise<VllmEngine> =>
    await startEngine(name, {
      extraArgs: [
        '--kv-transfer-config',
        JSON.stringify({ kv_connector: 'NixlConnector', kv_role: role, kv_buffer_device: 'cpu' }),
      ],
      env: {
        VLLM_NIXL_SIDE_CHANNEL_HOST: '127.0.0.1',
        VLLM_NIXL_SIDE_CHANNEL_PORT: String(await freePort()),
        UCX_TLS: 'tcp,self,sm',
      },
    });

  const ask = async (about: string, more: object = {}, signal?: AbortSignal): Promise<Response> =>
    await fetch(`${running.gatewayUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${running.apiKey}` },
      body: body(about, more),
      ...(signal === undefined ? {} : { signal }),
    });
  const body = (about: string, more: object = {}): string =>
    JSON.stringify({
      model,
      temperature: 0,
      max_tokens: 16,
      ...more,
      messages: [{ role: 'user', content: prompt(about) }],
    });
  const textOf = async (answer: Response): Promise<string> =>
    ((await answer.json()) as { choices: { message: { content: string } }[] }).choices[0]!.message.content;
  const direct = async (about: string): Promise<string> =>
    await textOf(
      await fetch(`${plain.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: body(about),
      }),
    );
  const why = async (answer: Response): Promise<Why['request']> => {
    const id = answer.headers.get('x-lintel-request-id') ?? '';
    return (JSON.parse((await lintel(home, 'why', id, '--json')).output) as Why).request;
  };
  const ways = ({ attempts }: Why['request']): string[] => attempts.map(({ role, end }) => `${role} ${end}`);
  /** Until the gateway has seen both. */
  const ready = async (): Promise<void> =>
    await eventually(async () => {
      const answer = await ask(`Ready ${readyAsked++}`, { max_tokens: 1 });
      await answer.text();
      expect([answer.status, answer.headers.get('prefill-target-pod')]).toEqual([200, 'prefill']);
    }, 60_000);
  let readyAsked = 0;

  beforeAll(async () => {
    prefill = await side('pd-prefill', 'kv_producer');
    decode = await side('pd-decode', 'kv_consumer');
    folder = await temporaryFolder();
    home = join(folder, 'home');
    const file = join(folder, 'lintel.yaml');
    await writeFile(
      file,
      JSON.stringify({
        rolesets: [
          {
            name: 'a',
            models: [model],
            engine: 'vllm',
            connector: 'nixl',
            prefill: [{ id: 'prefill', url: prefill.url }],
            decode: [{ id: 'decode', url: decode.url }],
          },
        ],
        policies: [{ id: 'pd', models: ['*'], profiles: { default: { strategy: 'pd' } } }],
      }),
    );
    running = await startLintel(home, ['--config', file]);
    await ready();
  }, 240_000);
  afterAll(async () => {
    await running?.program.end();
    await removeFolder(folder);
    for (const { name } of [prefill, decode]) await controlEngine('kill', name).catch(() => undefined);
  }, 60_000);

  test('the text is that of one engine, the transfer is counted on both sides, and why tells both choices', async () => {
    const before = await metricOf(decode, 'vllm:nixl_xfer_time_seconds_count');
    const expected = await direct('One');
    const answer = await ask('One');
    expect(await textOf(answer)).toBe(expected);
    expect([answer.headers.get('prefill-target-pod'), answer.headers.get('target-pod')]).toEqual(['prefill', 'decode']);
    expect(await metricOf(decode, 'vllm:nixl_xfer_time_seconds_count')).toBe(before + 1);
    expect(await metricOf(decode, 'vllm:external_prefix_cache_hits_total')).toBeGreaterThan(1_000);
    const told = await why(answer);
    expect(told.picks).toMatchObject([{ chosen: 'decode', partner: 'prefill' }]);
    expect(ways(told)).toEqual(['prefill answered', 'decode answered']);
    expect(told.handover).toMatchObject({ connector: 'nixl' });
    expect(told.usage).toMatchObject({ completionTokens: 16, fromEngine: true });
    const streamed = await (await ask('Two', { stream: true })).text();
    const words = [...streamed.matchAll(/"content":("(?:[^"\\]|\\.)*")/g)].map(
      ([, word]) => JSON.parse(word!) as string,
    );
    expect(words.join('')).toBe(await direct('Two'));
    const metrics = await (await fetch(`${running.gatewayUrl}/metrics`)).text();
    expect(metrics).toMatch(/lintel_gateway_pd_transferred_tokens_total\{[^}]*\} \d{3,}/);
    const verified = await lintel(home, 'replay', '--verify');
    expect([verified.code, verified.output]).toEqual([0, expect.any(String)]);
  }, 120_000);

  test('the decode side is killed while it answers: the stream ends with an error, and the next request is answered', async () => {
    const answer = await ask('Three', { stream: true, max_tokens: 1_500, ignore_eos: true });
    const reader = answer.body!.getReader();
    await reader.read();
    await controlEngine('kill', 'pd-decode');
    let rest = '';
    for (let part = await reader.read(); !part.done; part = await reader.read())
      rest += String(Buffer.from(part.value));
    expect(rest).toContain('"code":"upstream_broken"');
    expect(ways(await why(answer))).toEqual(['prefill answered', 'decode broken_stream']);
    // Nobody is left but the prefill side, which does all of it.
    const next = await ask('Four');
    expect([next.status, await textOf(next)]).toEqual([200, await direct('Four')]);
    await controlEngine('start', 'pd-decode');
    await ready();
  }, 180_000);

  test('the prefill side is killed while it computes: the client gets the whole answer from the decode side', async () => {
    const expected = await direct('Five');
    const asked = ask('Five');
    await controlEngine('kill', 'pd-prefill');
    const answer = await asked;
    expect([answer.status, await textOf(answer)]).toEqual([200, expected]);
    const told = await why(answer);
    expect(told.outcome).toBe('completed');
    expect(told.attempts.at(-1)).toMatchObject({ replicaId: 'decode', end: 'answered' });
    // It is known to be gone now.
    const next = await ask('Six');
    expect([next.status, next.headers.get('prefill-target-pod')]).toEqual([200, null]);
    expect(await textOf(next)).toBe(await direct('Six'));
  }, 180_000);
});
