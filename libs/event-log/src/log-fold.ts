import type { EventRegistry } from '#libs/contracts';
import type { Environment } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import { Acceptor } from './acceptance.ts';
import type { DecodedCommit } from './codec.ts';
import { CommitDecoder } from './codec.ts';
import type { Head, StoredCommit } from './commit.ts';
import type { FoldSnapshots } from './fold-snapshot.ts';
import { loadFoldSnapshot, saveFoldSnapshot } from './fold-snapshot.ts';
import { limits } from './limits.ts';
import type { EventLog, Following } from './port.ts';

export interface LogFoldOptions<State> {
  readonly log: EventLog;
  readonly registry: EventRegistry;
  readonly environment: Environment;
  /** Subject filters; default every commit. */
  readonly subjects?: readonly string[] | undefined;
  readonly initial: State;
  /** Pure over accepted commits. May change and return the same object: the fold alone owns it. */
  readonly evolve: (state: State, commit: DecodedCommit) => State;
  readonly snapshots?: FoldSnapshots<State> | undefined;
  /** Shares decoding with other folds of the process. */
  readonly decoder?: CommitDecoder | undefined;
  /** Called after each accepted commit of the live tail and of the catch-up: effects start here and nowhere else. */
  readonly onAccepted?: ((commit: DecodedCommit, state: State) => void) | undefined;
}

/** `catching-up` and `following` move; `waiting` retries after the log was away; `halted` met what it cannot decode. */
export type FoldStatus = 'idle' | 'catching-up' | 'following' | 'waiting' | 'halted' | 'stopped';

/** State in memory as the fold of the accepted commits, kept up to date by following the log. */
export class LogFold<State> {
  state: State;
  status: FoldStatus = 'idle';
  /** What halted it or made it wait last. */
  failure: CodedError | undefined;
  /** True when the fold began at a snapshot. */
  fromSnapshot = false;
  readonly #options: LogFoldOptions<State>;
  readonly #decoder: CommitDecoder;
  #acceptor = new Acceptor();
  #headSeq = 0;
  /** The last commit that was folded: a snapshot is bound to it. */
  #last = { seq: 0, hash: '' };
  #sinceSnapshot = 0;
  #saving: Promise<void> | undefined;
  #following: Following | undefined;
  #waiters = new Set<{ seq: number; resolve(): void; reject(error: CodedError): void }>();
  #restarts = 0;

  constructor(options: LogFoldOptions<State>) {
    this.#options = options;
    this.#decoder = options.decoder ?? new CommitDecoder(options.registry);
    this.state = options.initial;
  }

  /** Sequence up to which everything wanted is folded. */
  get headSeq(): number {
    return this.#headSeq;
  }

