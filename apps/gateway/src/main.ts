import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CodedError, errorCode, errorText, systemEnvironment } from '#libs/kernel';
import { env, watchConfig } from '#libs/nest-kit';
import { createLogger, startTracing } from '#libs/observability';
import { startGateway } from './index.ts';
import { ConfigurationFile, readConfigurationFile } from './process/configuration-file.ts';
import { connectPatiently } from './process/connect.ts';
import { edgeOf } from './process/edge-options.ts';
import { parseOptions } from './process/options.ts';
import { superviseWorkers } from './process/supervise.ts';
import { WorkerLink } from './workers/worker-link.ts';

const portDefault = 8080;
const version = '0.1.0';

const options = parseOptions(process.argv.slice(2));
const logger = createLogger({ name: 'gateway', level: env.logLevel });
const environment = systemEnvironment;
const link = options.worker ? new WorkerLink(environment) : undefined;

/** What was started, to be stopped in reverse. */
const started: (() => Promise<void>)[] = [];
const stopping = new AbortController();
let exitCode = 0;

async function stop(): Promise<void> {
  stopping.abort();
  for (const each of started.splice(0).toReversed()) await each();
}

/** The first signal drains, the second ends at once. */
function onSignal(signal: NodeJS.Signals): void {
  if (stopping.signal.aborted) process.exit(130);
  logger.info(`${signal}: draining; once more to end at once`);
  void stop().then(() => process.exit(exitCode));
}
process.on('SIGTERM', onSignal);
// Ctrl-C reaches workers from the terminal, too; their supervisor tells them.
process.on('SIGINT', link === undefined ? onSignal : () => {});

async function main(): Promise<void> {
  const loaded = options.config === undefined ? undefined : await readConfigurationFile(options.config);
  const host = options.host ?? loaded?.config.host ?? '127.0.0.1';
  const port = options.port ?? loaded?.config.port ?? portDefault;
  const edge = edgeOf(options.edge, loaded?.config);
  await makeHome(options.home);
  if (options.workers !== undefined && link === undefined) {
    await superviseWorkers(
      { ...options, workers: options.workers },
      { host, port, edge },
      environment,
      logger,
      (workers) => {
        started.push(() => workers.stop());
        process.on('SIGHUP', () => void workers.replaceAll());
      },
    );
    return;
  }
  const told = await link?.started();
  const compat = options.compat ?? loaded?.config.compat;
  if (env.otlpEndpoint !== undefined) {
    started.push(startTracing({ service: 'lintel-gateway', version, endpoint: env.otlpEndpoint }));
  }
  const broker = await connectPatiently(
    options,
    link === undefined ? { host, port, edge } : undefined,
    environment,
    (line) => logger.info(line),
    stopping.signal,
  );
  started.push(() => broker.close());
  const gateway = await startGateway({
    host,
    port,
    instance: options.instance,
    home: options.home,
    ...(link === undefined ? {} : { root: dirname(options.home) }),
    broker,
    open: options.open ?? loaded?.config.open ?? false,
    ...(compat === undefined ? {} : { compat }),
    adminKey: env.adminKey,
    logger,
    environment,
    recording: options.recording,
    applies: options.config !== undefined,
    upstreamCaFile: options.upstreamCa,
    streamUsage: options.streamUsage,
    edge,
    tokenizers: loaded?.config.tokenizers,
    ...(link === undefined || told === undefined
      ? {}
      : {
          listening: { whenReady: told.whenReady, listen: async (server) => await link.listen(server, host, port) },
          scrape: async (own) => await link.scrape(own),
        }),
  });
  started.push(() => gateway.stop());
  link?.serving(
    gateway,
    () =>
      void gateway
        .leave()
        .then(async () => await stop())
        .then(() => process.exit(0)),
    () => onSignal('SIGTERM'),
  );
  const file = options.config ?? options.tokenizersOf;
  if (file !== undefined) {
    // Files of this machine: each process reads them for itself, whoever applies the rest.
    const watch = watchConfig(file, loaded?.contentHash ?? '', environment.timers, {
      changed: (config) => void gateway.tokenize(config.tokenizers),
      refused: () => {}, // said where it is applied
    });
    started.push(async () => watch.stop());
  }
  if (told?.applies === false) return;
  if (options.config === undefined || loaded === undefined || stopping.signal.aborted) return;
  const applied = new ConfigurationFile(options.config, loaded, gateway, environment.timers, logger);
  started.push(async () => applied.stop());
  await applied.start();
}

async function makeHome(home: string): Promise<void> {
  try {
    await mkdir(home, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new CodedError('HOME_UNUSABLE', `the folder ${home} cannot be made: ${errorText(cause)}`, {
      advice: 'Make it writable, or choose another with --home.',
      cause,
    });
  }
}

try {
  await main();
} catch (thrown) {
  if (errorCode(thrown) !== 'STOPPED') {
    exitCode = 1;
    const advice = thrown instanceof CodedError && thrown.advice !== undefined ? ` ${thrown.advice}` : '';
    logger.fatal({ code: errorCode(thrown) }, `${errorText(thrown)}.${advice}`);
    await stop();
    process.exit(exitCode);
  }
}
