// Fills the streams of a bench with what real writers write: chained commits of many replicas, frames of decision records.
import { dist } from './_common.mjs';

const { emptyHead, prepareCommit } = await dist('event-log');
const { EventRegistry } = await dist('contracts');

const registry = new EventRegistry();
const atOnce = 512;

/** Commits of `aggregates` replicas in turn: registered, then drained and resumed for ever. Each extends its own chain. */
export function commitSource(aggregates, prefix = 'r') {
  const heads = Array.from({ length: aggregates }, () => emptyHead);
  let made = 0;
  return () => {
    const index = made++ % aggregates;
    const id = `${prefix}${index}`;
    const head = heads[index];
    const event =
      head.version === 0
        ? {
            type: 'ReplicaRegistered',
            data: {
              replicaId: id,
              url: `http://10.0.0.1:${8000 + index}`,
              metricsUrl: `http://10.0.0.1:${8000 + index}/metrics`,
              engine: 1,
              models: ['tiny-model'],
              labels: { zone: 'a' },
              source: 'bench',
            },
          }
        : head.version % 2 === 1
          ? { type: 'ReplicaDrained', data: { replicaId: id, reason: 'bench: makes room for the next version' } }
          : { type: 'ReplicaResumed', data: { replicaId: id, reason: 'bench: back again' } };
    const commit = prepareCommit({
      registry,
      subject: { context: 'route', aggregate: 'replica', id },
      commitId: `bench:${prefix}${made}:route.replica.${id}`,
      head,
      events: [event],
      context: { atMs: 1_790_000_000_000 + made, actor: 'bench:fill', correlationId: `flow-${made >> 4}` },
    });
    heads[index] = { seq: 0, version: commit.version, hash: commit.hash };
    return commit;
  };
}

/** `count` pieces of work, a bounded number at once. */
export async function inFlight(count, work, width = atOnce) {
  let next = 0;
  const worker = async () => {
    while (next < count) {
      next++;
      await work();
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** Appends `count` commits without the expectation of a sequence: this process is the only writer. Answers commits per second. */
export async function fillLog(link, count, next) {
  const { headers } = await import('@nats-io/transport-node');
  const fromMs = performance.now();
  await inFlight(count, async () => {
    const commit = next();
    const head = headers();
    head.set('Nats-Msg-Id', commit.commitId);
    head.set('Lintel-Version', String(commit.version));
    head.set('Lintel-Prev-Hash', commit.prevHash);
    head.set('Lintel-Hash', commit.hash);
    head.set('Lintel-Schema', String(commit.schemaLevel));
    const reply = await link.nc.request(commit.subject, commit.payload, { headers: head, timeout: 10_000 });
    const { error } = reply.json();
    if (error !== undefined) throw new Error(error.description);
  });
  return (count / (performance.now() - fromMs)) * 1000;
}

/** Makes decision records as the gateway does: a real pick among `candidates` replicas, an attempt, timings and usage. */
export async function recordSource(candidates = 3) {
  const { CandidateTable, canonicalJson, compilePipeline, pipelineHash, resolveStrategy } = await dist('scheduling');
  const { capturePick } = await dist('recording');
  const spec = resolveStrategy('prefix-cache');
  const compiled = compilePipeline(spec);
  const pipeline = {
    hash: pipelineHash(spec),
    json: canonicalJson(spec),
    strategy: spec.strategy,
    policyId: 'default',
    policyVersion: 3,
    policySeq: 41,
  };
  const features = {
    bodyBytes: 430,
    promptTokens: 108,
    promptTokensExact: false,
    maxTokens: 256,
    sessionHash: 7,
    prefixBlocks: 6,
    sloTtftMs: 0,
    sloTpotMs: 0,
  };
  const ids = Array.from({ length: candidates }, (_, index) => `replica-${index}`);
  const table = new CandidateTable();
  let made = 0;
  return (receivedAtMs) => {
    const seed = made++;
    table.reset();
    for (let index = 0; index < candidates; index++) {
      table.add(ids[index]);
      table.set(index, 'inflight', (seed + index * 7) % 13);
      table.set(index, 'kvUse', ((seed + index) % 10) / 10, 200);
      table.set(index, 'prefixBlocks', (seed + index) % 5);
    }
    const pick = capturePick(compiled, pipeline, table, seed, compiled.decide(features, table, seed));
    const hex = seed.toString(16).padStart(12, '0');
    return {
      requestId: `0f8fad5b-d9cb-469f-a165-${hex}`,
      receivedAtMs,
      tenantId: 'local',
      keyId: 'local',
      endUser: '',
      endpoint: '/v1/chat/completions',
      model: 'tiny-model',
      adapter: '',
      stream: true,
      features,
      picks: [pick],
      attempts: [
        {
          replicaId: pick.replicaIds[pick.chosen],
          pick: 0,
          startMs: 0.4,
          firstByteMs: 21.5,
          endMs: 180,
          end: 1,
          httpStatus: 200,
          error: '',
        },
      ],
      outcome: 1,
      httpStatus: 200,
      errorCode: '',
      errorMessage: '',
      profile: 'default',
      timings: {
        bodyReadMs: 0.2,
        pickedMs: 0.3,
        firstByteMs: 21,
        totalMs: 180,
        pickUs: 3,
        tokenSpanMs: 150,
        tokenGaps: 31,
        tokenGapMsMax: 9,
      },
      usage: { promptTokens: 188, completionTokens: 32, cachedTokens: 64, fromEngine: true },
      traceparent: `00-4bf92f3577b34da6a3ce${hex}-00f067aa0ba902b7-01`,
      heads: { replicas: 12, policies: 9, tenants: 2 },
    };
  };
}

/** Publishes frames of `perFrame` records as one gateway's. Answers frames per second. */
export async function fillFrames(frames, count, perFrame, gatewayId = 'bench') {
  const { FrameBuilder } = await dist('recording');
  const { subjects } = await dist('contracts');
  const builder = new FrameBuilder();
  const record = await recordSource();
  let frameSeq = 0;
  const fromMs = performance.now();
  await inFlight(
    count,
    async () => {
      const nowMs = Date.now();
      for (let index = 0; index < perFrame; index++) builder.add(record(nowMs));
      frameSeq++;
      const bytes = builder.finish({ gatewayId, bootId: 'boot', frameSeq, closedAtMs: nowMs, dropped: 0 });
      await frames.publish(subjects.requests(gatewayId), `${gatewayId}-boot-${frameSeq}`, bytes);
    },
    16,
  );
  return (count / (performance.now() - fromMs)) * 1000;
}
