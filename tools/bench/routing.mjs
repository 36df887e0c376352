// Routing strategies on a simulated fleet: latencies, goodput, cache hits and spread by load, with confidence over seeds.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { root, say, verdict } from './_common.mjs';

const usage = `npm run bench -- routing [options]

Runs the real scheduler over simulated engines on one virtual clock and compares strategies on the same arrivals. Mean and 95 %
confidence over seeds. A load of 1 is what the replicas finish when they never lack work.

  --trace a,b         workloads: mooncake, agents, tenants, azure-conv, azure-code (all)
  --replicas a,b      fleet sizes (8)
  --loads a,b         shares of capacity (0.5,0.9,1.2)
  --strategies a,b    presets; "name@precise" goes by the engines' KV events instead of by what was sent where, "name@ideal" by
                      the engines' caches at the instant of the pick (all that differ, and prefix-cache@ideal);
                      ";" parts them where one is a mix: "least-request:1,prefix-cache:2;random"
  --seeds n           runs of each cell (3)
  --from-seed n       the first of them (1)
  --gateways n        gateways that share the load (1)
  --workers n         processes of the simulation (one for each core)
  --json file         each report as a line, as soon as it is there; what the file has already is not run again
  --read a,b          runs nothing: tables of what --json wrote
  --write             the table and the plots into docs/routing.md, docs/routing-*.svg
`;

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    trace: { type: 'string' },
    replicas: { type: 'string', default: '8' },
    loads: { type: 'string', default: '0.5,0.9,1.2' },
    strategies: { type: 'string' },
    seeds: { type: 'string', default: '3' },
    'from-seed': { type: 'string', default: '1' },
    gateways: { type: 'string', default: '1' },
    workers: { type: 'string', default: String(availableParallelism()) },
    json: { type: 'string' },
    read: { type: 'string' },
    write: { type: 'boolean' },
  },
});
if (values.help) {
  process.stdout.write(usage);
  process.exit(0);
}

function mistake(text) {
  process.stderr.write(`${text}\n\n${usage}`);
  process.exit(2);
}

const numbers = (name, least, most, whole) =>
  values[name].split(',').map((text) => {
    const value = Number(text);
    if (value >= least && value <= most && (!whole || Number.isInteger(value))) return value;
    return mistake(`--${name} ${text}: ${whole ? 'a whole number' : 'a number'} from ${least} to ${most}`);
  });

const { workloads } = await import('./_routing-runs.mjs');
const { resolveStrategy, strategyNames } = await import(join(root, 'dist/libs/scheduling/src/index.js'));
const { plots } = await import('./_routing-page.mjs');
const { groupsOf, head, judgeable, judged, keyOf, knowing, lines, lost, markdown, summary, where, withoutOf } =
  await import('./_routing-tables.mjs');

const traces = values.trace?.split(',') ?? Object.keys(workloads);
for (const name of traces) {
  if (workloads[name] === undefined) mistake(`no workload "${name}"; there are: ${Object.keys(workloads).join(', ')}`);
}
/** Of names that come to the same pipeline the first. */
function differing(names) {
  const seen = new Set();
  return names.filter((name) => {
    const { strategy, ...pipeline } = resolveStrategy(name);
    const text = JSON.stringify(pipeline);
    if (seen.has(text)) say(`${strategy} is left out: another name for one before it`);
    return !seen.has(text) && seen.add(text);
  });
}

const strategies = values.strategies?.split(/[;:]/.test(values.strategies) ? ';' : ',') ?? [
  ...differing(strategyNames),
  'prefix-cache@ideal',
];
for (const text of strategies) {
  const [name, knowledge] = text.split('@');
  if (knowledge !== undefined && !['approximate', 'precise', 'ideal'].includes(knowledge)) {
    mistake(`${text}: what is known is "precise", "ideal", or nothing for what was sent where`);
  }
  try {
    resolveStrategy(name);
  } catch (error) {
    mistake(`${error.message}. ${error.advice ?? ''}`);
  }
}
const sizes = numbers('replicas', 1, 1024, true);
const loads = numbers('loads', 0.01, 10, false);
const [seeds] = numbers('seeds', 1, 1000, true);
const [fromSeed] = numbers('from-seed', 0, 2 ** 31, true);
const [gateways] = numbers('gateways', 1, 64, true);
const [workers] = numbers('workers', 1, 256, true);

