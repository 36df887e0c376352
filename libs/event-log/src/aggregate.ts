import { Acceptor } from './acceptance.ts';
import { baseOfCommitId } from './chain.ts';
import type { CommitDecoder } from './codec.ts';
import type { Head, StoredCommit } from './commit.ts';
import type { Decider, DomainEvent } from './decider.ts';
import { limits } from './limits.ts';
import type { EventLog } from './port.ts';

interface OwnCommit {
  readonly seq: number;
  readonly version: number;
  readonly commitId: string;
  readonly events: readonly DomainEvent[];
  readonly storedAtMs: number;
}

/** One aggregate as folded from its subject: state, head, and which command made which accepted commit. */
export class Aggregate<State = unknown> {
  state: State;
  /** Accepted commits by the base of their id. */
  readonly commits = new Map<string, OwnCommit>();
  readonly #forked = new Map<string, number>();
  readonly #acceptor = new Acceptor();

  constructor(
    private readonly decider: Decider<State, never, DomainEvent>,
    private readonly subject: string,
  ) {
    this.state = decider.initial;
  }

  get head(): Head {
    return this.#acceptor.head(this.subject);
  }

  get expectation(): Head {
    return this.#acceptor.expectation(this.subject);
  }

  /** How many commits of this base stand in the log without being accepted. */
  forkedOf(base: string): number {
    return this.#forked.get(base) ?? 0;
  }

  apply(stored: StoredCommit, decoder: CommitDecoder): void {
    const verdict = this.#acceptor.accept(stored);
    if (verdict === 'duplicate') return;
    const base = baseOfCommitId(stored.commitId);
    if (verdict === 'forked') {
      this.#forked.set(base, this.forkedOf(base) + 1);
      return;
    }
    const { events } = decoder.decode(stored);
    for (const event of events) this.state = this.decider.evolve(this.state, event);
    const { seq, version, commitId, storedAtMs } = stored;
    this.commits.set(base, { seq, version, commitId, events, storedAtMs });
  }
}

/** Aggregates kept between commands, the least recently used dropped first. Never wrong, at worst behind. */
export class AggregateCache {
  readonly #kept = new Map<string, Aggregate>();
  /** Commits of each kept one when it was last looked at, and of all. */
  readonly #counted = new Map<string, number>();
  #commits = 0;

  constructor(
    private readonly log: EventLog,
    private readonly decoder: CommitDecoder,
    private readonly commitsMax: number = limits.commitsCachedMax,
  ) {}

  /** Commits that are kept, of all aggregates. */
  get commits(): number {
    return this.#commits;
  }

  /** Folds what is new. `known` is a head that someone else follows: nothing is read where it is the kept one. */
  async load<State, Command, Event extends DomainEvent>(
    decider: Decider<State, Command, Event>,
    subject: string,
    known?: Head,
  ): Promise<Aggregate<State>> {
    const kept = this.#kept.get(subject) as Aggregate<State> | undefined;
    const aggregate = kept ?? new Aggregate(decider as never, subject);
    if (kept === undefined || known === undefined || known.seq !== kept.expectation.seq) {
      // Two loads of one aggregate may overlap: applying a commit twice is a duplicate and changes nothing.
      for (const stored of await this.log.readSubject(subject, aggregate.expectation.seq)) {
        aggregate.apply(stored, this.decoder);
      }
    }
    this.#keep(subject, aggregate as Aggregate);
    return aggregate as Aggregate<State>;
  }

  #keep(subject: string, aggregate: Aggregate): void {
    this.#drop(subject);
    const { size } = aggregate.commits;
    if (size > limits.commitsCachedPerAggregateMax) return;
    this.#kept.set(subject, aggregate);
    this.#counted.set(subject, size);
    this.#commits += size;
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= limits.aggregatesCachedMax && this.#commits <= this.commitsMax) return;
      this.#drop(oldest);
    }
  }

  #drop(subject: string): void {
    this.#commits -= this.#counted.get(subject) ?? 0;
    this.#counted.delete(subject);
    this.#kept.delete(subject);
  }
}
