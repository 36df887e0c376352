import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { CodedError } from '#libs/kernel';
import { fleetLimits } from './limits.ts';
import { manualTime } from './manual-time.fixture.ts';
import type { Observation } from './observation.ts';
import { Poller } from './poller.ts';
import type { ProbeResult } from './probe.ts';

type Answers = Record<string, string | number | Error | (() => Promise<ProbeResult>)>;

const vllm: Answers = {
  '/health': 200,
  '/metrics': 'vllm:num_requests_running 2\nvllm:num_requests_waiting 1\nvllm:kv_cache_usage_perc 0.5\n',
  '/v1/models': '{"data":[{"id":"tiny","owned_by":"vllm"}]}',
};

const refused = new CodedError('PROBE_FAILED', 'GET /x: refused', {
  cause: Object.assign(new Error('x'), { code: 'ECONNREFUSED' }),
});

function polled(answers: Answers, registration: object = {}) {
  const time = manualTime();
  const asked: { path: string; atMs: number; credential: string | undefined }[] = [];
  const seen: { observation: Observation; modelsChanged: boolean }[] = [];
  let running = 0;
  let runningMax = 0;
  const poller = new Poller({
    registration: create(route.ReplicaRegisteredSchema, { replicaId: 'r', url: 'http://r:1', ...registration }),
    environment: time,
    periodMs: () => fleetLimits.pollPeriodMs,
    observed: (observation, modelsChanged) => seen.push({ observation, modelsChanged }),
    probe: async (_origin, path, credential) => {
      asked.push({ path, atMs: time.clock.monotonicMs(), credential });
      runningMax = Math.max(runningMax, ++running);
      try {
        const answer = answers[path] ?? 404;
        if (answer instanceof Error) throw answer;
        if (typeof answer === 'function') return await answer();
        return typeof answer === 'number' ? { status: answer, text: '' } : { status: 200, text: answer };
      } finally {
        running--;
      }
    },
  });
  return {
    time,
    poller,
    asked,
    seen,
    last: () => (seen.at(-1) as (typeof seen)[0]).observation,
    runningMax: () => runningMax,
    times: (path: string) => asked.filter((one) => one.path === path).length,
  };
}

