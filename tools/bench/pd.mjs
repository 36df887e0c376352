// Prefill and decode replicas against as many that do all, on simulated engines that hand KV over.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { dist, root, say, verdict } from './_common.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    seeds: { type: 'string', default: '5' },
    'from-seed': { type: 'string', default: '101' },
    requests: { type: 'string', default: '300' },
    write: { type: 'boolean' },
  },
});
if (values.help) {
  process.stdout.write(`npm run bench -- pd [--seeds 5] [--from-seed 101] [--requests 300] [--write]

Four engines: two that prefill and two that decode under pd, and four that do all under lintel, on the same Poisson arrivals.
Mean and 95 % confidence over seeds. Goal: with long prompts tokens come faster under pd, and requests are sooner done. --write: the table of docs/routing.md.
`);
  process.exit(0);
}
const { estimate, pairedDifference, simulatePd } = await dist('fleet-sim');

const whole = (name, most) => {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  process.stderr.write(`--${name} ${values[name]}: a whole number from 1 to ${most}\n`);
  return process.exit(2);
};
const [count, from, requests] = [whole('seeds', 1_000), whole('from-seed', 2 ** 31), whole('requests', 100_000)];
const seeds = Array.from({ length: count }, (_, at) => from + at);
const fleets = {
  pd: { roles: ['prefill', 'prefill', 'decode', 'decode'], strategy: 'pd' },
  lintel: { roles: ['combined', 'combined', 'combined', 'combined'], strategy: 'lintel' },
};
const cases = [
  { what: 'prompts of 4,000, answers of 200', promptTokens: 4_000, outputTokens: 200, rates: [2, 4, 8] },
  { what: 'prompts of 500, answers of 200', promptTokens: 500, outputTokens: 200, rates: [8, 16] },
  { what: 'prompts of 20, answers of 150', promptTokens: 20, outputTokens: 150, rates: [20] },
];
const metrics = [
  ['TTFT p50', ({ ttftMs }) => ttftMs.p50],
  ['TTFT p90', ({ ttftMs }) => ttftMs.p90],
  ['TPOT p90', ({ tpotMs }) => tpotMs.p90],
  ['E2E p50', ({ e2eMs }) => e2eMs.p50],
  ['E2E p90', ({ e2eMs }) => e2eMs.p90],
];
const shown = ({ mean, half }, digits) => `${mean.toFixed(digits)}${half > 0 ? ` ±${half.toFixed(digits)}` : ''}`;
const titles = ['requests', '/s', 'fleet', 'handed over', ...metrics.map(([name]) => `${name} ms`)];
const rows = [];
let reached = true;
for (const { what, promptTokens, outputTokens, rates } of cases) {
  for (const requestsPerS of rates) {
    const runs = Object.fromEntries(
      Object.entries(fleets).map(([name, fleet]) => [
        name,
        seeds.map((seed) => simulatePd({ ...fleet, requests, requestsPerS, promptTokens, outputTokens, seed })),
      ]),
    );
    for (const [name, reports] of Object.entries(runs)) {
      const split = (100 * estimate(reports.map((report) => report.split)).mean) / requests;
      rows.push([
        what,
        String(requestsPerS),
        name === 'pd' ? 'pd, 2 + 2' : 'lintel, 4',
        `${split.toFixed(0)} %`,
        ...metrics.map(([metric, of]) => shown(estimate(reports.map(of)), metric.startsWith('TPOT') ? 1 : 0)),
      ]);
    }
    if (promptTokens < 4_000) continue;
    const less = (of) => pairedDifference(runs.pd.map(of), runs.lintel.map(of));
    for (const metric of ['TPOT p90', 'E2E p50']) {
      const { mean, half } = less(metrics.find(([name]) => name === metric)[1]);
      if (!(mean + (half || 0) < 0)) {
        reached = false;
        say(`${what}, ${requestsPerS}/s: ${metric} not less under pd: ${shown({ mean, half }, 1)} ms by pairs`);
      }
    }
  }
}
const table = [titles, ...rows];
const widths = titles.map((_, at) => Math.max(...table.map((line) => line[at].length)));
for (const line of table) say(line.map((cell, at) => cell.padEnd(widths[at])).join('  '));
say(`pd: less TPOT p90 and E2E p50 than as many that do all, with long prompts: ${verdict(reached, 'at each rate')}`);

if (values.write) {
  const page = join(root, 'docs/routing.md');
  const marked = /(<!-- table: npm run bench -- pd --write -->\n)[\s\S]*(<!-- end of the table of pd -->)/;
  const before = readFileSync(page, 'utf8');
  if (!marked.test(before)) throw new Error('docs/routing.md has lost the marks of the table of pd');
  const lines = [titles, titles.map(() => '---'), ...rows].map((line) => `| ${line.join(' | ')} |`);
  const text = `${count} seeds from ${from}, ${requests} requests each; ± is the 95 % confidence interval of the mean.\n\n${lines.join('\n')}`;
  writeFileSync(
    page,
    before.replace(marked, (_, start, end) => `${start}\n${text}\n\n${end}`),
  );
  say(`wrote ${page}`);
}
process.exitCode = reached ? 0 : 1;
