import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '#libs/testkit';
import { type RecordedExchange, exchangeFacts } from '../../../tools/engines/shape.mjs';
import { type EngineSimOptions, type RunningEngineSim, startEngineSim } from './index.ts';

const folder = join(import.meta.dirname, '../../../libs/engines/fixtures/vllm-0.32');
const readJson = (name: string): unknown => JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'));
const { order } = readJson('index') as { order: string[] };

/** Where engine-sim differs on purpose. A fact that matches is not compared; a request may be sent otherwise. */
const differences: readonly {
  readonly fixtures: RegExp;
  readonly facts?: RegExp;
  readonly send?: (body: Record<string, unknown>) => Record<string, unknown>;
  readonly because: string;
}[] = [
  {
    fixtures: /metrics/,
    facts: /^(TYPE |metric )(python|process)_/,
    because: 'these tell of the Python process, which is not there',
  },
  {
    fixtures: /^completions-error-token-out-of-vocabulary$/,
    send: (body) => ({ ...body, prompt: [1_000_000] }),
    because: 'its own vocabulary is larger than that of the recorded model',
  },
];

let adapters: string;
beforeAll(() => {
  adapters = mkdtempSync(join(tmpdir(), 'engine-sim-adapters-'));
  for (const [name, r] of Object.entries({ l0: 8, l1: 8, big: 32 })) {
    mkdirSync(join(adapters, name));
    writeFileSync(join(adapters, name, 'adapter_config.json'), JSON.stringify({ r }));
  }
});
afterAll(() => rmSync(adapters, { recursive: true }));

const like: EngineSimOptions = {
  models: ['tiny'],
  speed: 100,
  blockSize: 32,
  blocks: 512,
  maxModelLen: 4096,
  maxLoras: 2,
  maxLoraRank: 16,
  strictAdapters: true,
};

/** Sends a recorded request and gives the answer in the form of the recording. */
async function replay(sim: RunningEngineSim, name: string, recorded: RecordedExchange): Promise<RecordedExchange> {
  const { method, path, headers = {}, body } = recorded.request;
  const send = differences.find((difference) => difference.fixtures.test(name))?.send;
  const changed = send === undefined ? body : send(body as Record<string, unknown>);
  const text = typeof changed === 'string' ? changed : JSON.stringify(changed);
  const response = await fetch(sim.url + path, {
    method,
    headers,
    ...(text === undefined ? {} : { body: text.replaceAll('/adapters/', `${adapters}/`) }),
  });
  const said = (await response.text())
    .replaceAll(adapters, '/adapters')
    .replace(/(No adapter found for )[^"]+/, '$1<path>');
  const type = response.headers.get('content-type') ?? '';
  const kept = [...response.headers].filter(([key]) => /^(content-type|allow|retry-after|x-.*)$/.test(key));
  const parsed = type.startsWith('application/json') ? (JSON.parse(said) as unknown) : said;
  return {
    request: recorded.request,
    response: {
      status: response.status,
      headers: Object.fromEntries(kept),
      body: type.startsWith('text/event-stream') ? said.split('\n') : parsed,
    },
  };
}

function compare(name: string, recorded: RecordedExchange, now: RecordedExchange): void {
  const ignored = differences.flatMap(({ fixtures, facts }) =>
    facts !== undefined && fixtures.test(name) ? facts : [],
  );
  const facts = (exchange: RecordedExchange): string[] =>
    [...exchangeFacts(exchange)].filter((fact) => !ignored.some((pattern) => pattern.test(fact))).sort();
  expect(facts(now)).toEqual(facts(recorded));
  if (recorded.request.path === '/metrics') expect(buckets(now)).toEqual(buckets(recorded));
  if (recorded.response.status >= 400 && !differences.some(({ fixtures, send }) => send && fixtures.test(name))) {
    expect(now.response.body).toEqual(recorded.response.body);
  }
}

/** `name le` of each bucket of vLLM's own histograms. */
function buckets({ response }: RecordedExchange): string[] {
  const found = String(response.body).matchAll(/^(vllm:\w+_bucket)\{.*?le="([^"]+)"/gm);
  return [...new Set([...found].map(([, name, bound]) => `${name} ${bound}`))].sort();
}

const starting = (from: string, to: string): string[] => order.slice(order.indexOf(from), order.indexOf(to) + 1);
const fixture = (name: string): RecordedExchange => readJson(name) as RecordedExchange;

describe('a generating engine answers as vLLM 0.32 did', () => {
  let sim: RunningEngineSim;
  beforeAll(async () => {
    sim = await startEngineSim({ ...like, kvEvents: {} });
  });
  afterAll(() => sim.stop());

  test.each(starting('health', 'metrics'))('%s', async (name) => {
    compare(name, fixture(name), await replay(sim, name, fixture(name)));
  });
});

describe('a pooling engine answers as vLLM 0.32 did', () => {
  let sim: RunningEngineSim;
  beforeAll(async () => {
    sim = await startEngineSim({ ...like, runner: 'pooling' });
  });
  afterAll(() => sim.stop());

  test.each(starting('pooling-models', 'pooling-metrics'))('%s', async (name) => {
    compare(name, fixture(name), await replay(sim, name, fixture(name)));
  });
});

describe('a busy engine refuses as vLLM 0.32 did', () => {
  let sim: RunningEngineSim;
  const leaving = new AbortController();
  beforeAll(async () => {
    sim = await startEngineSim({ ...like, speed: 1, maxNumSeqs: 1, maxNumQueuedReqs: 2 });
    for (let taken = 0; taken < 2; taken++) {
      const body = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }], max_tokens: 3000, ignore_eos: true };
      fetch(`${sim.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: leaving.signal,
      }).catch(() => 'left');
    }
    await eventually(async () => {
      const text = await (await fetch(`${sim.url}/metrics`)).text();
      expect(text).toMatch(/num_requests_running\{.*\} 1\.0/);
      expect(text).toMatch(/num_requests_waiting\{.*\} 1\.0/);
    });
  });
  afterAll(async () => {
    leaving.abort();
    await sim.stop();
  });

  test.each(starting('chat-error-overloaded', 'metrics-overloaded'))('%s', async (name) => {
    compare(name, fixture(name), await replay(sim, name, fixture(name)));
  });
});