describe('the poller of a replica', () => {
  test('finds out engine, health, load and models by itself', async () => {
    const { time, poller, last, seen } = polled(vllm);
    poller.start(0);
    await time.pass(1);
    expect(last()).toMatchObject({
      engine: route.EngineKind.VLLM,
      healthy: true,
      asleep: false,
      load: { running: 2, waiting: 1, kvUse: 0.5 },
      models: [{ id: 'tiny' }],
      lastError: '',
    });
    expect(seen[0]?.modelsChanged).toBe(true);
    await time.pass(3_000);
    expect(seen.at(-1)?.modelsChanged).toBe(false);
  });

  test('asks again each period, models more rarely, one question at a time', async () => {
    const { time, poller, times, runningMax } = polled(vllm);
    poller.start(0);
    await time.pass(60_000);
    expect(times('/metrics')).toBeGreaterThan(50);
    expect(times('/metrics')).toBeLessThan(75);
    // Once more for the detection.
    expect(times('/v1/models')).toBeLessThanOrEqual(1 + 60_000 / fleetLimits.modelsPeriodMs + 1);
    expect(runningMax()).toBe(1);
  });

  test('L30 a replica that hangs is not asked twice at once', async () => {
    const hang = Promise.withResolvers<ProbeResult>();
    const { time, poller, asked } = polled(
      { ...vllm, '/health': () => hang.promise },
      { engine: route.EngineKind.VLLM },
    );
    poller.start(0);
    await time.pass(30_000);
    poller.hurry();
    await time.pass(30_000);
    expect(asked.map(({ path }) => path)).toEqual(['/health']);
    hang.resolve({ status: 200, text: '' });
    await time.pass(10);
    expect(asked.length).toBeGreaterThan(1);
    poller.stop();
  });

  test('one missed answer is a mishap, a second in a row is ill health, a refused connection is certain', async () => {
    const answers: Answers = { ...vllm };
    const { time, poller, last } = polled(answers, { engine: route.EngineKind.VLLM });
    poller.start(0);
    await time.pass(1);
    answers['/health'] = 500;
    await time.pass(1_200);
    expect(last()).toMatchObject({ healthy: true, lastError: 'GET /health answered 500' });
    await time.pass(1_200);
    expect(last().healthy).toBe(false);
    answers['/health'] = 200;
    await time.pass(1_200);
    expect(last()).toMatchObject({ healthy: true, lastError: '' });
    answers['/health'] = refused;
    await time.pass(1_200);
    expect(last().healthy).toBe(false);
  });

  test('L14 values that come no more stay, with their age; never seen ones are unknown', async () => {
    const answers: Answers = { ...vllm };
    const { time, poller, last } = polled(answers);
    poller.start(0);
    await time.pass(1);
    const { loadAtMs } = last();
    answers['/metrics'] = '<html>';
    await time.pass(10_000);
    expect(last()).toMatchObject({ healthy: true, load: { running: 2 }, loadAtMs });
    expect(last().lastError).toMatch(/^GET \/metrics: none of /);
    const never = polled({ ...vllm, '/metrics': 404 }, { engine: route.EngineKind.VLLM });
    never.poller.start(0);
    await never.time.pass(1);
    expect(never.last()).toMatchObject({ healthy: true, load: undefined, lastError: 'GET /metrics answered 404' });
  });

  test('asleep, where the engine says so', async () => {
    const answers: Answers = { ...vllm, '/is_sleeping': '{"is_sleeping":true}' };
    const { time, poller, last } = polled(answers);
    poller.start(0);
    await time.pass(1);
    expect(last()).toMatchObject({ healthy: true, asleep: true });
    answers['/is_sleeping'] = '{"is_sleeping":false}';
    await time.pass(1_200);
    expect(last().asleep).toBe(false);
  });

  test('an engine that offers no sleep is asked rarely', async () => {
    const { time, poller, times } = polled(vllm);
    poller.start(0);
    await time.pass(30_000);
    expect(times('/is_sleeping')).toBeLessThanOrEqual(1 + 30_000 / fleetLimits.modelsPeriodMs);
  });

  test('adapters in use changed: models are read at once', async () => {
    const answers: Answers = { ...vllm };
    const { time, poller, times, last } = polled(answers);
    poller.start(0);
    await time.pass(1);
    const before = times('/v1/models');
    answers['/metrics'] = `${vllm['/metrics']}vllm:lora_requests_info{running_lora_adapters="l0"} 1\n`;
    answers['/v1/models'] = '{"data":[{"id":"tiny"},{"id":"l0","parent":"tiny"}]}';
    await time.pass(1_200);
    expect(times('/v1/models')).toBe(before + 1);
    expect(last().models?.map(({ id }) => id)).toEqual(['tiny', 'l0']);
  });

  test('what is there but is no engine is unhealthy, with the reason', async () => {
    const { time, poller, last } = polled({ '/v1/models': '<html>' });
    poller.start(0);
    await time.pass(1);
    expect(last()).toMatchObject({ healthy: false, engine: route.EngineKind.UNSPECIFIED });
    expect(last().lastError).toContain('cannot tell the engine');
  });

  test('a guarded engine is alive, its models are unknown, and it says what to give', async () => {
    const { time, poller, last } = polled({ ...vllm, '/v1/models': 401 });
    poller.start(0);
    await time.pass(1);
    expect(last()).toMatchObject({ healthy: true, models: undefined });
    expect(last().lastError).toBe('GET /v1/models answered 401: give the replica a credential');
  });

  test('a credential that is not there is told, and nothing is sent in its place', async () => {
    const { time, poller, last, asked } = polled(vllm, { credentialRef: 'env:LINTEL_TEST_NO_SUCH_VARIABLE' });
    poller.start(0);
    await time.pass(1);
    expect(last().lastError).toContain('LINTEL_TEST_NO_SUCH_VARIABLE');
    expect(asked.every(({ credential }) => credential === undefined)).toBe(true);
  });

  test('after stop nothing is asked and nothing is told', async () => {
    const { time, poller, asked, seen } = polled(vllm);
    poller.start(0);
    await time.pass(1);
    const before = [asked.length, seen.length];
    poller.stop();
    await time.pass(10_000);
    expect([asked.length, seen.length]).toEqual(before);
  });
});