  /** Accepted head of each subject. */
  get heads(): ReadonlyMap<string, Head> {
    return new Map(this.#acceptor.heads());
  }

  get counts(): Readonly<Record<'accepted' | 'duplicate' | 'forked', number>> {
    return this.#acceptor.counts;
  }

  headOf(subject: string): Head {
    return this.#acceptor.head(subject);
  }

  /** What an append to the subject should expect; differs from `headOf` only after a forked commit. */
  expectationOf(subject: string): Head {
    return this.#acceptor.expectation(subject);
  }

  /**
   * Folds everything stored at the time of the call, then goes on following.
   * @throws LOG_UNAVAILABLE, or what decoding throws (EVENT_TYPE_UNKNOWN, COMMIT_PAYLOAD_INVALID, …)
   */
  async start(): Promise<this> {
    this.status = 'catching-up';
    try {
      await this.#restore();
      await this.#catchUp();
      await this.#follow();
    } catch (thrown) {
      this.#halt(thrown);
      throw thrown;
    }
    return this;
  }

  /** Resolves once everything up to `seq` is folded. @throws FOLD_BEHIND after the time, FOLD_HALTED, FOLD_STOPPED */
  async waitFor(seq: number, timeoutMs: number): Promise<void> {
    if (this.#headSeq >= seq) return;
    if (this.status === 'halted' || this.status === 'stopped') throw this.#ended();
    const { timers } = this.#options.environment;
    const done = Promise.withResolvers<void>();
    const waiter = { seq, resolve: done.resolve, reject: done.reject };
    this.#waiters.add(waiter);
    // The sequence may belong to a subject that this fold does not follow: then only looking tells that it is past.
    const look = timers.after(Math.min(lookAfterMs, timeoutMs / 2), () => void this.#passBy(seq));
    const late = timers.after(timeoutMs, () =>
      done.reject(
        new CodedError('FOLD_BEHIND', `the fold stands at ${this.#headSeq}, ${seq} not reached in ${timeoutMs} ms`),
      ),
    );
    try {
      await done.promise;
    } finally {
      this.#waiters.delete(waiter);
      look.cancel();
      late.cancel();
    }
  }

  /** Writes a snapshot now. Undefined `snapshots` makes it nothing. */
  async saveSnapshot(): Promise<void> {
    const { snapshots } = this.#options;
    if (snapshots === undefined || this.#last.seq === 0) return;
    this.#sinceSnapshot = 0;
    await saveFoldSnapshot(snapshots, {
      seq: this.#last.seq,
      lastHash: this.#last.hash,
      heads: [...this.#acceptor.heads()],
      state: this.state,
    });
  }

  async stop(): Promise<void> {
    if (this.status !== 'halted') this.status = 'stopped';
    await this.#following?.stop();
    await this.#saving;
    for (const waiter of this.#waiters) waiter.reject(this.#ended());
  }

  async #restore(): Promise<void> {
    const { snapshots, log, subjects } = this.#options;
    if (snapshots === undefined) return;
    const restored = await loadFoldSnapshot(snapshots, log, subjects);
    if (restored === undefined) return;
    this.state = restored.state;
    this.#acceptor = new Acceptor(restored.heads);
    this.#headSeq = restored.seq;
    this.#last = { seq: restored.seq, hash: restored.lastHash };
    this.fromSnapshot = true;
  }

  async #catchUp(): Promise<void> {
    const { log, subjects } = this.#options;
    const toSeq = await log.lastSeq();
    const range = { fromSeq: this.#headSeq + 1, toSeq, ...(subjects === undefined ? {} : { subjects }) };
    if (range.fromSeq <= toSeq) for await (const commit of log.read(range)) this.#fold(commit);
    this.#advance(toSeq);
  }

  async #follow(): Promise<void> {
    const { log, subjects } = this.#options;
    if (this.#isOver()) return;
    this.#following = await log.follow(
      { fromSeq: this.#headSeq + 1, ...(subjects === undefined ? {} : { subjects }) },
      (commit) => this.#onCommit(commit),
    );
    this.status = 'following';
    this.#following.ended.then(
      () => this.#isOver() || void this.#again(new CodedError('LOG_UNAVAILABLE', 'the following ended')),
      (thrown: unknown) => this.#isOver() || void this.#again(thrown),
    );
  }

  #onCommit(commit: StoredCommit): void {
    if (this.#isOver()) return;
    this.#fold(commit);
    this.#restarts = 0;
    const every = this.#options.snapshots?.everyCommits ?? Number.POSITIVE_INFINITY;
    if (this.#sinceSnapshot >= every && this.#saving === undefined) {
      // A snapshot that cannot be saved costs time at the next start and nothing else.
      this.#saving = this.saveSnapshot()
        .catch((thrown: unknown) => void (this.failure = asCoded(thrown)))
        .finally(() => (this.#saving = undefined));
    }
  }

  #fold(commit: StoredCommit): void {
    if (commit.seq <= this.#headSeq) return;
    const decoded = this.#acceptor.accept(commit) === 'accepted' ? this.#decoder.decode(commit) : undefined;
    if (decoded !== undefined) this.state = this.#options.evolve(this.state, decoded);
    this.#last = { seq: commit.seq, hash: commit.hash };
    this.#sinceSnapshot++;
    this.#advance(commit.seq);
    if (decoded !== undefined) this.#options.onAccepted?.(decoded, this.state);
  }

  #advance(seq: number): void {
    if (seq <= this.#headSeq) return;
    this.#headSeq = seq;
    if (this.#waiters.size === 0) return;
    for (const waiter of this.#waiters) if (waiter.seq <= seq) waiter.resolve();
  }

  async #passBy(seq: number): Promise<void> {
    const { log, subjects } = this.#options;
    const from = this.#headSeq + 1;
    try {
      if ((await log.lastSeq()) < seq) return;
      for await (const _ of log.read({ fromSeq: from, toSeq: seq, ...(subjects === undefined ? {} : { subjects }) }))
        return;
      this.#advance(seq);
    } catch {
      // The waiter's own time bound speaks for it.
    }
  }

  /** The log went away: look again from the head, slower each time. What cannot be decoded never gets better. */
  async #again(thrown: unknown): Promise<void> {
    if (isPoison(thrown)) return this.#halt(thrown);
    const { timers } = this.#options.environment;
    this.failure = asCoded(thrown);
    this.status = 'waiting';
    await timers.sleep(Math.min(limits.retryDelayMsMax, limits.retryDelayMsMin * 2 ** Math.min(this.#restarts++, 10)));
    if (this.#isOver()) return;
    try {
      await this.#follow();
    } catch (next) {
      await this.#again(next);
    }
  }

  #halt(thrown: unknown): void {
    this.failure = asCoded(thrown);
    this.status = 'halted';
    for (const waiter of this.#waiters) waiter.reject(this.#ended());
  }

  #isOver(): boolean {
    return this.status === 'stopped' || this.status === 'halted';
  }

  #ended(): CodedError {
    return this.status === 'halted'
      ? new CodedError('FOLD_HALTED', `the fold halted at ${this.#headSeq}: ${this.failure?.message ?? 'no reason'}`, {
          cause: this.failure,
        })
      : new CodedError('FOLD_STOPPED', 'the fold was stopped');
  }
}

const lookAfterMs = 50;

const isPoison = (thrown: unknown): boolean =>
  /^(EVENT_|COMMIT_)/.test(errorCode(thrown)) || !(thrown instanceof CodedError);

const asCoded = (thrown: unknown): CodedError =>
  thrown instanceof CodedError ? thrown : new CodedError('FOLD_FAILED', errorText(thrown), { cause: thrown });
