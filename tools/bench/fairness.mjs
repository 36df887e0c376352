// A tenant at ten times its share: the others' time to first token with flow control and without, on simulated engines.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './_common.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    replicas: { type: 'string', default: '8' },
    slots: { type: 'string', default: '32' },
    times: { type: 'string', default: '10' },
    seeds: { type: 'string', default: '5' },
  },
});
if (values.help) {
  process.stdout.write(`npm run bench -- fairness [--replicas 8] [--slots 32] [--times 10] [--seeds 5]

Three tenants send 0.6 of their share of a simulated fleet's capacity each, a fourth sends so many times its share (0: it is not there).
Time to first token from arrival, mean over tenants and seeds; goal: with flow control the others' p99 rises by at most 10 %.
`);
  process.exit(0);
}
const { noisyNeighbour } = await import(join(root, 'dist/libs/fleet-sim/src/index.js'));
const [replicas, slots, times] = ['replicas', 'slots', 'times'].map((name) => Number(values[name]));
const seeds = Array.from({ length: Number(values.seeds) }, (_, at) => at + 1);
const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
const shown = (ms) => `${ms < 10_000 ? ms.toFixed(0) : `${(ms / 1000).toFixed(0)}k`}`.padStart(7);

process.stdout.write(
  `flow control  noisy at   quiet TTFT ms p50     p99  refused   noisy TTFT p50  refused   tokens/s\n`,
);
const p99 = {};
for (const flowControl of [true, false]) {
  for (const at of [0, 1, times]) {
    const reports = seeds.map((seed) => noisyNeighbour({ replicas, slots, flowControl, times: at, seed }));
    const quiet = reports.flatMap((report) => [...report].flatMap(([id, one]) => (id === 'noisy' ? [] : [one])));
    const noisy = reports.flatMap((report) => [...report].flatMap(([id, one]) => (id === 'noisy' ? [one] : [])));
    const refused = (list) => {
      const share = list.reduce((sum, one) => sum + one.refused, 0) / list.reduce((sum, one) => sum + one.arrived, 0);
      return list.length === 0 ? '      -' : `${(100 * share).toFixed(1)} %`.padStart(7);
    };
    const tokens = mean(reports.map((report) => [...report.values()].reduce((sum, one) => sum + one.tokensPerS, 0)));
    p99[`${flowControl} ${at}`] = mean(quiet.map(({ ttftMs }) => ttftMs.p99));
    process.stdout.write(
      `${(flowControl ? 'on' : 'off').padEnd(14)}${`${at} ×`.padStart(8)}  ${shown(mean(quiet.map(({ ttftMs }) => ttftMs.p50))).padStart(18)} ${shown(p99[`${flowControl} ${at}`])}  ${refused(quiet)}  ${(noisy.length === 0 ? '-' : shown(mean(noisy.map(({ ttftMs }) => ttftMs.p50)))).padStart(15)}  ${refused(noisy)}  ${Math.round(tokens).toString().padStart(9)}\n`,
    );
  }
}
const raised = (flowControl) => p99[`${flowControl} ${times}`] / p99[`${flowControl} 0`] - 1;
const percent = (share) => `${share >= 0 ? '+' : ''}${(100 * share).toFixed(1)} %`;
const reached = raised(true) <= 0.1;
process.stdout.write(
  `quiet p99 beside ${times} × against without: ${percent(raised(true))} with flow control (goal <= 10 %: ${reached ? 'reached' : 'MISSED'}), ${percent(raised(false))} without\n`,
);
process.exitCode = reached ? 0 : 1;
