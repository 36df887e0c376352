// Cost of one pick: hashing the prompt, matching its prefix, deciding, copying the decision for its record. `npm run build` first.
import { cpus } from 'node:os';
import { performance } from 'node:perf_hooks';
import process from 'node:process';

if (process.argv.includes('--help')) {
  console.log(
    'node tools/bench/pick.mjs [--json]\nTimes picks with 100 replicas and a 100k-token prompt (budget: p99 < 1 ms), decide() alone\n(budget: 50 us), and recording at 3 and 100 candidates (budget: 5 us at 3). Needs dist/ (npm run build).',
  );
  process.exit(0);
}

const { CandidateTable, canonicalJson, compilePipeline, pipelineHash, resolveStrategy } =
  await import('#libs/scheduling');
const { hashBlocks, PrefixIndex } = await import('#libs/prefix-index');
const { capturePick, FrameBuilder } = await import('#libs/recording');

const replicas = 100;
const prompt = Buffer.from('The quick brown fox jumps over it. '.repeat(11_429).slice(0, 400_000));
const ids = Array.from({ length: replicas }, (_, i) => `replica-${i}`);
const index = new PrefixIndex();
const known = hashBlocks('model', prompt);
for (let i = 0; i < replicas; i++) index.insert(known.subarray(0, Math.floor((known.length * i) / replicas)), ids[i]);

function fill(table, count, depths) {
  table.reset();
  for (let i = 0; i < count; i++) {
    table.add(ids[i]);
    table.set(i, 'inflight', (i * 7) % 13);
    table.set(i, 'kvUse', (i % 10) / 10, 200);
    table.set(i, 'prefixBlocks', depths[i]);
  }
}

const spec = resolveStrategy('prefix-cache');
const compiled = compilePipeline(spec);
const table = new CandidateTable();
const depths = new Float64Array(replicas);
const features = {
  bodyBytes: 400_000,
  promptTokens: 100_000,
  promptTokensExact: false,
  maxTokens: 512,
  sessionHash: 7,
  prefixBlocks: known.length,
};
const pipeline = {
  hash: pipelineHash(spec),
  json: canonicalJson(spec),
  strategy: spec.strategy,
  policyId: 'p',
  policyVersion: 1,
  policySeq: 1,
};

/** Microseconds of each run. */
function time(runs, run) {
  for (let i = 0; i < runs / 5; i++) run(i);
  const took = new Float64Array(runs);
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    run(i);
    took[i] = (performance.now() - start) * 1000;
  }
  took.sort();
  return { p50: took[runs >> 1], p99: took[Math.floor(runs * 0.99)] };
}

const results = {};
results['hash a 400 kB prompt'] = time(2000, () => hashBlocks('model', prompt));
results['match it over 100 replicas'] = time(2000, () => index.match(known, ids, depths));
fill(table, replicas, depths);
results['decide, 100 candidates'] = time(20_000, (seed) => compiled.decide(features, table, seed));
results['whole pick, 100 replicas, 100k tokens'] = time(2000, (seed) => {
  index.match(hashBlocks('model', prompt), ids, depths);
  fill(table, replicas, depths);
  compiled.decide(features, table, seed);
});

/** Mean microseconds for each record: capture at the pick and encoding into frames of 100. */
function recording(count) {
  fill(table, count, depths);
  const builder = new FrameBuilder();
  const batch = 100;
  const once = () => {
    for (let i = 0; i < batch; i++) {
      const pick = capturePick(compiled, pipeline, table, i, decision);
      builder.add({
        requestId: '0f8fad5b-d9cb-469f-a165-70867728950e',
        receivedAtMs: 1.79e12 + i,
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
            replicaId: ids[0],
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
        traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
        heads: { replicas: 12, policies: 9, tenants: 2 },
        errorMessage: '',
        profile: 'default',
      });
    }
    return builder.finish({ gatewayId: 'gw', bootId: 'b', frameSeq: 1, closedAtMs: 1.79e12, dropped: 0 }).length;
  };
  const decision = compiled.decide(features, table, 1);
  const bytes = once() / batch;
  const { p50, p99 } = time(400, once);
  return { p50: p50 / batch, p99: p99 / batch, bytes: Math.round(bytes) };
}
results['record, 3 candidates (mean of 100)'] = recording(3);
results['record, 100 candidates (mean of 100)'] = recording(100);

if (process.argv.includes('--json')) console.log(JSON.stringify(results));
else {
  console.log(`${cpus()[0]?.model ?? 'unknown CPU'}, Node ${process.version}; microseconds`);
  for (const [name, { p50, p99, bytes }] of Object.entries(results)) {
    const size = bytes === undefined ? '' : `  ${bytes} bytes a record`;
    console.log(`${name.padEnd(40)} p50 ${p50.toFixed(1).padStart(8)}  p99 ${p99.toFixed(1).padStart(8)}${size}`);
  }
}
