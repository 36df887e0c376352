import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { lintel } from './lintel-process.ts';
import type { SideStart } from './pd-pair.ts';
import { endPair, freePort, PdPair, textOf, waysOf } from './pd-pair.ts';
import { controlEngine, metricOf, vllmEngines } from './vllm.ts';

/** One end of a NIXL connection. */
const side = async (role: 'kv_producer' | 'kv_consumer'): Promise<SideStart> => ({
  transfer: { kv_connector: 'NixlConnector', kv_role: role, kv_buffer_device: 'cpu' },
  env: {
    VLLM_NIXL_SIDE_CHANNEL_HOST: '127.0.0.1',
    VLLM_NIXL_SIDE_CHANNEL_PORT: String(await freePort()),
    UCX_TLS: 'tcp,self,sm',
  },
});

(vllmEngines.length === 0 ? describe.skip : describe)('two real vLLMs that hand KV over by NIXL', () => {
  let pair: PdPair;

  beforeAll(async () => {
    pair = await PdPair.start('nixl', { prefill: await side('kv_producer'), decode: await side('kv_consumer') });
  }, 240_000);
  afterAll(async () => {
    await pair?.end();
    await endPair();
  }, 60_000);

  test('the text is that of one engine, the transfer is counted on both sides, and why tells both choices', async () => {
    const before = await metricOf(pair.decode, 'vllm:nixl_xfer_time_seconds_count');
    const expected = await pair.direct('One');
    const answer = await pair.ask('One');
    expect(await textOf(answer)).toBe(expected);
    expect([answer.headers.get('prefill-target-pod'), answer.headers.get('target-pod')]).toEqual(['prefill', 'decode']);
    expect(await metricOf(pair.decode, 'vllm:nixl_xfer_time_seconds_count')).toBe(before + 1);
    expect(await metricOf(pair.decode, 'vllm:external_prefix_cache_hits_total')).toBeGreaterThan(1_000);
    const told = await pair.why(answer);
    expect(told.picks).toMatchObject([{ chosen: 'decode', partner: 'prefill' }]);
    expect(waysOf(told)).toEqual(['prefill answered', 'decode answered']);
    expect(told.handover).toMatchObject({ connector: 'nixl' });
    expect(told.usage).toMatchObject({ completionTokens: 16, fromEngine: true });
    const streamed = await (await pair.ask('Two', { stream: true })).text();
    const words = [...streamed.matchAll(/"content":("(?:[^"\\]|\\.)*")/g)].map(
      ([, word]) => JSON.parse(word!) as string,
    );
    expect(words.join('')).toBe(await pair.direct('Two'));
    const metrics = await (await fetch(`${pair.running.gatewayUrl}/metrics`)).text();
    expect(metrics).toMatch(/lintel_gateway_pd_transferred_tokens_total\{[^}]*\} \d{3,}/);
    const verified = await lintel(pair.home, 'replay', '--verify');
    expect([verified.code, verified.output]).toEqual([0, expect.any(String)]);
  }, 120_000);

  test('the decode side is killed while it answers: the stream ends with an error, and the next request is answered', async () => {
    const answer = await pair.ask('Three', { stream: true, max_tokens: 1_500, ignore_eos: true });
    const reader = answer.body!.getReader();
    await reader.read();
    await controlEngine('kill', 'pd-decode');
    let rest = '';
    for (let part = await reader.read(); !part.done; part = await reader.read())
      rest += String(Buffer.from(part.value));
    expect(rest).toContain('"code":"upstream_broken"');
    expect(waysOf(await pair.why(answer))).toEqual(['prefill answered', 'decode broken_stream']);
    // Nobody is left but the prefill side, which does all of it.
    const next = await pair.ask('Four');
    expect([next.status, await textOf(next)]).toEqual([200, await pair.direct('Four')]);
    await controlEngine('start', 'pd-decode');
    await pair.ready();
  }, 180_000);

  test('the prefill side is killed while it computes: the client gets the whole answer from the decode side', async () => {
    const expected = await pair.direct('Five');
    const asked = pair.ask('Five');
    await controlEngine('kill', 'pd-prefill');
    const answer = await asked;
    expect([answer.status, await textOf(answer)]).toEqual([200, expected]);
    const told = await pair.why(answer);
    expect(told.outcome).toBe('completed');
    expect(told.attempts.at(-1)).toMatchObject({ replicaId: 'decode', end: 'answered' });
    // It is known to be gone now.
    const next = await pair.ask('Six');
    expect([next.status, next.headers.get('prefill-target-pod')]).toEqual([200, null]);
    expect(await textOf(next)).toBe(await pair.direct('Six'));
  }, 180_000);
});
