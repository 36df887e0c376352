import { describe, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import type { EventLog } from '#libs/event-log';
import { memoryBroker, MemoryEventLog, MemoryReaderRegistry, MemorySnapshotStore } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import { manualTime } from '../fleet/manual-time.fixture.ts';
import { BringUp } from './bring-up.ts';
import { Commands } from './commands.ts';
import { configurationId } from './configuration-id.ts';
import { GatewayFolds } from './folds.ts';
import { controlLimits } from './limits.ts';
import { ReaderAnnouncer } from './reader-announcer.ts';
import { Reconciler } from './reconciler.ts';
import { Shutdown } from './shutdown.ts';

const registry = new EventRegistry();
const away = new CodedError('LOG_UNAVAILABLE', 'the log is away');

describe('bringing up', () => {
  test('each step as often as it takes, in order; what it is at can be asked', async () => {
    const time = manualTime();
    const seen: string[] = [];
    let tries = 0;
    const steps = [
      { name: 'one', start: async () => void seen.push('one') },
      {
        name: 'two',
        start: async () => {
          if (++tries < 4) throw away;
          seen.push('two');
        },
      },
    ];
    const lines: string[] = [];
    const bringUp = new BringUp(
      steps,
      time,
      (line) => lines.push(line),
      () => false,
    );
    const running = bringUp.run();
    await time.pass(0);
    expect([bringUp.missing, bringUp.lastError, seen]).toEqual(['two', 'the log is away', ['one']]);
    await time.pass(10_000);
    await running;
    expect([bringUp.missing, seen, lines]).toEqual([
      undefined,
      ['one', 'two'],
      Array.from({ length: 3 }, () => 'two: the log is away; trying again'),
    ]);
  });

  test('what cannot get better ends it, and so does stopping', async () => {
    const time = manualTime();
    const failing = { name: 'x', start: () => Promise.reject(away) };
    const final = new BringUp(
      [failing],
      time,
      () => {},
      () => true,
    );
    await final.run();
    expect(final.missing).toBe('x');
    const stopped = new BringUp(
      [failing],
      time,
      () => {},
      () => false,
    );
    const running = stopped.run();
    await time.pass(500);
    stopped.stop();
    await time.pass(controlLimits.retryMsMax);
    await running;
  });
});

describe('stopping', () => {
  test('one that hangs and one that fails are named and passed over; asked twice it is one stop', async () => {
    const time = manualTime();
    const lines: string[] = [];
    const done: string[] = [];
    const shutdown = new Shutdown(time, (line) => lines.push(line));
    const steps = [
      { name: 'hangs', limitMs: 100, stop: () => new Promise<void>(() => {}) },
      { name: 'fails', stop: () => Promise.reject(new Error('no')) },
      { name: 'last', stop: async () => void done.push('last') },
    ];
    expect(shutdown.begun).toBe(false);
    const stop = shutdown.run(steps);
    expect([shutdown.begun, shutdown.run(steps)]).toEqual([true, stop]);
    await time.pass(100);
    await stop;
    expect(done).toEqual(['last']);
    expect(lines).toEqual(['stop: hangs is not done after 100 ms; going on without it', 'stop: fails: no']);
  });
});

test('a reader is announced for as long as it lives, also when its start is tried again', async () => {
  const time = manualTime();
  const readers = new MemoryReaderRegistry(time.clock);
  let announced = 0;
  const counted = {
    announce: async (...args: Parameters<typeof readers.announce>) => {
      announced++;
      await readers.announce(...args);
    },
    withdraw: (reader: string) => readers.withdraw(reader),
    levels: () => readers.levels(),
  };
  const announcer = new ReaderAnnouncer(counted, 'gateway:g', registry, time);
  await announcer.start();
  await announcer.start();
  await time.pass(10 * controlLimits.announcePeriodMs);
  expect(announced).toBe(12);
  expect((await readers.levels()).get('gateway:g')).toEqual(registry.levels());
  await announcer.stop();
  await time.pass(controlLimits.announcePeriodMs);
  expect((await readers.levels()).size).toBe(0);
});

function control() {
  const time = manualTime();
  const memory = memoryBroker(time, registry);
  const inner = memory.log as MemoryEventLog;
  const state = { away: false, appendsLeft: Infinity };
  const guard = <T>(work: () => T): T => {
    if (state.away) throw away;
    return work();
  };
  const log: EventLog = {
    durability: 'memory',
    append: async (...args) => {
      if (state.appendsLeft-- <= 0) state.away = true;
      return await guard(() => inner.append(...args));
    },
    readSubject: async (...args) => await guard(() => inner.readSubject(...args)),
    read: (range) => guard(() => inner.read(range)),
    follow: async (...args) => await guard(() => inner.follow(...args)),
    lastSeq: async () => await guard(() => inner.lastSeq()),
    close: async () => await inner.close(),
  };
  const lines: string[] = [];
  const followed: number[] = [];
  const folds = new GatewayFolds({
    log,
    registry,
    environment: time,
    snapshots: new MemorySnapshotStore(),
    routeChanged: ({ replicas }) => followed.push(replicas.size),
    say: (line) => lines.push(line),
  });
  const commands = new Commands({ ...memory, log }, registry, time, folds, 'gateway:g');
  const reconciler = new Reconciler(commands, folds, log, time, 'reconciler:g', (line) => lines.push(line));
  return { time, log, state, folds, reconciler, lines, followed };
}

const document = {
  replicas: [{ replicaId: 'a', url: 'http://a:1', source: 'flag' }],
  policies: [],
  tenants: [{ tenantId: 't', displayName: 'T', keys: [{ keyId: 'k', keyHash: 'a'.repeat(64) }] }],
};
const origin = { source: 'config:lintel.yaml', contentHash: 'b'.repeat(64) };

describe('folds and the reconciler while the log comes and goes', () => {
  test('folds that cannot start go on trying, and tell the routing once they have caught up', async () => {
    const { time, state, folds, lines, followed } = control();
    state.away = true;
    const starting = folds.start();
    await time.pass(1_000);
    expect([folds.caughtUp, followed]).toEqual([false, []]);
    expect(lines[0]).toContain('cannot start: the log is away');
    state.away = false;
    await time.pass(controlLimits.retryMsMax);
    await starting;
    expect([folds.caughtUp, followed]).toEqual([true, [0]]);
    await folds.stop();
  });

  test('a document is applied when the log comes back within the bound', async () => {
    const { time, state, folds, reconciler, lines, followed } = control();
    await folds.start();
    state.away = true;
    const applying = reconciler.apply(document, origin);
    await time.pass(1_000);
    expect(lines).toEqual(['read the log: the log is away; trying again']);
    state.away = false;
    await time.pass(5_000);
    expect(await applying).toEqual(['+ replica a http://a:1', '+ tenant t', '+ key k of tenant t']);
    expect(followed).toEqual([0, 1, 1]);
    await folds.stop();
  });

  test('a log that stays away is told after a bounded number of tries; what was done stands, the rest follows', async () => {
    const { time, state, folds, reconciler } = control();
    await folds.start();
    state.appendsLeft = 2;
    const applying = reconciler.apply(document, origin).catch((thrown: unknown) => thrown);
    await time.pass(controlLimits.applyTriesMax * controlLimits.retryMsMax);
    expect(await applying).toMatchObject({
      code: 'CONFIG_APPLY_UNAVAILABLE',
      advice: expect.stringContaining('2 changes are done'),
    });
    state.appendsLeft = Infinity;
    state.away = false;
    const again = reconciler.apply(document, origin);
    await time.pass(5_000);
    expect(await again).toEqual(['+ key k of tenant t']);
    const nothing = reconciler.apply(document, origin);
    await time.pass(100);
    expect(await nothing).toEqual([]);
    await folds.stop();
  });
});

test('a source names one aggregate, whatever stands in it', () => {
  expect(configurationId('config:lintel.yaml')).toBe('config_lintel_yaml');
  expect(configurationId(`config:/${'long/'.repeat(40)}x`)).toMatch(/^[0-9a-f]{32}$/);
  expect(configurationId('')).toMatch(/^[0-9a-f]{32}$/);
});
