import type {
  Changes,
  Generation,
  Halt,
  Move,
  Opened,
  Projection,
  ProjectionStore,
  Row,
  StateRows,
} from '#libs/projections';
import { projectionId } from '#libs/projections';
import { CodedError, errorCode } from '#libs/kernel';
import type pg from 'pg';
import type { Database } from './database.ts';
import { indexStatements, quote, schemaName, shapeOf, tableStatements, viewStatements } from './ddl.ts';
import { databaseError, isMissingPartition, isUniqueViolation } from './errors.ts';
import type { EncodedChanges } from './move-statement.ts';
import { encodeChanges, encodeToOverwrite, fencedSqlState, moveQuery } from './move-statement.ts';
import { Partitions } from './partitions.ts';

interface CatalogRow {
  readonly name: string;
  readonly version: number;
  readonly generation: number;
  readonly schema_name: string;
  readonly shape: string;
  readonly phase: 'live' | 'building' | 'retired';
  readonly seq: number;
  readonly indexed: boolean;
}

const swapLockMsMax = 5_000;
const swapCatchUpMsMax = 5_000;
const swapPollMs = 10;
/** Once more for rows that are there, once more for a partition that is gone. */
const moveAttemptsMax = 2;

interface Prepared {
  readonly encoded: EncodedChanges;
  readonly sent: PromiseWithResolvers<void>;
}

export interface PostgresProjectionStoreOptions {
  /** Opens the build beside the live one, made when there is none. Default: the live one. */
  readonly building?: boolean;
}

export class PostgresProjectionStore implements ProjectionStore {
  readonly #database: Database;
  readonly #partitions: Partitions;
  readonly #building: boolean;
  readonly #prepared = new WeakMap<Changes, Prepared>();

  constructor(database: Database, options: PostgresProjectionStoreOptions = {}) {
    this.#database = database;
    this.#partitions = new Partitions(database);
    this.#building = options.building ?? false;
  }

