import { hostname } from 'node:os';
import type { Broker } from '#libs/event-log';
import { CodedError, errorCode, errorText, systemEnvironment } from '#libs/kernel';
import type { Logger } from '#libs/observability';
import { createLogger, startTracing } from '#libs/observability';
import { env } from './env.ts';

const brokerRetryMs = 1_000;
/** A broker that is starting beside us is waited for so long. */
const brokerWaitMsMax = 60_000;
const drainMsMax = 20_000;

export interface BrokerAccess {
  readonly url: string;
  readonly user: string;
  readonly password?: string;
  readonly name: string;
  readonly log: (line: string) => void;
}

export interface AppGiven {
  readonly host: string;
  readonly port: number;
  readonly instance: string;
  readonly broker: Broker;
  readonly adminKey: string;
  readonly logger: Logger;
}

export interface AppProcess {
  /** "diagnostics" */
  readonly name: string;
  /** The page that lists its variables. */
  readonly page: string;
  readonly portDefault: number;
  readonly brokerUser: string;
  /** Before the broker is asked for. */
  readonly prepare?: () => Promise<unknown>;
  readonly connect: (access: BrokerAccess) => Promise<Broker>;
  readonly start: (given: AppGiven) => Promise<{ readonly url: string; stop(): Promise<void> }>;
}

/** An app as a process of its own: from the environment to the last drained connection. */
export function runApp(app: AppProcess): void {
  const logger = createLogger({ name: app.name, level: env.logLevel });
  run(app, logger).catch((thrown: unknown) => {
    const advice = thrown instanceof CodedError ? thrown.advice : undefined;
    logger.fatal({ code: errorCode(thrown), advice }, errorText(thrown));
    process.exitCode = 1;
    systemEnvironment.timers.after(100, () => process.exit(1));
  });
}

async function run(app: AppProcess, logger: Logger): Promise<void> {
  const { name } = app;
  const required = (variable: string, value: string | undefined): string => {
    if (value !== undefined) return value;
    throw new CodedError('ENV_MISSING', `${variable} is not set`, { advice: `${app.page} lists the variables.` });
  };
  const adminKey = required('LINTEL_ADMIN_KEY', env.adminKey);
  const port = portOf(env.port, app.portDefault);
  const stopTracing =
    env.otlpEndpoint === undefined
      ? undefined
      : startTracing({ service: name, version: '0.1.0', endpoint: env.otlpEndpoint });
  await app.prepare?.();
  const broker = await connected(
    async () =>
      await app.connect({
        url: required('LINTEL_NATS_URL', env.natsUrl),
        user: env.natsUser ?? app.brokerUser,
        ...(env.natsPassword === undefined ? {} : { password: env.natsPassword }),
        name,
        log: (line) => logger.info(line),
      }),
    logger,
  );
  const instance = env.instance ?? instanceDefault(name);
  const running = await app.start({ host: env.host ?? '127.0.0.1', port, instance, broker, adminKey, logger });
  logger.info({ url: running.url, broker: broker.description }, `${name} is ready`);
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

async function connected(connect: () => Promise<Broker>, logger: Logger): Promise<Broker> {
  const { clock, timers } = systemEnvironment;
  const untilMs = clock.monotonicMs() + brokerWaitMsMax;
  for (;;) {
    try {
      return await connect();
    } catch (thrown) {
      if (errorCode(thrown) !== 'NATS_UNREACHABLE' || clock.monotonicMs() > untilMs) throw thrown;
      logger.warn(`${errorText(thrown)}; trying again`);
      await timers.sleep(brokerRetryMs);
    }
  }
}

function portOf(text: string | undefined, portDefault: number): number {
  const port = Number(text ?? portDefault);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new CodedError('ENV_INVALID', `LINTEL_PORT: ${JSON.stringify(text)} is no port`);
}

/** A subject id of the machine's name, where nobody gives one. */
const instanceDefault = (name: string): string =>
  hostname()
    .replace(/[^A-Za-z0-9_-]+/g, '-')
    .slice(0, 48) || name;
