import type { EntitySchema, ObjectLiteral, Repository } from 'typeorm';
import type { Database } from './database.ts';
import { databaseError } from './errors.ts';

/** Rows that one answer holds at most, whatever is asked. */
export const listRowsMax = 1_000;
export const listRowsDefault = 50;

export function bounded(limit: number | undefined): number {
  if (limit === undefined || !Number.isFinite(limit)) return listRowsDefault;
  return Math.max(1, Math.min(listRowsMax, Math.trunc(limit)));
}

/** A reader of one view. Every method of one throws DB_UNAVAILABLE while the database is away. */
export class Reader<Row extends ObjectLiteral> {
  readonly #database: Database;
  readonly #entity: EntitySchema<Row>;

  constructor(database: Database, entity: EntitySchema<Row>) {
    this.#database = database;
    this.#entity = entity;
  }

  async read<T>(work: (rows: Repository<Row>) => Promise<T>): Promise<T> {
    const source = await this.#database.connected();
    try {
      return await work(source.getRepository(this.#entity));
    } catch (error) {
      throw databaseError((error as { driverError?: unknown }).driverError ?? error);
    }
  }
}
