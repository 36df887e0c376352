import { describe, expect, test } from '@jest/globals';
import type { StoredCommit } from '#libs/event-log';
import { CodedError, systemEnvironment } from '#libs/kernel';
import type { Halt, ItemSource, Projection, Table } from '#libs/projections';
import {
  commits,
  commitTable,
  MemoryProjectionStore,
  ProjectionHost,
  ProjectionRunner,
  replicas,
} from '#libs/projections';
import { eventually, sampleLog } from '#libs/testkit';

const environment = systemEnvironment;

/** A stream that is an array: `push` adds to it. */
function stream<I extends { seq: number }>(
  items: I[],
): ItemSource<I & { storedAtMs: number }> & { push: (item: I) => void } {
  const wakers = new Set<() => void>();
  return {
    push: (item) => {
      items.push(item);
      for (const wake of wakers) wake();
    },
    lastSeq: async () => items.at(-1)?.seq ?? 0,
    follow: async ({ fromSeq }, handler) => {
      const life = { over: false };
      const ended = (async () => {
        for (let at = fromSeq - 1; !life.over;) {
          const item = items[at];
          if (item === undefined) await new Promise<void>((done) => wakers.add(done));
          else {
            at++;
            await handler(item as never);
          }
        }
      })();
      return {
        ended,
        stop: async () => {
          life.over = true;
          for (const wake of wakers) wake();
        },
      };
    },
  };
}

describe('poison', () => {
  test('all before it counts, the item is named, the rows are marked stale, and a retry goes on once it is mended', async () => {
    const log = sampleLog(10);
    const whole = log[6] as StoredCommit;
    log[6] = { ...whole, payload: new TextEncoder().encode('{"events":3}') };
    const store = new MemoryProjectionStore();
    const host = new ProjectionHost({ store, environment });
    host.start({ projection: commits, source: stream(log) });
    await eventually(() => expect(host.statuses()[0]?.state).toBe('halted'));
    const { seq, halt } = store.checkpoint(commits as Projection);
    expect(seq).toBe(6);
    expect(halt).toMatchObject({ seq: 7, code: 'COMMIT_PAYLOAD_INVALID' } satisfies Partial<Halt>);
    expect(store.rows(commits as Projection, commitTable).length).toBe(6);

    log[6] = whole;
    await host.retry('commits@2');
    await eventually(() => expect(store.checkpoint(commits as Projection)).toMatchObject({ seq: 10, halt: undefined }));
    await host.stop();
  });

  test('an event type of a newer writer halts who needs its meaning, not the timeline', async () => {
    const [first] = sampleLog(1) as [StoredCommit];
    const later = { ...first, payload: new TextEncoder().encode('{"events":[{"type":"ReplicaPainted","data":{}}]}') };
    const store = new MemoryProjectionStore();
    const run = (projection: typeof commits): ProjectionRunner<StoredCommit> =>
      new ProjectionRunner({ projection, source: stream([later]), store, environment });
    expect(await run(replicas).start()).toMatchObject({
      state: 'halted',
      halt: { seq: 1, code: 'EVENT_TYPE_UNKNOWN' },
    });
    const timeline = run(commits);
    void timeline.start();
    await eventually(() => expect(timeline.status.seq).toBe(1));
    await timeline.stop();
  });

  test('a hole in the decisions log halts', async () => {
    const log = sampleLog(5).filter(({ seq }) => seq !== 3);
    const source = { ...stream(log), lastSeq: async () => 5 };
    const runner = new ProjectionRunner({
      projection: commits,
      source,
      store: new MemoryProjectionStore(),
      environment,
    });
    expect(await runner.start()).toMatchObject({ state: 'halted', seq: 2, halt: { seq: 4, code: 'COMMIT_MISSING' } });
  });
});

test('a stream that ends before the checkpoint is another stream', async () => {
  const store = new MemoryProjectionStore();
  const before = new ProjectionRunner({ projection: commits, source: stream(sampleLog(5)), store, environment });
  void before.start();
  await eventually(() => expect(before.status.seq).toBe(5));
  await before.stop();
  const after = new ProjectionRunner({ projection: commits, source: stream(sampleLog(2)), store, environment });
  expect(await after.start()).toMatchObject({ state: 'halted', halt: { code: 'PROJECTION_LOG_REPLACED' } });
});

test('L4 of two projectors one is fenced, and every row is there once', async () => {
  const log = sampleLog(500);
  const store = new MemoryProjectionStore();
  const limits = { batchItemsMax: 7 };
  const runners = [1, 2].map(
    () => new ProjectionRunner({ projection: commits, source: stream(log), store, environment, limits }),
  );
  const ends = runners.map(async (runner) => await runner.start());
  await eventually(() => expect(store.checkpoint(commits as Projection).seq).toBe(500));
  await Promise.all(runners.map(async (runner) => await runner.stop()));
  const states = (await Promise.all(ends)).map(({ state }) => state).sort();
  expect(states).toEqual(['fenced', 'stopped']);
  expect(store.rows(commits as Projection, commitTable).length).toBe(500);
});

test('a value that the database refuses halts at its item', async () => {
  const table: Table = { name: 'n', columns: { seq: 'int' }, key: ['seq'] };
  const projection: Projection<StoredCommit> = {
    name: 'n',
    version: 1,
    source: 'events',
    tables: [table],
    begin: () => ({ apply: (items, changes) => items.forEach(({ seq }) => changes.put(table, { seq })) }),
  };
  class Picky extends MemoryProjectionStore {
    override move: MemoryProjectionStore['move'] = async (generation, move) => {
      const refused = move.fromSeq < 13 && 13 <= move.toSeq;
      if (refused) throw new CodedError('PROJECTION_ROW_REFUSED', '13 is bad luck');
      return await MemoryProjectionStore.prototype.move.call(this, generation, move);
    };
  }
  const store = new Picky();
  const runner = new ProjectionRunner({ projection, source: stream(sampleLog(20)), store, environment });
  expect(await runner.start()).toMatchObject({
    state: 'halted',
    seq: 12,
    halt: { seq: 13, code: 'PROJECTION_ROW_REFUSED' },
  });
});

test('the source is held back while the database is slow', async () => {
  let delivered = 0;
  const source: ItemSource<StoredCommit> = {
    lastSeq: async () => 1_000,
    follow: async (_, handler) => {
      let stopped = false;
      const ended = (async () => {
        for (const item of sampleLog(1_000)) {
          if (stopped) return;
          delivered++;
          await handler(item);
        }
        await new Promise(() => {});
      })();
      return { ended, stop: async () => void (stopped = true) };
    },
  };
  class Away extends MemoryProjectionStore {
    override move: MemoryProjectionStore['move'] = async () => {
      throw new CodedError('DB_UNAVAILABLE', 'away');
    };
  }
  const limits = { batchItemsMax: 10, bufferItemsMax: 50, retryMsMin: 5, retryMsMax: 10 };
  const runner = new ProjectionRunner({ projection: commits, source, store: new Away(), environment, limits });
  void runner.start();
  await eventually(() => expect(runner.status).toMatchObject({ state: 'waiting' }));
  await new Promise((done) => setTimeout(done, 100));
  expect(delivered).toBeLessThanOrEqual(50 + 2 * 10);
  await runner.stop();
});
