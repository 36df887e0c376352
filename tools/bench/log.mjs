// The log on JetStream against a bare client of the same server: appends in sequence and pipelined, replay, as ratios.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { headers } from '@nats-io/transport-node';
import { root } from '../prepare.mjs';
import { startup } from './_log-startup.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    appends: { type: 'string', default: '3000' },
    rounds: { type: 'string', default: '3' },
    oldest: { type: 'boolean' },
    age: { type: 'string', default: '1000000' },
  },
});
if (values.help) {
  process.stdout.write(`npm run bench -- log [--appends 3000] [--rounds 3] [--oldest] [--age 1000000]

Starts its own nats-server (acknowledged writes synced every two minutes, so that the client is measured and not the
disk) and takes turns: bare publishes, our appends, one after another and 256 at once; then reads everything back with a
bare ordered consumer and with our follower. A round is a fifth of a second or so of each; the median counts.
At last the log grows to --age commits (0 leaves it out; a million takes about two minutes), and a fold starts at a tenth of the
age and at all of it: from the first commit on, and from a snapshot.
`);
  process.exit(0);
}
const appends = Number(values.appends);
const rounds = Number(values.rounds);
const dist = (lib) => import(join(root, 'dist/libs', lib, 'src/index.js'));
const { provideNats } = await dist('provision');
const { connectNats, ensureStreams, NatsEventLog } = await dist('event-log-nats');
const { emptyHead, prepareCommit } = await dist('event-log');
const { EventRegistry } = await dist('contracts');
const { env } = await dist('nest-kit');

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const registry = new EventRegistry();
let made = 0;
const nextCommit = () => {
  const id = `r${++made}`;
  return prepareCommit({
    registry,
    subject: { context: 'route', aggregate: 'replica', id },
    commitId: `bench-${made}`,
    head: emptyHead,
    events: [{ type: 'ReplicaDrained', data: { replicaId: id, reason: 'x'.repeat(120) } }],
    context: { atMs: 1_700_000_000_000, actor: 'bench:log' },
  });
};

/** Commits per second of `work` over ready-made commits, `width` at once. */
async function rate(commits, width, work) {
  const fromMs = performance.now();
  let next = 0;
  const worker = async () => {
    while (next < commits.length) await work(commits[next++]);
  };
  await Promise.all(Array.from({ length: width }, worker));
  return (commits.length / (performance.now() - fromMs)) * 1000;
}

const home = mkdtempSync(join(tmpdir(), 'lintel-bench-'));
let server;
// Stopped half way it leaves no server and no folder behind.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await server?.stop?.();
    rmSync(home, { recursive: true, force: true });
    process.exit(1);
  });
}
try {
  server = await provideNats({
    home,
    cacheDir: env.cache,
    syncAlways: false,
    log: () => {},
    ...(values.oldest ? { version: 'oldest' } : {}),
  });
  if ('unavailable' in server) throw new Error(server.advice);
  process.stdout.write(`nats-server ${server.version} (${server.how})\n`);
  const link = await connectNats({ url: server.url, ...server.credentials.operator, name: 'bench' });
  await ensureStreams(link);
  const log = new NatsEventLog(link);

  const bareHeaders = (commit) => {
    const head = headers();
    head.set('Lintel-Version', String(commit.version));
    head.set('Lintel-Prev-Hash', commit.prevHash);
    head.set('Lintel-Hash', commit.hash);
    head.set('Lintel-Schema', String(commit.schemaLevel));
    return head;
  };
  const bare = (commit) =>
    link.js.publish(commit.subject, commit.payload, {
      msgID: commit.commitId,
      expect: { lastSubjectSequence: 0 },
      headers: bareHeaders(commit),
    });
  const ours = (commit) => log.append(commit, emptyHead);
  const batch = (count) => Array.from({ length: count }, nextCommit);
  let failed = false;
  const report = (name, oursRate, bareRate, goal) => {
    const ratio = oursRate / bareRate;
    failed ||= ratio < goal;
    const verdict = ratio >= goal ? 'reached' : 'MISSED';
    process.stdout.write(
      `${name.padEnd(24)} ours ${Math.round(oursRate).toString().padStart(7)}/s  bare ${Math.round(bareRate).toString().padStart(7)}/s  ratio ${ratio.toFixed(2)}  (goal ${goal}: ${verdict})\n`,
    );
  };

  for (const [name, width, count] of [
    ['append in sequence', 1, Math.ceil(appends / 3)],
    ['append, 256 at once', 256, appends],
  ]) {
    const rates = { ours: [], bare: [] };
    for (let round = 0; round <= rounds; round++) {
      const bareRate = await rate(batch(count), width, bare);
      const oursRate = await rate(batch(count), width, ours);
      if (round === 0) continue; // warm-up
      rates.bare.push(bareRate);
      rates.ours.push(oursRate);
    }
    report(name, median(rates.ours), median(rates.bare), 0.8);
  }

  const total = await log.lastSeq();
  const replayOurs = async () => {
    const done = Promise.withResolvers();
    let versions = 0;
    const fromMs = performance.now();
    const following = await log.follow({ fromSeq: 1 }, (commit) => {
      versions += commit.version;
      if (commit.seq === total) done.resolve();
    });
    await done.promise;
    const ms = performance.now() - fromMs;
    await following.stop();
    if (versions !== total) throw new Error('a commit is missing');
    return (total / ms) * 1000;
  };
  const replayBare = async (withHeaders) => {
    const fromMs = performance.now();
    const consumer = await link.js.consumers.get('LINTEL_EVENTS', { opt_start_seq: 1 });
    const messages = await consumer.consume({ max_messages: 4096 });
    let versions = 0;
    for await (const message of messages) {
      versions += withHeaders ? Number(message.headers.get('Lintel-Version')) : 1;
      if (message.seq === total) break;
    }
    const ms = performance.now() - fromMs;
    await messages.close();
    if (versions !== total) throw new Error('a commit is missing');
    return (total / ms) * 1000;
  };
  const replays = { ours: [], bare: [], blind: [] };
  for (let round = 0; round <= rounds; round++) {
    const [blind, bareRate, oursRate] = [await replayBare(false), await replayBare(true), await replayOurs()];
    if (round === 0) continue; // warm-up
    replays.blind.push(blind);
    replays.bare.push(bareRate);
    replays.ours.push(oursRate);
  }
  report(`replay of ${total}`, median(replays.ours), median(replays.bare), 0.8);
  process.stdout.write(`(bare without reading the headers: ${Math.round(median(replays.blind))}/s)\n`);
  const age = Number(values.age);
  if (age > 0) {
    const reached = await startup({ log, link, registry, commits: age, median, rounds });
    failed ||= !reached;
  }
  await log.close();
  await link.close();
  process.exitCode = failed ? 1 : 0;
} finally {
  await server?.stop?.();
  rmSync(home, { recursive: true, force: true });
}
