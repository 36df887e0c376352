import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { route } from '#libs/contracts';
import type { Environment } from '#libs/kernel';
import { CodedError, errorText, systemEnvironment } from '#libs/kernel';
import type { ExtraReplica } from './desired.ts';
import type { Home } from './home.ts';
import type { FileLog } from './logs.ts';
import { claimPort } from './ports.ts';
import type { Progress } from './progress.ts';
import type { Stack } from './stack.ts';
import type { SimulatorsJob, SimulatorsResult } from './thread-apps.ts';
import { keepThread } from './threads.ts';

export interface EngineWishes {
  readonly sim: number;
  readonly real: boolean;
  readonly engines: readonly string[];
}

export interface EngineHost {
  readonly home: Home;
  readonly progress: Progress;
  readonly stack: Stack;
  readonly log: FileLog;
  readonly report: (line: string) => void;
}

const realEngines = 2;
const restartDelayMs = 1_000;
const restartsMax = 5;

const portsFile = (kind: string): string => `${kind}-ports.json`;

async function keepPorts(home: Home, kind: string, ports: readonly number[]): Promise<void> {
  await writeFile(home.path(portsFile(kind)), JSON.stringify(ports), { mode: 0o600 });
}

/** The ports of the last start where they are free, so that a restart finds the same replicas in the log. */
async function enginePorts(home: Home, kind: string, count: number): Promise<number[]> {
  const kept = await readFile(home.path(portsFile(kind)), 'utf8').then(
    (text) => JSON.parse(text) as number[],
    () => [],
  );
  const ports: number[] = [];
  for (let index = 0; index < count; index++) {
    const wanted = kept[index];
    const free =
      wanted === undefined ? undefined : await claimPort('127.0.0.1', wanted, '--sim').catch(() => undefined);
    ports.push(free ?? 0);
  }
  return ports;
}

async function startSimulated(count: number, host: EngineHost): Promise<ExtraReplica[]> {
  const { home, progress, stack, log, report } = host;
  const environment = systemEnvironment;
  const { urls } = await progress.step(
    'engines',
    async () => {
      const job = (ports: readonly number[]) =>
        ({ app: 'engine-sim', options: { ports } satisfies SimulatorsJob, logFile: log.file }) as const;
      const thread = await keepThread<SimulatorsResult>(
        job(await enginePorts(home, 'sim', count)),
        ({ ports }) => job(ports),
        report,
        log.write,
        environment,
      );
      stack.add({ name: 'engines', stop: () => thread.stop() });
      await keepPorts(home, 'sim', thread.result.ports);
      return thread.result;
    },
    ({ urls: list }) => `${list.length} × simulated vLLM, model sim-8b`,
  );
  return urls.map((url, index) => ({ id: `sim-${index}`, url, engine: route.EngineKind.VLLM, source: 'simulated' }));
}

interface LlamaServer {
  readonly url: string;
  readonly port: number;
  readonly exited: Promise<unknown>;
  kill(signal: NodeJS.Signals): void;
  stop(): Promise<unknown>;
}

interface LlamaTool {
  ensureLlamaCpp(options: { log: (line: string) => void }): Promise<{ unavailable?: string }>;
  startLlamaServer(options: {
    name: string;
    port: number;
    node: string;
    log: (line: string) => void;
  }): Promise<LlamaServer>;
}

/** Beside dist/ in a checkout; an image has no such tools. */
async function llamaTool(): Promise<LlamaTool> {
  const file = fileURLToPath(new URL('../../../../tools/engines/llama-cpp.mjs', import.meta.url));
  if (!existsSync(file)) {
    throw new CodedError('REAL_ENGINE_UNAVAILABLE', '--real needs a checkout: tools/engines is not here', {
      advice: 'Start without --real, or give a running engine with --engine.',
    });
  }
  return (await import(pathToFileURL(file).href)) as LlamaTool;
}

/** An engine as a child that is started again on its port when it dies. */
async function keepLlama(
  tool: LlamaTool,
  name: string,
  wantedPort: number,
  report: (line: string) => void,
  log: (line: string) => void,
  { timers }: Pick<Environment, 'timers'>,
): Promise<{ url: string; port: number; stop(): Promise<void>; kill(): void }> {
  let server = await tool.startLlamaServer({ name, port: wantedPort, node: process.execPath, log });
  const { url, port } = server;
  let stopping = false;
  const keep = async (): Promise<void> => {
    for (let restarts = 1; ; restarts++) {
      await server.exited;
      if (stopping) return;
      if (restarts > restartsMax) return report(`${name} died ${restarts} times and stays down`);
      report(`${name} died and is started again`);
      await timers.sleep(restartDelayMs);
      if (stopping) return;
      try {
        server = await tool.startLlamaServer({ name, port, node: process.execPath, log });
      } catch (error) {
        report(`${name} did not start: ${errorText(error)}`);
      }
    }
  };
  const keeping = keep();
  return {
    url,
    port,
    kill: () => server.kill('SIGKILL'),
    async stop() {
      stopping = true;
      await server.stop();
      await keeping;
      await server.stop();
    },
  };
}

async function startReal(host: EngineHost): Promise<ExtraReplica[]> {
  const { home, progress, stack, log, report } = host;
  const servers = await progress.step(
    'engines',
    async (say) => {
      const tool = await llamaTool();
      const tell = (line: string): void => (say(line.replace(/^llama\.cpp: /, '')), log.write(`${line}\n`));
      const { unavailable } = await tool.ensureLlamaCpp({ log: tell });
      if (unavailable !== undefined) {
        throw new CodedError('REAL_ENGINE_UNAVAILABLE', `llama.cpp ${unavailable}`, {
          advice: 'Start without --real to use simulated engines, or give a running engine with --engine.',
        });
      }
      const started: Awaited<ReturnType<typeof keepLlama>>[] = [];
      for (const [index, port] of (await enginePorts(home, 'real', realEngines)).entries()) {
        const server = await keepLlama(tool, `llama-${index}`, port, report, tell, systemEnvironment);
        stack.add({ name: `llama-${index}`, stop: server.stop, kill: server.kill });
        started.push(server);
      }
      await keepPorts(
        home,
        'real',
        started.map(({ port }) => port),
      );
      return started;
    },
    (list) => `${list.length} × llama.cpp, a real engine with a tiny model`,
  );
  return servers.map(({ url }, index) => ({
    id: `llama-${index}`,
    url,
    engine: route.EngineKind.LLAMA_CPP,
    source: 'real',
  }));
}

/** A name that stays the same for the same address. */
function idOf(origin: string): string {
  const { hostname, port, protocol } = new URL(origin);
  return `engine-${hostname}-${port || (protocol === 'https:' ? 443 : 80)}`
    .replace(/[^A-Za-z0-9_-]+/g, '-')
    .slice(0, 64);
}

/** Every replica that does not come from the configuration file. Which engine a given one is, the gateway asks it. */
export async function startEngines(wishes: EngineWishes, host: EngineHost): Promise<ExtraReplica[]> {
  const given = [...new Set(wishes.engines)].map((url) => ({
    id: idOf(url),
    url,
    engine: route.EngineKind.UNSPECIFIED,
    source: 'flag',
  }));
  return [
    ...given,
    ...(wishes.real ? await startReal(host) : []),
    ...(wishes.sim > 0 ? await startSimulated(wishes.sim, host) : []),
  ];
}
