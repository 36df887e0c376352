import type { Server } from 'node:http';
import type { Server as TcpServer } from 'node:net';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { EventRegistry, isSubjectId } from '#libs/contracts';
import { replica, wake } from '#libs/domain/route';
import type { Broker } from '#libs/event-log';
import { FileSnapshotStore } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError, errorCode, errorText, systemEnvironment } from '#libs/kernel';
import type { DesiredConfiguration, EdgeConfig } from '#libs/nest-kit';
import { CodedRpcFilter, LintelTransport, nestLogger, ProblemFilter } from '#libs/nest-kit';
import type { Logger } from '#libs/observability';
import { createRegistry } from '#libs/observability';
import { AdminKeys } from './control/admin-keys.ts';
import { BringUp } from './control/bring-up.ts';
import { Commands } from './control/commands.ts';
import { FirstConfiguration } from './control/first-configuration.ts';
import { exposeFolds } from './control/fold-metrics.ts';
import { GatewayFolds } from './control/folds.ts';
import { controlLimits } from './control/limits.ts';
import { ReaderAnnouncer } from './control/reader-announcer.ts';
import { readinessOf } from './control/readiness.ts';
import type { ConfigurationOrigin } from './control/reconciler.ts';
import { Reconciler } from './control/reconciler.ts';
import { noRecording, startRecording } from './control/recording.ts';
import { Shutdown } from './control/shutdown.ts';
import { cacheSalts } from './edge/cache-salt.ts';
import { boundConnections, exposeEdge, startEdge } from './edge/index.ts';
import { UpstreamTls } from './edge/upstream-tls.ts';
import type { Fleet } from './fleet/fleet.ts';
import { LiveFleet } from './fleet/live-fleet.ts';
import { exposeReplicas, exposeWaker } from './fleet/replica-metrics.ts';
import { Waker } from './fleet/waker.ts';
import { GatewayModule } from './gateway.module.ts';
import { fastifyBehind, listenAt, prepare } from './http-server.ts';
import { exposeKv, exposeWarming, PreciseIndex, Warmer } from './kv/index.ts';
import { exposeQuotas, quotasOf } from './quota/index.ts';
import { HolderExchange } from './serve/holder-exchange.ts';
import type { DataPlane } from './serve/data-plane.ts';
import { engineTokens, exposeTokens, ModelTokens, ThreadEncoding, tokensLimits } from './tokens/index.ts';
import type { TokenizerEntry } from './tokens/index.ts';
import { createDataPlane } from './serve/data-plane.ts';
import { serveLimits } from './serve/limits.ts';

export interface GatewayOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Name of this gateway in subjects, records and commits. */
  readonly instance: string;
  /** Folder of its spool and snapshots. */
  readonly home: string;
  /** Folder of this home and of those of the gateways beside it: what they left there is followed. Default: the home. */
  readonly root?: string;
  /** Stays the caller's to close. */
  readonly broker: Broker;
  /** No keys: the client's authorization goes to the engine unchanged. */
  readonly open: boolean;
  readonly compat?: 'aibrix';
  /** Opens AIBrix's user API, beside the admin keys that the log names. */
  readonly adminKey?: string | undefined;
  readonly logger: Logger;
  readonly environment?: Environment;
  /** PEM file, followed, of authorities that may certify replicas behind https, besides the well-known ones. */
  readonly upstreamCaFile?: string | undefined;
  /** Ask engines for the usage of streams though the client did not; default true. */
  readonly streamUsage?: boolean;
  /** Decision records; default true. */
  readonly recording?: boolean;
  /** Encryption, HTTP/2, proxies, browsers; default: none of it. */
  readonly edge?: EdgeConfig | undefined;
  /** Folders of models' tokenizers by model; default: none. */
  readonly tokenizers?: Readonly<Record<string, TokenizerEntry>> | undefined;
  /** A document is about to be applied, by this process or one beside it: requests and readiness wait for the first one. */
  readonly applies?: boolean;
  /** Default: on a port of its own, before the log was read. */
  readonly listening?: Listening;
  /** What /metrics answers, from this gateway's own text; default: that. */
  readonly scrape?: (own: () => Promise<string>) => Promise<string>;
}

/** How a gateway that is one of several on a port takes its part of the connections. */
export interface Listening {
  /** Not before it can serve, or `listenReadyMsMax` have passed. */
  readonly whenReady: boolean;
  /** Answers the port. */
  listen(server: TcpServer): Promise<number>;
}

export interface RunningGateway {
  readonly url: string;
  readonly port: number;
  readonly fleet: Fleet;
  /** Turns the document into commits and answers the lines of what changed. @throws as Reconciler.apply */
  apply(desired: DesiredConfiguration, from: ConfigurationOrigin): Promise<readonly string[]>;
  /** As `tokenizers` of the options, from now on. Resolves when the files were read. */
  tokenize(tokenizers: Readonly<Record<string, TokenizerEntry>>): Promise<void>;
  readonly listener: TcpServer;
  /** Its own metrics as text. */
  metrics(): Promise<string>;
  /** Takes no connections any more, serves those that it has to the end of their requests, then stops; bounded. */
  leave(): Promise<void>;
  /** Drains and stops; bounded. */
  stop(): Promise<void>;
}

