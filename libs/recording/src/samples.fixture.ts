import { CandidateTable, compilePipeline, resolveStrategy, canonicalJson, pipelineHash } from '#libs/scheduling';
import type { CapturedPick, PipelineRef, RecordInput } from './record-input.ts';
import { capturePick } from './record-input.ts';

const features = {
  bodyBytes: 812,
  promptTokens: 190,
  promptTokensExact: false,
  maxTokens: 256,
  sessionHash: 0xfedcba98,
  prefixBlocks: 6,
  sloTtftMs: 1200,
  sloTpotMs: 35,
};

/** A pick among so many replicas, one of which keeps silent. */
export function samplePick(candidates: number, strategy = 'prefix-cache', seed = 7): CapturedPick {
  const spec = resolveStrategy(strategy);
  const pipeline: PipelineRef = {
    hash: pipelineHash(spec),
    json: canonicalJson(spec),
    strategy,
    policyId: 'default',
    policyVersion: 3,
    policySeq: 41,
  };
  const compiled = compilePipeline(spec);
  const table = new CandidateTable();
  for (let i = 0; i < candidates; i++) {
    const index = table.add(`replica-${i}`);
    table.set(index, 'inflight', (i * 7) % 5);
    table.set(index, 'prefixBlocks', i % 4);
    if (i !== 1) table.set(index, 'kvUse', (i % 10) / 10, 120 + i);
    if (strategy === 'pd') {
      table.set(index, 'roles', i % 3 === 0 ? 1 : 2);
      table.set(index, 'pairGroup', 1);
    }
  }
  return capturePick(compiled, pipeline, table, seed, compiled.decide(features, table, seed));
}

export function sampleRecord(picks: readonly CapturedPick[], given: Partial<RecordInput> = {}): RecordInput {
  return {
    requestId: '0f8fad5b-d9cb-469f-a165-70867728950e',
    receivedAtMs: 1_790_000_000_123.5,
    tenantId: 'local',
    keyId: 'local',
    endUser: '',
    endpoint: '/v1/chat/completions',
    model: 'tiny-model',
    adapter: '',
    stream: true,
    features,
    picks,
    attempts: picks.map(({ replicaIds, chosen }, pick) => ({
      replicaId: replicaIds[chosen] ?? 'none',
      pick,
      startMs: 0.4,
      firstByteMs: 21.5,
      endMs: 180.25,
      end: 1,
      httpStatus: 200,
      error: '',
    })),
    outcome: 1,
    httpStatus: 200,
    errorCode: '',
    timings: {
      bodyReadMs: 0.2,
      pickedMs: 0.3,
      firstByteMs: 21.5,
      totalMs: 180.25,
      pickUs: 3.1,
      tokenSpanMs: 150,
      tokenGaps: 31,
      tokenGapMsMax: 9.5,
      queuedMs: 3.25,
    },
    usage: { promptTokens: 188, completionTokens: 32, cachedTokens: 64, fromEngine: true },
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    heads: { replicas: 12, policies: 9, tenants: 0 },
    errorMessage: '',
    profile: 'default',
    ...given,
  };
}
