import { describe, expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import type { FoldSnapshots, Snapshot } from '#libs/event-log';
import { emptyHead, LogFold, MemoryEventLog, MemorySnapshotStore } from '#libs/event-log';
import { systemClock, systemEnvironment } from '#libs/kernel';
import { eventually, headAfter, sampleCommit, sampleLog } from '#libs/testkit';

const registry = new EventRegistry();
const environment = systemEnvironment;

async function logOf(count: number): Promise<MemoryEventLog> {
  const log = new MemoryEventLog({ clock: systemClock });
  for (const commit of sampleLog(count)) {
    const { version, prevHash } = commit;
    const before = await log.readSubject(commit.subject, 0);
    await log.append(commit, { seq: before.at(-1)?.seq ?? 0, version: version - 1, hash: prevHash });
  }
  return log;
}

const snapshotsIn = (store: MemorySnapshotStore, given: Partial<FoldSnapshots<string[]>> = {}) => ({
  store,
  name: 'test__fold',
  foldVersion: '1',
  encode: (state: string[]) => state,
  decode: (json: unknown) => json as string[],
  ...given,
});

const foldOf = (log: MemoryEventLog, snapshots?: FoldSnapshots<string[]>): LogFold<string[]> =>
  new LogFold({
    log,
    registry,
    environment,
    initial: [],
    evolve: (state, { stored }) => [...state, stored.commitId],
    snapshots,
  });

describe('a fold that starts from a snapshot', () => {
  const all = sampleLog(9).map(({ commitId }) => commitId);

  async function saved(store: MemorySnapshotStore, count: number): Promise<void> {
    const fold = await foldOf(await logOf(count), snapshotsIn(store)).start();
    await fold.saveSnapshot();
    await fold.stop();
  }

  test('L3 holds what a fold from the first commit holds, state and heads', async () => {
    const log = await logOf(9);
    const plain = await foldOf(log).start();
    for (let count = 1; count <= 9; count++) {
      const store = new MemorySnapshotStore();
      await saved(store, count);
      const fold = await foldOf(log, snapshotsIn(store)).start();
      expect(fold).toMatchObject({ fromSnapshot: true, state: all, headSeq: 9 });
      expect(fold.heads).toEqual(plain.heads);
      await fold.stop();
    }
    await plain.stop();
  });

  class Changed extends MemorySnapshotStore {
    constructor(readonly change: (snapshot: Snapshot) => Snapshot) {
      super();
    }

    override async save(snapshot: Snapshot): Promise<void> {
      await super.save(this.change(snapshot));
    }
  }

  test.each<[string, MemorySnapshotStore, Partial<FoldSnapshots<string[]>>]>([
    ['bytes were changed', new Changed((snapshot) => ({ ...snapshot, bytes: Buffer.from('{}') })), {}],
    ['sequence was changed', new Changed((snapshot) => ({ ...snapshot, seq: 3 })), {}],
    ['fold has changed', new MemorySnapshotStore(), { foldVersion: '2' }],
    [
      'state can no longer be read',
      new MemorySnapshotStore(),
      {
        decode: () => {
          throw new Error('another shape');
        },
      },
    ],
  ])('begins at the first commit where the %s', async (_, store, given) => {
    await saved(store, 5);
    const fold = await foldOf(await logOf(9), snapshotsIn(store, given)).start();
    expect(fold).toMatchObject({ fromSnapshot: false, state: all });
    await fold.stop();
  });

  test('begins at the first commit where the snapshot is of another log', async () => {
    const store = new MemorySnapshotStore();
    await saved(store, 5);
    const other = new MemoryEventLog({ clock: systemClock });
    for (let n = 1; n <= 5; n++) await other.append(sampleCommit({ id: `x${n}`, commitId: `x${n}` }), emptyHead);
    const fold = await foldOf(other, snapshotsIn(store)).start();
    expect(fold).toMatchObject({ fromSnapshot: false, state: ['x1', 'x2', 'x3', 'x4', 'x5'] });
    await fold.stop();
    const shorter = await foldOf(await logOf(3), snapshotsIn(store)).start();
    expect(shorter).toMatchObject({ fromSnapshot: false, headSeq: 3 });
    await shorter.stop();
  });

  test('saves by itself after so many commits', async () => {
    const log = new MemoryEventLog({ clock: systemClock });
    const store = new MemorySnapshotStore();
    const fold = await foldOf(log, snapshotsIn(store, { everyCommits: 3 })).start();
    for (let n = 1; n <= 4; n++) await log.append(sampleCommit({ id: `r${n}`, commitId: `c${n}` }), emptyHead);
    await eventually(async () => expect((await store.load('test__fold', '1'))?.seq).toBe(3));
    await fold.stop();
  });
});

describe('waiting for a sequence', () => {
  test('resolves when it is folded, also where it belongs to a subject that is not followed', async () => {
    const log = new MemoryEventLog({ clock: systemClock });
    const fold = await new LogFold({
      log,
      registry,
      environment,
      subjects: ['lintel.ev.tenancy.>'],
      initial: 0,
      evolve: (count) => count + 1,
    }).start();
    await log.append(sampleCommit({ id: 'r1', commitId: 'c1' }), emptyHead);
    await fold.waitFor(1, 2_000);
    expect(fold).toMatchObject({ headSeq: 1, state: 0 });
    await fold.stop();
  });

  test('refuses with FOLD_BEHIND in time, and with FOLD_STOPPED when it stops', async () => {
    const fold = await foldOf(await logOf(1)).start();
    await expect(fold.waitFor(2, 30)).rejects.toMatchObject({ code: 'FOLD_BEHIND' });
    const waiting = fold.waitFor(2, 60_000);
    await fold.stop();
    await expect(waiting).rejects.toMatchObject({ code: 'FOLD_STOPPED' });
  });
});

test('L5 effects start from accepted commits alone, once each, in order', async () => {
  const log = new MemoryEventLog({ clock: systemClock });
  const effects: string[] = [];
  const fold = await new LogFold({
    log,
    registry,
    environment,
    initial: null,
    evolve: (state) => state,
    onAccepted: ({ stored }) => effects.push(stored.commitId),
  }).start();
  const first = sampleCommit({ id: 'r1', commitId: 'c1' });
  const head = headAfter(first, (await log.append(first, emptyHead)).seq);
  // Stored at the right sequence, on a head that is not the accepted one: no reader takes it.
  const fork = sampleCommit({ id: 'r1', commitId: 'fork', head: { version: 1, hash: 'f'.repeat(64) } });
  const { seq } = await log.append(fork, head);
  await log.append(sampleCommit({ id: 'r1', commitId: 'c2', head }), { ...head, seq });
  await fold.waitFor(3, 2_000);
  expect(effects).toEqual(['c1', 'c2']);
  expect(fold.counts).toMatchObject({ accepted: 2, forked: 1 });
  await fold.stop();
});
