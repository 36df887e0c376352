// Records what a real vLLM answers into libs/engines/fixtures/vllm-0.32, for the simulated engine to be held to.
// usage: node tools/engines/record-fixtures.mjs [OUT_DIR]
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { isMain, plainLog, REPO_DIR, sleep, step, TOOLS_DIR, waitFor } from './common.mjs';
import { GENERATING, KV_CALLS, OCCUPYING, OVERLOADED, POOLING } from './fixture-calls.mjs';
import { ensureVllm, startEngines, stopEngines, VLLM_VERSION } from './vllm.mjs';

export const FIXTURES_DIR = join(REPO_DIR, 'libs', 'engines', 'fixtures', 'vllm-0.32');
const CALL_LIMIT_MS = 60_000;
const EVENTS_QUIET_MS = 350; // vLLM's publisher looks at its queue every 100 ms
const CAPTURE_LIMIT_MS = 20_000;

/** Members and texts whose values differ from one recording to the next (or one machine to the next). */
export const VOLATILE = {
  keys: [
    'id',
    'created',
    'created_at',
    'completed_at',
    'request_id',
    'item_id',
    'response_id',
    'system_fingerprint',
    'root',
    'lora_path',
    'content',
    'text',
    'delta',
    'reasoning',
    'token',
    'bytes',
    'logprob',
    'embedding',
  ],
  notes: [
    'ids, times and system_fingerprint are new in every recording',
    'generated texts, tokens and log probabilities come from random weights; they can differ on another kind of CPU',
    'the folders of the model and the adapters are written as /models/tiny and /adapters',
    'how many tokens one stream chunk carries depends on timing',
    'values in /metrics; names, types and label names are what counts',
    'KV events: timestamps and block hashes; hashes are the same again only with the same PYTHONHASHSEED',
  ],
};

async function exchange(engine, call, paths) {
  const method = call.method ?? 'POST';
  const body = call.raw ?? (call.body && JSON.stringify(call.body).replaceAll('ADAPTERS/', `${paths.adapters}/`));
  const headers = { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...call.headers };
  const response = await fetch(engine.url + call.path, {
    method,
    headers,
    body,
    signal: AbortSignal.timeout(CALL_LIMIT_MS),
  });
  const text = (await response.text()).replaceAll(paths.adapters, '/adapters').replaceAll(paths.model, '/models/tiny');
  const kept = [...response.headers].filter(
    ([name]) => name === 'content-type' || name === 'allow' || name === 'retry-after' || name.startsWith('x-'),
  );
  const request = { method, path: call.path };
  if (Object.keys(headers).length > 0) request.headers = headers;
  if (call.raw !== undefined) request.body = call.raw;
  else if (call.body) request.body = JSON.parse(JSON.stringify(call.body).replaceAll('ADAPTERS/', '/adapters/'));
  return {
    request,
    response: {
      status: response.status,
      headers: Object.fromEntries(kept),
      body: parseBody(text, response.headers.get('content-type') ?? ''),
    },
  };
}

/** JSON as a value, an event stream as an array of its lines, anything else as text. */
function parseBody(text, type) {
  if (type.startsWith('text/event-stream')) return text.split('\n');
  if (type.startsWith('application/json')) return JSON.parse(text);
  return text;
}

async function recordAll(engine, calls, paths) {
  const recorded = {};
  for (const call of calls) recorded[call.name] = await exchange(engine, call, paths);
  return recorded;
}

/** Fills the running and the waiting place of an engine, then records. */
async function recordOverload(engine, paths) {
  const controller = new AbortController();
  const occupy = () =>
    fetch(engine.url + OCCUPYING.path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(OCCUPYING.body),
      signal: controller.signal,
    }).then(async (response) => {
      for await (const _ of response.body); // read to keep it going
    });
  const occupying = [occupy(), occupy()].map((promise) => promise.catch(() => {}));
  const gauge = (text, name) => Number(new RegExp(`^vllm:${name}\\{[^}]*\\} (\\S+)`, 'm').exec(text)?.[1]);
  await waitFor(
    async () => {
      const text = await (await fetch(`${engine.url}/metrics`)).text();
      return gauge(text, 'num_requests_running') === 1 && gauge(text, 'num_requests_waiting') === 1;
    },
    { limitMs: CALL_LIMIT_MS, everyMs: 20, message: () => 'the engine never had one running and one waiting request' },
  );
  const recorded = await recordAll(engine, OVERLOADED, paths);
  controller.abort();
  await Promise.all(occupying);
  return recorded;
}

async function recordKvEvents(engine, python, paths) {
  const child = spawn(python, [join(TOOLS_DIR, 'kv_capture.py'), engine.kvEvents, engine.replay], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  let current = 'start';
  let ready = false;
  let replay;
  const calls = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line);
    if (event.ready) ready = true;
    else if (event.replay) replay = event.replay;
    else calls.find((call) => call.name === current).events.push(event);
  });
  try {
    await waitFor(() => ready || child.exitCode !== null, {
      limitMs: CAPTURE_LIMIT_MS,
      message: () => 'kv_capture.py did not get ready',
    });
    for (const call of KV_CALLS) {
      current = call.name;
      calls.push({ name: call.name, events: [] });
      Object.assign(calls.at(-1), await exchange(engine, call, paths));
      await sleep(EVENTS_QUIET_MS);
    }
    child.stdin.write('replay 0\n');
    await waitFor(() => replay || child.exitCode !== null, {
      limitMs: CAPTURE_LIMIT_MS,
      message: () => 'kv_capture.py got no replay',
    });
  } finally {
    child.stdin.end();
    const done = await Promise.race([ended.then(() => true), sleep(2000, false)]);
    if (!done) child.kill('SIGKILL');
  }
  const topic = Buffer.from(calls[0].events[0].frames[0], 'hex').toString();
  return { topic, block_size: 32, calls, replay };
}

