// The simulation: steps for each second of CPU, against the bare queue with a turn of the event loop's ticks for each step.
import { parseArgs } from 'node:util';
import { root } from '../prepare.mjs';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean' },
    seeds: { type: 'string', default: '300' },
    rounds: { type: 'string', default: '3' },
  },
});
if (values.help) {
  process.stdout.write(`npm run bench -- sim [--seeds 300] [--rounds 3]

Runs the seeds that npm test runs, with all faults and laws, and in the same process the bare virtual time: the same queue, a step
that does nothing but put the next event in. A step of the simulation is one event with all that it settles. CPU time of the whole
process counts (user and system, with the threads of the garbage collector), so that what else runs on the machine does not; the
median of the rounds.
`);
  process.exit(0);
}
const seeds = Number(values.seeds);
const rounds = Number(values.rounds);
const goal = 200_000;
const { simulate } = await import(`${root}/dist/libs/testkit/src/sim/index.js`);
const { VirtualTime } = await import(`${root}/dist/libs/testkit/src/sim/virtual-time.js`);

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

async function bare(steps) {
  const time = new VirtualTime();
  let left = steps;
  const again = (delayMs) => () => {
    if (left-- > 0) time.at(delayMs, 'bare', undefined, again(delayMs));
  };
  // As many events wait as in a run of the simulation.
  for (let n = 1; n <= 60; n++) time.at(n, 'bare', undefined, again(n));
  const cpu = process.cpuUsage();
  await time.run({ untilMs: Number.POSITIVE_INFINITY });
  return time.steps / cpuSeconds(cpu);
}

function cpuSeconds(since) {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
}

const rates = { ours: [], bare: [], wall: [] };
let total = 0;
for (let round = 0; round <= rounds; round++) {
  const bareRate = await bare(500_000);
  const cpu = process.cpuUsage();
  const report = await simulate({ seeds });
  const ourRate = report.steps / cpuSeconds(cpu);
  if (report.failures.length > 0) {
    process.stdout.write(
      `seed ${report.failures[0].seed} breaks ${report.failures[0].law}: npm run sim -- --seed ${report.failures[0].seed}\n`,
    );
    process.exit(1);
  }
  total = report.steps;
  if (round === 0) continue; // warm-up
  rates.bare.push(bareRate);
  rates.ours.push(ourRate);
  rates.wall.push(report.stepsPerSecond);
}
const ours = median(rates.ours);
const per = (rate) => `${Math.round(rate).toString().padStart(8)} steps/s of CPU`;
process.stdout.write(
  `${seeds} seeds, ${total} steps: ${per(ours)}  bare queue ${per(median(rates.bare))}  ratio ${(ours / median(rates.bare)).toFixed(2)}  (goal ${goal}: ${ours >= goal ? 'reached' : 'MISSED'}); ${Math.round(median(rates.wall))} steps/s by the clock\n`,
);
process.exitCode = ours >= goal ? 0 : 1;
