import type { Broker, StoredCommit, StoredFrame } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { CodedError, closest, errorText } from '#libs/kernel';
import type { HealthReport, Logger } from '#libs/observability';
import type { ItemSource, Projection, RunnerHooks, RunnerStatus } from '#libs/projections';
import { ProjectionHost, projectionId } from '#libs/projections';
import type { Database } from '#libs/projections-postgres';
import {
  AnchorCopies,
  CheckpointsReader,
  CommitsReader,
  eventProjections,
  frameProjections,
  maintain,
  migrate,
  openDatabase,
  PoliciesReader,
  PostgresProjectionStore,
  projections,
  ReplicasReader,
  RequestsReader,
  resetProjections,
  TenantsReader,
  UsageReader,
} from '#libs/projections-postgres';
import { limits } from '../limits.ts';

interface ProjectorOptions {
  readonly databaseUrl: string | undefined;
  readonly broker: Broker;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly instance: string;
  readonly hooks: (projection: string) => RunnerHooks;
  /** The tables are there. */
  readonly onReady: (copies: AnchorCopies) => void;
}

export interface Readers {
  readonly anchors: AnchorCopies;
  readonly checkpoints: CheckpointsReader;
  readonly commits: CommitsReader;
  readonly policies: PoliciesReader;
  readonly replicas: ReplicasReader;
  readonly requests: RequestsReader;
  readonly tenants: TenantsReader;
  readonly usage: UsageReader;
}

/** Keeps Postgres following the log: migrations at start, one projector for each projection, old rows dropped in time. */
export class Projector {
  readonly #options: ProjectorOptions;
  readonly #database: Database | undefined;
  readonly #readers: Readers | undefined;
  #host: ProjectionHost | undefined;
  #state: 'absent' | 'starting' | 'up' | 'down';
  #why = '';
  #stopped = false;
  #starting: Promise<void> | undefined;
  readonly #stopSignal = new AbortController();
  readonly #timers: Timer[] = [];