/**
 * The gateway inside this process. Resolves when the port is open and the log was read; where the broker stays away longer than
 * `bringUpMsMax` it resolves all the same, /ready says what is missing, and it goes on trying.
 * @throws INSTANCE_INVALID · FILE_UNREADABLE · TLS_INVALID · PORT_TAKEN · PORT_DENIED · HOST_INVALID · SPOOL_UNUSABLE
 */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const { host, instance, home, broker, open, compat, logger, environment = systemEnvironment } = options;
  if (!isSubjectId(instance)) {
    throw new CodedError('INSTANCE_INVALID', `"${instance.slice(0, 80)}" cannot name a gateway`, {
      advice: 'Give --instance 1 to 64 letters, digits, "_" or "-".',
    });
  }
  const say = (line: string): void => logger.warn(line);
  const bootId = environment.ids.uuid();
  const registry = new EventRegistry();
  const metrics = createRegistry('gateway');
  const nowMs = (): number => environment.clock.monotonicMs();
  const { clientKeepAliveMs: idleMs, clientRequestTimeoutMs: requestMs } = serveLimits;
  const edge = await startEdge({ config: options.edge, environment, say, idleMs, requestMs });
  exposeEdge(edge, metrics);
  const upstreamTls = await UpstreamTls.start({ timers: environment.timers, say, caFile: options.upstreamCaFile });
  const recording =
    options.recording === false
      ? noRecording
      : startRecording({
          gatewayId: instance,
          bootId,
          home,
          root: options.root ?? home,
          broker,
          environment,
          metrics,
          say,
        });
  const folds: GatewayFolds = new GatewayFolds({
    log: broker.log,
    registry,
    environment,
    snapshots: new FileSnapshotStore(join(home, 'snapshots')),
    routeChanged: (state) => fleet.follow(state),
    say,
  });
  const { applies = false } = options;
  const configuration = new FirstConfiguration({ folds, applies, connected: () => broker.connected });
  const waitsFor = (): string | undefined => configuration.waitsFor();
  const commands = new Commands(broker, registry, environment, folds, `gateway:${instance}`);
  const fleet = new LiveFleet({
    gatewayId: instance,
    bootId,
    environment,
    telemetry: broker.telemetry,
    issue: async (id, command, how) => await commands.handle(replica, id, command, how),
    routeSeq: () => folds.route.seq,
    log: say,
    workOf: (id) => dataPlane.workOn(id),
    upstreamTls,
  });
  const waker = new Waker({
    gatewayId: instance,
    environment,
    issue: async (id, command, how) => await commands.handle(wake, id, command, how),
    log: say,
  });
  exposeReplicas(fleet, metrics, nowMs);
  exposeWaker(waker, metrics);
  exposeFolds(folds, metrics);
  const quotas = quotasOf({ broker, registry, environment, instance, bootId, folds, say });
  exposeQuotas(quotas, metrics);
  const encoding = new ThreadEncoding(environment.timers, tokensLimits, say);
  const engine = engineTokens(fleet, environment.timers, tokensLimits);
  const tokens = new ModelTokens({ encoding, engine: engine.ask, timers: environment.timers, say });
  exposeTokens(tokens, metrics);
  void tokens.configure(options.tokenizers ?? {});
  const kv = new PreciseIndex({ broker, environment, instance, say, tokens });
  const salts = await cacheSalts(options.edge?.cacheSaltSecret, home, environment.rng);
  const dataPlane: DataPlane = createDataPlane({
    fleet,
    state: () => folds.state(),
    record: options.recording === false ? undefined : (input) => recording.record(input),
    environment,
    logger,
    metrics,
    open,
    compat,
    streamUsage: options.streamUsage ?? true,
    edge,
    salts,
    quotas,
    tokens,
    kv,
    waitsFor,
    wanted: (model, replicas, waiting) => waker.want(model, replicas, waiting),
  });
  exposeKv(kv, metrics);
  const warmer = new Warmer({
    gatewayId: instance,
    bootId,
    environment,
    telemetry: broker.telemetry,
    kv,
    replicas: () => fleet.replicas,
    state: () => folds.state(),
    salts,
    issue: async (id, command, how) => await commands.handle(replica, id, command, how),
    log: say,
  });
  exposeWarming(warmer, metrics);
  let answering = false;
  const shutdown = new Shutdown(environment, say);
  const health = readinessOf({
    broker,
    folds,
    fleet,
    recording,
    waitsFor,
    answering: () => answering,
    stopping: () => shutdown.begun,
  });
  const ownText = async (): Promise<string> => await metrics.metrics();
  const { scrape = ownText } = options;
  const scraped = { contentType: metrics.contentType, metrics: async () => await scrape(ownText) };
  const adminKeys = compat === undefined ? undefined : new AdminKeys(options.adminKey, folds, environment);
  const servers = new Set<Server>();
  const app = await NestFactory.create<NestFastifyApplication>(
    GatewayModule.of({ commands, folds, fleet, environment, health, metrics: scraped, adminKeys }),
    fastifyBehind(() => dataPlane, servers, edge.front),
    { logger: nestLogger(logger), abortOnError: false },
  );
  app.useGlobalFilters(new ProblemFilter());
  const transport = new LintelTransport({ responder: broker.responder, queue: 'gateway' });
  const messages = app.connectMicroservice({ strategy: transport }, { deferInitialization: true });
  messages.useGlobalFilters(new CodedRpcFilter());
  const listener = edge.front?.listener ?? dataPlane.front.tcpServer();
  boundConnections(listener, metrics);
  const { listening } = options;
  let port = options.port;
  try {
    await prepare(app);
    if (listening?.whenReady !== true) {
      port = await (listening === undefined ? listenAt(listener, { host, port }) : listening.listen(listener));
    }
  } catch (error) {
    edge.front?.close();
    await app.close().catch(() => {});
    await recording.stop();
    throw error;
  }
  if (open) say('open mode: no keys are asked for, the authorization of clients goes to the engines');
  recording.start();
  quotas.start();
  kv.start();

  const { telemetry } = broker;
  const holders = new HolderExchange({
    gatewayId: instance,
    bootId,
    telemetry,
    environment,
    holders: dataPlane.holders,
  });
  const announcer = new ReaderAnnouncer(broker.readers, `gateway:${instance}`, registry, environment);
  const bringUp = new BringUp(
    [
      { name: 'announce the reader', start: () => announcer.start() },
      { name: 'read the log', start: () => folds.start() },
      {
        name: 'hear other gateways',
        start: async () => {
          await fleet.start();
          await holders.start();
        },
      },
      { name: 'warm new replicas', start: () => warmer.start() },
      {
        name: 'answer commands',
        start: async () => {
          await messages.listen();
          answering = true;
        },
      },
    ],
    environment,
    say,
    (thrown) => /^(EVENT_|COMMIT_|FOLD_STOPPED|PATTERN_)/.test((thrown as { code?: string }).code ?? ''),
  );
  const up = bringUp.run().catch((thrown: unknown) => say(`bring-up: ${errorText(thrown)}`));
  const late = Promise.withResolvers<void>();
  const timer = environment.timers.after(controlLimits.bringUpMsMax, late.resolve);
  await Promise.race([up, late.promise]);
  timer.cancel();
  if (listening?.whenReady === true) {
    const { clock, timers } = environment;
    const endMs = clock.monotonicMs() + controlLimits.listenReadyMsMax;
    while (!health.report().ready && clock.monotonicMs() < endMs) await timers.sleep(controlLimits.listenLookMs);
    port = await listening.listen(listener);
  }
  if (bringUp.missing !== undefined) say(`serving without: ${bringUp.missing} (${bringUp.lastError})`);

  const reconciler = new Reconciler(commands, folds, broker.log, environment, `reconciler:${instance}`, say);
  const stop = (): Promise<void> =>
    shutdown.run([
      {
        name: 'drain',
        limitMs: controlLimits.drainMsMax + 1_000,
        stop: () => {
          edge.front?.drain();
          return dataPlane.drain(controlLimits.drainMsMax);
        },
      },
      { name: 'bring-up', stop: async () => bringUp.stop() },
      { name: 'warming', stop: () => warmer.stop() },
      { name: 'KV events', stop: () => kv.stop() },
      { name: 'quotas', stop: () => quotas.stop() },
      {
        name: 'tokens',
        stop: async () => {
          tokens.stop();
          await engine.stop();
          await encoding.stop();
        },
      },
      { name: 'recording', limitMs: 5_000, stop: () => recording.stop() },
      { name: 'fleet', stop: () => fleet.stop() },
      { name: 'responses', stop: () => holders.stop() },
      { name: 'folds', stop: () => folds.stop() },
      { name: 'reader', stop: () => announcer.stop() },
      {
        name: 'http',
        stop: async () => {
          for (const server of servers) server.closeIdleConnections();
          const closed = app.close();
          const gone = new Promise((resolve) => listener.close(resolve));
          for (const server of servers) {
            server.closeAllConnections();
            server.close();
          }
          dataPlane.front.destroyAll();
          edge.front?.close();
          await Promise.all([closed, gone]);
        },
      },
    ]);
  const url = `${edge.tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  logger.info({ url, instance, broker: broker.description }, 'gateway is listening');
  return {
    url,
    port,
    fleet,
    listener,
    metrics: ownText,
    tokenize: async (tokenizers) => await tokens.configure(tokenizers),
    apply: async (desired, from) => {
      try {
        const lines = await reconciler.apply(desired, from);
        configuration.settle();
        return lines;
      } catch (thrown) {
        // One that is refused leaves in force what there is; where the log is away it is given again.
        if (errorCode(thrown) !== 'CONFIG_APPLY_UNAVAILABLE') configuration.settle();
        throw thrown;
      }
    },
    leave: async () => {
      edge.front?.drain();
      await dataPlane.leave(listener, controlLimits.leave);
      await stop();
    },
    stop,
  };
}
