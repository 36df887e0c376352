import { root } from '../prepare.mjs';

const dist = (lib) => import(`${root}/dist/libs/${lib}/src/index.js`);
const aggregates = 1024;
const atOnce = 512;
/** Commits that came after the snapshot was taken. */
const tail = 200;

/** Chained commits of `aggregates` replicas in turn, `atOnce` of them under way. */
function filler(log, { emptyHead, prepareCommit }, registry) {
  const heads = Array.from({ length: aggregates }, () => emptyHead);
  let made = 0;
  return async (total) => {
    const worker = async (first) => {
      // Each worker has aggregates of its own, so that every commit extends the one before.
      for (let turn = first; made < total; turn = (turn + atOnce) % aggregates) {
        const number = ++made;
        const head = heads[turn];
        const id = `age${turn}`;
        const commit = prepareCommit({
          registry,
          subject: { context: 'route', aggregate: 'replica', id },
          commitId: `age-${number}`,
          head,
          events: [{ type: 'ReplicaDrained', data: { replicaId: id, reason: 'x'.repeat(60) } }],
          context: { atMs: 1_700_000_000_000, actor: 'bench:log' },
        });
        const { seq } = await log.append(commit, head);
        heads[turn] = { seq, version: commit.version, hash: commit.hash };
      }
    };
    await Promise.all(Array.from({ length: atOnce }, (_, first) => worker(first)));
  };
}

/** Start-up of a fold at a tenth of the age and at the whole: from the first commit on, and from a snapshot. */
export async function startup({ log, link, registry, commits, median, rounds }) {
  const eventLog = await dist('event-log');
  const { NatsSnapshotStore } = await dist('event-log-nats');
  const { systemEnvironment } = await dist('kernel');
  const store = new NatsSnapshotStore(link);
  const newFold = (snapshots) =>
    new eventLog.LogFold({
      log,
      registry,
      environment: systemEnvironment,
      subjects: ['lintel.ev.route.replica.*'],
      initial: { drains: 0 },
      evolve: (state) => ({ drains: state.drains + 1 }),
      ...(snapshots
        ? {
            snapshots: {
              store,
              name: 'bench__age',
              foldVersion: '1',
              encode: (state) => state,
              decode: (json) => json,
            },
          }
        : {}),
    });
  const started = async (snapshots) => {
    const fold = newFold(snapshots);
    const fromMs = performance.now();
    await fold.start();
    const ms = performance.now() - fromMs;
    if (snapshots && !fold.fromSnapshot) throw new Error('the snapshot was not used');
    return { fold, ms };
  };
  const fill = filler(log, eventLog, registry);
  const rows = [];
  for (const age of [Math.ceil(commits / 10), commits]) {
    const fillFromMs = performance.now();
    process.stdout.write(`filling to ${age} commits …\n`);
    await fill(age);
    const fillS = (performance.now() - fillFromMs) / 1000;
    const first = newFold(true);
    await first.start();
    await first.saveSnapshot();
    await first.stop();
    await fill(age + tail);
    const whole = await started(false);
    const withSnapshot = [];
    for (let round = 0; round < rounds; round++) {
      const { fold, ms } = await started(true);
      withSnapshot.push(ms);
      if (fold.state.drains !== whole.fold.state.drains) throw new Error('the snapshot gives another state');
      await fold.stop();
    }
    await whole.fold.stop();
    rows.push({ age, wholeMs: whole.ms, snapshotMs: median(withSnapshot), fillS });
  }
  for (const { age, wholeMs, snapshotMs, fillS } of rows) {
    const per = Math.round((age / wholeMs) * 1000);
    process.stdout.write(
      `start-up at ${String(age).padStart(8)} commits: all ${wholeMs.toFixed(0).padStart(6)} ms (${per}/s), from a snapshot and ${tail} more ${snapshotMs.toFixed(0).padStart(5)} ms; filled in ${fillS.toFixed(0)} s\n`,
    );
  }
  const [young, old] = rows;
  // Ten times the age may not double the start; below a tenth of a second the difference is noise.
  const grows = old.snapshotMs > Math.max(100, 2 * young.snapshotMs);
  process.stdout.write(
    `start-up from a snapshot at ten times the age: ratio ${(old.snapshotMs / young.snapshotMs).toFixed(2)}  (goal at most 2: ${grows ? 'MISSED' : 'reached'})\n`,
  );
  return !grows;
}
