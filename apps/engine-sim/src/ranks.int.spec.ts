import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { engineProfile, readLoad } from '#libs/engines';
import { eventually } from '#libs/testkit';
import type { RunningEngineSim } from './index.ts';
import { startEngineSim } from './index.ts';

let sim: RunningEngineSim;

beforeAll(async () => {
  sim = await startEngineSim({ models: ['m'], dataParallel: 3, paceMs: 20 });
});
afterAll(() => sim.stop());

const page = async (): Promise<string> => await (await fetch(`${sim.url}/metrics`)).text();
const load = async (rank?: number): Promise<unknown> =>
  readLoad(engineProfile(route.EngineKind.VLLM)!, await page(), rank);

function ask(headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
  return fetch(`${sim.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'm', prompt: 'hi', max_tokens: 2_000, ignore_eos: true, stream: true }),
    signal: signal ?? null,
  });
}

test('a rank that is named has the request, and its metrics alone show it; what names none goes to the emptiest', async () => {
  const leave = new AbortController();
  const first = { 'x-data-parallel-rank': '1' };
  const running = [await ask(first, leave.signal), await ask(first, leave.signal)];
  await eventually(async () => {
    expect([await load(0), await load(1), await load(2)]).toMatchObject([
      { running: 0 },
      { running: 2 },
      { running: 0 },
    ]);
  });
  running.push(await ask({}, leave.signal), await ask({}, leave.signal));
  await eventually(async () => {
    expect([await load(0), await load(1), await load(2), await load()]).toMatchObject([
      { running: 1 },
      { running: 2 },
      { running: 1 },
      { running: 4 },
    ]);
  });
  expect(await (await fetch(`${sim.url}/load`)).text()).toBe('{"server_load":4}');
  leave.abort();
  for (const response of running) await response.text().catch(() => undefined);
  await eventually(async () => expect(await load()).toMatchObject({ running: 0 }));
});

test('the page has each family once, and what the server counts once', async () => {
  const text = await page();
  const helps = text.match(/^# HELP [^ ]+/gm) ?? [];
  expect(helps.length).toBe(new Set(helps).size);
  expect(text.match(/^vllm:kv_cache_usage_perc\{[^}]*\}/gm)).toEqual(
    ['0', '1', '2'].map((rank) => `vllm:kv_cache_usage_perc{engine="${rank}",model_name="m"}`),
  );
  expect(text.match(/^vllm:admission_rejections_total\{/gm)).toHaveLength(2);
});

test('a rank that is none is refused; what is not simulated, too', async () => {
  for (const rank of ['3', '-1', 'x']) {
    const response = await ask({ 'x-data-parallel-rank': rank });
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining('out of range [0, 3)')]);
  }
  const both = startEngineSim({ dataParallel: 2, kvEvents: {} });
  await expect(both).rejects.toMatchObject({ code: 'ENGINE_SIM_RANKS_ALONE' });
});

test('sleep and wake are of all ranks', async () => {
  expect((await fetch(`${sim.url}/sleep?level=1`, { method: 'POST' })).status).toBe(200);
  expect((await page()).match(/^vllm:engine_sleep_state\{[^}]*awake[^}]*\} 0\.0$/gm)).toHaveLength(3);
  expect((await fetch(`${sim.url}/wake_up`, { method: 'POST' })).status).toBe(200);
  expect((await page()).match(/^vllm:engine_sleep_state\{[^}]*awake[^}]*\} 1\.0$/gm)).toHaveLength(3);
});
