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

export class RequestsReader {
  readonly #requests: Reader<RequestRow>;
  readonly #gaps: Reader<GapRow>;

  constructor(database: Database) {
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
    const after = query.afterId === undefined ? undefined : await this.find(query.afterId);
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
      if (after !== undefined) {
        builder.andWhere('(r.received_at, r.stream_seq, r.record_index) < (:at, :streamSeq, :recordIndex)', {
          at: new Date(after.receivedAtMs),
          streamSeq: after.streamSeq,
          recordIndex: after.recordIndex,
        });
      }
      const newestFirst = { 'r.received_at': 'DESC', 'r.stream_seq': 'DESC', 'r.record_index': 'DESC' } as const;
      return await builder.orderBy(newestFirst).limit(bounded(query.limit)).getMany();
    });
  }

  /** What is known to be missing, newest first. */
  async gaps(limit?: number): Promise<GapRow[]> {
    return await this.#gaps.read(
      async (rows) => await rows.find({ order: { streamSeq: 'DESC', firstFrameSeq: 'DESC' }, take: bounded(limit) }),
    );
  }
}
