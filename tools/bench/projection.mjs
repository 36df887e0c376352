// Projections: rows per second into Postgres while catching up, of commits and of request records; lag at 2,000 events/s.
import { parseArgs } from 'node:util';
import {
  bench,
  benchNats,
  cpuSeconds,
  dist,
  machine,
  median,
  node,
  percentile,
  profiled,
  say,
  start,
  treeCpuSeconds,
  until,
  verdict,
} from './_common.mjs';
import { commitSource, fillFrames, fillLog } from './_fill.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    commits: { type: 'string', default: '200000' },
    records: { type: 'string', default: '200000' },
    rounds: { type: 'string', default: '3' },
    rate: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '10' },
    aggregates: { type: 'string', default: '200' },
    profile: { type: 'string' },
    only: { type: 'string', default: '' },
  },
});
if (values.help) {
  process.stdout
    .write(`npm run bench -- projection [--commits 200000] [--records 200000] [--rounds 3] [--rate 2000] [--seconds 10]

Own nats-server and Postgres (fsync on), the real runner and store. Fills the log and the stream of frames (100 records
each), then catches up from nothing: "commits" alone, all three projections of the log at once, "requests"; the median of
the rounds counts. Then a process of its own appends at a fixed rate: lag is from the broker's storing of each event to its
rows being committed, for every event, not for the newest of a batch.
`);
  process.exit(0);
}

const rowsPerSecondGoal = 50_000;
const lagMsP99Goal = 250;
const recordsPerFrame = 100;

