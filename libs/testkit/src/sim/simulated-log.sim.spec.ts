import { SeededRng } from '#libs/kernel';
import { eventLogContract } from '../contract/event-log.contract.ts';
import { frameStreamContract } from '../contract/streams.contract.ts';
import { MemoryFrameStream } from '#libs/event-log';
import type { StoredFrame } from '#libs/event-log';
import { SimBroker } from './broker.ts';
import { noFaults, onlyFaults } from './faults.ts';
import { Network } from './network.ts';
import { SimProcess } from './process.ts';
import { SimulatedFrameStream } from './simulated-frames.ts';
import { SimulatedEventLog } from './simulated-log.ts';
import { simEpochMs, VirtualTime } from './virtual-time.ts';

/** Virtual time that goes on by itself, since the contract waits in real time. */
function running(faults = noFaults) {
  const time = new VirtualTime();
  const rng = new SeededRng(1);
  const network = new Network(time, rng, faults);
  const process = new SimProcess('client', time, rng, () => {});
  process.start();
  const life = { over: false };
  const go = async (): Promise<void> => {
    while (!life.over) {
      const { ended } = await time.run({ untilMs: time.nowMs + 20, done: () => life.over });
      if (ended === 'empty') time.nowMs += 20;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const gone = go();
  const stop = async (): Promise<void> => {
    life.over = true;
    await gone;
  };
  return { time, rng, network, process, stop };
}

const reordered = onlyFaults(['reorder', 'delay', 'duplicate']);

for (const [name, expectationFirst, faults] of [
  ['as a server before 2.12', false, noFaults],
  ['as a server from 2.12 on', true, noFaults],
  ['with messages late, doubled and out of order', true, reordered],
] as const) {
  eventLogContract(`SimulatedEventLog ${name}`, async () => {
    const { time, rng, network, process, stop } = running(faults);
    const broker = new SimBroker(time, rng, { cluster: false, expectationFirst });
    return { log: new SimulatedEventLog(process, broker, network), stop };
  });
}

frameStreamContract('SimulatedFrameStream', async () => {
  const { time, network, process, stop } = running();
  const clock = { nowMs: () => simEpochMs + time.nowMs, monotonicMs: () => time.nowMs };
  const stream = new MemoryFrameStream({ clock });
  const stored: StoredFrame[] = [];
  await stream.follow({ fromSeq: 1 }, (frame) => void stored.push(frame));
  const server = { name: 'broker', downUntilMs: 0 };
  return { frames: new SimulatedFrameStream(process, server, { stream, stored }, network), stop };
});
