import { hostname } from 'node:os';
import { EventRegistry } from '#libs/contracts';
import type { Broker } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import { CodedError, errorCode, errorText, systemEnvironment } from '#libs/kernel';
import { env } from '#libs/nest-kit';
import { createLogger, startTracing } from '#libs/observability';
import { startKvIndex } from './start.ts';

const portDefault = 8091;
const brokerRetryMs = 1_000;
/** A broker that is starting beside us is waited for so long. */
const brokerWaitMsMax = 60_000;
const drainMsMax = 20_000;

const logger = createLogger({ name: 'kv-index', level: env.logLevel });

function required(name: string, value: string | undefined): string {
  if (value !== undefined) return value;
  throw new CodedError('ENV_MISSING', `${name} is not set`, { advice: 'docs/kv-index.md lists the variables.' });
}

function portOf(text: string | undefined): number {
  const port = Number(text ?? portDefault);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new CodedError('ENV_INVALID', `LINTEL_PORT: ${JSON.stringify(text)} is no port`);
}

/** A subject id of the machine's name, where nobody gives one. */
const instanceDefault = (): string =>
  hostname()
    .replace(/[^A-Za-z0-9_-]+/g, '-')
    .slice(0, 48) || 'kv-index';

async function connect(): Promise<Broker> {
  const { clock, timers } = systemEnvironment;
  const untilMs = clock.monotonicMs() + brokerWaitMsMax;
  for (;;) {
    try {
      return await natsBroker({
        url: required('LINTEL_NATS_URL', env.natsUrl),
        user: env.natsUser ?? 'kv',
        ...(env.natsPassword === undefined ? {} : { password: env.natsPassword }),
        name: 'kv-index',
        registry: new EventRegistry(),
        log: (line) => logger.info(line),
      });
    } catch (thrown) {
      if (errorCode(thrown) !== 'NATS_UNREACHABLE' || clock.monotonicMs() > untilMs) throw thrown;
      logger.warn(`${errorText(thrown)}; trying again`);
      await timers.sleep(brokerRetryMs);
    }
  }
}

async function main(): Promise<void> {
  const adminKey = required('LINTEL_ADMIN_KEY', env.adminKey);
  const port = portOf(env.port);
  const stopTracing =
    env.otlpEndpoint === undefined
      ? undefined
      : startTracing({ service: 'kv-index', version: '0.1.0', endpoint: env.otlpEndpoint });
  const broker = await connect();
  const running = await startKvIndex({
    host: env.host ?? '127.0.0.1',
    port,
    instance: env.instance ?? instanceDefault(),
    broker,
    adminKey,
    logger,
  });
  logger.info({ url: running.url, broker: broker.description }, 'kv-index is ready');
  let stopping = false;
  const stop = (signal: string): void => {
    if (stopping) return;
    stopping = true;
    logger.info(`${signal}: draining`);
    systemEnvironment.timers.after(drainMsMax, () => {
      logger.error(`did not drain within ${drainMsMax} ms`);
      process.exit(1);
    });
    running
      .stop()
      .then(() => broker.close())
      .then(() => stopTracing?.())
      .then(
        () => process.exit(0),
        (thrown: unknown) => {
          logger.error(errorText(thrown));
          process.exit(1);
        },
      );
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
}

main().catch((thrown: unknown) => {
  const advice = thrown instanceof CodedError ? thrown.advice : undefined;
  logger.fatal({ code: errorCode(thrown), advice }, errorText(thrown));
  process.exitCode = 1;
  systemEnvironment.timers.after(100, () => process.exit(1));
});
