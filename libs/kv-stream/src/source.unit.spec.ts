import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { isPolled, kvSourceOf } from '#libs/kv-stream';

const { VLLM, SGLANG, TENSORRT_LLM } = route.EngineKind;
const sourceOf = (labels: Record<string, string>, engine = VLLM, rank?: number): ReturnType<typeof kvSourceOf> =>
  kvSourceOf(
    create(route.ReplicaRegisteredSchema, {
      replicaId: 'a',
      url: 'http://gpu-1:8000',
      engine,
      labels,
      ...(rank === undefined ? {} : { dataParallelSize: 4, dataParallelRank: rank }),
    }),
  );

describe('where the KV events of a replica are to be had', () => {
  test.each([
    ['nothing said', {}, VLLM, undefined],
    ['off', { 'lintel.kv-events': 'off' }, VLLM, undefined],
    ["vLLM's ports", { 'lintel.kv-events': 'on' }, VLLM, ['tcp://gpu-1:5557', 'tcp://gpu-1:5558']],
    ["AIBrix's label", { 'model.aibrix.ai/kv-events-enabled': 'true' }, VLLM, ['tcp://gpu-1:5557', 'tcp://gpu-1:5558']],
    ['SGLang', { 'lintel.kv-events': 'tcp://gpu-1:6000' }, SGLANG, ['tcp://gpu-1:6000', undefined]],
    ['TensorRT-LLM', { 'lintel.kv-events': 'on' }, TENSORRT_LLM, ['http://gpu-1:8000/kv_cache_events', undefined]],
    ['any address', { 'lintel.kv-events': 'http://gpu-1:9/kv' }, VLLM, ['http://gpu-1:9/kv', undefined]],
  ])('%s', (_, labels, engine, wanted) => {
    const source = sourceOf(labels as Record<string, string>, engine);
    expect(source === undefined ? undefined : [source.endpoint, source.replay]).toEqual(wanted);
    if (source !== undefined) expect(isPolled(source)).toBe(source.endpoint.startsWith('http'));
  });

  test("a rank's sockets are as many ports further", () => {
    expect(sourceOf({ 'lintel.kv-events': 'on' }, VLLM, 3)).toMatchObject({
      endpoint: 'tcp://gpu-1:5560',
      replay: 'tcp://gpu-1:5561',
    });
  });

  test.each([
    [{ 'lintel.kv-events': 'gpu-1:5557' }, 'no socket'],
    [{ 'lintel.kv-events': 'tcp://gpu-1:70000' }, 'no socket'],
    [{ 'lintel.kv-events': 'on', 'lintel.kv-block-tokens': '0' }, 'no number of tokens'],
  ])('%j is refused', (labels, why) => {
    expect(() => sourceOf(labels as Record<string, string>)).toThrow(why);
  });
});
