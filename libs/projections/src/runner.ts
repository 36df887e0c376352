import type { Following } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import { Changes } from './changes.ts';
import { ItemBuffer } from './item-buffer.ts';
import type { Fold, Item, ItemSource, Projection } from './projection.ts';
import { projectionId } from './projection.ts';
import type { Generation, Halt, Opened, ProjectionStore } from './store.ts';

export interface RunnerLimits {
  /** Items per transaction, and the bytes that they may carry: a frame is many rows. */
  readonly batchItemsMax: number;
  readonly batchBytesMax: number;
  /** Read ahead of the database; beyond it the source waits. */
  readonly bufferItemsMax: number;
  readonly bufferBytesMax: number;
  /** First and longest wait before a database or a log that is away is asked again. */
  readonly retryMsMin: number;
  readonly retryMsMax: number;
  /** Tables get their indexes once no more items than this are missing from them. */
  readonly indexLagMax: number;
  /** How often head and sign of life are written. */
  readonly reportMs: number;
}

export const runnerLimits: RunnerLimits = {
  batchItemsMax: 2_000,
  batchBytesMax: 1024 * 1024,
  bufferItemsMax: 4_000,
  bufferBytesMax: 8 * 1024 * 1024,
  retryMsMin: 50,
  retryMsMax: 2_000,
  indexLagMax: 2_000,
  reportMs: 1_000,
};

export type RunnerState =
  /** Reading the checkpoint, or following. */
  | 'starting'
  | 'running'
  /** Database or log away; asked again with growing pauses. */
  | 'waiting'
  /** An item could not be folded or stored: rows stay as they were and are marked stale. */
  | 'halted'
  /** Another projector moved the checkpoint: this one has ended. */
  | 'fenced'
  | 'stopped';

export interface RunnerStatus {
  readonly projection: string;
  readonly state: RunnerState;
  readonly generation: Generation | undefined;
  readonly phase: 'live' | 'building' | undefined;
  /** Last sequence in the tables; undefined until the checkpoint was read. */
  readonly seq: number | undefined;
  /** End of the stream when last asked; undefined until then. */
  readonly headSeq: number | undefined;
  /** False while the tables are without their indexes. */
  readonly indexed: boolean;
  readonly halt: Halt | undefined;
  /** Why it waits. */
  readonly waitingFor: string | undefined;
}

export interface RunnerHooks {
  /** After each batch. `lagMs`: from the newest item's storage to its rows being visible. */
  onBatch?(batch: { items: number; rows: number; lagMs: number; moveMs: number }): void;
  onState?(status: RunnerStatus): void;
}

export interface RunnerOptions<I extends Item> {
  readonly projection: Projection<I>;
  readonly source: ItemSource<I>;
  readonly store: ProjectionStore;
  readonly environment: Environment;
  readonly limits?: Partial<RunnerLimits>;
  readonly hooks?: RunnerHooks;
}

type Outcome = 'moved' | 'fenced' | 'stopped' | { readonly refused: unknown };

interface Flight<I> {
  readonly items: readonly I[];
  readonly outcome: Promise<Outcome>;
  readonly sent: Promise<void> | undefined;
}

/**
 * Folds one source into one projection's tables, from the checkpoint on. While a batch is being written the next one is
 * read and folded; a batch is whatever has come meanwhile, so that latency is low when little comes and batches are large when much does.
 */
export class ProjectionRunner<I extends Item> {
  readonly #options: RunnerOptions<I>;
  readonly #limits: RunnerLimits;
  readonly #buffer: ItemBuffer<I>;
  readonly #writer: string;
  #state: RunnerState = 'starting';
  #opened: Opened | undefined;
  #fold: Fold<I> | undefined;
  #seq = 0;
  #headSeq: number | undefined;
  #halt: Halt | undefined;
  #waitingFor: string | undefined;
  #stopping = false;
  #ended: Promise<void> | undefined;

  constructor(options: RunnerOptions<I>) {
    this.#options = options;
    this.#limits = { ...runnerLimits, ...options.limits };
    this.#buffer = new ItemBuffer(this.#limits.bufferItemsMax, this.#limits.bufferBytesMax);
    this.#writer = options.environment.ids.uuid();
  }

