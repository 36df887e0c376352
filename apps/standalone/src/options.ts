import { Command, InvalidArgumentError, Option } from 'commander';

export interface UpOptions {
  readonly host?: string;
  readonly port?: number;
  /** Of diagnostics; where it is not given, 8090 or a free one. */
  readonly apiPort?: number;
  readonly home?: string;
  /** Origins of running engines; empty is "simulate". */
  readonly engine: readonly string[];
  readonly config?: string;
  readonly open?: boolean;
  readonly sim?: number;
  readonly real?: boolean;
  readonly compat?: 'aibrix';
  /** Gateway processes on the port, this one among them. */
  readonly workers?: number;
}

const simReplicasMax = 64;

function port(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0 && value <= 65535) return value;
  throw new InvalidArgumentError('must be a port, 0 to 65535 (0 picks a free one).');
}

function simReplicas(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0 && value <= simReplicasMax) return value;
  throw new InvalidArgumentError(`must be 0 to ${simReplicasMax}.`);
}

const workersMax = 64;

function workers(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= workersMax) return value;
  throw new InvalidArgumentError(`must be 1 to ${workersMax}.`);
}

function engineOrigin(text: string, before: readonly string[]): readonly string[] {
  const given = /^https?:\/\//.test(text) ? text : `http://${text}`;
  if (!URL.canParse(given) || new URL(given).pathname !== '/') {
    throw new InvalidArgumentError('must be an origin such as http://127.0.0.1:8000, without a path.');
  }
  return [...before, new URL(given).origin];
}

/** The flags of `npm start --` and `lintel up`. One list for both. */
export function upCommand(name: string): Command {
  return new Command(name)
    .description('Start Lintel: broker, database, engines, gateway, diagnostics.')
    .option('--port <port>', 'port of the gateway (default 8080, or the configuration file)', port)
    .option('--api-port <port>', 'port of diagnostics (default 8090, or a free one where that is taken)', port)
    .option('--host <address>', 'address to listen on (default 127.0.0.1)')
    .option('--home <folder>', 'folder of all state (default LINTEL_HOME, or .lintel)')
    .option('--engine <origin>', 'put Lintel in front of a running engine; repeatable', engineOrigin, [])
    .option('--config <file>', "lintel.yaml, or AIBrix's standalone file; read again when it changes")
    .option('--open', "no keys: the client's authorization goes to the engine unchanged")
    .option(
      '--sim <n>',
      'how many simulated vLLM replicas to start (default 3; 0 where engines are given)',
      simReplicas,
    )
    .option('--real', 'a small real engine (llama.cpp) in place of simulated ones; fetched once')
    .addOption(new Option('--compat <system>', 'names and codes as that system has them').choices(['aibrix']))
    .option('--workers <n>', 'gateway processes that share the port, 1 to 64 (default 1)', workers)
    .helpOption('-h, --help', 'this list');
}
