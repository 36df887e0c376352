import type { Database } from './database.ts';
import { gapEntity, requestEntity } from './entities.ts';
import { bounded, Reader } from './reader.ts';
import type { GapRow, RequestRow } from './rows.ts';

export interface RequestQuery {
  readonly sinceMs?: number;
  readonly untilMs?: number;
  readonly limit?: number;
  readonly model?: string;
  readonly tenant?: string;
  readonly outcome?: string;
  readonly replica?: string;
  /** Continues below this request: the last id of the page before. */
  readonly afterId?: string;
}

/** Without a partition's worth of bytes: everything but the record itself. */
export type RequestSummary = Omit<RequestRow, 'record'>;

/** A record with its place in the stream. */
export type RequestRecord = Pick<RequestRow, 'requestId' | 'receivedAtMs' | 'streamSeq' | 'record'>;

interface RecordColumns {
  readonly request_id: string;
  readonly received_at: number;
  readonly stream_seq: number;
  readonly record: Uint8Array;
}

const recordsPageMax = 500;

export class RequestsReader {
  readonly #database: Database;
  readonly #requests: Reader<RequestRow>;
  readonly #gaps: Reader<GapRow>;

  constructor(database: Database) {
    this.#database = database;
    this.#requests = new Reader(database, requestEntity);
    this.#gaps = new Reader(database, gapEntity);
  }

  /** The newest row of this id: clients may send an id twice. */
  async find(requestId: string): Promise<RequestRow | undefined> {
    return await this.#requests.read(
      async (rows) => (await rows.findOne({ where: { requestId }, order: { receivedAtMs: 'DESC' } })) ?? undefined,
    );
  }

  /** Newest first. `record` is left out unless asked for. */
  async list(query: RequestQuery & { readonly withRecord: true }): Promise<RequestRow[]>;
  async list(query?: RequestQuery): Promise<RequestSummary[]>;
  async list(query: RequestQuery & { readonly withRecord?: boolean } = {}): Promise<RequestSummary[]> {
    return await this.#requests.read(async (rows) => {
      const builder = rows.createQueryBuilder('r');
      if (query.withRecord !== true) {
        const columns = rows.metadata.columns
          .map(({ propertyName }) => propertyName)
          .filter((name) => name !== 'record');
        builder.select(columns.map((name) => `r.${name}`));
      }
      if (query.sinceMs !== undefined) builder.andWhere('r.received_at >= :since', { since: new Date(query.sinceMs) });
      if (query.untilMs !== undefined) builder.andWhere('r.received_at < :until', { until: new Date(query.untilMs) });
      if (query.model !== undefined) builder.andWhere('r.model = :model', { model: query.model });
      if (query.tenant !== undefined) builder.andWhere('r.tenant_id = :tenant', { tenant: query.tenant });
      if (query.outcome !== undefined) builder.andWhere('r.outcome = :outcome', { outcome: query.outcome });
      if (query.replica !== undefined) builder.andWhere('r.replica_id = :replica', { replica: query.replica });
      if (query.afterId !== undefined) {
        // Compared in the database: a row's time is finer than the milliseconds that come out of it.
        builder.andWhere(
          `(r.received_at, r.stream_seq, r.record_index) < (select received_at, stream_seq, record_index
             from lintel.requests_view where request_id = :afterId order by received_at desc limit 1)`,
          { afterId: query.afterId },
        );
      }
      const newestFirst = { 'r.received_at': 'DESC', 'r.stream_seq': 'DESC', 'r.record_index': 'DESC' } as const;
      return await builder.orderBy(newestFirst).limit(bounded(query.limit)).getMany();
    });
  }

  /**
   * Every record received in [sinceMs, untilMs), oldest first, in pages of one snapshot. `visit` answers false to stop.
   * @throws DB_UNAVAILABLE, or what `visit` throws
   */
  async eachPage(
    range: { readonly sinceMs?: number | undefined; readonly untilMs?: number | undefined },
    visit: (page: readonly RequestRecord[]) => Promise<boolean>,
  ): Promise<void> {
    const bounds = [
      ...(range.sinceMs === undefined ? [] : [`received_at >= to_timestamp(${Number(range.sinceMs) / 1000})`]),
      ...(range.untilMs === undefined ? [] : [`received_at < to_timestamp(${Number(range.untilMs) / 1000})`]),
    ];
    await this.#database.transaction(async (client) => {
      await client.query('set transaction isolation level repeatable read, read only');
      await client.query(
        `declare records no scroll cursor for select request_id, received_at, stream_seq, record from lintel.requests_view
         ${bounds.length === 0 ? '' : `where ${bounds.join(' and ')}`} order by received_at, stream_seq, record_index`,
      );
      for (;;) {
        const { rows } = await client.query<RecordColumns>(`fetch ${recordsPageMax} from records`);
        const page = rows.map(({ request_id, received_at, stream_seq, record }) => ({
          requestId: request_id,
          receivedAtMs: received_at,
          streamSeq: stream_seq,
          record,
        }));
        if (page.length === 0 || !(await visit(page))) return;
      }
    });
  }

  /** What is known to be missing, newest first. */
  async gaps(limit?: number): Promise<GapRow[]> {
    return await this.#gaps.read(
      async (rows) => await rows.find({ order: { streamSeq: 'DESC', firstFrameSeq: 'DESC' }, take: bounded(limit) }),
    );
  }
}
