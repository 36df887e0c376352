import { describe, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import type { Decider, PreparedCommit } from '#libs/event-log';
import { CommandHandler, decodeCommit, LogFold, MemoryEventLog, MemoryReaderRegistry } from '#libs/event-log';
import { CodedError, systemClock, systemEnvironment } from '#libs/kernel';
import { AggregateCache } from './aggregate.ts';
import { CommitDecoder } from './codec.ts';

type Event =
  | { type: 'ReplicaRegistered'; data: { replicaId: string; url: string } }
  | { type: 'ReplicaDrained'; data: { replicaId: string; reason: string } };
interface State {
  readonly urls: readonly string[];
  readonly drains: number;
}
type Command = { type: 'Register'; url: string } | { type: 'Drain' };

const replica: Decider<State, Command, Event> = {
  context: 'route',
  aggregate: 'replica',
  initial: { urls: [], drains: 0 },
  decide(state, command) {
    if (command.type === 'Register') {
      return state.urls.includes(command.url)
        ? []
        : [{ type: 'ReplicaRegistered', data: { replicaId: 'r1', url: command.url } }];
    }
    if (state.urls.length === 0) throw new CodedError('REPLICA_UNKNOWN', 'no such replica');
    return [{ type: 'ReplicaDrained', data: { replicaId: 'r1', reason: `drain ${state.drains + 1}` } }];
  },
  evolve(state, event) {
    return event.type === 'ReplicaRegistered'
      ? { ...state, urls: [...state.urls, event.data.url] }
      : { ...state, drains: state.drains + 1 };
  },
};

const registry = new EventRegistry();
const environment = systemEnvironment;
const newLog = (): MemoryEventLog => new MemoryEventLog({ clock: systemClock });
const handlerOf = (log: MemoryEventLog): CommandHandler =>
  new CommandHandler({ log, registry, environment, actor: 'test:1' });
const register = { type: 'Register', url: 'http://127.0.0.1:1' } as const;

describe('CommandHandler', () => {
  test('a command becomes one commit that a fold reads back', async () => {
    const log = newLog();
    const handled = await handlerOf(log).handle(replica, 'r1', register, {
      commandId: 'c1',
      reason: { text: 'asked' },
    });
    expect(handled).toMatchObject({ seq: 1, version: 1, changed: true, commitId: 'c1:route.replica.r1' });
    expect(handled.storedAtMs).toBe((await log.readSubject('lintel.ev.route.replica.r1', 0))[0]?.storedAtMs);
    const fold = new LogFold({
      log,
      registry,
      environment,
      initial: [] as string[],
      evolve: (state, { subject, payload, events }) => [
        ...state,
        `${subject.id} ${events[0]?.type} by ${payload.actor}: ${payload.reason?.text}`,
      ],
    });
    await fold.start();
    expect(fold.state).toEqual(['r1 ReplicaRegistered by test:1: asked']);
    expect(fold.headOf('lintel.ev.route.replica.r1')).toMatchObject({ seq: 1, version: 1 });
    await fold.stop();
    await log.close();
  });

  test('who asked stands in the commit where it was not the handler itself', async () => {
    const log = newLog();
    await handlerOf(log).handle(replica, 'r1', register, { commandId: 'c1', actor: 'cli:ann' });
    const [stored] = await log.readSubject('lintel.ev.route.replica.r1', 0);
    expect(stored && decodeCommit(stored, registry).payload.actor).toBe('cli:ann');
    await log.close();
  });

  test('what is so already changes nothing, and a refusal is thrown as it is', async () => {
    const log = newLog();
    const handler = handlerOf(log);
    await expect(handler.handle(replica, 'r1', { type: 'Drain' }, { commandId: 'c0' })).rejects.toMatchObject({
      code: 'REPLICA_UNKNOWN',
    });
    await handler.handle(replica, 'r1', register, { commandId: 'c1' });
    expect(await handler.handle(replica, 'r1', register, { commandId: 'c2' })).toMatchObject({
      changed: false,
      seq: 1,
    });
    expect(await log.lastSeq()).toBe(1);
  });

  test('L1 a retried command finds its own commit, in this handler and in one that starts anew', async () => {
    const log = newLog();
    const handler = handlerOf(log);
    await handler.handle(replica, 'r1', register, { commandId: 'c1' });
    const { appendedMs, ...first } = await handler.handle(replica, 'r1', { type: 'Drain' }, { commandId: 'c2' });
    expect(appendedMs!.to).toBeGreaterThanOrEqual(appendedMs!.from);
    await handler.handle(replica, 'r1', { type: 'Drain' }, { commandId: 'c3' });
    expect(await handler.handle(replica, 'r1', { type: 'Drain' }, { commandId: 'c2' })).toEqual(first);
    expect(await handlerOf(log).handle(replica, 'r1', { type: 'Drain' }, { commandId: 'c2' })).toEqual(first);
    expect(await log.lastSeq()).toBe(3);
  });

  test('two handlers that race decide one after the other', async () => {
    const log = newLog();
    await handlerOf(log).handle(replica, 'r1', register, { commandId: 'c1' });
    const handled = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        handlerOf(log).handle(replica, 'r1', { type: 'Drain' }, { commandId: `d${index}` }),
      ),
    );
    expect(handled.map(({ version }) => version).sort((a, b) => a - b)).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    const reasons = (await log.readSubject('lintel.ev.route.replica.r1', 1)).map(
      (stored) =>
        (decodeCommit(stored, registry).events.at(0) as { data: { reason?: string } } | undefined)?.data.reason,
    );
    expect(reasons).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((n) => `drain ${n}`));
  });

  test('L3 a commit that readers will not accept is decided again under another id', async () => {
    const log = newLog();
    const handler = handlerOf(log);
    await handler.handle(replica, 'r1', register, { commandId: 'c1' });
    // A clustered broker lets another commit pass between the check of the expectation and the apply.
    const racing = new (class extends MemoryEventLog {
      override async append(commit: PreparedCommit, expected: Parameters<MemoryEventLog['append']>[1]) {
        if (commit.commitId === 'c3:route.replica.r1') {
          const [last] = await log.readSubject(commit.subject, expected.seq);
          await handler.handle(replica, 'r1', { type: 'Drain' }, { commandId: 'c2' });
          expect(last).toBeUndefined();
          return log.append(commit, { ...expected, seq: expected.seq + 1 });
        }
        return log.append(commit, expected);
      }
      override readSubject(subject: string, afterSeq: number) {
        return log.readSubject(subject, afterSeq);
      }
    })({ clock: systemClock });
    const raced = await handlerOf(racing).handle(replica, 'r1', { type: 'Drain' }, { commandId: 'c3' });
    const { appendedMs: _once, ...handled } = raced;
    expect(handled).toMatchObject({ seq: 4, version: 3, commitId: 'c3:route.replica.r1~1' });
    expect(await handlerOf(log).handle(replica, 'r1', { type: 'Drain' }, { commandId: 'c3' })).toEqual(handled);
  });

  test('SCHEMA_NOT_READY holds a new event type back until the old reader is gone', async () => {
    const log = newLog();
    const readers = new MemoryReaderRegistry(systemClock);
    const handler = new CommandHandler({ log, registry, environment, actor: 'test:1', readers });
    await readers.announce('console:old', { route: 0 });
    await readers.announce('elsewhere', { tenancy: 0 });
    await expect(handler.handle(replica, 'r1', register, { commandId: 'c1' })).rejects.toMatchObject({
      code: 'SCHEMA_NOT_READY',
    });
    expect(await log.lastSeq()).toBe(0);
    await readers.announce('console:old', { route: 1 });
    expect(await handler.handle(replica, 'r1', register, { commandId: 'c1' })).toMatchObject({ changed: true });
  });

  test('the commits that are kept of all aggregates are bounded; what was dropped is read again', async () => {
    const log = newLog();
    const handler = handlerOf(log);
    const cache = new AggregateCache(log, new CommitDecoder(registry), 10);
    for (let id = 0; id < 8; id++) {
      await handler.handle(replica, `r${id}`, register, { commandId: `register ${id}` });
      for (let n = 0; n < 3; n++)
        await handler.handle(replica, `r${id}`, { type: 'Drain' }, { commandId: `${id} ${n}` });
      await cache.load(replica, `lintel.ev.route.replica.r${id}`);
      expect(cache.commits).toBeLessThanOrEqual(10);
    }
    expect(cache.commits).toBe(8);
    const again = await cache.load(replica, 'lintel.ev.route.replica.r0');
    expect([again.commits.size, again.state.drains, cache.commits]).toEqual([4, 3, 8]);
  });
});
