// `npm run sim`: the fleet on virtual time under faults, seed by seed; a failure is a seed that reproduces it.
import { parseArgs } from 'node:util';
import { become, node, prepare, root } from './prepare.mjs';

const usage = `npm run sim [-- --seeds N] [--first S] [--faults a,b] [--plant NAME] [--commands N] [--all]
npm run sim -- --seed S [--faults a,b] [--plant NAME] [--quiet]

Clients, writers, readers, projectors, reactors, notaries and a gateway: the real code around a simulated broker, database and
disk, on one queue of virtual time. After each step the laws L1 to L10 of docs/invariants.md are looked at.

  --seeds N       how many seeds (default 1000); stops at the first that breaks a law
  --first S       the first of them (default 1)
  --all           goes on after a failure and lists them all
  --seed S        one seed, with a trace of every step; the same seed gives the same trace, byte for byte
  --quiet         no trace, only what came out
  --faults a,b    only these kinds may strike
  --no-swarm      every kind may strike in every run; otherwise each run switches some off
  --plant NAME    puts a known fault into the code, which must be found
  --commands N    commands in a run (default 60)

Ends with 0 where all laws held (with --plant: where the fault was found), else with 1.
`;

const built = `${root}/dist/libs/testkit/src/sim/index.js`;

let values;
try {
  ({ values } = parseArgs({
    allowNegative: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      seeds: { type: 'string', default: '1000' },
      first: { type: 'string', default: '1' },
      seed: { type: 'string' },
      faults: { type: 'string' },
      plant: { type: 'string' },
      commands: { type: 'string' },
      swarm: { type: 'boolean', default: true },
      all: { type: 'boolean', default: false },
      quiet: { type: 'boolean', default: false },
    },
  }));
} catch (error) {
  mistake(error.message);
}

function mistake(text) {
  process.stderr.write(`${text}\n\n${usage}`);
  process.exit(2);
}

const whole = (name, text, min) => {
  const number = Number(text);
  return Number.isSafeInteger(number) && number >= min
    ? number
    : mistake(`--${name} ${text}: a whole number from ${min} on`);
};

if (values.help) {
  process.stdout.write(`${usage}${await names()}`);
  process.exit(0);
}
if (process.execPath !== node) {
  await prepare();
  await become([process.argv[1], ...process.argv.slice(2)]);
} else await main();

/** Faults and plants by name; they stand in the build, which may not be there yet. */
async function names() {
  try {
    const { faultKinds, plants } = await import(built);
    const lines = Object.entries(plants).map(([name, { what }]) => `  ${name.padEnd(22)} ${what}`);
    return `\nFaults: ${faultKinds.join(', ')}\n\nPlants:\n${lines.join('\n')}\n`;
  } catch {
    return '\nFaults and plants are listed once Lintel is built (npm run build).\n';
  }
}

async function main() {
  const { faultKinds, everyFault, onlyFaults, plants, simulate } = await import(built);
  const plantNames = Object.keys(plants);
  const kinds = values.faults?.split(',').filter((kind) => kind !== '');
  const unknown = kinds?.find((kind) => !faultKinds.includes(kind));
  if (unknown !== undefined) mistake(`no fault "${unknown}"; there are: ${faultKinds.join(', ')}`);
  if (values.plant !== undefined && !plantNames.includes(values.plant))
    mistake(`no plant "${values.plant}"; there are: ${plantNames.join(', ')}`);
  const one = values.seed !== undefined;
  const report = await simulate({
    seeds: one ? 1 : whole('seeds', values.seeds, 1),
    firstSeed: one ? whole('seed', values.seed, 0) : whole('first', values.first, 0),
    faults: kinds === undefined ? everyFault : onlyFaults(kinds),
    swarm: values.swarm,
    stopAtFirst: !values.all,
    ...(values.commands === undefined ? {} : { commands: whole('commands', values.commands, 1) }),
    ...(values.plant === undefined ? {} : { plants: plants[values.plant].parts }),
    ...(one && !values.quiet ? { trace: (line) => process.stdout.write(`${line}\n`) } : {}),
  });
  print(report, one);
  const found = report.failures.length > 0;
  process.exitCode = found === (values.plant !== undefined) ? 0 : 1;
}

function print({ seeds, steps, seconds, stepsPerSecond, commits, forked, struck, failures }, one) {
  const counts = Object.entries(struck).map(([kind, times]) => `${kind} ${times}`);
  const rate = one ? '' : `, ${Math.round(stepsPerSecond)} steps/s`;
  process.stdout.write(`${seeds} seed${seeds === 1 ? '' : 's'}, ${steps} steps in ${seconds.toFixed(1)} s${rate}; `);
  process.stdout.write(`${commits} commits, ${forked} forked\nstruck: ${counts.join(', ') || 'nothing'}\n`);
  for (const { seed, faults, law, step, atMs } of failures) {
    process.stdout.write(
      `\n✗ seed ${seed}: ${law}\n  at step ${step}, ${(atMs / 1000).toFixed(3)} s; faults: ${faults}\n`,
    );
  }
  if (failures.length > 0 && !one) {
    const repeat = ['faults', 'plant', 'commands'].flatMap((name) =>
      values[name] ? [`--${name} ${values[name]}`] : [],
    );
    if (!values.swarm) repeat.push('--no-swarm');
    const flags = ['', `--seed ${failures[0].seed}`, ...repeat].join(' ');
    process.stdout.write(`\nagain, with every step: npm run sim --${flags}\n`);
  }
  if (failures.length === 0) process.stdout.write('every law held\n');
}