  get status(): RunnerStatus {
    return {
      projection: projectionId(this.#options.projection),
      state: this.#state,
      generation: this.#opened?.generation,
      phase: this.#opened?.phase,
      seq: this.#opened === undefined ? undefined : this.#seq,
      headSeq: this.#headSeq,
      indexed: this.#opened?.indexed !== false,
      halt: this.#halt,
      waitingFor: this.#waitingFor,
    };
  }

  /** Runs until stopped, fenced or halted. Resolves with that; never rejects. Called once. */
  start(): Promise<RunnerStatus> {
    this.#ended ??= this.#run().catch((error: unknown) => {
      // Nothing that a retry could mend: say it and stay down rather than spin.
      this.#halt = { seq: this.#seq + 1, code: errorCode(error), reason: errorText(error) };
      this.#enter('halted');
    });
    return this.#ended.then(() => this.status);
  }

  /** The build that it writes was swapped in. */
  wentLive(): void {
    if (this.#opened !== undefined) this.#opened = { ...this.#opened, phase: 'live' };
  }

  /** Finishes the batch in flight, then ends. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#buffer.close();
    await this.#ended;
  }

  async #run(): Promise<void> {
    if (!(await this.#reopen())) {
      this.#enter('stopped');
      return;
    }
    await this.#checkSource();
    const reporter = this.#options.environment.timers.every(this.#limits.reportMs, () => void this.#report());
    const follower = this.#follow();
    try {
      await this.#work();
    } finally {
      reporter.cancel();
      this.#buffer.close();
      await follower;
      await this.#report();
    }
    if (this.#state !== 'halted' && this.#state !== 'fenced') this.#enter('stopped');
  }

  /** A stream that ends before the checkpoint is not the one that the rows came from. */
  async #checkSource(): Promise<void> {
    const lastSeq = await this.#options.source.lastSeq().catch(() => undefined);
    this.#headSeq = lastSeq;
    if (lastSeq === undefined || lastSeq >= this.#seq) return;
    throw new CodedError('PROJECTION_LOG_REPLACED', `rows are at ${this.#seq}, but the stream ends at ${lastSeq}`, {
      advice:
        'Connect to the stream that the rows were made from, or reset the projections to make them from this one.',
    });
  }

  /** Keeps the source delivering into the buffer until the runner ends. */
  async #follow(): Promise<void> {
    let attempt = 0;
    while (!this.#buffer.closed) {
      let following: Following | undefined;
      try {
        const fromSeq = this.#buffer.lastSeq + 1;
        following = await this.#options.source.follow({ fromSeq }, (item) => {
          attempt = 0;
          return this.#buffer.push(item);
        });
        await Promise.race([following.ended, this.#buffer.whenClosed]);
        if (!this.#buffer.closed) throw new CodedError('LOG_UNAVAILABLE', 'the source ended');
      } catch (error) {
        if (!this.#buffer.closed) await this.#pause(attempt++, `source: ${errorText(error)}`);
      } finally {
        await following?.stop().catch(() => {
          // It ended by itself; why was reported above.
        });
      }
    }
  }

  async #work(): Promise<void> {
    let flight: Flight<I> | undefined;
    for (;;) {
      if (this.#buffer.closed) {
        if (flight !== undefined) await this.#land(await flight.outcome, flight.items, []);
        return;
      }
      if (flight !== undefined && this.#buffer.size === 0) {
        const landed: Outcome | undefined = await Promise.race([
          flight.outcome,
          this.#buffer.whenFilled().then(() => undefined),
        ]);
        if (landed !== undefined) {
          if (!(await this.#land(landed, flight.items, []))) return;
          flight = undefined;
        }
        continue;
      }
      if (this.#buffer.size === 0) {
        await this.#indexWhenNear();
        await this.#buffer.whenFilled();
        continue;
      }
      if (flight !== undefined) await Promise.race([flight.sent, flight.outcome]);
      const items = this.#buffer.take(this.#limits.batchItemsMax, this.#limits.batchBytesMax);
      const fromSeq = flight === undefined ? this.#seq : (flight.items.at(-1) as I).seq;
      const changes = new Changes();
      let refused: unknown;
      try {
        (this.#fold as Fold<I>).apply(items, changes);
        this.#options.store.prepare?.(changes);
      } catch (error) {
        refused = error ?? new CodedError('PROJECTION_FOLD_FAILED', 'nothing was said');
      }
      if (flight !== undefined && !(await this.#land(await flight.outcome, flight.items, items))) return;
      flight = undefined;
      if (refused !== undefined) {
        if (!(await this.#isolate(items))) return;
        continue;
      }
      await this.#indexWhenNear();
      // What #land isolated has been written one by one, these items with it.
      if ((items.at(-1) as I).seq <= this.#seq) continue;
      const outcome = this.#move(items, fromSeq, changes);
      flight = { items, outcome, sent: this.#options.store.sent?.(changes) };
    }
  }

  /** A table is filled twice as fast without indexes, and one that is far behind is not what readers want yet. */
  async #indexWhenNear(): Promise<void> {
    const { store, projection } = this.#options;
    const { generation, indexed } = this.#opened as Opened;
    if (indexed !== false || store.index === undefined || this.#headSeq === undefined) return;
    if (this.#headSeq - this.#seq > this.#limits.indexLagMax) return;
    try {
      await store.index(projection as Projection, generation);
      this.#opened = { ...(this.#opened as Opened), indexed: true };
    } catch (error) {
      // Asked for again behind the next batch.
      if (errorCode(error) !== 'DB_UNAVAILABLE') throw error;
    }
  }

  /** False when the runner has ended. `next` are items folded after the flight, whose fold is void if it did not land. */
  async #land(outcome: Outcome, items: readonly I[], next: readonly I[]): Promise<boolean> {
    if (outcome === 'moved') return true;
    if (outcome === 'stopped') return false;
    if (outcome === 'fenced') {
      this.#enter('fenced');
      return false;
    }
    return await this.#isolate([...items, ...next]);
  }

  async #move(items: readonly I[], fromSeq: number, changes: Changes): Promise<Outcome> {
    const { store, environment, hooks } = this.#options;
    const { generation } = this.#opened as Opened;
    const newest = items.at(-1) as I;
    const toSeq = newest.seq;
    const startedMs = environment.clock.monotonicMs();
    for (let attempt = 0; ; attempt++) {
      try {
        const headSeq = Math.max(this.#headSeq ?? 0, toSeq);
        const move = { fromSeq, toSeq, writer: this.#writer, changes, items: items.length, headSeq };
        let outcome = await store.move(generation, move);
        if (outcome === 'fenced' && attempt > 0) {
          // The answer to an earlier attempt may have been lost while its effect was not.
          const now = await store.position(generation);
          if (now.seq === toSeq && now.writer === this.#writer) outcome = 'moved';
        }
        if (outcome === 'fenced') return 'fenced';
        this.#seq = toSeq;
        this.#headSeq = headSeq;
        this.#halt = undefined;
        this.#enter('running');
        const lagMs = environment.clock.nowMs() - newest.storedAtMs;
        const moveMs = environment.clock.monotonicMs() - startedMs;
        hooks?.onBatch?.({ items: items.length, rows: changes.rows, lagMs, moveMs });
        return 'moved';
      } catch (error) {
        if (errorCode(error) !== 'DB_UNAVAILABLE') return { refused: error };
        if (this.#stopping) return 'stopped';
        await this.#pause(attempt, `database: ${errorText(error)}`);
      }
    }
  }

  /** Goes back to the checkpoint and on item by item, so that all before the poisoned one count and it is named. */
  async #isolate(items: readonly I[]): Promise<boolean> {
    const before = (this.#opened as Opened).generation;
    const seqBefore = this.#seq;
    if (!(await this.#reopen())) return false;
    if (this.#seq !== seqBefore || (this.#opened as Opened).generation.generation !== before.generation) {
      this.#enter('fenced');
      return false;
    }
    for (const item of items) {
      if (item.seq <= this.#seq) continue;
      const changes = new Changes();
      let outcome: Outcome;
      try {
        (this.#fold as Fold<I>).apply([item], changes);
        outcome = await this.#move([item], this.#seq, changes);
      } catch (error) {
        outcome = { refused: error };
      }
      if (outcome === 'moved') continue;
      if (outcome === 'stopped') return false;
      if (outcome === 'fenced') {
        this.#enter('fenced');
        return false;
      }
      await this.#haltAt(item.seq, outcome.refused);
      return false;
    }
    return true;
  }

  async #haltAt(seq: number, error: unknown): Promise<void> {
    this.#halt = { seq, code: errorCode(error), reason: errorText(error) };
    this.#enter('halted');
    for (let attempt = 0; !this.#stopping; attempt++) {
      try {
        await this.#options.store.halt((this.#opened as Opened).generation, this.#halt);
        return;
      } catch (failure) {
        await this.#pause(attempt, `database: ${errorText(failure)}`);
      }
    }
  }

  /** False when asked to stop while the database was away. */
  async #reopen(): Promise<boolean> {
    for (let attempt = 0; !this.#stopping; attempt++) {
      try {
        this.#opened = await this.#options.store.open(this.#options.projection as Projection);
        this.#seq = this.#opened.seq;
        this.#fold = this.#options.projection.begin(this.#opened.state, this.#opened.seq);
        this.#buffer.startAfter(this.#seq);
        return true;
      } catch (error) {
        if (errorCode(error) !== 'DB_UNAVAILABLE') throw error;
        await this.#pause(attempt, `database: ${errorText(error)}`);
      }
    }
    return false;
  }

  async #report(): Promise<void> {
    if (this.#opened === undefined) return;
    try {
      this.#headSeq = Math.max(await this.#options.source.lastSeq(), this.#seq);
      if (this.#state === 'starting' && this.#headSeq === this.#seq) this.#enter('running');
      if (this.#state !== 'fenced') await this.#options.store.report(this.#opened.generation, this.#headSeq);
    } catch {
      // A missed sign of life shows as such: readers see the age of the last one.
    }
  }

  async #pause(attempt: number, waitingFor: string): Promise<void> {
    const before = this.#state;
    this.#waitingFor = waitingFor;
    if (before !== 'halted') this.#enter('waiting');
    const { retryMsMin, retryMsMax } = this.#limits;
    const ceilingMs = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(attempt, 16));
    await this.#options.environment.timers.sleep(ceilingMs * (0.5 + this.#options.environment.rng.next() / 2));
    this.#waitingFor = undefined;
    if (this.#state === 'waiting') this.#enter(before === 'waiting' ? 'starting' : before);
  }

  #enter(state: RunnerState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.hooks?.onState?.(this.status);
  }
}
