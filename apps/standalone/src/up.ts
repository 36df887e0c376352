import { relative, resolve } from 'node:path';
import type { Broker } from '#libs/event-log';
import { CodedError, errorCode, errorText, systemEnvironment } from '#libs/kernel';
import { env } from '#libs/nest-kit';
import { banner, warning } from './banner.ts';
import type { BrokerAddress } from './broker.ts';
import { connectBroker, inMemory } from './broker.ts';
import { Configuration, readConfiguration } from './configuration.ts';
import { startEngines } from './engines.ts';
import { describeGiven } from './given-engines.ts';
import { Home } from './home.ts';
import { openLog } from './logs.ts';
import type { UpOptions } from './options.ts';
import { apiPort, claimPort } from './ports.ts';
import { Progress } from './progress.ts';
import { waitReady } from './ready.ts';
import { aibrixPort, secondPort } from './second-port.ts';
import { startBroker, startDatabase } from './servers.ts';
import type { Stack } from './stack.ts';
import type { DiagnosticsJob, DiagnosticsResult } from './thread-apps.ts';
import { keepThread } from './threads.ts';

const simReplicasDefault = 3;
const gatewayPortDefault = 8080;

interface DiagnosticsHost {
  readonly job: Omit<DiagnosticsJob, 'broker'>;
  /** Shared with the gateway; undefined where diagnostics has a connection and a thread of its own. */
  readonly memory: Broker | undefined;
  readonly address: BrokerAddress | undefined;
}

/** Starts everything, part by part; what was started stands in `stack`, also when this throws. */
export async function up(
  options: UpOptions,
  stack: Stack,
  write: (text: string) => void,
  throwIfStopped: () => void,
): Promise<void> {
  const environment = systemEnvironment;
  const { clock, timers } = environment;
  const startedMs = clock.monotonicMs();
  const progress = new Progress(clock, timers, write, throwIfStopped);
  const given = await readConfiguration(options.config);
  const host = options.host ?? given?.config.host ?? '127.0.0.1';
  const open = options.open ?? given?.config.open ?? false;
  const compat = options.compat ?? given?.config.compat;
  const home = await Home.open(resolve(options.home ?? env.home));
  stack.add({ name: 'home', stop: async () => home.close(), kill: () => home.close() });

  const port = await claimPort(host, options.port ?? given?.config.port ?? gatewayPortDefault, '--port');
  const api = await apiPort(host, options.apiPort);
  const adminKey = await home.secret('admin-key', 'la-');
  const ownTenants = (given?.config.tenants.length ?? 0) > 0;
  const apiKey = open || ownTenants ? undefined : await home.secret('api-key', 'lk-');

  // Loaded while the servers start; whatever is wrong before this line is said without waiting for it.
  const gatewayApp = import('#apps/gateway');
  gatewayApp.catch(() => {}); // thrown on where it is awaited
  const openFile = (name: string) => {
    const log = openLog(home.path('logs'), name, env.logLevel, timers);
    stack.add({ name: `${name}.log`, stop: async () => log.close() });
    return log;
  };
  const own = openFile('standalone');
  const gatewayLog = openFile('gateway');
  const note = (line: string): void => own.logger.info(line);
  const report = (line: string): void => {
    own.logger.warn(line);
    write(`  ! ${line}\n`);
  };

  const place = await startBroker(home, progress, stack, note);
  const databaseUrl = await startDatabase(home, progress, stack, note);
  const replicasGiven = (given?.config.replicas.length ?? 0) + options.engine.length > 0 || options.real === true;
  const extra = await startEngines(
    {
      sim: options.sim ?? (replicasGiven ? 0 : simReplicasDefault),
      real: options.real ?? false,
      engines: options.engine,
    },
    { home, progress, stack, log: own, report },
  );

  const memory = place.kind === 'memory' ? inMemory(environment) : undefined;
  const diagnosticsAt = await startDiagnostics(
    {
      job: { host, port: api.port, instance: 'diagnostics-1', home: home.folder, databaseUrl, adminKey },
      memory,
      address: place.kind === 'nats' ? place.address('diagnostics', 'diagnostics-1') : undefined,
    },
    progress,
    stack,
    home.path('logs', 'diagnostics.log'),
    report,
    own.write,
    api.note,
  );

  // Before the gateway, so that it is closed after the gateway has drained.
  if (compat === 'aibrix' && port !== aibrixPort) {
    const also = await secondPort(host, aibrixPort, port).catch(
      (error: unknown) => void report(`port ${aibrixPort} is not served: ${errorText(error)}`),
    );
    if (also !== undefined) stack.add({ name: `port ${aibrixPort}`, stop: async () => await also.stop() });
  }

  const gateway = await progress.step(
    'gateway',
    async () => {
      const broker =
        place.kind === 'nats' ? await connectBroker(place.address('gateway', 'gateway-1'), note) : inMemoryOf(memory);
      stack.add({ name: 'gateway connection', stop: async () => await broker.close() });
      const { startGateway } = await gatewayApp;
      const running = await startGateway({
        host,
        port,
        instance: 'gateway-1',
        home: home.folder,
        broker,
        open,
        ...(compat === undefined ? {} : { compat }),
        logger: gatewayLog.logger,
        environment,
      }).catch((error: unknown) => {
        throw portTaken(error, port, '--port');
      });
      stack.add({ name: 'gateway', stop: async () => await running.stop() });
      return running;
    },
    ({ url }) => url,
  );

  const configuration = new Configuration(given, extra, apiKey, gateway, report);
  await progress.step(
    'configuration',
    async () => await configuration.applyFirst(),
    (lines) => (lines.length === 0 ? 'as it was' : `${lines.length} ${lines.length === 1 ? 'change' : 'changes'}`),
  );
  const watch = configuration.watch(timers);
  stack.add({ name: 'watch', stop: async () => watch.stop() });

  const unready = await progress.step(
    'ready',
    async () => await waitReady(gateway.url, environment),
    (said) => said ?? describeFleet(gateway.fleet.models().map(({ id }) => id)),
  );
  if (unready !== undefined) report(`not ready yet: ${unready}; Lintel goes on trying`);

  const givenUrls = [...options.engine, ...(given?.config.replicas ?? []).map(({ url }) => new URL(url).origin)];
  if (givenUrls.length > 0) {
    const lines = await progress.step(
      'given engines',
      async () => await describeGiven([...new Set(givenUrls)], diagnosticsAt.url, adminKey, environment),
      (found) => `${found.length} ${found.length === 1 ? 'replica' : 'replicas'}`,
    );
    for (const line of lines) write(`      ${line}\n`);
  }

  const durability = place.kind === 'nats' ? 'disk' : 'memory';
  await home.announce({
    apiUrl: diagnosticsAt.url,
    gatewayUrl: gateway.url,
    adminKeyFile: home.path('admin-key'),
    durability,
    pid: process.pid,
  });
  write(
    banner({
      gatewayUrl: gateway.url,
      apiUrl: diagnosticsAt.url,
      apiKey,
      open,
      configFile: given?.file,
      model: gateway.fleet.models()[0]?.id,
      durability,
      home: home.folder,
      homeFlag: options.home === undefined ? '' : ` --home ${shortest(home.folder)}`,
      startedIn: `${((clock.monotonicMs() - startedMs) / 1000).toFixed(1)} s`,
    }),
  );
  if (place.kind === 'memory') write(warning(place.advice));
}

