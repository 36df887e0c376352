import type { Database } from './database.ts';
import { commitEntity } from './entities.ts';
import { bounded, Reader } from './reader.ts';
import type { CommitRow } from './rows.ts';

export interface CommitQuery {
  readonly context?: string;
  readonly aggregate?: string;
  readonly aggregateId?: string;
  /** An event type: commits that hold at least one. */
  readonly type?: string;
  readonly correlationId?: string;
  /** Substring of the actor, or of any text in the payload. */
  readonly text?: string;
  readonly sinceMs?: number;
  readonly untilMs?: number;
  readonly afterSeq?: number;
  readonly beforeSeq?: number;
  /** Default: newest first. With `oldestFirst`, page on by `afterSeq`; else by `beforeSeq`. */
  readonly oldestFirst?: boolean;
  readonly limit?: number;
}

export class CommitsReader {
  readonly #commits: Reader<CommitRow>;

  constructor(database: Database) {
    this.#commits = new Reader(database, commitEntity);
  }

  /** The accepted commit of this id, else a forked one. */
  async find(commitId: string): Promise<CommitRow | undefined> {
    return await this.#commits.read(
      async (rows) =>
        (await rows.findOne({ where: { commitId }, order: { accepted: 'DESC', seq: 'ASC' } })) ?? undefined,
    );
  }

  async bySeq(seq: number): Promise<CommitRow | undefined> {
    return await this.#commits.read(async (rows) => (await rows.findOne({ where: { seq } })) ?? undefined);
  }

  /** Newest first. */
  async bySubject(subject: string, limit?: number): Promise<CommitRow[]> {
    return await this.#commits.read(
      async (rows) => await rows.find({ where: { subject }, order: { seq: 'DESC' }, take: bounded(limit) }),
    );
  }

  async list(query: CommitQuery = {}): Promise<CommitRow[]> {
    return await this.#commits.read(async (rows) => {
      const builder = rows.createQueryBuilder('c');
      if (query.correlationId !== undefined)
        builder.andWhere('c.correlation_id = :correlationId', { correlationId: query.correlationId });
      // "lintel.ev.<context>.<aggregate>.<id>"
      const parts = [query.context, query.aggregate, query.aggregateId];
      parts.forEach((part, index) => {
        if (part === undefined) return;
        builder.andWhere(`split_part(c.subject, '.', ${index + 3}) = :part${index}`, { [`part${index}`]: part });
      });
      // What the index knows of it.
      const known = parts.findIndex((part) => part === undefined);
      if (known < 0) builder.andWhere('c.subject = :subject', { subject: `lintel.ev.${parts.join('.')}` });
      else if (known > 0)
        builder.andWhere('starts_with(c.subject, :prefix)', {
          prefix: `lintel.ev.${parts.slice(0, known).join('.')}.`,
        });
      if (query.type !== undefined) builder.andWhere('c.types @> :types', { types: JSON.stringify([query.type]) });
      if (query.text !== undefined) {
        const inPayload = `position(convert_to(:needle, 'UTF8') in c.payload) > 0`;
        builder.andWhere(`(strpos(c.actor, :needle) > 0 or ${inPayload})`, { needle: query.text });
      }
      if (query.sinceMs !== undefined) builder.andWhere('c.stored_at >= :since', { since: new Date(query.sinceMs) });
      if (query.untilMs !== undefined) builder.andWhere('c.stored_at < :until', { until: new Date(query.untilMs) });
      if (query.afterSeq !== undefined) builder.andWhere('c.seq > :afterSeq', { afterSeq: query.afterSeq });
      if (query.beforeSeq !== undefined) builder.andWhere('c.seq < :beforeSeq', { beforeSeq: query.beforeSeq });
      return await builder
        .orderBy('c.seq', query.oldestFirst === true ? 'ASC' : 'DESC')
        .limit(bounded(query.limit))
        .getMany();
    });
  }
}
