// Hours of mixed traffic through the gateway: resident memory, heap and event-loop lag over time, and what is held at the end.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bench, machine, median, node, pinSelf, ready, say, start, stop, until, verdict } from './_common.mjs';
import { idleBytesOf, streamBytesOf } from './_memory.mjs';
import { startEngines, startLintel } from './_proxies.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    minutes: { type: 'string', default: '60' },
    rate: { type: 'string', default: '100' },
  },
});
if (values.help) {
  process.stdout.write(`npm run bench -- soak [--minutes 60] [--rate 100]

The gateway's own process, with a key, limits and recording, \`lintel\` over 8 instant engines. Of twenty requests 9 are whole and 5 streamed
(one second each) on kept connections, 2 and 2 on new ones, one stream is given up at its third chunk, one request at once. They are turns of
400 conversations whose text grows and is never the same twice. Each ten seconds: resident memory, heap, lag of the event loop.

RSS is flat where a line fitted to the last half of the samples rises by no more than 5 % of their mean. Also to reach: but for the first ten
seconds, when leases of limits and models are cold, no request fails that was not given up, and nothing is in flight at the end. Memory of an idle connection and of a running stream: of gateways of their own, first.
`);
  process.exit(0);
}
const minutes = Number(values.minutes);
const rate = Number(values.rate);
if (!(minutes > 0) || !(rate > 0)) throw new Error('--minutes and --rate are numbers above 0');
const replicas = 8;
const riseMax = 0.05;
const tokensOfStream = '20';
const paceMs = '50';
const sayEveryMs = 60_000;
const endMsMax = 60_000;
const samplesMin = 6;

const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);

/** How much a line fitted by least squares rises from the first to the last of them, as a share of their mean. */
function riseOf(samples, key) {
  const at = samples.map(({ atMs }) => atMs);
  const meanAt = at.reduce((sum, each) => sum + each, 0) / at.length;
  const mean = samples.reduce((sum, each) => sum + each[key], 0) / samples.length;
  let across = 0;
  let along = 0;
  for (const each of samples) {
    across += (each.atMs - meanAt) * (each[key] - mean);
    along += (each.atMs - meanAt) ** 2;
  }
  return ((across / along) * (at.at(-1) - at[0])) / mean;
}

const samplesOf = (file) =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : [];

const line = ({ atMs, rss, heapUsed, heapFloor, external, lagMsP50, lagMsP99, lagMsMax }) =>
  `${(atMs / 60_000).toFixed(1).padStart(6)} min   RSS ${mib(rss).padStart(6)} MiB   heap ${mib(heapUsed).padStart(6)} (least ${mib(heapFloor).padStart(6)})   outside ${mib(external).padStart(5)}   lag p50 ${lagMsP50.toFixed(1)}, p99 ${lagMsP99.toFixed(1)}, most ${lagMsMax.toFixed(0)} ms`;

/** A gauge or the sum of a counter of the gateway. */
async function metricOf(port, name) {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return text
    .split('\n')
    .filter((each) => each.startsWith(`${name} `) || each.startsWith(`${name}{`))
    .reduce((sum, each) => sum + Number(each.slice(each.lastIndexOf(' ') + 1)), 0);
}

await bench(async (scope) => {
  pinSelf();
  say(`${machine()}; ${replicas} replicas, ${rate} requests/s for ${minutes} min`);
  const { ports } = await startEngines(replicas, tokensOfStream, paceMs);

  for (const [what, bytesOf] of [
    ['an idle connection', idleBytesOf],
    ['a running stream', streamBytesOf],
  ]) {
    // Streams of this measure last longer than it does.
    const engines = await startEngines(1, '400', paceMs);
    const one = await startLintel(scope, engines.ports, { strategy: 'lintel', name: what.split(' ').at(-1) });
    say(`memory of ${what.padEnd(19)} ${((await bytesOf(one)) / 1024).toFixed(1)} KiB`);
    await stop(one.child);
    for (const each of engines.children) await stop(each);
  }

  const probe = join(scope.home, 'samples.jsonl');
  const gateway = await startLintel(scope, ports, { strategy: 'lintel', name: 'soak', keys: true, probe });
  const load = start('', node, ['tools/bench/_soak-load.mjs', gateway.port, minutes * 60, rate].map(String));
  let said = 0;
  const saying = setInterval(() => {
    const samples = samplesOf(probe);
    if (samples.length > 0 && said !== samples.length) say(line(samples.at(-1)));
    said = samples.length;
  }, sayEveryMs);
  scope.onEnd(() => clearInterval(saying));
  const loaded = await ready(load, 'load of the soak', minutes * 60_000 + endMsMax);
  clearInterval(saying);
  await stop(load);
  const samples = samplesOf(probe);
  const unanswered = loaded.unanswered.length;
  if (gateway.child.exitCode !== null) throw new Error(`the gateway ended: ${gateway.child.output}`);

  say();
  say(
    Object.entries(loaded.counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ') + `; ${loaded.conversations} conversations`,
  );
  const sent = Object.values(loaded.counts).reduce((sum, each) => sum + each, 0);
  say(
    `failed        ${loaded.errors} of ${sent}, ${unanswered} never ended; ${loaded.refusedWarming} in the first ten seconds  ${verdict(loaded.errors + unanswered === 0, '0 and 0')} ${loaded.firstError}`,
  );
  if (unanswered > 0) say(JSON.stringify(loaded.unanswered.slice(0, 10)));
  const held = async () => (await metricOf(gateway.port, 'lintel_gateway_inflight_requests')) === 0;
  const emptied = await until('nothing in flight', held, endMsMax).catch(() => false);
  say(
    `in flight     ${await metricOf(gateway.port, 'lintel_gateway_inflight_requests')} at the end  ${verdict(emptied === true, '0')}`,
  );
  if (samples.length < samplesMin) {
    say(`RSS           ${samples.length} samples are too few to judge  ${verdict(false, `${samplesMin} samples`)}`);
    return;
  }
  const last = samples.slice(Math.floor(samples.length / 2));
  const spanMin = (last.at(-1).atMs - last[0].atMs) / 60_000;
  const rise = riseOf(last, 'rss');
  const mean = last.reduce((sum, { rss }) => sum + rss, 0) / last.length;
  say(
    `RSS           ${mib(mean)} MiB on average over the last ${spanMin.toFixed(0)} min, ${mib(Math.max(...samples.map(({ rss }) => rss)))} at most; line ${(rise * 100).toFixed(1)} % (${mib((rise * mean * 60) / spanMin)} MiB/h)  ${verdict(rise <= riseMax, `<= ${riseMax * 100} %`)}`,
  );
  say(
    `heap          least ${mib(Math.min(...samples.slice(0, last.length).map(({ heapFloor }) => heapFloor)))} MiB in the first half, ${mib(Math.min(...last.map(({ heapFloor }) => heapFloor)))} in the last; line ${(riseOf(last, 'heapFloor') * 100).toFixed(1)} %`,
  );
  say(
    `loop lag      p50 ${median(samples.map(({ lagMsP50 }) => lagMsP50)).toFixed(1)} ms, p99 ${median(samples.map(({ lagMsP99 }) => lagMsP99)).toFixed(1)} ms (medians of the samples), ${Math.max(...samples.map(({ lagMsMax }) => lagMsMax)).toFixed(0)} ms at most`,
  );
});