const cells = traces.flatMap((workload) =>
  sizes.flatMap((replicas) =>
    loads.flatMap((load) =>
      strategies.flatMap((strategy) =>
        Array.from({ length: seeds }, (_, at) => ({
          workload,
          replicas,
          load,
          strategy,
          gateways,
          seed: fromSeed + at,
        })),
      ),
    ),
  ),
);

/** Runs of this bench as `--json` wrote them. */
const recordsOf = (file) =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

const records = (
  values.read?.split(',') ?? [values.json].filter((file) => file !== undefined && existsSync(file))
).flatMap(recordsOf);
const ran = new Set(records.map(({ cell }) => keyOf(cell)));
const open = values.read === undefined ? cells.filter((cell) => !ran.has(keyOf(cell))) : [];

/** Every cell, over a few threads. Which thread runs what changes nothing. */
async function runAll() {
  let next = 0;
  let done = 0;
  await Promise.all(
    Array.from(
      { length: Math.min(workers, open.length) },
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(new URL('./_routing-runs.mjs', import.meta.url));
          const give = () => {
            if (next < open.length) worker.postMessage(open[next++]);
            else void worker.terminate().then(resolve);
          };
          worker.on('error', reject);
          worker.on('message', ({ cell, report, error }) => {
            if (error !== undefined) {
              reject(new Error(`${JSON.stringify(cell)}: ${error}`));
              return;
            }
            records.push({ cell, report });
            done++;
            if (values.json !== undefined) appendFileSync(values.json, `${JSON.stringify({ cell, report })}\n`);
            if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${open.length} runs `);
            give();
          });
          give();
        }),
    ),
  );
  if (process.stderr.isTTY) process.stderr.write('\r');
}

const startedMs = performance.now();
await runAll();
const seconds = (performance.now() - startedMs) / 1000;

const cellKeys = new Set(cells.map(keyOf));
const groups = groupsOf(values.read === undefined ? records.filter(({ cell }) => cellKeys.has(keyOf(cell))) : records, {
  workloads: Object.keys(workloads),
  strategies: [...strategies, ...strategyNames],
});

for (const group of groups) {
  const table = [head, ...lines(group)];
  const widths = head.map((_, at) => Math.max(...table.map((line) => line[at].length)));
  say(`\n${where(group)}: ${group.offeredPerS.toFixed(1)} requests/s`);
  for (const line of table)
    say(line.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  '));
}
const without = withoutOf(groups);
say('\n* nobody is better by more than the noise of their pairs');
for (const [what, who] of without) say(`† ${what}: ${[...who].join(', ')}`);
for (const [what, name, more] of strategies.includes('lintel') ? judged : []) {
  const all = judgeable(groups, 'lintel').length;
  const behind = lost(groups, 'lintel', name, more);
  const rest = behind.length > 0 ? `; not at ${behind.map(where).join('; ')}` : '';
  say(
    `lintel: best ${what} or within noise in ${all - behind.length} of ${all} ${verdict(behind.length === 0, 'all')}${rest}`,
  );
}
if (values.read === undefined) say(`${open.length} runs in ${seconds.toFixed(0)} s on ${workers} threads`);

if (values.write) {
  const page = join(root, 'docs/routing.md');
  const tables = groups.map(
    (group) => `### ${where(group)} (${group.offeredPerS.toFixed(1)} requests/s)\n\n${markdown(head, lines(group))}`,
  );
  const daggers = without.map(([what, who]) => `- † \`${what}\`: ${[...who].join(', ')}`);
  const pictures = plots(groups).map(({ file, title, svg }) => {
    writeFileSync(join(root, 'docs', file), svg);
    return `![${title}](${file})`;
  });
  const text = [
    '± is the 95 % confidence interval of the mean, in brackets the number of seeds, or of pairs where there are fewer. Times in ms.',
    '\\* nobody is better by more than the noise of their pairs; ? one pair, which tells nothing.',
    ...(strategies.includes('lintel') ? [summary(groups, 'lintel')] : []),
    knowing(groups, 'precise'),
    ...pictures,
    daggers.join('\n'),
    ...tables,
    '',
  ].join('\n\n');
  const before = readFileSync(page, 'utf8');
  const marked = /(<!-- table: npm run bench -- routing --write -->\n)[\s\S]*(<!-- end of table -->)/;
  if (!marked.test(before)) throw new Error('docs/routing.md has lost the marks of its table');
  writeFileSync(
    page,
    before.replace(marked, (_, from, to) => `${from}\n${text}\n${to}`),
  );
  say(`wrote ${page}`);
}
