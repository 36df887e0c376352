import { Command, Option, InvalidArgumentError } from 'commander';
import { profiles } from '#libs/engine-model';
import { parseFault } from './faults.ts';
import type { EngineSimOptions } from './options.ts';

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('Give a whole number.');
  return value;
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('Give a number above 0.');
  return value;
}

const collect = (text: string, before: string[] = []): string[] => [...before, text];

function fault(text: string, before: string[] = []): string[] {
  try {
    parseFault(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
  return [...before, text];
}

interface Flags {
  host: string;
  port: number;
  model?: string[];
  seed: number;
  profile: string;
  paceMs?: number;
  speed: number;
  instant?: true;
  blocks?: number;
  blockSize: number;
  maxNumSeqs: number;
  maxNumBatchedTokens: number;
  maxModelLen: number;
  maxLoras: number;
  maxLoraRank: number;
  maxNumQueuedReqs?: number;
  runner: 'generate' | 'pooling';
  kvEventsPort?: number;
  kvReplayPort?: number;
  kvTransfer?: true;
  dataParallelSize: number;
  strictAdapters?: true;
  startUp?: true;
  fault?: string[];
}

function command(): Command {
  return new Command('engine-sim')
    .description("A simulated inference engine that speaks vLLM 0.32's HTTP and KV events.")
    .option('--host <host>', 'address to listen on', '127.0.0.1')
    .option('--port <n>', 'port, 0 for any free one', wholeNumber, 8000)
    .option('--model <name>', 'served name, repeatable; the first is the default (default: sim-8b)', collect)
    .option('--seed <n>', 'of block hashes and of sampling without a seed', wholeNumber, 1)
    .option('--profile <name>', `cost model: ${[...profiles.keys()].join(', ')}`, 'a100-80g/llama-3-8b')
    .option('--pace-ms <ms>', 'a step takes just this long, whatever is in it', positive)
    .option('--speed <factor>', 'divide all durations', positive, 1)
    .option('--instant', 'answer a constant at once, for proxy benches')
    .option('--blocks <n>', 'KV blocks (default: what fits beside the weights)', wholeNumber)
    .option('--block-size <n>', 'tokens of a KV block', wholeNumber, 16)
    .option('--max-num-seqs <n>', 'most sequences in one step', wholeNumber, 256)
    .option('--max-num-batched-tokens <n>', 'most tokens in one step', wholeNumber, 2048)
    .option('--max-model-len <n>', 'longest sequence', wholeNumber, 8192)
    .option('--max-loras <n>', 'adapters at the same time', wholeNumber, 4)
    .option('--max-lora-rank <n>', 'largest rank', wholeNumber, 16)
    .option('--max-num-queued-reqs <n>', 'refuse with 503 beyond this many, running ones included', wholeNumber)
    .addOption(
      new Option('--runner <kind>', 'pooling is for embeddings').choices(['generate', 'pooling']).default('generate'),
    )
    .option('--kv-events-port <n>', 'publish KV events over ZeroMQ here, 0 for any free port', wholeNumber)
    .option('--kv-replay-port <n>', 'replay socket of the KV events (default: any free port)', wholeNumber)
    .option('--data-parallel-size <n>', 'engines behind the one server', wholeNumber, 1)
    .option('--kv-transfer', 'take part in a hand-over between prefill and decode engines')
    .option('--strict-adapters', "an adapter's folder must exist")
    .option('--start-up', "wait the profile's start-up time before listening")
    .option('--fault <faults>', 'befalls every request, e.g. delay=500; repeatable', fault);
}

export function parseFlags(args: readonly string[]): EngineSimOptions {
  const program = command().parse(args, { from: 'user' });
  const flags = program.opts<Flags>();
  const profile = profiles.get(flags.profile) ?? program.error(`error: unknown profile "${flags.profile}"`);
  const {
    kvEventsPort,
    kvReplayPort,
    fault: faults = [],
    model: models,
    profile: _name,
    runner,
    dataParallelSize,
    ...same
  } = flags;
  return {
    ...same,
    dataParallel: dataParallelSize,
    profile,
    runner,
    models: models ?? ['sim-8b'],
    kvEvents: kvEventsPort === undefined ? undefined : { port: kvEventsPort, replayPort: kvReplayPort ?? 0 },
    faults: faults.map((text) => ({ fault: text })),
  };
}
