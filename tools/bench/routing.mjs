// Routing strategies on a simulated fleet: latencies, goodput, cache hits and spread by load, with confidence over seeds.
import { readFileSync, writeFileSync } from 'node:fs';
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
  --strategies a,b    presets; "name@ideal" reads the engines' caches instead of the gateway's index (all that differ,
                      and prefix-cache@ideal);
                      ";" parts them where one is a mix: "least-request:1,prefix-cache:2;random"
  --seeds n           runs of each cell (3)
  --gateways n        gateways that share the load (1)
  --workers n         processes of the simulation (one for each core)
  --json file         every report
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
    gateways: { type: 'string', default: '1' },
    workers: { type: 'string', default: String(availableParallelism()) },
    json: { type: 'string' },
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
const { estimate, pairedDifference } = await import(join(root, 'dist/libs/fleet-sim/src/index.js'));
const { resolveStrategy, strategyNames } = await import(join(root, 'dist/libs/scheduling/src/index.js'));
const { plots } = await import('./_routing-page.mjs');

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
  try {
    resolveStrategy(text.split('@')[0]);
  } catch (error) {
    mistake(`${error.message}. ${error.advice ?? ''}`);
  }
}
const sizes = numbers('replicas', 1, 1024, true);
const loads = numbers('loads', 0.01, 10, false);
const [seeds] = numbers('seeds', 1, 1000, true);
const [gateways] = numbers('gateways', 1, 64, true);
const [workers] = numbers('workers', 1, 256, true);

const cells = traces.flatMap((workload) =>
  sizes.flatMap((replicas) =>
    loads.flatMap((load) =>
      strategies.flatMap((strategy) =>
        Array.from({ length: seeds }, (_, at) => ({ workload, replicas, load, strategy, gateways, seed: at + 1 })),
      ),
    ),
  ),
);

/** Every cell, over a few threads. Which thread runs what changes nothing. */
async function runAll() {
  const reports = new Map();
  let next = 0;
  await Promise.all(
    Array.from(
      { length: Math.min(workers, cells.length) },
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(new URL('./_routing-runs.mjs', import.meta.url));
          const give = () => {
            if (next < cells.length) worker.postMessage(cells[next++]);
            else void worker.terminate().then(resolve);
          };
          worker.on('error', reject);
          worker.on('message', ({ cell, report, error }) => {
            if (error !== undefined) {
              reject(new Error(`${JSON.stringify(cell)}: ${error}`));
              return;
            }
            reports.set(keyOf(cell), report);
            if (process.stderr.isTTY) process.stderr.write(`\r${reports.size} of ${cells.length} runs `);
            give();
          });
          give();
        }),
    ),
  );
  if (process.stderr.isTTY) process.stderr.write('\r');
  return reports;
}

const keyOf = ({ workload, replicas, load, strategy, seed }) => [workload, replicas, load, strategy, seed].join('|');

const metrics = {
  good: ({ goodShare }) => goodShare * 100,
  goodPerS: ({ goodPerS }) => goodPerS,
  ttft50: ({ ttftMs }) => ttftMs.p50,
  ttft90: ({ ttftMs }) => ttftMs.p90,
  ttft99: ({ ttftMs }) => ttftMs.p99,
  tpot50: ({ tpotMs }) => tpotMs.p50,
  tpot90: ({ tpotMs }) => tpotMs.p90,
  tpot99: ({ tpotMs }) => tpotMs.p99,
  e2e50: ({ e2eMs }) => e2eMs.p50,
  e2e90: ({ e2eMs }) => e2eMs.p90,
  e2e99: ({ e2eMs }) => e2eMs.p99,
  hit: ({ hitRate }) => hitRate * 100,
  spread: ({ loadSpread }) => loadSpread,
};

const startedMs = performance.now();
const reports = await runAll();
const seconds = (performance.now() - startedMs) / 1000;

/** One row for each strategy of a group: estimates of all metrics, and what its picks had to do without. */
function rowsOf(workload, replicas, load) {
  return strategies.map((strategy) => {
    const runs = Array.from({ length: seeds }, (_, at) =>
      reports.get(keyOf({ workload, replicas, load, strategy, seed: at + 1 })),
    );
    const notes = {};
    for (const { notes: found } of runs)
      for (const [note, count] of Object.entries(found)) notes[note] = (notes[note] ?? 0) + count;
    const requests = runs.reduce((sum, run) => sum + run.requests, 0);
    return {
      strategy,
      values: Object.fromEntries(Object.entries(metrics).map(([name, of]) => [name, runs.map(of)])),
      ...Object.fromEntries(Object.entries(metrics).map(([name, of]) => [name, estimate(runs.map(of))])),
      degraded: Object.entries(notes)
        .filter(([note, count]) => /^(?:unknown|stale):/.test(note) && count > requests / 2)
        .map(([note]) => note),
      unfed: runs[0].unfed,
    };
  });
}

