import type { Duplex } from 'node:stream';
import pg from 'pg';
import type { Environment } from '#libs/kernel';
import { systemEnvironment } from '#libs/kernel';
import { DataSource } from 'typeorm';
import { entities } from './entities.ts';
import { databaseError } from './errors.ts';
import { migrations } from './migrations.ts';

export interface DatabaseOptions {
  /** postgres://user:password@host:port/database */
  readonly url: string;
  /** Shown in pg_stat_activity. */
  readonly name?: string;
  /** Connections for writing and for the readers, each. */
  readonly connectionsMax?: number;
  readonly environment?: Environment;
}

const connectMsMax = 5_000;
const statementMsMax = 60_000;
const idleMsMax = 30_000;
const connectionsMaxDefault = 6;

const int8 = 20;
const timestamptz = 1184;
const standardParser = pg.types.getTypeParser.bind(pg.types) as (
  oid: number,
  format?: string,
) => (text: string) => unknown;

/** Integers come as numbers (ours are below 2^53), times as milliseconds since the epoch. */
const types = {
  getTypeParser: (oid: number, format?: string): ((text: string) => unknown) => {
    if (format === 'binary') return standardParser(oid, format);
    if (oid === int8) return Number;
    if (oid === timestamptz) return (text) => Date.parse(text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00'));
    return standardParser(oid, format);
  },
};

/** A bounded pool for the projectors, and TypeORM's data source for migrations and readers. */
export class Database {
  readonly environment: Environment;
  readonly pool: pg.Pool;
  readonly source: DataSource;
  #connecting: Promise<DataSource> | undefined;

  constructor(options: DatabaseOptions) {
    this.environment = options.environment ?? systemEnvironment;
    const max = options.connectionsMax ?? connectionsMaxDefault;
    const common = {
      application_name: options.name ?? 'lintel',
      connectionTimeoutMillis: connectMsMax,
      idleTimeoutMillis: idleMsMax,
      statement_timeout: statementMsMax,
      max,
    };
    this.pool = new pg.Pool({ connectionString: options.url, ...common, types: types as never, allowExitOnIdle: true });
    this.pool.on('error', () => {
      // A resting connection broke; the pool has let it go, and whoever asks next gets a new one or DB_UNAVAILABLE.
    });
    this.source = new DataSource({
      type: 'postgres',
      url: options.url,
      entities,
      migrations,
      // Named, because the default is the user's own schema where there is one: a user "lintel" has it after the first migration, and
      // the list of what ran would then be looked for in another place than before.
      schema: 'public',
      migrationsTableName: 'lintel_migration',
      synchronize: false,
      logging: false,
      extra: { ...common, allowExitOnIdle: true },
    });
  }

  /** @throws DB_UNAVAILABLE · PROJECTION_ROW_REFUSED · DB_FAILED · DB_FORBIDDEN */
  async query<R extends object = Record<string, unknown>>(
    text: string,
    values: unknown[] = [],
    name?: string,
  ): Promise<R[]> {
    try {
      return (await this.pool.query<R>({ text, values, ...(name === undefined ? {} : { name }) })).rows;
    } catch (error) {
      throw databaseError(error);
    }
  }

  /** `sent` is called when the last byte of it has left. Errors as the driver says them. */
  async submit(query: pg.Submittable & { readonly done: Promise<void> }, sent?: () => void): Promise<void> {
    const client = await this.pool.connect();
    let broken: Error | undefined;
    const onError = (error: Error): void => void (broken = error);
    client.on('error', onError);
    try {
      client.query(query);
      const { stream } = (client as unknown as { connection: { stream: Duplex } }).connection;
      if (stream.writableNeedDrain && sent !== undefined) stream.once('drain', sent);
      else sent?.();
      await query.done;
    } catch (error) {
      broken = error as Error;
      throw error;
    } finally {
      client.off('error', onError);
      // As the pool does it: after an error the connection is not used again.
      client.release(broken);
    }
  }

  /** Commits when `work` resolves, rolls back when it rejects. Errors as of `query`. */
  async transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.pool.connect().catch((error: unknown) => {
      throw databaseError(error);
    });
    let broken: Error | undefined;
    const onError = (error: Error): void => void (broken = error);
    client.on('error', onError);
    try {
      await client.query('begin');
      const result = await work(client);
      await client.query('commit');
      return result;
    } catch (error) {
      await client.query('rollback').catch((failure: Error) => (broken = failure));
      throw databaseError(error);
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }

  /** TypeORM's side, connected at first use. @throws DB_UNAVAILABLE, DB_FORBIDDEN */
  async connected(): Promise<DataSource> {
    this.#connecting ??= this.source.initialize().catch((error: unknown) => {
      this.#connecting = undefined;
      throw databaseError(error);
    });
    return await this.#connecting;
  }

  async close(): Promise<void> {
    await this.#connecting?.catch(() => undefined);
    if (this.source.isInitialized) await this.source.destroy();
    await this.pool.end();
  }
}

/** Connects lazily: a database that is away shows at the first use, as DB_UNAVAILABLE. */
export function openDatabase(options: DatabaseOptions): Database {
  return new Database(options);
}
