import process from 'node:process';
import { systemClock } from '#libs/kernel';
import { SeededRng } from '#libs/kernel';
import type { PipelineRef, RecordInput } from '#libs/recording';
import { capturePick, FrameBuilder } from '#libs/recording';
import type { Column } from '#libs/scheduling';
import {
  CandidateTable,
  canonicalJson,
  columns,
  compilePipeline,
  pipelineHash,
  resolveStrategy,
  strategyNames,
} from '#libs/scheduling';

/**
 * Prints frames of picks by every strategy, one base64 line each, for `picks-<n>.txt`: records as they were made once, which every later
 * build and every Node must decide alike. Existing files are never made again; a new strategy gets a further file, named behind the program.
 *
 *   node --experimental-transform-types --conditions=lintel-source test/e2e/golden-picks/make.ts [strategy …] > test/e2e/golden-picks/picks-<n>.txt
 */
const mixes = ['least-request:2,prefix-cache:1', 'session-affinity:1,least-kv-cache:3,random:1'];
const recordsPerStrategy = 10;

const rng = new SeededRng(20_261_124);

function valueOf(column: Column): number {
  switch (column) {
    case 'kvUse':
      return rng.next();
    case 'busyShare':
    case 'tenantLevel':
      return rng.next();
    case 'prefillTokens':
    case 'inflightTokens':
      return rng.below(20_000);
    case 'ttftMs':
    case 'workMs':
    case 'ttftPerKTokenMs':
      return rng.next() * 1_000;
    case 'warmth':
      return rng.chance(0.7) ? 1 : rng.next();
    default:
      return rng.below(12);
  }
}

/** Most cells known and fresh, some unknown, some stale: each way a signal can degrade occurs. */
function tableOf(candidates: number): CandidateTable {
  const table = new CandidateTable();
  const silent = rng.chance(0.3);
  for (let i = 0; i < candidates; i++) {
    const index = table.add(`replica-${i}`);
    for (const column of columns) {
      if (silent && rng.chance(0.2)) continue;
      const isPolled = column === 'waiting' || column === 'running' || column === 'kvUse' || column === 'warmth';
      table.set(index, column, valueOf(column), !isPolled ? 0 : rng.below(rng.chance(0.05) ? 60_000 : 900));
    }
  }
  return table;
}

const named = process.argv.slice(2);
for (const strategy of named.length > 0 ? named : [...strategyNames, ...mixes]) {
  const spec = resolveStrategy(strategy);
  const compiled = compilePipeline(spec);
  const pipeline: PipelineRef = {
    hash: pipelineHash(spec),
    json: canonicalJson(spec),
    strategy,
    policyId: 'golden',
    policyVersion: 1,
    policySeq: 1,
  };
  const builder = new FrameBuilder();
  for (let n = 0; n < recordsPerStrategy; n++) {
    const table = tableOf([0, 1, 2, 3, 5, 8, 13][rng.below(7)] as number);
    const features = {
      bodyBytes: rng.below(100_000),
      promptTokens: rng.below(20_000),
      promptTokensExact: rng.chance(0.5),
      maxTokens: rng.below(2_048),
      sessionHash: rng.chance(0.5) ? rng.uint32() : 0,
      prefixBlocks: rng.below(12),
      sloTtftMs: 0,
      sloTpotMs: 0,
    };
    const seed = rng.uint32();
    const record: RecordInput = {
      requestId: `golden-${strategy}-${n}`,
      receivedAtMs: 1_790_000_000_000 + n,
      tenantId: '',
      keyId: '',
      endUser: '',
      endpoint: '/v1/chat/completions',
      model: 'm',
      adapter: '',
      stream: false,
      features,
      picks: [capturePick(compiled, pipeline, table, seed, compiled.decide(features, table, seed))],
      attempts: [],
      outcome: 1,
      httpStatus: 200,
      errorCode: '',
      timings: undefined,
      usage: undefined,
      traceparent: '',
      heads: {},
      errorMessage: '',
      profile: '',
    };
    if (!builder.add(record)) throw new Error(`${record.requestId} does not fit`);
  }
  const closedAtMs = systemClock.nowMs();
  const bytes = builder.finish({ gatewayId: 'golden', bootId: 'golden', frameSeq: 1, closedAtMs, dropped: 0 });
  console.log(bytes.toString('base64'));
}
