import { expect, test } from '@jest/globals';
import type { WakeCommand } from '#libs/domain/route';
import { CodedError } from '#libs/kernel';
import type { Routability } from './fleet.ts';
import { wakeLimits } from './limits.ts';
import { manualTime } from './manual-time.fixture.ts';
import { Waker } from './waker.ts';

function waker() {
  const time = manualTime();
  const issued: { id: string; command: WakeCommand }[] = [];
  const said: string[] = [];
  const log = { away: false, changed: true };
  const made = new Waker({
    gatewayId: 'g1',
    environment: time,
    issue: async (id, command) => {
      issued.push({ id, command });
      if (log.away) throw new CodedError('LOG_UNAVAILABLE', 'away');
      return { seq: 1, version: 1, commitId: 'c', changed: log.changed, events: [] } as never;
    },
    log: (line) => said.push(line),
  });
  const want = async (model: string, ...states: Routability[]): Promise<void> => {
    made.want(model, states.map((state, index) => ({ id: `r${index}`, routability: () => state })) as never, 2);
    await time.pass(0);
  };
  return { made, time, issued, said, log, want };
}

test('what is wanted is said once in a while, with what stands in its way', async () => {
  const { made, time, issued, said, want } = waker();
  await want('m', 'asleep', 'unhealthy', 'asleep');
  await want('m', 'asleep');
  await want('other', 'draining');
  expect(issued).toHaveLength(2);
  expect(issued[0]?.command).toMatchObject({
    type: 'RequestWake',
    holdMs: wakeLimits.holdMs,
    wake: { model: 'm', gatewayId: 'g1', replicas: { asleep: 2, unhealthy: 1 }, asleep: ['r0', 'r2'], waiting: 2 },
  });
  expect(issued[1]?.id).not.toBe(issued[0]?.id);
  await time.pass(wakeLimits.holdMs);
  await want('m', 'asleep');
  expect(issued).toHaveLength(3);
  expect(made.requested).toBe(3);
  expect(said[0]).toBe('model m is wanted and none of its 3 replicas takes requests');
});

test('where the log did not take it, it is said again soon; what another gateway said is not counted', async () => {
  const { made, time, issued, log, want } = waker();
  log.away = true;
  await want('m');
  expect(made.lastError).toBe('wake of m: away');
  log.away = false;
  log.changed = false;
  await want('m');
  expect(issued).toHaveLength(1);
  await time.pass(wakeLimits.retryMs);
  await want('m');
  expect([issued.length, made.requested, made.lastError]).toEqual([2, 0, '']);
});

test('models that are remembered are bounded', async () => {
  const { issued, want } = waker();
  for (let n = 0; n <= wakeLimits.modelsMax; n++) await want(`m${n}`);
  await want('m0');
  expect(issued).toHaveLength(wakeLimits.modelsMax + 2);
});
