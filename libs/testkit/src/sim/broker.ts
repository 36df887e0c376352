import type { PreparedCommit, PublishAnswer, StoredCommit } from '#libs/event-log';
import type { SeededRng } from '#libs/kernel';
import type { Server } from './network.ts';
import type { VirtualTime } from './virtual-time.ts';
import { simEpochMs } from './virtual-time.ts';

const raftMs = 30;

/** How a broker treats an expectation and an id, by version and set-up. */
export interface BrokerKind {
  /** Expectation checked by the leader before proposing and not again at the apply: commits may fork. */
  readonly cluster: boolean;
  /** From NATS 2.12 on: a retry of what is stored is refused as "wrong last sequence" instead of told to be a duplicate. */
  readonly expectationFirst: boolean;
  /** A broken broker: it acknowledges what it has not stored yet. */
  readonly acknowledgesEarly?: boolean;
}

interface Waiter {
  readonly fromSeq: number;
  readonly give: () => void;
}

/** The server side of the log: one stream, its ids, and who waits for what comes next. What is stored survives a crash. */
export class SimBroker implements Server {
  readonly name = 'broker';
  downUntilMs = 0;
  readonly commits: StoredCommit[] = [];
  onStored: (commit: StoredCommit) => void = () => {};
  readonly #lastSeq = new Map<string, number>();
  readonly #bySubject = new Map<string, StoredCommit[]>();
  readonly #seqById = new Map<string, number>();
  readonly #proposed = new Set<string>();
  #waiters: Waiter[] = [];
  #epoch = 0;

  constructor(
    private readonly time: VirtualTime,
    private readonly rng: SeededRng,
    private readonly kind: BrokerKind,
  ) {}

  publish(commit: PreparedCommit, expectedSeq: number, reply: (answer: PublishAnswer) => void): void {
    const known = this.#seqById.get(commit.commitId);
    const fits = (this.#lastSeq.get(commit.subject) ?? 0) === expectedSeq;
    if (this.kind.expectationFirst && !fits) return reply({ kind: 'wrong-sequence' });
    if (known !== undefined) return reply({ kind: 'stored', seq: known, duplicate: true });
    if (!fits) return reply({ kind: 'wrong-sequence' });
    const early = this.kind.acknowledgesEarly === true;
    if (!this.kind.cluster && !early) return reply({ kind: 'stored', seq: this.#store(commit), duplicate: false });
    // 10158: this id is in process.
    if (this.#proposed.has(commit.commitId)) return reply({ kind: 'unknown', why: 'in process' });
    this.#proposed.add(commit.commitId);
    if (early) reply({ kind: 'stored', seq: this.commits.length + 1, duplicate: false });
    const epoch = this.#epoch;
    this.time.at(this.rng.next() * raftMs, 'apply', undefined, () => {
      if (epoch !== this.#epoch) return;
      this.#proposed.delete(commit.commitId);
      const seq = this.#store(commit);
      if (!early) reply({ kind: 'stored', seq, duplicate: false });
    });
  }

  /** kill -9: proposals, and who waited for an answer, are forgotten. */
  crash(downMs: number): void {
    this.downUntilMs = this.time.nowMs + downMs;
    this.#epoch++;
    this.#proposed.clear();
    this.#waiters = [];
  }

  ofSubject(subject: string, afterSeq: number): StoredCommit[] {
    const all = this.#bySubject.get(subject);
    if (all === undefined || (all.at(-1) as StoredCommit).seq <= afterSeq) return [];
    return all.filter(({ seq }) => seq > afterSeq);
  }

  range(fromSeq: number, toSeq: number): StoredCommit[] {
    return this.commits.slice(Math.max(0, fromSeq - 1), toSeq);
  }

  /** Calls `give` once there is a commit at `fromSeq`. */
  whenAt(fromSeq: number, give: () => void): void {
    if (this.commits.length >= fromSeq) give();
    else this.#waiters.push({ fromSeq, give });
  }

  #store(commit: PreparedCommit): number {
    const seq = this.commits.length + 1;
    const stored = { ...commit, seq, storedAtMs: simEpochMs + this.time.nowMs };
    this.commits.push(stored);
    this.#lastSeq.set(commit.subject, seq);
    this.#seqById.set(commit.commitId, seq);
    const ofSubject = this.#bySubject.get(commit.subject);
    if (ofSubject === undefined) this.#bySubject.set(commit.subject, [stored]);
    else ofSubject.push(stored);
    this.onStored(stored);
    const ready = this.#waiters.filter(({ fromSeq }) => fromSeq <= seq);
    if (ready.length > 0) this.#waiters = this.#waiters.filter(({ fromSeq }) => fromSeq > seq);
    for (const waiter of ready) waiter.give();
    return seq;
  }
}
