import { SeededRng } from '#libs/kernel';
import type { FaultKind, Faults } from './faults.ts';
import { everyFault, faultNames, swarm } from './faults.ts';
import type { Plants } from './plants.ts';
import { World } from './world.ts';

export interface SimulateOptions {
  /** How many seeds, from `firstSeed` (1) on. */
  readonly seeds: number;
  readonly firstSeed?: number;
  /** Which kinds may strike. Default all. */
  readonly faults?: Faults;
  /** Each run switches some kinds off. Default true. */
  readonly swarm?: boolean;
  readonly commands?: number;
  readonly plants?: Plants;
  /** Stops at the first seed that breaks a law. Default true. */
  readonly stopAtFirst?: boolean;
  /** Called with each line of each run. Slow: for one seed. */
  readonly trace?: (line: string) => void;
  readonly onSeed?: (seed: number) => void;
}

export interface SimFailure {
  readonly seed: number;
  readonly faults: string;
  readonly law: string;
  readonly step: number;
  readonly atMs: number;
}

export interface SimReport {
  readonly seeds: number;
  readonly steps: number;
  readonly seconds: number;
  readonly stepsPerSecond: number;
  readonly commits: number;
  readonly forked: number;
  /** How often each kind of fault struck. */
  readonly struck: Readonly<Partial<Record<FaultKind, number>>>;
  readonly failures: readonly SimFailure[];
}

/** Runs the world under each seed. Same seed and same code: same history, same failure. */
export async function simulate(options: SimulateOptions): Promise<SimReport> {
  const { seeds, firstSeed = 1, stopAtFirst = true } = options;
  const failures: SimFailure[] = [];
  const struck: Partial<Record<FaultKind, number>> = {};
  let steps = 0;
  let commits = 0;
  let forked = 0;
  let run = 0;
  const startedMs = performance.now();
  while (run < seeds) {
    const seed = firstSeed + run++;
    options.onSeed?.(seed);
    const world = await oneRun(seed, options);
    steps += world.time.steps;
    commits += world.broker.commits.length;
    forked += world.oracle.acceptor.counts.forked;
    for (const [kind, times] of Object.entries(world.network.struck)) {
      struck[kind as FaultKind] = (struck[kind as FaultKind] ?? 0) + times;
    }
    if (world.broken === undefined) continue;
    const { steps: step, nowMs: atMs } = world.time;
    failures.push({ seed, faults: faultNames(world.stormFaults), law: world.broken, step, atMs });
    if (stopAtFirst) break;
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  return { seeds: run, steps, seconds, stepsPerSecond: steps / seconds, commits, forked, struck, failures };
}

async function oneRun(seed: number, options: SimulateOptions): Promise<World> {
  const { faults = everyFault, commands, plants, trace } = options;
  const world = new World({
    seed,
    faults: options.swarm === false ? faults : swarm(faults, new SeededRng(seed ^ 0x5eed)),
    ...(commands === undefined ? {} : { commands }),
    ...(plants === undefined ? {} : { plants }),
  });
  if (trace !== undefined) traceInto(world, trace, seed);
  // Faults throw all the time; nobody reads where, and finding out takes a tenth of the run.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    await world.run();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  if (trace !== undefined && world.broken !== undefined) trace(`BROKEN  ${world.broken}`);
  return world;
}

function traceInto(world: World, trace: (line: string) => void, seed: number): void {
  const stamp = (): string =>
    `${(world.time.nowMs / 1_000).toFixed(3).padStart(8)} s  ${String(world.time.steps).padStart(6)}  `;
  trace(`seed ${seed}, faults: ${faultNames(world.stormFaults)}`);
  world.note = (text) => trace(`${stamp()}  → ${text}`);
  world.time.onStep = ({ label, life }) => trace(`${stamp()}${label}${life === undefined ? '' : `  [${life.name}]`}`);
}
