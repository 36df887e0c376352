import type { Server } from 'node:net';
import { relative, resolve } from 'node:path';
import type { Workers } from '#apps/gateway';
import { CodedError, errorText, systemEnvironment } from '#libs/kernel';
import { allReplicas, edgeConfigOf, env } from '#libs/nest-kit';
import { kvLabels } from '#libs/kv-stream';
import { startTracing } from '#libs/observability';
import { banner, warning } from './banner.ts';
import { connectBroker, inMemory } from './broker.ts';
import { Configuration, readConfiguration } from './configuration.ts';
import { inMemoryOf, startDiagnostics } from './diagnostics.ts';
import { startEngines } from './engines.ts';
import { describeGiven } from './given-engines.ts';
import { Home } from './home.ts';
import { startKvIndex } from './kv-index.ts';
import { openLog } from './logs.ts';
import type { UpOptions } from './options.ts';
import { apiPort, claimPort } from './ports.ts';
import { Progress } from './progress.ts';
import { waitReady } from './ready.ts';
import { aibrixPort, secondPort } from './second-port.ts';
import { startBroker, startDatabase } from './servers.ts';
import type { Stack } from './stack.ts';

const simReplicasDefault = 3;
const gatewayPortDefault = 8080;
const version = '0.1.0';

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
  const { workers = 1 } = options;
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
  // Spans of this thread are the gateway's.
  if (env.otlpEndpoint !== undefined) {
    const stopTracing = startTracing({ service: 'lintel-gateway', version, endpoint: env.otlpEndpoint });
    stack.add({ name: 'tracing', stop: stopTracing });
  }

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
  if (workers > 1 && place.kind === 'memory') {
    throw new CodedError('WORKERS_NEED_BROKER', 'the log is in memory, where other processes cannot read it', {
      advice: `Leave --workers out, or have a broker: ${place.advice}`,
    });
  }
  const databaseUrl = await startDatabase(home, progress, stack, note);
  const replicasNamed = given === undefined ? [] : allReplicas(given.config);
  const replicasGiven = replicasNamed.length + options.engine.length > 0 || options.real === true;
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

  if (replicasNamed.some(({ labels, kvEvents }) => kvEvents !== undefined || namesKvEvents(labels))) {
    await startKvIndex(
      {
        job: { host: '127.0.0.1', instance: 'kv-index-1', adminKey },
        memory,
        address: place.kind === 'nats' ? place.address('kv', 'kv-index-1') : undefined,
      },
      progress,
      stack,
      home.path('logs', 'kv-index.log'),
      report,
      own.write,
    );
  }

  // Before the gateway, so that it is closed after the gateway has drained.
  if (compat === 'aibrix' && port !== aibrixPort) {
    const also = await secondPort(host, aibrixPort, port).catch(
      (error: unknown) => void report(`port ${aibrixPort} is not served: ${errorText(error)}`),
    );
    if (also !== undefined) stack.add({ name: `port ${aibrixPort}`, stop: async () => await also.stop() });
  }

  let others: Workers | undefined;
  const shares = {
    listening: {
      whenReady: false,
      listen: async (server: Server) => await (await gatewayApp).listenAt(server, { host, port, shared: true }),
    },
    scrape: async (own: () => Promise<string>) => await (others === undefined ? own() : others.scrape()),
  };
  const edge = given === undefined ? undefined : edgeConfigOf(given.config);
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
        adminKey,
        logger: gatewayLog.logger,
        environment,
        applies: true,
        ...(workers === 1 ? {} : shares),
        edge,
        tokenizers: given?.config.tokenizers,
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

  if (workers > 1 && place.kind === 'nats') {
    await progress.step(
      'workers',
      async () => {
        const { moreWorkers } = await import('./workers.ts');
        const started = moreWorkers({
          count: workers - 1,
          gateway,
          instance: 'gateway-1',
          host,
          home,
          open,
          compat,
          adminKey,
          configFile: given?.file,
          edge,
          environment,
          address: place.address('gateway', 'gateway'),
          say: report,
          output: gatewayLog.write,
        });
        others = started;
        stack.add({ name: 'workers', stop: async () => await started.stop(), kill: () => started.kill() });
        await started.start();
      },
      () => `${workers} gateway processes on port ${gateway.port}`,
    );
  }

  const unready = await progress.step(
    'ready',
    async () => await waitReady(gateway.url, environment, { certFile: edge?.tls?.cert }),
    (said) => said ?? describeFleet(gateway.fleet.models().map(({ id }) => id)),
  );
  if (unready !== undefined) report(`not ready yet: ${unready}; Lintel goes on trying`);

  const givenUrls = [...options.engine, ...replicasNamed.map(({ url }) => new URL(url).origin)];
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
    ...(edge?.tls === undefined ? {} : { gatewayCertFile: edge.tls.cert }),
    adminKeyFile: home.path('admin-key'),
    durability,
    pid: process.pid,
  });
  write(
    banner({
      gatewayUrl: gateway.url,
      tls: edge?.tls,
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

const namesKvEvents = (labels: Readonly<Record<string, string>>): boolean =>
  labels[kvLabels.endpoint] !== undefined || labels[kvLabels.aibrix] === 'true';

/** A path as it can be typed here. */
function shortest(folder: string): string {
  const here = relative(process.cwd(), folder) || '.';
  return here.startsWith('..') ? folder : here;
}

function describeFleet(models: readonly string[]): string {
  return models.length === 0 ? 'no model is served yet' : `serving ${models.slice(0, 4).join(', ')}`;
}