/** Starts the engines and records everything. Returns {name: exchange} and the KV events. */
export async function recordFixtures({ log = plainLog } = {}) {
  const vllm = await ensureVllm({ log });
  if (vllm.unavailable) return vllm;
  const paths = { adapters: dirname(vllm.adapters.l0), model: vllm.modelDir };
  const specs = [
    { name: 'fixtures-generating' },
    { name: 'fixtures-kv', extraArgs: ['--num-gpu-blocks-override', '40', '--max-model-len', '1024'] },
    { name: 'fixtures-pooling', pooling: true },
    { name: 'fixtures-overloaded', extraArgs: ['--max-num-seqs', '1', '--max-num-queued-reqs', '2'] },
  ];
  const engines = await startEngines(specs, { log });
  try {
    const [generating, kv, pooling, overloaded] = engines;
    return await step(log, 'fixtures recorded', async () => ({
      exchanges: {
        ...(await recordAll(generating, GENERATING, paths)),
        ...(await recordAll(pooling, POOLING, paths)),
        ...(await recordOverload(overloaded, paths)),
      },
      kvEvents: await recordKvEvents(kv, vllm.python, paths),
    }));
  } finally {
    for (const engine of engines) engine.kill('SIGKILL');
    await Promise.all(engines.map((engine) => engine.exited));
  }
}

/** JSON with two spaces, but arrays of plain values on one line (token ids would otherwise be most of the file). */
function pretty(value) {
  const flat = (_key, item) =>
    Array.isArray(item) && item.length > 0 && item.every((x) => x === null || typeof x === 'number')
      ? `\u0001${JSON.stringify(item)}\u0001`
      : item;
  return `${JSON.stringify(value, flat, 2).replaceAll(/"\\u0001(.*?)\\u0001"/g, '$1')}\n`;
}

function indexTable({ exchanges, kvEvents }) {
  const rows = Object.entries(exchanges).map(
    ([name, { request, response }]) => `| ${name} | ${request.method} ${request.path} | ${response.status} |`,
  );
  const events = kvEvents.calls.map(
    ({ name, events }) =>
      `| ${name} | ${events.flatMap((event) => event.decoded[1].map((e) => e.type)).join(', ') || 'none'} |`,
  );
  return `# What vLLM ${VLLM_VERSION} (CPU) answers

Recorded by \`node tools/engines/record-fixtures.mjs\` from real engines with a tiny random model; \`npm run test:engines\`
records them again and compares statuses, members and types. Do not edit by hand.

Each file is \`{request: {method, path, headers?, body?}, response: {status, headers, body}}\`. A body is parsed JSON, or text,
or, for event streams, the array of its lines. Of the response headers only content-type, allow, retry-after and x-* are kept.
\`index.json\` has the order of recording (later answers depend on earlier calls: adapters, prefix cache) and the volatile members.

Volatile: ${VOLATILE.notes.join('; ')}. Members: ${VOLATILE.keys.map((key) => `\`${key}\``).join(', ')}.

| file | request | status |
|---|---|---|
${rows.join('\n')}

## kv-events.json

The ZMQ messages of an engine with 40 blocks of 32 tokens, per call in order: frames as hex, and the payload decoded (integers
of 2^53 and above as strings of digits). \`replay\` is the exchange over the replay socket afterwards.

| call | events |
|---|---|
${events.join('\n')}
`;
}

export function writeFixtures(outDir, recorded) {
  mkdirSync(outDir, { recursive: true });
  for (const name of readdirSync(outDir)) if (name.endsWith('.json')) rmSync(join(outDir, name));
  for (const [name, content] of Object.entries(recorded.exchanges))
    writeFileSync(join(outDir, `${name}.json`), pretty(content));
  writeFileSync(join(outDir, 'kv-events.json'), pretty(recorded.kvEvents));
  writeFileSync(
    join(outDir, 'index.json'),
    pretty({ engine: 'vllm', version: VLLM_VERSION, order: Object.keys(recorded.exchanges), volatile: VOLATILE }),
  );
  writeFileSync(join(outDir, 'INDEX.md'), indexTable(recorded));
}

async function main() {
  if (process.argv[2]?.startsWith('-')) {
    console.log(
      'usage: node tools/engines/record-fixtures.mjs [OUT_DIR]\nRecords the answers of a real vLLM; OUT_DIR is libs/engines/fixtures/vllm-0.32 unless given.',
    );
    return;
  }
  const outDir = process.argv[2] ?? FIXTURES_DIR;
  try {
    const recorded = await recordFixtures();
    if (recorded.unavailable) {
      console.log(recorded.unavailable);
      process.exitCode = 1;
      return;
    }
    writeFixtures(outDir, recorded);
    console.log(
      `${Object.keys(recorded.exchanges).length} exchanges and ${recorded.kvEvents.calls.length} calls with KV events in ${outDir}`,
    );
  } finally {
    await stopEngines();
  }
}

if (isMain(import.meta.url)) await main();
