// Child of projection.mjs: appends commits at a fixed rate for a fixed time, whatever the answers take.
import { dist } from './_common.mjs';
import { commitSource } from './_fill.mjs';

const [url, user, password, perSecond, seconds] = process.argv.slice(2);
const { connectNats, NatsEventLog } = await dist('event-log-nats');
const { emptyHead } = await dist('event-log');
const link = await connectNats({ url, user, password, name: 'bench-load' });
const log = new NatsEventLog(link);

// Enough aggregates that none is appended to twice at once: only its own writer knows the next expectation.
const aggregates = 4_000;
const next = commitSource(aggregates, 'l');
const heads = new Map();
const total = Number(perSecond) * Number(seconds);
let sent = 0;
let failed = 0;
let open = 0;
let lateMsMax = 0;
const done = Promise.withResolvers();
const fromMs = performance.now();

function append() {
  const commit = next();
  open++;
  log
    .append(commit, { ...(heads.get(commit.subject) ?? emptyHead) })
    .then(({ seq }) => heads.set(commit.subject, { seq, version: commit.version, hash: commit.hash }))
    .catch(() => failed++)
    .finally(() => {
      open--;
      if (sent === total && open === 0) done.resolve();
    });
}

const timer = setInterval(() => {
  const due = Math.min(total, Math.floor(((performance.now() - fromMs) * Number(perSecond)) / 1000));
  lateMsMax = Math.max(lateMsMax, ((due - sent) / Number(perSecond)) * 1000);
  while (sent < due) {
    sent++;
    append();
  }
  if (sent === total) clearInterval(timer);
}, 1);

await done.promise;
await log.close();
await link.close();
process.stdout.write(`${JSON.stringify({ ready: true, sent, failed, lateMsMax })}\n`);
