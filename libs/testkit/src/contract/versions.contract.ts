import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { EventRegistry, eventTypes, route } from '#libs/contracts';
import type { Decider, EventLog, ReaderRegistry } from '#libs/event-log';
import { CommandHandler, LogFold } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import { eventually } from '../eventually.ts';

export interface VersionsUnderTest {
  readonly log: EventLog;
  readonly readers: ReaderRegistry;
  readonly stop?: () => Promise<void>;
}

const environment = systemEnvironment;
/** The release before, and the one after, which has learned one event type more. */
const older = new EventRegistry();
const levelNew = (older.levels()['route'] as number) + 1;
const newer = new EventRegistry([
  ...eventTypes,
  {
    context: 'route',
    aggregate: 'replica',
    type: 'ReplicaPainted',
    sinceLevel: levelNew,
    schema: route.ReplicaDrainedSchema,
  },
]);

type Event = {
  readonly type: 'ReplicaDrained' | 'ReplicaPainted';
  readonly data: { replicaId: string; reason: string };
};

const replica: Decider<number, 'drain' | 'paint', Event> = {
  context: 'route',
  aggregate: 'replica',
  initial: 0,
  decide: (_, command) => [
    { type: command === 'drain' ? 'ReplicaDrained' : 'ReplicaPainted', data: { replicaId: 'r1', reason: command } },
  ],
  evolve: (count) => count + 1,
};

/** Two versions of Lintel side by side while one is being upgraded, on any log. `make` gives an empty one for each test. */
export function versionsContract(name: string, make: () => Promise<VersionsUnderTest>): void {
  describe(`${name}, an old reader beside a new writer`, () => {
    let under: VersionsUnderTest;
    const folds: LogFold<string[]>[] = [];

    beforeEach(async () => {
      under = await make();
    });

    afterEach(async () => {
      await Promise.all(folds.splice(0).map((fold) => fold.stop()));
      await under.log.close();
      await under.stop?.();
    });

    const follow = async (registry: EventRegistry): Promise<LogFold<string[]>> => {
      const fold = new LogFold<string[]>({
        log: under.log,
        registry,
        environment,
        initial: [],
        evolve: (state, { events }) => [...state, ...events.map(({ type }) => type)],
      });
      folds.push(fold);
      return await fold.start();
    };

    const write = (command: 'drain' | 'paint', commandId: string, readers?: ReaderRegistry) =>
      new CommandHandler({ log: under.log, registry: newer, environment, actor: 'gateway:new', readers }).handle(
        replica,
        'r1',
        command,
        { commandId },
      );

    test('the new type waits for the old reader, which reads on meanwhile; upgraded, it reads everything', async () => {
      const { log, readers } = under;
      const old = await follow(older);
      const fresh = await follow(newer);
      await readers.announce('gateway_new', newer.levels());
      await readers.announce('diagnostics_old', older.levels());

      await write('drain', 'c1', readers);
      await expect(write('paint', 'c2', readers)).rejects.toMatchObject({
        code: 'SCHEMA_NOT_READY',
        message: expect.stringContaining('diagnostics_old'),
      });
      expect(await log.lastSeq()).toBe(1);
      await write('drain', 'c3', readers);
      await eventually(() => expect(old.state).toEqual(['ReplicaDrained', 'ReplicaDrained']));
      expect(old.status).toBe('following');

      await old.stop();
      await readers.withdraw('diagnostics_old');
      await readers.announce('diagnostics_new', newer.levels());
      expect(await write('paint', 'c2', readers)).toMatchObject({ seq: 3, changed: true });
      const everything = ['ReplicaDrained', 'ReplicaDrained', 'ReplicaPainted'];
      await eventually(() => expect(fresh.state).toEqual(everything));
      expect((await follow(newer)).state).toEqual(everything);
    });

    test('a reader that nobody asked halts at what it cannot read, names it, and passes nothing over', async () => {
      const old = await follow(older);
      await write('drain', 'c1');
      await write('paint', 'c2');
      await write('drain', 'c3');
      await eventually(() => expect(old.status).toBe('halted'));
      expect(old.failure).toMatchObject({
        code: 'EVENT_TYPE_UNKNOWN',
        message: expect.stringContaining('ReplicaPainted'),
      });
      expect(old).toMatchObject({ state: ['ReplicaDrained'], headSeq: 1 });
    });
  });
}
