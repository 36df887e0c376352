import { afterEach, expect, test } from '@jest/globals';
import { startEngineSim } from '#apps/engine-sim';
import { flowGateway } from '../../apps/gateway/src/flow/flow.fixture.ts';
import { afterwards, closeAll } from '../../apps/gateway/src/serve/serve.fixture.ts';

afterEach(closeAll);

test('L43 before an engine that runs one request at a time nothing waits inside the engine, and a quiet tenant goes past a noisy one', async () => {
  const sim = await startEngineSim({ models: ['tiny'], maxNumSeqs: 1, speed: 20 });
  afterwards(() => sim.stop());
  const lintel = await flowGateway([sim.url], { slots: 1 });
  const order: string[] = [];
  let insideMax = 0;
  const ask = async (name: string, tenant: string): Promise<void> => {
    const response = await lintel.ask(name, tenant);
    await response.text();
    expect(response.status).toBe(200);
    order.push(name);
    insideMax = Math.max(insideMax, lintel.fleet.replicas[0]?.inflight ?? 0);
  };
  const noisy = Array.from({ length: 8 }, (_, at) => ask(`noisy ${at}`, 'noisy'));
  await lintel.waiting(7);
  const quiet = ask('quiet', 'quiet');
  await Promise.all([...noisy, quiet]);
  // The one that runs ends first, and one more may have been sent before the quiet one came.
  expect(order.indexOf('quiet')).toBeLessThanOrEqual(2);
  expect(insideMax).toBeLessThanOrEqual(1);
  expect(lintel.records).toHaveLength(9);
  const waits = lintel.records.map(({ timings }) => timings?.queuedMs ?? 0).sort((a, b) => a - b);
  expect(waits[0]).toBe(0);
  expect(waits[1]).toBeGreaterThan(0);
});
