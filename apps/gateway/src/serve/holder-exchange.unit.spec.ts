import { expect, test } from '@jest/globals';
import { MemoryBus } from '#libs/event-log';
import { manualTime } from '../fleet/manual-time.fixture.ts';
import { HolderExchange, holderExchangeLimits as limits } from './holder-exchange.ts';
import { ResponseHolders } from './response-holders.ts';

const holder = (tenantId: string, replicaId = 'r1') => ({ replicaId, model: 'm', asked: undefined, tenantId });

function exchange() {
  const time = manualTime();
  const bus = new MemoryBus(time.timers);
  const join = async (gatewayId: string) => {
    const holders = new ResponseHolders(100_000);
    const telemetry = {
      publish: (subject: string, bytes: Uint8Array) => bus.publish(subject, bytes),
      subscribe: (pattern: string, handler: never) => bus.subscribe(pattern, handler),
    };
    const options = { gatewayId, bootId: `${gatewayId}-boot`, telemetry, environment: time, holders };
    const made = new HolderExchange(options as never);
    await made.start();
    return { made, holders };
  };
  return { time, bus, join };
}

test("what one gateway learns the others know soon, and nobody takes over another tenant's", async () => {
  const { time, join } = exchange();
  const [one, two] = [await join('g1'), await join('g2')];
  two.holders.learn('resp_2', holder('bolt', 'r9'));
  one.holders.remember('resp_1', { ...holder('acme'), asked: 'alias' });
  one.holders.remember('resp_2', holder('acme'));
  await time.pass(limits.tellPeriodMs);
  expect(two.holders.find('resp_1')).toEqual({ ...holder('acme'), asked: 'alias' });
  expect(two.holders.find('resp_2')).toEqual(holder('bolt', 'r9'));
});

test('a gateway that starts is told what the others know, the latest first in use', async () => {
  const { time, join } = exchange();
  const one = await join('g1');
  const count = limits.perMessageMax * 2 + 5;
  for (let n = 0; n < count; n++) one.holders.remember(`resp_${n}`, holder('acme'));
  await time.pass(limits.tellPeriodMs);
  const late = await join('g2');
  expect(late.holders.size).toBe(count);
  expect([...late.holders.latest(2)].map(([id]) => id).sort()).toHaveLength(2);
});

test('what finds no place to wait is counted; garbage changes nothing', async () => {
  const { bus, join } = exchange();
  const one = await join('g1');
  for (let n = 0; n < limits.queueMax + 3; n++) one.holders.remember(`resp_${n}`, holder('acme'));
  expect(one.made.dropped).toBe(3);
  bus.publish('lintel.tm.x.responses', Uint8Array.of(255, 255));
  bus.publish('lintel.tm.x.responses', new Uint8Array(limits.messageBytesMax + 1));
  expect(one.made.unreadable).toBe(2);
});