  constructor(options: ProjectorOptions) {
    this.#options = options;
    const { databaseUrl, environment, instance } = options;
    this.#state = databaseUrl === undefined ? 'absent' : 'starting';
    if (databaseUrl === undefined) return;
    const database = openDatabase({ url: databaseUrl, name: `lintel-diagnostics-${instance}`, environment });
    this.#database = database;
    this.#readers = {
      anchors: new AnchorCopies(database),
      checkpoints: new CheckpointsReader(database),
      commits: new CommitsReader(database),
      policies: new PoliciesReader(database),
      replicas: new ReplicasReader(database),
      requests: new RequestsReader(database),
      tenants: new TenantsReader(database),
      usage: new UsageReader(database),
    };
  }

  /** Undefined where no database was given. */
  get database(): Database | undefined {
    return this.#database;
  }

  /** Undefined where there is no database, or it has no tables yet: then `why` says which. */
  get readers(): Readers | undefined {
    return this.#host === undefined ? undefined : this.#readers;
  }

  get why(): string {
    if (this.#state === 'absent') return 'there is no database';
    return this.#host === undefined ? `the database is not ready: ${this.#why || 'starting'}` : this.#why;
  }

  statuses(): RunnerStatus[] {
    return this.#host?.statuses() ?? [];
  }

  start(): void {
    if (this.#database !== undefined) this.#starting ??= this.#start(this.#database);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopSignal.abort();
    for (const timer of this.#timers) timer.cancel();
    await this.#starting;
    await this.#host?.stop();
    await this.#database?.close();
  }

  health(): HealthReport {
    if (this.#state === 'absent') return { state: 'up', detail: 'none given: answers come from log and frames' };
    if (this.#state === 'up') return { state: 'up' };
    return { state: this.#state === 'starting' && this.#why === '' ? 'unknown' : 'down', detail: this.#why };
  }

  projectionHealth(): HealthReport {
    if (this.#state === 'absent') return { state: 'up', detail: 'none' };
    const statuses = this.statuses();
    if (statuses.length === 0) return { state: 'unknown', detail: 'not started' };
    const troubled = statuses.filter(({ state }) => state !== 'running' && state !== 'fenced');
    if (troubled.length === 0) return { state: 'up' };
    const detail = troubled
      .map(({ projection, state, halt, waitingFor }) => `${projection} ${state}: ${halt?.reason ?? waitingFor ?? ''}`)
      .join('; ');
    return { state: 'degraded', detail };
  }

  /** @throws PROJECTION_UNKNOWN */
  find(name: string): { readonly projection: Projection; readonly id: string } {
    const projection = projections.find((known) => known.name === name || projectionId(known) === name);
    if (projection !== undefined) return { projection, id: projectionId(projection) };
    const near = closest(
      name,
      projections.map((known) => known.name),
    );
    throw new CodedError('PROJECTION_UNKNOWN', `there is no projection ${JSON.stringify(name.slice(0, 80))}`, {
      advice:
        near === undefined
          ? `There are ${projections.map((known) => known.name).join(', ')}.`
          : `Did you mean ${near}?`,
    });
  }

  /** Starts a halted projection again, after its cause was mended. @throws DB_UNAVAILABLE */
  async retry(id: string): Promise<void> {
    if (this.#host === undefined) throw new CodedError('DB_UNAVAILABLE', this.why);
    await this.#host.retry(id);
  }

  /** What a projection folds: the log or the frames, whole. */
  source(projection: Projection): ItemSource<never> & {
    read(range: { fromSeq: number; toSeq?: number }): AsyncIterable<never>;
    firstSeq?(): Promise<number>;
  } {
    const { log, frames } = this.#options.broker;
    return (projection.source === 'events' ? log : frames) as never;
  }

  async #start(database: Database): Promise<void> {
    const { environment, logger, broker } = this.#options;
    let delayMs: number = limits.databaseRetryMsMin;
    while (!this.#stopped) {
      try {
        const ran = await migrate(database);
        if (ran.length > 0) logger.info(`database: ran ${ran.join(', ')}`);
        // A log in memory starts anew with the process: rows of an earlier one are of another log.
        if (broker.durability === 'memory') {
          await resetProjections(database, projections);
          await this.#readers?.anchors.clear();
        }
        break;
      } catch (thrown) {
        this.#why = errorText(thrown);
        this.#state = 'down';
        logger.warn(`database: ${this.#why}; trying again`);
        await this.#pause(delayMs);
        delayMs = Math.min(limits.databaseRetryMsMax, delayMs * 2);
      }
    }
    if (this.#stopped) return;
    this.#state = 'up';
    this.#why = '';
    this.#host = this.#launch(database);
    if (this.#readers !== undefined) this.#options.onReady(this.#readers.anchors);
    this.#timers.push(
      environment.timers.every(limits.databasePingMs, () => void this.#ping(database)),
      environment.timers.every(limits.maintenanceMs, () => void this.#maintain(database)),
    );
    void this.#maintain(database);
  }

  #launch(database: Database): ProjectionHost {
    const { environment, logger, broker, hooks } = this.#options;
    const host = new ProjectionHost({
      store: new PostgresProjectionStore(database),
      environment,
      hooks,
      log: (line, projection) => logger.warn({ projection }, `projection ${projection}: ${line}`),
    });
    for (const projection of eventProjections) host.start<StoredCommit>({ projection, source: broker.log });
    for (const projection of frameProjections) host.start<StoredFrame>({ projection, source: broker.frames });
    return host;
  }

  #pinging = false;

  async #ping(database: Database): Promise<void> {
    if (this.#pinging) return;
    this.#pinging = true;
    try {
      await database.query('select 1');
      this.#state = 'up';
      this.#why = '';
    } catch (thrown) {
      if (this.#state === 'up') this.#options.logger.warn(`database: away: ${errorText(thrown)}`);
      this.#state = 'down';
      this.#why = errorText(thrown);
    } finally {
      this.#pinging = false;
    }
  }

  async #maintain(database: Database): Promise<void> {
    try {
      const dropped = await maintain(database);
      if (dropped.length > 0) this.#options.logger.info(`database: dropped ${dropped.join(', ')}`);
    } catch (thrown) {
      this.#options.logger.warn(`database: maintenance did not finish: ${errorText(thrown)}; the next one will`);
    }
  }

  async #pause(delayMs: number): Promise<void> {
    const over = Promise.withResolvers<void>();
    const timer = this.#options.environment.timers.after(delayMs, () => over.resolve());
    this.#stopSignal.signal.addEventListener('abort', () => over.resolve(), { once: true });
    await over.promise;
    timer.cancel();
  }
}
