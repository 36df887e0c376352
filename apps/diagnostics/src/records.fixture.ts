import type { Broker } from '#libs/event-log';
import { systemClock, systemIds } from '#libs/kernel';
import type { CapturedPick, PipelineRef, RecordInput } from '#libs/recording';
import { capturePick, FrameBuilder } from '#libs/recording';
import { CandidateTable, canonicalJson, compilePipeline, pipelineHash, resolveStrategy } from '#libs/scheduling';

const features = {
  bodyBytes: 812,
  promptTokens: 190,
  promptTokensExact: false,
  maxTokens: 256,
  sessionHash: 77,
  prefixBlocks: 6,
  sloTtftMs: 0,
  sloTpotMs: 0,
};

export interface PolicyPlace {
  readonly policyId: string;
  readonly policyVersion: number;
  readonly policySeq: number;
}

const builtIn: PolicyPlace = { policyId: '', policyVersion: 0, policySeq: 0 };

/** A real pick by the scheduler, among replicas of which one does not tell its KV use. */
export function realPick(strategy: string, seed: number, place = builtIn, candidates = 4): CapturedPick {
  const spec = resolveStrategy(strategy);
  const pipeline: PipelineRef = { hash: pipelineHash(spec), json: canonicalJson(spec), strategy, ...place };
  const compiled = compilePipeline(spec);
  const table = new CandidateTable();
  for (let i = 0; i < candidates; i++) {
    table.add(`r${i}`);
    table.set(i, 'inflight', (i * 7 + seed) % 5);
    table.set(i, 'prefixBlocks', (i + seed) % 4);
    table.set(i, 'waiting', (i * 3 + seed) % 7, 40);
    if (i !== 1) table.set(i, 'kvUse', ((i + seed) % 10) / 10, 120 + i);
  }
  return capturePick(compiled, pipeline, table, seed, compiled.decide(features, table, seed));
}

export function recordOf(
  requestId: string,
  receivedAtMs: number,
  picks: readonly CapturedPick[],
  more: Partial<RecordInput> = {},
): RecordInput {
  return {
    requestId,
    receivedAtMs,
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
      endMs: 180,
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
      totalMs: 180,
      pickUs: 3,
      tokenSpanMs: 150,
      tokenGaps: 30,
      tokenGapMsMax: 9,
      queuedMs: 0,
    },
    usage: { promptTokens: 188, completionTokens: 32, cachedTokens: 64, fromEngine: true },
    traceparent: '',
    heads: { replicas: 2, policies: 1, tenants: 0 },
    errorMessage: '',
    profile: 'default',
    ...more,
  };
}

/** One gateway's frames, as its recorder writes them. */
export class FrameWriter {
  readonly #bootId = systemIds.uuid();
  #frameSeq = 0;

  constructor(
    private readonly broker: Broker,
    private readonly gatewayId = 'gw',
  ) {}

  async write(...records: RecordInput[]): Promise<number> {
    const builder = new FrameBuilder();
    for (const record of records) if (!builder.add(record)) throw new Error('a record does not fit');
    const frameSeq = ++this.#frameSeq;
    const { gatewayId } = this;
    const bytes = builder.finish({
      gatewayId,
      bootId: this.#bootId,
      frameSeq,
      closedAtMs: systemClock.nowMs(),
      dropped: 0,
    });
    return await this.publish(bytes, `${gatewayId}-${this.#bootId}-${frameSeq}`);
  }

  async publish(bytes: Uint8Array, msgId: string = systemIds.uuid()): Promise<number> {
    return (await this.broker.frames.publish(`lintel.rq.${this.gatewayId}`, msgId, bytes)).seq;
  }
}
