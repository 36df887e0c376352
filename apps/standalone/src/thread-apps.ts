import { systemTimers } from '#libs/kernel';
import { env } from '#libs/nest-kit';
import { type Logger, startTracing } from '#libs/observability';
import type { BrokerAddress } from './broker.ts';
import { connectBroker } from './broker.ts';

export interface ThreadApp {
  /** Must survive a structured clone. */
  readonly result: unknown;
  stop(): Promise<void>;
}

export interface DiagnosticsJob {
  readonly host: string;
  readonly port: number;
  readonly instance: string;
  readonly home: string;
  readonly broker: BrokerAddress;
  readonly databaseUrl: string | undefined;
  readonly adminKey: string;
}

export interface DiagnosticsResult {
  readonly url: string;
  readonly port: number;
}

export async function startDiagnosticsApp(options: unknown, logger: Logger): Promise<ThreadApp> {
  // Only the thread that runs it loads it.
  const { startDiagnostics } = await import('#apps/diagnostics');
  const job = options as DiagnosticsJob;
  const stopTracing =
    env.otlpEndpoint === undefined
      ? undefined
      : startTracing({ service: 'lintel-diagnostics', version, endpoint: env.otlpEndpoint });
  const broker = await connectBroker(job.broker, (line) => logger.info(line));
  try {
    const app = await startDiagnostics({ ...job, broker, logger });
    return {
      result: { url: app.url, port: app.port } satisfies DiagnosticsResult,
      stop: async () => {
        await app.stop();
        await broker.close();
        await stopTracing?.();
      },
    };
  } catch (error) {
    await broker.close();
    throw error;
  }
}

export interface KvIndexJob {
  readonly host: string;
  readonly port: number;
  readonly instance: string;
  readonly broker: BrokerAddress;
  readonly adminKey: string;
}

export async function startKvIndexApp(options: unknown, logger: Logger): Promise<ThreadApp> {
  const { startKvIndex } = await import('#apps/kv-index');
  const job = options as KvIndexJob;
  const broker = await connectBroker(job.broker, (line) => logger.info(line));
  try {
    const app = await startKvIndex({ ...job, broker, logger });
    return {
      result: { url: app.url, port: app.port } satisfies DiagnosticsResult,
      stop: async () => {
        await app.stop();
        await broker.close();
      },
    };
  } catch (error) {
    await broker.close();
    throw error;
  }
}

export interface SimulatorsJob {
  /** One engine for each; 0 is any free one. */
  readonly ports: readonly number[];
}

export interface SimulatorsResult {
  readonly urls: readonly string[];
  readonly ports: readonly number[];
}

const version = '0.1.0';
const crashedMs = 2_000;

/** All simulated engines of one Lintel: they share a thread, so that many of them cost little. One that crashes comes back alone. */
export async function startSimulators(options: unknown, logger: Logger): Promise<ThreadApp> {
  const { startEngineSim } = await import('#apps/engine-sim');
  const { ports } = options as SimulatorsJob;
  const running: Awaited<ReturnType<typeof startEngineSim>>[] = [];
  let stopping = false;
  const start = async (index: number, port: number): Promise<void> => {
    running[index] = await startEngineSim({ host: '127.0.0.1', port, seed: index + 1, crash: () => crashed(index) });
  };
  const crashed = (index: number): void => {
    const engine = running[index];
    if (engine === undefined) return;
    logger.warn({ index }, 'simulated engine crashes, as it was told to');
    void engine
      .stop()
      .then(async () => await systemTimers.sleep(crashedMs))
      .then(async () => (stopping ? undefined : await start(index, engine.port)))
      .catch((error: unknown) => logger.error({ index, err: error }, 'simulated engine does not come back'));
  };
  const stop = async (): Promise<void> => {
    stopping = true;
    await Promise.all(running.map(async (engine) => await engine.stop()));
  };
  try {
    for (const [index, port] of ports.entries()) await start(index, port);
  } catch (error) {
    await stop();
    throw error;
  }
  logger.info({ ports: running.map(({ port }) => port) }, 'simulated engines are up');
  return {
    result: {
      urls: running.map(({ url }) => url),
      ports: running.map(({ port }) => port),
    } satisfies SimulatorsResult,
    stop,
  };
}