await bench(async (scope) => {
  const server = await benchNats(scope, { syncAlways: false });
  const { providePostgres } = await dist('provision');
  const { env } = await dist('nest-kit');
  const postgres = await providePostgres({ home: scope.home, cacheDir: env.cache, log: () => {}, restart: false });
  scope.onEnd(() => postgres.stop());
  say(`${machine()}; nats-server ${server.version}, Postgres ${postgres.version}, fsync on`);

  const { connectNats, ensureStreams, NatsEventLog, NatsFrameStream } = await dist('event-log-nats');
  const { systemEnvironment: environment } = await dist('kernel');
  const { commits, configuration, ProjectionRunner, replicas, requests } = await dist('projections');
  const { migrate, openDatabase, PostgresProjectionStore, resetProjections } = await dist('projections-postgres');
  const link = await connectNats({ url: server.url, ...server.credentials.operator, name: 'bench' });
  scope.onEnd(() => link.close());
  await ensureStreams(link);
  const log = new NatsEventLog(link);
  const frames = new NatsFrameStream(link);
  scope.onEnd(() => Promise.all([log.close(), frames.close()]));
  const database = openDatabase({ url: postgres.url });
  scope.onEnd(() => database.close());
  await migrate(database);

  const commitCount = Number(values.commits);
  const frameCount = Math.ceil(Number(values.records) / recordsPerFrame);
  const commitRate = await fillLog(link, commitCount, commitSource(Number(values.aggregates)));
  const frameRate = await fillFrames(frames, frameCount, recordsPerFrame);
  say(
    `filled with ${commitCount} commits (${Math.round(commitRate)}/s) and ${frameCount * recordsPerFrame} records (${Math.round(frameRate * recordsPerFrame)}/s)`,
  );

  /** Seconds from nothing to the end of the stream, all given projections at once; answers items per second. */
  async function catchUp(projections, source) {
    await resetProjections(database, projections);
    const store = new PostgresProjectionStore(database);
    const lastSeq = await source.lastSeq();
    const fromMs = performance.now();
    const cpuFrom = process.cpuUsage();
    const databaseFrom = treeCpuSeconds(postgres.pid);
    const brokerFrom = cpuSeconds(server.pid);
    const runners = projections.map((projection) => {
      const done = Promise.withResolvers();
      const seen = () => (runner.status.seq ?? 0) >= lastSeq && done.resolve();
      const hooks = {
        onBatch: seen,
        onState: ({ state, halt }) => halt && done.reject(new Error(`${state}: ${halt.reason}`)),
      };
      const runner = new ProjectionRunner({ projection, source, store, environment, hooks });
      void runner.start();
      return { runner, done: done.promise };
    });
    await profiled(values.profile, () => Promise.all(runners.map(({ done }) => done)));
    await until('indexes', () => runners.every(({ runner }) => runner.status.indexed));
    const seconds = (performance.now() - fromMs) / 1000;
    const cpu = process.cpuUsage(cpuFrom);
    await Promise.all(runners.map(({ runner }) => runner.stop()));
    const databaseUs = ((treeCpuSeconds(postgres.pid) - databaseFrom) * 1e6) / lastSeq;
    const brokerUs = ((cpuSeconds(server.pid) - brokerFrom) * 1e6) / lastSeq;
    return { perSecond: lastSeq / seconds, cpuUs: (cpu.user + cpu.system) / lastSeq, databaseUs, brokerUs };
  }

  async function row(name, projections, source, perItem, goal) {
    const rates = [];
    const cpuUs = [];
    const databaseUs = [];
    const brokerUs = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      const result = await catchUp(projections, source);
      rates.push(result.perSecond * perItem);
      cpuUs.push(result.cpuUs / perItem);
      databaseUs.push(result.databaseUs / perItem);
      brokerUs.push(result.brokerUs / perItem);
    }
    const rate = median(rates);
    const text = `${name.padEnd(42)} ${Math.round(rate).toString().padStart(7)}/s  CPU each: projector ${median(cpuUs).toFixed(1)} µs, database ${median(databaseUs).toFixed(1)} µs, broker ${median(brokerUs).toFixed(1)} µs`;
    say(goal === undefined ? text : `${text}  ${verdict(rate >= goal, `${goal}/s`)}`);
  }
  const wants = (part) => values.only === '' || values.only === part;
  if (wants('commits')) await row('commits: events', [commits], log, 1, rowsPerSecondGoal);
  if (wants('log')) await row('commits, replicas, configuration: events', [commits, replicas, configuration], log, 1);
  if (wants('requests')) await row('requests: records', [requests], frames, recordsPerFrame, rowsPerSecondGoal);

  if (wants('lag')) await lag();

  async function lag() {
    const store = new PostgresProjectionStore(database);
    const waiting = [];
    const lags = [];
    const fromSeq = (await log.lastSeq()) + 1;
    const counted = {
      lastSeq: () => log.lastSeq(),
      follow: (options, handler) =>
        log.follow(options, (commit) => {
          if (commit.seq >= fromSeq) waiting.push(commit.storedAtMs);
          return handler(commit);
        }),
    };
    const onBatch = ({ items }) => {
      const nowMs = Date.now();
      for (const storedAtMs of waiting.splice(0, items)) lags.push(nowMs - storedAtMs);
    };
    const runners = [commits, replicas, configuration].map((projection) => {
      const own = projection === commits ? { source: counted, hooks: { onBatch } } : { source: log };
      const runner = new ProjectionRunner({ projection, store, environment, ...own });
      void runner.start();
      return runner;
    });
    await until('all following', () => runners.every(({ status }) => status.seq === fromSeq - 1));
    const { user, password } = server.credentials.operator;
    const child = start('', node, [
      'tools/bench/_append-load.mjs',
      server.url,
      user,
      password,
      values.rate,
      values.seconds,
    ]);
    const loaded = await until(
      'load',
      () => /^\{"ready".*\}$/m.exec(child.output)?.[0] ?? (child.exitCode ? 'failed' : undefined),
      (Number(values.seconds) + 20) * 1000,
    );
    if (loaded === 'failed') throw new Error(child.output);
    const { sent, failed, lateMsMax } = JSON.parse(loaded);
    await until('all projected', () => lags.length === sent - failed);
    await Promise.all(runners.map((runner) => runner.stop()));
    const p99 = percentile(lags, 0.99);
    say(
      `lag at ${values.rate} events/s, three projections  p50 ${percentile(lags, 0.5).toFixed(0)} ms  p99 ${p99.toFixed(0)} ms  max ${percentile(lags, 1).toFixed(0)} ms over ${lags.length} events  ${verdict(p99 < lagMsP99Goal && failed === 0, `p99 < ${lagMsP99Goal} ms`)}`,
    );
    say(`(the load was up to ${lateMsMax.toFixed(0)} ms behind its schedule; ${failed} appends failed)`);
  }
});