/** A path as it can be typed here. */
function shortest(folder: string): string {
  const here = relative(process.cwd(), folder) || '.';
  return here.startsWith('..') ? folder : here;
}

function inMemoryOf(memory: Broker | undefined): Broker {
  if (memory === undefined) throw new CodedError('NO_BROKER', 'there is neither a broker nor a log in memory');
  return memory;
}

function describeFleet(models: readonly string[]): string {
  return models.length === 0 ? 'no model is served yet' : `serving ${models.slice(0, 4).join(', ')}`;
}

/** A port that was free a moment ago may be taken by now. */
function portTaken(error: unknown, port: number, flag: string): unknown {
  if (!['EADDRINUSE', 'PORT_TAKEN'].includes(errorCode(error))) return error;
  return new CodedError('PORT_TAKEN', `port ${port} is taken`, {
    advice: `Choose another one with ${flag}.`,
    cause: error,
  });
}

async function startDiagnostics(
  { job, memory, address }: DiagnosticsHost,
  progress: Progress,
  stack: Stack,
  logFile: string,
  report: (line: string) => void,
  output: (text: string) => void,
  note: string,
): Promise<DiagnosticsResult> {
  const environment = systemEnvironment;
  return await progress.step(
    'diagnostics',
    async () => {
      try {
        if (memory !== undefined || address === undefined) {
          // A log in memory lives in one thread, so diagnostics has to be there, too.
          const app = await import('#apps/diagnostics');
          const log = openLog(resolve(logFile, '..'), 'diagnostics', env.logLevel, environment.timers);
          const running = await app.startDiagnostics({ ...job, broker: inMemoryOf(memory), logger: log.logger });
          stack.add({ name: 'diagnostics', stop: async () => (await running.stop(), log.close()) });
          return { url: running.url, port: running.port };
        }
        const jobAt = (port: number) =>
          ({
            app: 'diagnostics',
            options: { ...job, port, broker: address } satisfies DiagnosticsJob,
            logFile,
          }) as const;
        const thread = await keepThread<DiagnosticsResult>(
          jobAt(job.port),
          ({ port }) => jobAt(port),
          report,
          output,
          environment,
        );
        stack.add({ name: 'diagnostics', stop: async () => await thread.stop() });
        return thread.result;
      } catch (error) {
        throw portTaken(error, job.port, '--api-port');
      }
    },
    ({ url }) => `${url}${note}`,
  );
}