  async open(projection: Projection): Promise<Opened> {
    return await this.#database.transaction(async (client) => {
      // One at a time, so that two processes that start together make the tables once.
      await client.query(`select pg_advisory_xact_lock(hashtext('lintel.projection'))`);
      const build = await this.#find(client, projection);
      if (build.shape !== shapeOf(projection)) {
        throw new CodedError(
          'PROJECTION_SHAPE_CHANGED',
          `${projectionId(projection)} has other tables than this version had when they were made`,
          {
            advice: 'A changed table needs a new version number of its projection.',
          },
        );
      }
      const state: StateRows = await this.#state(client, build, projection);
      const { name, version, generation, seq, indexed } = build;
      return {
        generation: { name, version, generation },
        phase: build.phase === 'live' ? 'live' : 'building',
        seq,
        state,
        indexed,
      };
    });
  }

  async #find(client: pg.PoolClient, projection: Projection): Promise<CatalogRow> {
    const { rows } = await client.query<CatalogRow>(
      `select name, version, generation, schema_name, shape, phase, seq, indexed from lintel.projection where name = $1 order by generation`,
      [projection.name],
    );
    const live = rows.find(({ phase }) => phase === 'live');
    if (live === undefined) return await this.#create(client, projection, rows, 'live');
    if (live.version === projection.version && !this.#building) return live;
    if (live.version > projection.version) {
      throw new CodedError(
        'PROJECTION_SUPERSEDED',
        `${projectionId(live)} is in use; this is ${projectionId(projection)}`,
        {
          advice: 'This process is older than the one that built the tables: upgrade it.',
        },
      );
    }
    const building = rows.find(({ phase }) => phase === 'building');
    if (building?.version === projection.version) return building;
    if (building !== undefined) {
      await client.query(
        `update lintel.projection set phase = 'retired', retired_at = now() where name = $1 and phase = 'building'`,
        [projection.name],
      );
    }
    return await this.#create(client, projection, rows, 'building');
  }

  async #create(
    client: pg.PoolClient,
    projection: Projection,
    before: readonly CatalogRow[],
    phase: 'live' | 'building',
  ): Promise<CatalogRow> {
    const { name, version } = projection;
    const generation = 1 + Math.max(0, ...before.map((row) => row.generation));
    const schema = schemaName(name, version, generation);
    await client.query(`create schema ${quote(schema)}`);
    for (const table of projection.tables) {
      for (const statement of tableStatements(schema, table)) await client.query(statement);
    }
    if (phase === 'live') for (const statement of viewStatements(schema, projection)) await client.query(statement);
    const shape = shapeOf(projection);
    await client.query(
      `insert into lintel.projection (name, version, generation, schema_name, shape, phase, indexed) values ($1, $2, $3, $4, $5, $6, false)`,
      [name, version, generation, schema, shape, phase],
    );
    return { name, version, generation, schema_name: schema, shape, phase, seq: 0, indexed: false };
  }

  async #state(client: pg.PoolClient, build: CatalogRow, projection: Projection): Promise<StateRows> {
    // Against a batch that is landing right now: rows and checkpoint must be of one moment.
    const { rows: locked } = await client.query<{ seq: number }>(
      `select seq from lintel.projection where name = $1 and version = $2 and generation = $3 for update`,
      [build.name, build.version, build.generation],
    );
    Object.assign(build, { seq: locked[0]?.seq ?? build.seq });
    const state = new Map<string, readonly Row[]>();
    for (const table of projection.tables) {
      if (table.state !== true) continue;
      const { rows } = await client.query<Row>(`select * from ${quote(build.schema_name)}.${quote(table.name)}`);
      state.set(table.name, rows);
    }
    return state;
  }

  prepare(changes: Changes): void {
    this.#prepared.set(changes, { encoded: encodeChanges(changes), sent: Promise.withResolvers() });
  }

  sent(changes: Changes): Promise<void> | undefined {
    return this.#prepared.get(changes)?.sent.promise;
  }

  async move(generation: Generation, move: Move): Promise<'moved' | 'fenced'> {
    const schema = schemaName(generation.name, generation.version, generation.generation);
    const prepared = this.#prepared.get(move.changes);
    try {
      return await this.#move(schema, generation, move, prepared);
    } finally {
      prepared?.sent.resolve();
    }
  }

  async #move(
    schema: string,
    generation: Generation,
    move: Move,
    prepared: Prepared | undefined,
  ): Promise<'moved' | 'fenced'> {
    let encoded = prepared?.encoded ?? encodeChanges(move.changes);
    for (let attempt = 0; ; attempt++) {
      await this.#partitions.ensure(schema, move.changes);
      try {
        await this.#database.submit(moveQuery(schema, generation, move, encoded), prepared?.sent.resolve);
        return 'moved';
      } catch (error) {
        if (errorCode(error) === fencedSqlState) return 'fenced';
        if (attempt >= moveAttemptsMax) throw databaseError(error);
        // A frame sent again: its rows are there already and are written over.
        if (isUniqueViolation(error)) encoded = encodeToOverwrite(move.changes);
        // Retention dropped a day that late rows still fall into: make it again.
        else if (isMissingPartition(error)) this.#partitions.forget();
        else throw databaseError(error);
      }
    }
  }

  async index(projection: Projection, generation: Generation): Promise<void> {
    const { name, version, generation: number } = generation;
    const schema = schemaName(name, version, number);
    await this.#database.transaction(async (client) => {
      await client.query('set local statement_timeout = 0');
      // The runner that has caught up and the swap may both want them: `if not exists` alone races.
      await client.query(`select pg_advisory_xact_lock(hashtext('lintel.index'))`);
      for (const table of projection.tables) {
        for (const statement of indexStatements(schema, table)) await client.query(statement);
      }
    });
    // Apart from it: whoever moves holds this row and waits for the table that an index is made on.
    await this.#database.query(
      'update lintel.projection set indexed = true where name = $1 and version = $2 and generation = $3',
      [name, version, number],
    );
  }

  async swap(projection: Projection, generation: Generation): Promise<'swapped' | 'behind'> {
    await this.index(projection, generation);
    const { name, version, generation: number } = generation;
    const { clock, timers } = this.#database.environment;
    return await this.#database.transaction(async (client) => {
      await client.query(`set local lock_timeout = ${swapLockMsMax}`);
      // The live build stands still from here to the end, so that readers never step back in time.
      const { rows: live } = await client.query<{ seq: number }>(
        `select seq from lintel.projection where name = $1 and phase = 'live' for update`,
        [name],
      );
      const untilMs = clock.monotonicMs() + swapCatchUpMsMax;
      while ((await this.position(generation)).seq < (live[0]?.seq ?? 0)) {
        if (clock.monotonicMs() > untilMs) return 'behind';
        await timers.sleep(swapPollMs);
      }
      await client.query(
        `update lintel.projection set phase = 'retired', retired_at = clock_timestamp() where name = $1 and phase = 'live'`,
        [name],
      );
      const { rowCount } = await client.query(
        `update lintel.projection set phase = 'live' where name = $1 and version = $2 and generation = $3 and phase = 'building'`,
        [name, version, number],
      );
      if (rowCount !== 1) {
        throw new CodedError('PROJECTION_BUILD_GONE', `${projectionId(generation)} is no longer being built`, {
          advice: 'Another process swapped or replaced it: look at the checkpoints.',
        });
      }
      for (const statement of viewStatements(schemaName(name, version, number), projection))
        await client.query(statement);
      return 'swapped';
    });
  }

  async position(generation: Generation): Promise<{ seq: number; writer: string }> {
    const { name, version, generation: number } = generation;
    const rows = await this.#database.query<{ seq: number; writer: string }>(
      `select seq, writer from lintel.projection where name = $1 and version = $2 and generation = $3`,
      [name, version, number],
    );
    return rows[0] ?? { seq: -1, writer: '' };
  }

  async halt(generation: Generation, halt: Halt): Promise<void> {
    const { name, version, generation: number } = generation;
    await this.#database.query(
      `update lintel.projection set halted_seq = $4, halted_code = $5, halted_reason = $6, reported_at = clock_timestamp()
       where name = $1 and version = $2 and generation = $3`,
      [name, version, number, halt.seq, halt.code, halt.reason.slice(0, 2_000).replaceAll('\0', '\uFFFD')],
    );
  }

  async report(generation: Generation, headSeq: number): Promise<void> {
    const { name, version, generation: number } = generation;
    await this.#database.query(
      `update lintel.projection set head_seq = greatest(head_seq, $4), reported_at = clock_timestamp()
       where name = $1 and version = $2 and generation = $3`,
      [name, version, number, headSeq],
    );
  }
}
