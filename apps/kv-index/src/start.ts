import 'reflect-metadata';
import { EventRegistry } from '#libs/contracts';
import { CodedError, systemEnvironment } from '#libs/kernel';
import { listenError, nestLogger, ProblemFilter } from '#libs/nest-kit';
import { HealthBoard } from '#libs/observability';
import type { Stop } from '#libs/event-log';
import { answerOnBus } from './answers/queries.ts';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { Core } from './core.ts';
import { Engines } from './follow/engines.ts';
import { RouteFold } from './follow/route-fold.ts';
import { KvIndexModule } from './kv-index.module.ts';
import { limits } from './limits.ts';
import { newRegistry } from './metrics.ts';
import type { KvIndexOptions, RunningKvIndex } from './options.ts';

/**
 * Starts the whole app: it follows the engines that it can, and serves what does not need the part that is away.
 * @throws ADMIN_KEY_MISSING · PORT_TAKEN · HOST_INVALID
 */
export async function startKvIndex(options: KvIndexOptions): Promise<RunningKvIndex> {
  const { broker, logger, instance } = options;
  if (options.adminKey === '') {
    throw new CodedError('ADMIN_KEY_MISSING', 'there is no admin key', { advice: 'Give one: LINTEL_ADMIN_KEY.' });
  }
  const environment = options.environment ?? systemEnvironment;
  const say = (line: string): void => logger.warn(line);
  const engines = new Engines({ broker, environment, instance, say, tuning: options.tuning });
  const routes = new RouteFold(broker, new EventRegistry(), environment, (state) => engines.follow(state));
  const core: Core = { broker, environment, metrics: newRegistry(engines, environment), engines };
  const board = new HealthBoard()
    .add({
      name: 'broker',
      required: true,
      check: () =>
        broker.connected
          ? { state: 'up', detail: broker.description }
          : { state: 'down', detail: `${broker.description} is away` },
    })
    .add({
      name: 'log',
      required: true,
      check: () => (routes.state === undefined ? { state: 'down', detail: routes.failure } : { state: 'up' }),
    })
    .add({
      name: 'engines',
      required: false,
      check: () => {
        const nowMs = environment.clock.monotonicMs();
        const inexact = [...engines.followers.keys()].filter((id) => !engines.fold.exact(id, nowMs));
        const detail = `${engines.followers.size} with KV events, ${inexact.length} of them not exactly known`;
        return { state: inexact.length === 0 ? 'up' : 'degraded', detail };
      },
    });
  engines.start();
  const folded = routes.start();
  let stopAnswering: Stop | undefined;
  const stopLoops = async (): Promise<void> => {
    await stopAnswering?.();
    await routes.stop();
    await engines.stop();
  };
  let app: NestFastifyApplication | undefined;
  try {
    app = await listen(core, board, options);
    stopAnswering = await answerOnBus(core);
    const over = Promise.withResolvers<void>();
    const timer = environment.timers.after(limits.startMsMax, over.resolve);
    await Promise.race([folded, over.promise]);
    timer.cancel();
  } catch (thrown) {
    await app?.close();
    await stopLoops();
    throw thrown;
  }
  const { port } = app.getHttpServer().address() as { port: number };
  const shown = options.host.includes(':') ? `[${options.host}]` : options.host;
  return {
    url: `http://${shown}:${port}`,
    port,
    stop: async () => {
      await app.close();
      await stopLoops();
    },
  };
}

async function listen(core: Core, board: HealthBoard, options: KvIndexOptions): Promise<NestFastifyApplication> {
  const { host, port, adminKey, logger } = options;
  const app = await NestFactory.create<NestFastifyApplication>(
    KvIndexModule.of(core, board, adminKey),
    new FastifyAdapter({ bodyLimit: limits.bodyBytesMax, forceCloseConnections: 'idle' }),
    { logger: nestLogger(logger), abortOnError: false },
  );
  try {
    app.useGlobalFilters(new ProblemFilter());
    await app.listen(port, host);
    return app;
  } catch (thrown) {
    await app.close();
    throw listenError(thrown, options);
  }
}
