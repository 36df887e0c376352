import type { EventSubject } from '#libs/contracts';
import { parseEventSubject } from '#libs/contracts';
import type { Head, StoredCommit } from '#libs/event-log';
import { Acceptor } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { Changes } from './changes.ts';
import type { Fold, Projection, StateRows } from './projection.ts';
import type { Table } from './table.ts';

/** Head of each aggregate at the checkpoint: what the acceptance rule needs after a restart. */
export const headTable: Table = {
  name: 'head',
  state: true,
  columns: { subject: 'text', seq: 'int', version: 'int', hash: 'text' },
  key: ['subject'],
};

/** A commit with the verdict of the acceptance rule, not yet decoded. */
export interface JudgedCommit {
  readonly stored: StoredCommit;
  readonly subject: EventSubject;
  readonly accepted: boolean;
}

export interface CommitProjectionOptions {
  readonly name: string;
  readonly version: number;
  readonly tables: readonly Table[];
  /** Aggregates that it reads; others pass by undecoded. Default all. */
  readonly wants?: (subject: EventSubject) => boolean;
  /** Throws for what it cannot understand. Forked commits are shown too: most projections ignore them. */
  readonly on: (commit: JudgedCommit, changes: Changes) => void;
}

/** Nothing may be deleted from the decisions log, so that a hole is a loss and rows built over it would lie. */
function missing(first: number, last: number): CodedError {
  return new CodedError('COMMIT_MISSING', `the log has no commit ${first === last ? first : `${first} to ${last}`}`, {
    advice: 'Run lintel verify; restore the log from its archive, then rebuild the projection.',
  });
}

class CommitFold implements Fold<StoredCommit> {
  readonly #acceptor: Acceptor;
  readonly #options: CommitProjectionOptions;
  #seq: number;

  constructor(options: CommitProjectionOptions, state: StateRows, seq: number) {
    this.#options = options;
    this.#seq = seq;
    const heads = (state.get(headTable.name) ?? []).map((row): [string, Head] => [
      row['subject'] as string,
      { seq: row['seq'] as number, version: row['version'] as number, hash: row['hash'] as string },
    ]);
    this.#acceptor = new Acceptor(heads);
  }

  apply(items: readonly StoredCommit[], changes: Changes): void {
    for (const stored of items) {
      if (stored.seq > this.#seq + 1) throw missing(this.#seq + 1, stored.seq - 1);
      this.#seq = Math.max(this.#seq, stored.seq);
      const subject = parseEventSubject(stored.subject);
      if (subject === undefined) {
        throw new CodedError('COMMIT_SUBJECT_INVALID', `sequence ${stored.seq}: ${stored.subject} is no aggregate`);
      }
      if (this.#options.wants?.(subject) === false) continue;
      const verdict = this.#acceptor.accept(stored);
      if (verdict === 'duplicate') {
        changes.count('duplicates');
        continue;
      }
      if (verdict === 'accepted') {
        const { seq, version, hash } = stored;
        changes.put(headTable, { subject: stored.subject, seq, version, hash });
      } else changes.count('forked');
      this.#options.on({ stored, subject, accepted: verdict === 'accepted' }, changes);
    }
  }
}

/** A projection of the decisions log: acceptance rule and heads are taken care of. */
export function commitProjection(options: CommitProjectionOptions): Projection<StoredCommit> {
  return {
    name: options.name,
    version: options.version,
    source: 'events',
    tables: [...options.tables, headTable],
    begin: (state, seq) => new CommitFold(options, state, seq),
  };
}