const groups = traces.flatMap((workload) =>
  sizes.flatMap((replicas) =>
    loads.map((load) => ({ workload, replicas, load, offeredPerS: 0, rows: rowsOf(workload, replicas, load) })),
  ),
);
for (const group of groups) {
  const { workload, replicas, load } = group;
  group.offeredPerS = reports.get(keyOf({ workload, replicas, load, strategy: strategies[0], seed: 1 })).offeredPerS;
}

const shown = ({ mean, half }, digits = 0) =>
  Number.isNaN(mean) ? '–' : `${mean.toFixed(digits)}${half > 0 ? ` ±${half.toFixed(digits)}` : ''}`;
const three = (row, name) => [50, 90, 99].map((p) => row[`${name}${p}`].mean.toFixed(0)).join(' / ');

const head = [
  'strategy',
  'good %',
  'good/s',
  'TTFT p90',
  'TTFT p50/90/99',
  'TPOT p50/90/99',
  'E2E p50/90/99',
  'hit %',
  'spread',
];

const bestOf = (rows, name, more) =>
  rows.reduce((a, b) => ((more ? b[name].mean > a[name].mean : b[name].mean < a[name].mean) ? b : a));

/** The best, or not worse than it by more than the noise of their pairs. */
function asGood(row, rows, name, more) {
  const best = bestOf(rows, name, more);
  const { mean, half } = pairedDifference(row.values[name], best.values[name]);
  return row === best || Math.abs(mean) <= (half || 0);
}

function lines({ rows }) {
  return rows.map((row) => {
    const named = `${row.strategy}${row.degraded.length > 0 || row.unfed.length > 0 ? ' †' : ''}`;
    return [
      named,
      `${shown(row.good, 1)}${asGood(row, rows, 'good', true) ? ' *' : ''}`,
      shown(row.goodPerS, 1),
      `${shown(row.ttft90)}${asGood(row, rows, 'ttft90', false) ? ' *' : ''}`,
      three(row, 'ttft'),
      three(row, 'tpot'),
      three(row, 'e2e'),
      shown(row.hit, 1),
      row.spread.mean.toFixed(2),
    ];
  });
}

for (const group of groups) {
  const table = [head, ...lines(group)];
  const widths = head.map((_, at) => Math.max(...table.map((line) => line[at].length)));
  say(
    `\n${group.workload}, ${group.replicas} replicas, load ${group.load}: ${group.offeredPerS.toFixed(1)} requests/s`,
  );
  for (const line of table)
    say(line.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  '));
}
const without = new Map();
for (const { rows } of groups)
  for (const { strategy, degraded, unfed } of rows)
    for (const what of [...degraded, ...unfed.map((column) => `unfed:${column}`)])
      without.set(what, new Set([...(without.get(what) ?? []), strategy]));
say('\n* the best, or within the noise of its pairs with the best');
for (const [what, who] of [...without].sort()) say(`† ${what}: ${[...who].join(', ')}`);

/** Where the default policy is not among the best. */
function judge(policy) {
  const placed = (name, more) =>
    groups.filter(
      ({ rows }) =>
        !asGood(
          rows.find((row) => row.strategy === policy),
          rows,
          name,
          more,
        ),
    );
  const where = ({ workload, replicas, load }) => `${workload}/${replicas}/${load}`;
  for (const [what, name, more] of [
    ['goodput', 'good', true],
    ['TTFT p90', 'ttft90', false],
  ]) {
    const lost = placed(name, more);
    const rest = lost.length > 0 ? `; not at ${lost.map(where).join(', ')}` : '';
    say(
      `${policy}: best ${what} or within noise in ${groups.length - lost.length} of ${groups.length} ${verdict(lost.length === 0, 'all')}${rest}`,
    );
  }
}
if (strategies.includes('lintel')) judge('lintel');
say(`${cells.length} runs in ${seconds.toFixed(0)} s on ${workers} threads`);

if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify([...reports].map(([key, report]) => ({ key, ...report })))}\n`);
}
if (values.write) {
  const page = join(root, 'docs/routing.md');
  const tables = groups.map(
    (group) =>
      `### ${group.workload}, ${group.replicas} replicas, load ${group.load} (${group.offeredPerS.toFixed(1)} requests/s)\n\n| ${head.join(' | ')} |\n|${head.map((_, at) => (at === 0 ? '---' : '---:')).join('|')}|\n${lines(
        group,
      )
        .map((line) => `| ${line.join(' | ')} |`)
        .join('\n')}\n`,
  );
  const daggers = [...without].sort().map(([what, who]) => `- † \`${what}\`: ${[...who].join(', ')}`);
  const pictures = plots(groups, strategies).map(({ file, title, svg }) => {
    writeFileSync(join(root, 'docs', file), svg);
    return `![${title}](${file})`;
  });
  const text = [
    `${seeds} seeds, ${gateways} gateway${gateways === 1 ? '' : 's'}, ${sizes.join(', ')} replicas; ± is the 95 % confidence interval of the mean. Times in ms.`,
    ...pictures,
    `\\* the best, or within the noise of its pairs with the best.\n${daggers.join('\n')}`,
    ...tables,
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
