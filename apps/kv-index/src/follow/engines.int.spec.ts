import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { EventRegistry, route } from '#libs/contracts';
import type { RouteState } from '#libs/domain/route';
import { memoryBroker } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import { hashTokens } from '#libs/prefix-index';
import { eventually } from '#libs/testkit';
import { Engines } from './engines.ts';

/** trtllm-serve's KV events: each goes to whoever asks first. */
let waiting: object[];
let nextId: number;
const server = createServer((request, response) => {
  const known = request.method === 'POST' && request.url === '/kv_cache_events';
  response
    .writeHead(known ? 200 : 404, { 'content-type': 'application/json' })
    .end(known ? JSON.stringify(waiting.splice(0)) : '{}');
});
const tell = (data: object): number => waiting.push({ event_id: nextId++, data, window_size: 4096 });
const block = (hash: number, ids: number[]): object => ({
  type: 'stored_block',
  block_hash: hash,
  tokens: ids.map((id) => ({ type: 'unique_token', token_id: id, token_extra_id: 0 })),
  lora_id: null,
  cache_level: 0,
  priority: 35,
});

const broker = memoryBroker(systemEnvironment, new EventRegistry());
let made: Engines[];
const said: string[] = [];
const engines = (instance: string): Engines => {
  const one = new Engines({ broker, environment: systemEnvironment, instance, say: (line) => said.push(line) });
  made.push(one);
  one.start();
  return one;
};
const fleetOf = (labels: Record<string, string> = {}): RouteState => {
  const { port } = server.address() as AddressInfo;
  const registration = create(route.ReplicaRegisteredSchema, {
    replicaId: 'trt',
    url: `http://127.0.0.1:${port}`,
    engine: route.EngineKind.TENSORRT_LLM,
    labels: { 'lintel.kv-events': 'on', 'lintel.kv-block-tokens': '4', ...labels },
  });
  return { replicas: new Map([['trt', { registration }]]) } as unknown as RouteState;
};
const depth = (one: Engines): number => {
  const chain = hashTokens({ model: '' }, [1, 2, 3, 4, 5, 6, 7, 8], 4);
  return one.fold.index.matchMedia(chain, ['trt']).device[0] as number;
};
const exact = (one: Engines): boolean => one.fold.exact('trt', systemEnvironment.clock.monotonicMs());

beforeEach(async () => {
  [waiting, nextId, made, said.length] = [[], 0, [], 0];
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  for (const one of made) await one.stop();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

describe('an engine whose events are asked for over HTTP', () => {
  test('is exactly known from its start, and by who takes it over', async () => {
    const first = engines('kv-1');
    first.follow(fleetOf());
    tell({ type: 'created', num_blocks_per_cache_level: [10] });
    tell({ type: 'stored', parent_hash: null, blocks: [block(11, [1, 2, 3, 4]), block(12, [5, 6, 7, 8])] });
    await eventually(() => expect([depth(first), exact(first)]).toEqual([2, true]), 10_000);
    const second = engines('kv-2');
    second.follow(fleetOf());
    await eventually(() => expect(depth(second)).toBe(2));
    await first.stop();
    tell({ type: 'removed', block_hashes: [12] });
    await eventually(() => expect([depth(second), exact(second)]).toEqual([1, true]), 15_000);
    expect(said).toEqual([]);
  });

  test('what nobody could hand on is a gap', async () => {
    const one = engines('kv-1');
    one.follow(fleetOf());
    tell({ type: 'created', num_blocks_per_cache_level: [10] });
    await eventually(() => expect(exact(one)).toBe(true), 10_000);
    nextId += 3;
    tell({ type: 'stored', parent_hash: null, blocks: [block(11, [1, 2, 3, 4])] });
    await eventually(() => expect([depth(one), exact(one)]).toEqual([1, false]));
  });

  test('a label that says nothing usable is said, and nothing else suffers', () => {
    const one = engines('kv-1');
    one.follow(fleetOf({ 'lintel.kv-block-tokens': 'many' }));
    expect(one.followers.size).toBe(0);
    expect(said).toEqual([expect.stringContaining('"many" is no number of tokens in a block')]);
  });
});
