import type { Head, PreparedCommit, StoredCommit } from './commit.ts';

/** What an append came to. Only `appended` says that the commit is stored under our id; everything else is thrown. */
export interface Appended {
  readonly seq: number;
  /** True when the commit was found in the log after a lost answer, or had been appended before. */
  readonly recovered: boolean;
}

export interface Follow {
  /** First sequence wanted, ≥ 1. */
  readonly fromSeq: number;
  /** Subject filters, NATS wildcards; default everything. Only one filter on servers before 2.10. */
  readonly subjects?: readonly string[];
}

export interface Following {
  /** Resolves when the follower has ended: after `stop()`, or rejects with what ended it. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

/**
 * The decisions log. One suite of contract tests runs on each implementation: memory, simulated, JetStream.
 */
export interface EventLog {
  /** "memory" is not durable, and every output that rests on it says so. */
  readonly durability: 'memory' | 'disk';

  /**
   * Stores one commit if the subject's last sequence is still `expected.seq`. Settles lost answers by looking for the
   * own commit id, so that a commit takes effect once, whatever the answers.
   * @throws LOG_CONFLICT another commit came first · LOG_FULL the stream is at its bound ·
   *   LOG_UNAVAILABLE could not be settled within the bound · LOG_TOO_LARGE · LOG_FORBIDDEN the broker refuses this writer
   */
  append(commit: PreparedCommit, expected: Head): Promise<Appended>;

  /** Commits of one subject with seq > afterSeq, in order, up to the subject's end at the time of the call. */
  readSubject(subject: string, afterSeq: number): Promise<StoredCommit[]>;

  /** Commits in [fromSeq, toSeq], in order; toSeq defaults to the end at the time of the call. */
  read(range: { fromSeq: number; toSeq?: number; subjects?: readonly string[] }): AsyncIterable<StoredCommit>;

  /**
   * Delivers each commit once and in order, first the stored ones, then the new ones as they come. The next commit
   * is delivered when the handler's promise has settled; a rejection ends the following with it.
   */
  follow(options: Follow, handler: (commit: StoredCommit) => void | Promise<void>): Promise<Following>;

  /** Last sequence of the stream; 0 when empty. */
  lastSeq(): Promise<number>;

  close(): Promise<void>;
}
