import type { StoredAnchor } from '#libs/event-log';
import type { Database } from './database.ts';

/** Copies of the notary's seals. What was copied once is never overwritten: a difference to the stream is evidence. */
export class AnchorCopies {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** @throws DB_UNAVAILABLE */
  async store(anchors: readonly StoredAnchor[]): Promise<void> {
    if (anchors.length === 0) return;
    await this.#database.query(
      `insert into lintel.anchor (seq, json) select * from unnest($1::int8[], $2::text[]) on conflict (seq) do nothing`,
      [anchors.map(({ seq }) => seq), anchors.map(({ json }) => json)],
    );
  }

  /** In order. @throws DB_UNAVAILABLE */
  async list(): Promise<StoredAnchor[]> {
    return await this.#database.query<{ seq: number; json: string }>(
      'select seq, json from lintel.anchor order by seq',
    );
  }

  /** 0 when there is none. @throws DB_UNAVAILABLE */
  async lastSeq(): Promise<number> {
    const [row] = await this.#database.query<{ seq: number }>(
      'select coalesce(max(seq), 0)::int8 as seq from lintel.anchor',
    );
    return row?.seq ?? 0;
  }

  /** For a log that starts anew, as the one in memory does. @throws DB_UNAVAILABLE */
  async clear(): Promise<void> {
    await this.#database.query('delete from lintel.anchor');
  }
}
