import 'reflect-metadata';
import { EventRegistry } from '#libs/contracts';
import { limits as logLimits } from '#libs/event-log';
import type { Broker } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError, errorText, systemEnvironment } from '#libs/kernel';
import { listenError, CodedRpcFilter, LintelTransport, nestLogger, ProblemFilter, TypedClient } from '#libs/nest-kit';
import type { Logger } from '#libs/observability';
import { HealthBoard } from '#libs/observability';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { Core } from './core.ts';
import { DiagnosticsModule } from './diagnostics.module.ts';
import { Gate } from './gate.ts';
import { bodies } from './http/bodies.ts';
import { Guesses } from './http/guesses.ts';
import { limits } from './limits.ts';
import type { AnchorCopies } from '#libs/projections-postgres';
import { AnchorCopier } from './loops/anchor-copier.ts';
import { FleetFold } from './loops/fleet-fold.ts';
import { Notary } from './loops/notary.ts';
import { notaryKeys } from './loops/notary-key.ts';
import { Projector } from './loops/projector.ts';
import { newRegistry, projectionHooks, watch } from './metrics.ts';
import type { DiagnosticsOptions, RunningDiagnostics } from './options.ts';
import { notaryTuning } from './options.ts';

/**
 * Starts the whole app: loops first, then the API, which serves what does not need the part that is away.
 * @throws ADMIN_KEY_MISSING · PORT_TAKEN · HOST_INVALID · NOTARY_KEY_INVALID
 */
export async function startDiagnostics(options: DiagnosticsOptions): Promise<RunningDiagnostics> {
  const { broker, logger, instance, home, databaseUrl } = options;
  if (options.adminKey === '') {
    throw new CodedError('ADMIN_KEY_MISSING', 'there is no admin key', { advice: 'Give one: LINTEL_ADMIN_KEY.' });
  }
  const environment = options.environment ?? systemEnvironment;
  const registry = new EventRegistry();
  const metrics = newRegistry();
  const stopping = new AbortController();
  const keys = await notaryKeys(home, environment.ids.uuid());

  const fold = new FleetFold({ broker, registry, environment, logger, instance });
  const hooks = projectionHooks(metrics);
  const copier = new AnchorCopier(broker.anchors, logger);
  const onReady = (copies: AnchorCopies): void => copier.begin(copies);
  const projector = new Projector({ databaseUrl, broker, environment, logger, instance, hooks, onReady });
  const notary = new Notary({
    broker,
    environment,
    logger,
    keys,
    tuning: { ...notaryTuning, ...options.notary },
    onSealed: (anchor) => copier.sealed(anchor),
  });
  watch(metrics, projector, notary, fold);
  const core: Core = {
    broker,
    registry,
    environment,
    logger,
    metrics,
    instance,
    client: new TypedClient(broker.requester),
    fold,
    projector,
    notary,
    trustedKeys: keys.trusted,
    guesses: new Guesses(),
    longAnswers: new Gate('long questions', limits.longAnswersMax),
    followers: new Gate('followers', limits.followersMax),
    stopping: stopping.signal,
  };
  const reader = announceReader(broker, registry, environment, logger, `diagnostics:${instance}`);

  const folded = fold.start();
  projector.start();
  notary.start();
  const stopLoops = async (): Promise<void> => {
    await reader.stop();
    await notary.stop();
    await copier.settled();
    await projector.stop();
    await fold.stop();
  };
  let app: NestFastifyApplication | undefined;
  try {
    app = await listen(core, board(core), options);
    await atMost(limits.foldStartMsMax, folded, environment);
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
      stopping.abort();
      await app.close();
      await stopLoops();
    },
  };
}

/** Waits for the work, but no longer: it goes on by itself. */
async function atMost(waitMsMax: number, work: Promise<void>, { timers }: Environment): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = timers.after(waitMsMax, () => over.resolve());
  await Promise.race([work, over.promise]);
  timer.cancel();
}

function board({ broker, projector, notary, fold }: Core): HealthBoard {
  return new HealthBoard()
    .add({
      name: 'broker',
      required: true,
      check: () =>
        broker.connected
          ? { state: 'up', detail: broker.description }
          : { state: 'down', detail: `${broker.description} is away` },
    })
    .add({ name: 'log', required: false, check: () => fold.health() })
    .add({ name: 'database', required: false, check: () => projector.health() })
    .add({ name: 'projections', required: false, check: () => projector.projectionHealth() })
    .add({ name: 'notary', required: false, check: () => notary.health() });
}

async function listen(core: Core, health: HealthBoard, options: DiagnosticsOptions): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    bodyLimit: limits.bodyBytesMax,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: limits.idLengthMax * 3 },
  });
  const app = await NestFactory.create<NestFastifyApplication>(
    DiagnosticsModule.of(core, health, options.adminKey),
    adapter,
    { logger: nestLogger(options.logger), bodyParser: false, abortOnError: false },
  );
  try {
    bodies(adapter.getInstance());
    app.useGlobalFilters(new ProblemFilter());
    app
      .connectMicroservice<MicroserviceOptions>(
        { strategy: new LintelTransport({ responder: core.broker.responder, queue: 'diagnostics' }) },
        { deferInitialization: true },
      )
      .useGlobalFilters(new CodedRpcFilter());
    await app.startAllMicroservices();
    await app.listen(options.port, options.host);
    return app;
  } catch (thrown) {
    await app.close();
    throw listenError(thrown, options);
  }
}

/** Says again and again which events this app can read, so that no writer runs ahead of it. */
function announceReader(
  broker: Broker,
  registry: EventRegistry,
  { timers }: Environment,
  logger: Logger,
  name: string,
): { stop(): Promise<void> } {
  const announce = (): void => {
    broker.readers.announce(name, registry.levels()).catch((thrown: unknown) => {
      logger.debug(`not announced as a reader: ${errorText(thrown)}; the next try comes`);
    });
  };
  announce();
  const timer = timers.every(logLimits.announcementTtlMs / 3, announce);
  return {
    stop: async () => {
      timer.cancel();
      await broker.readers.withdraw(name).catch((thrown: unknown) => {
        logger.debug(`not withdrawn as a reader: ${errorText(thrown)}; it expires by itself`);
      });
    },
  };
}
