import type { Clock } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { Head, PreparedCommit, StoredCommit } from './commit.ts';
import { Pump } from './following.ts';
import type { Appended, EventLog, Follow, Following } from './port.ts';
import { subjectFilter } from './subject-filter.ts';

/**
 * The log in one process's memory. Everything of the port, nothing durable. Commits are kept for ever, as in the
 * stream; `bytesMax` bounds them and a full log refuses loudly.
 */
export class MemoryEventLog implements EventLog {
  readonly durability = 'memory';
  readonly #clock: Clock;
  readonly #bytesMax: number;
  readonly #commits: StoredCommit[] = [];
  readonly #bySubject = new Map<string, StoredCommit[]>();
  readonly #byId = new Map<string, StoredCommit>();
  readonly #pumps = new Set<Pump<StoredCommit>>();
  #bytes = 0;
  #closed = false;

  constructor(options: { clock: Clock; bytesMax?: number }) {
    this.#clock = options.clock;
    this.#bytesMax = options.bytesMax ?? 1024 ** 3;
  }

  async append(commit: PreparedCommit, expected: Head): Promise<Appended> {
    this.#open();
    const before = this.#byId.get(commit.commitId);
    if (before !== undefined && before.subject === commit.subject) return { seq: before.seq, recovered: true };
    const ofSubject = this.#bySubject.get(commit.subject);
    const lastSeq = ofSubject?.at(-1)?.seq ?? 0;
    if (lastSeq !== expected.seq) throw conflict(commit, expected.seq, lastSeq);
    const bytes = commit.payload.byteLength;
    if (this.#bytes + bytes > this.#bytesMax) {
      throw new CodedError('LOG_FULL', `the log in memory is at its bound of ${this.#bytesMax} bytes`, {
        advice: 'Raise bytesMax, or use nats-server, which keeps the log on disk.',
      });
    }
    const stored = { ...commit, seq: this.#commits.length + 1, storedAtMs: this.#clock.nowMs() };
    this.#bytes += bytes;
    this.#commits.push(stored);
    if (ofSubject === undefined) this.#bySubject.set(commit.subject, [stored]);
    else ofSubject.push(stored);
    this.#byId.set(commit.commitId, stored);
    for (const pump of this.#pumps) pump.wake();
    return { seq: stored.seq, recovered: false };
  }

  async readSubject(subject: string, afterSeq: number): Promise<StoredCommit[]> {
    this.#open();
    return (this.#bySubject.get(subject) ?? []).filter(({ seq }) => seq > afterSeq);
  }

  async *read(range: { fromSeq: number; toSeq?: number; subjects?: readonly string[] }): AsyncIterable<StoredCommit> {
    this.#open();
    const wanted = subjectFilter(range.subjects);
    const last = Math.min(range.toSeq ?? this.#commits.length, this.#commits.length);
    for (let seq = Math.max(1, range.fromSeq); seq <= last; seq++) {
      const commit = this.#commits[seq - 1] as StoredCommit;
      if (wanted(commit.subject)) yield commit;
    }
  }

  async follow(options: Follow, handler: (commit: StoredCommit) => void | Promise<void>): Promise<Following> {
    this.#open();
    const wanted = subjectFilter(options.subjects);
    let index = Math.max(1, options.fromSeq) - 1;
    const next = (): StoredCommit | undefined => {
      while (index < this.#commits.length) {
        const commit = this.#commits[index++] as StoredCommit;
        if (wanted(commit.subject)) return commit;
      }
      return undefined;
    };
    const pump: Pump<StoredCommit> = new Pump(next, handler, () => this.#pumps.delete(pump));
    this.#pumps.add(pump);
    return pump;
  }

  async lastSeq(): Promise<number> {
    this.#open();
    return this.#commits.length;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#pumps].map((pump) => pump.stop()));
  }

  #open(): void {
    if (this.#closed) throw new CodedError('LOG_UNAVAILABLE', 'the log is closed');
  }
}

export function conflict(commit: PreparedCommit, expectedSeq: number, lastSeq: number): CodedError {
  return new CodedError(
    'LOG_CONFLICT',
    `${commit.subject} stands at sequence ${lastSeq}, commit ${commit.commitId} expected ${expectedSeq}`,
    { advice: 'Fold the subject again and decide anew.' },
  );
}
