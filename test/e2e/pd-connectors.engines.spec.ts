import { afterEach, describe, expect, test } from '@jest/globals';
import { lintel, removeFolder, temporaryFolder } from './lintel-process.ts';
import type { SideStart } from './pd-pair.ts';
import { endPair, freePort, PdPair, textOf, waysOf } from './pd-pair.ts';
import { metricOf, vllmEngines } from './vllm.ts';

/** One end of a NIXL connection whose prefill side writes into the decode side's memory. */
const pushing = async (role: 'kv_producer' | 'kv_consumer'): Promise<SideStart> => ({
  transfer: { kv_connector: 'NixlPushConnector', kv_role: role, kv_buffer_device: 'cpu' },
  env: {
    VLLM_NIXL_SIDE_CHANNEL_HOST: '127.0.0.1',
    VLLM_NIXL_SIDE_CHANNEL_PORT: String(await freePort()),
    UCX_TLS: 'tcp,self,sm',
  },
});

(vllmEngines.length === 0 ? describe.skip : describe)('real vLLMs hand KV over by other connectors', () => {
  let pair: PdPair | undefined;
  let storage = '';
  afterEach(async () => {
    await pair?.end();
    await endPair();
    pair = undefined;
    if (storage !== '') await removeFolder(storage);
  }, 60_000);

  /** The text of one engine, both sides asked, and the decode side had the prompt's KV from elsewhere. */
  async function handsOver(connector: string, about: string): Promise<void> {
    const { decode, home } = pair!;
    const expected = await pair!.direct(about);
    const before = await metricOf(decode, 'vllm:external_prefix_cache_hits_total');
    const answer = await pair!.ask(about);
    expect([answer.status, await textOf(answer)]).toEqual([200, expected]);
    expect([answer.headers.get('prefill-target-pod'), answer.headers.get('target-pod')]).toEqual(['prefill', 'decode']);
    expect(await metricOf(decode, 'vllm:external_prefix_cache_hits_total')).toBeGreaterThan(before + 500);
    const told = await pair!.why(answer);
    expect(told.picks).toMatchObject([{ chosen: 'decode', partner: 'prefill' }]);
    expect(waysOf(told)).toEqual(['prefill answered', 'decode answered']);
    expect(told.handover).toMatchObject({ connector });
    const verified = await lintel(home, 'replay', '--verify');
    expect([verified.code, verified.output]).toEqual([0, expect.any(String)]);
  }

  test('nixl-push: the prefill side writes', async () => {
    pair = await PdPair.start('nixl-push', {
      prefill: await pushing('kv_producer'),
      decode: await pushing('kv_consumer'),
    });
    const before = await metricOf(pair.prefill, 'vllm:nixl_xfer_time_seconds_count');
    await handsOver('nixl-push', 'One');
    await handsOver('nixl-push', 'Two');
    expect(await metricOf(pair.prefill, 'vllm:nixl_xfer_time_seconds_count')).toBeGreaterThan(before);
  }, 300_000);

  test('shared-storage: the decode side reads what the prefill side wrote', async () => {
    storage = await temporaryFolder();
    const side: SideStart = {
      transfer: {
        kv_connector: 'ExampleConnector',
        kv_role: 'kv_both',
        kv_connector_extra_config: { shared_storage_path: storage },
      },
    };
    pair = await PdPair.start('shared-storage', { prefill: side, decode: side });
    await handsOver('shared-storage', 'One');
    await handsOver('shared-storage', 'Two');
  }, 300_000);
});
