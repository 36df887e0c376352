import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { env } from '#libs/nest-kit';
import type { EdgeFlags, EdgeFlagsRead } from './edge-options.ts';
import { addEdgeFlags, edgeFlags } from './edge-options.ts';

/** What the process was told by its flags, or by the environment where a flag is missing. Undefined: the configuration file decides. */
export interface ProcessOptions {
  readonly natsUrl: string;
  /** Undefined where the URL carries one. */
  readonly natsUser: string | undefined;
  readonly natsPassword: string | undefined;
  readonly config: string | undefined;
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly instance: string;
  readonly home: string;
  readonly open: boolean | undefined;
  readonly compat: 'aibrix' | undefined;
  readonly recording: boolean;
  /** File of authorities for replicas behind https. */
  readonly upstreamCa: string | undefined;
  readonly streamUsage: boolean;
  readonly edge: EdgeFlags;
  /** Processes that share the port; undefined is this one alone, without anybody that looks after it. */
  readonly workers: number | undefined;
  /** This process is one of them. */
  readonly worker: boolean;
  /** Configuration file of which the tokenizers alone count: the rest is told by flags and by the log. */
  readonly tokenizersOf: string | undefined;
}

interface Flags extends EdgeFlagsRead {
  workers?: number;
  worker?: boolean;
  tokenizersOf?: string;
  natsUrl?: string;
  natsUser?: string;
  config?: string;
  host?: string;
  port?: number;
  instance?: string;
  home?: string;
  open?: boolean;
  compat?: 'aibrix';
  recording: boolean;
  upstreamCa?: string;
  streamUsage: boolean;
}

export const natsUrlDefault = 'nats://127.0.0.1:4222';

function portOf(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new InvalidArgumentError('give 0 to 65535');
}

export const workersMax = 64;

export function workersOf(text: string): number {
  if (/^\d{1,2}$/.test(text) && Number(text) >= 1 && Number(text) <= workersMax) return Number(text);
  throw new InvalidArgumentError(`give 1 to ${workersMax}`);
}

export function parseOptions(argv: readonly string[], write?: (text: string) => void): ProcessOptions {
  const program = new Command('gateway')
    .description('The data plane of Lintel: OpenAI-shaped HTTP in front of a fleet of engines.')
    .option('--nats-url <url>', `the broker (LINTEL_NATS_URL, ${natsUrlDefault})`)
    .option(
      '--nats-user <name>',
      'user on the broker (LINTEL_NATS_USER, gateway); the password is LINTEL_NATS_PASSWORD',
    )
    .option('--config <file>', 'lintel.yaml, read again when it changes (LINTEL_CONFIG)')
    .option('--host <address>', 'address to listen on (LINTEL_HOST, 127.0.0.1)')
    .addOption(new Option('--port <port>', 'port to listen on (LINTEL_PORT, 8080)').argParser(portOf))
    .option('--instance <name>', 'name of this gateway in the log (LINTEL_INSTANCE, the name of the machine)')
    .option('--home <folder>', 'folder of spool and snapshots (LINTEL_HOME, .lintel)')
    .option('--open', 'no keys: the authorization of clients goes to the engines unchanged')
    .addOption(new Option('--compat <with>', 'answer as another gateway would').choices(['aibrix']))
    .option('--no-recording', 'keep no decision records')
    .option(
      '--upstream-ca <file>',
      'PEM file of authorities that certify replicas behind https, besides the well-known',
    )
    .option('--no-stream-usage', 'do not ask engines for the usage of streams where clients do not')
    .addOption(
      new Option(
        '--workers <n>',
        'processes that share the port, looked after by this one; SIGHUP replaces them (LINTEL_WORKERS)',
      ).argParser(workersOf),
    )
    .addOption(new Option('--worker').hideHelp())
    .addOption(new Option('--tokenizers-of <file>').hideHelp())
    .allowExcessArguments(false);
  addEdgeFlags(program);
  if (write !== undefined) program.exitOverride().configureOutput({ writeErr: write, writeOut: write });
  const flags = program.parse(argv, { from: 'user' }).opts<Flags>();
  const natsUrl = flags.natsUrl ?? env.natsUrl ?? natsUrlDefault;
  return {
    natsUrl,
    natsUser:
      (flags.natsUser === '' ? undefined : flags.natsUser) ??
      env.natsUser ??
      (natsUrl.includes('@') ? undefined : 'gateway'),
    natsPassword: env.natsPassword,
    config: flags.config ?? env.configFile,
    host: flags.host ?? env.host,
    port: flags.port ?? (env.port === undefined ? undefined : portOf(env.port)),
    instance: flags.instance ?? env.instance ?? instanceDefault(),
    home: flags.home === undefined ? env.home : resolve(flags.home),
    open: flags.open,
    compat: flags.compat,
    recording: flags.recording,
    upstreamCa: flags.upstreamCa,
    streamUsage: flags.streamUsage,
    edge: edgeFlags(flags),
    workers: flags.workers ?? (env.workers === undefined ? undefined : workersOf(env.workers)),
    worker: flags.worker ?? false,
    tokenizersOf: flags.tokenizersOf,
  };
}

/** A subject id of the machine's name, where nobody gives one. */
const instanceDefault = (): string =>
  hostname()
    .replace(/[^A-Za-z0-9_-]+/g, '-')
    .slice(0, 64) || 'gateway';
