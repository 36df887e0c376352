/** Bounds of following one engine, in one place. */
export const kvFollowLimits = {
  /** Live batches held while a gap is being filled; those beyond are dropped, and make a gap of their own. */
  heldMax: 4096,
  /** Tries to fill one gap before it is given up. */
  asksMax: 4,
  /** Batches in a row that are older than expected, before their time is believed less than their number. */
  oldMax: 8,
} as const;

export interface Timed {
  /** On the engine's clock. */
  readonly atSeconds: number;
}

export type ResetReason = 'first' | 'restart' | 'gap';

export type SequenceEffect<B> =
  /** Next in the engine's own order. */
  | { readonly type: 'batch'; readonly seq: number; readonly batch: B }
  /** All that was known of this engine is void. `exact`: every batch of its life follows; else what it holds is known in part. */
  | { readonly type: 'reset'; readonly why: ResetReason; readonly exact: boolean }
  /** Ask the replay socket for all from here on; answer by `replayed`, then `replayEnded` or `replayFailed`. */
  | { readonly type: 'ask'; readonly from: number };

/**
 * Puts one engine's batches into its own order: what comes live, what fills gaps from its replay, and where its life ended. Pure.
 *
 * Each question asks for the last batch known as well: where the engine has another one under that number, or none, it is another
 * life of the engine. So a restart is seen however far the new life has come meanwhile.
 */
export class KvSequencer<B extends Timed> {
  /** The number expected next; undefined until anything is known. */
  #next: number | undefined;
  #lastAtSeconds = 0;
  #asking: { from: number; next: number | undefined; answers: number } | undefined;
  #asks = 0;
  #stuck = 0;
  #held = new Map<number, B>();
  #olds = 0;
  /** What is not answered may hide another life or a gap. */
  #unsure = false;
  #verifyAgain = false;
  #hadLife = false;
  /** Batches that came again, and held ones for which there was no room. */
  duplicates = 0;
  dropped = 0;

  constructor(private readonly effect: (effect: SequenceEffect<B>) => void) {}

  get next(): number | undefined {
    return this.#next;
  }

  get filling(): boolean {
    return this.#asking !== undefined;
  }

  get held(): number {
    return this.#held.size;
  }

  /** Goes on behind what a snapshot knows. */
  resume(next: number, lastAtSeconds: number): void {
    this.#next = next;
    this.#lastAtSeconds = lastAtSeconds;
  }

  /**
   * Is all known? `connected`: for the first time or again, where nothing is sure until it is answered; `idle`: nothing came for a
   * while, and an answer that fails says nothing.
   */
  verify(why: 'connected' | 'idle'): void {
    if (this.#asking !== undefined) {
      if (why === 'connected') this.#verifyAgain = true;
      return;
    }
    this.#unsure = why === 'connected';
    this.#question();
  }

  live(seq: number, batch: B): void {
    if (this.#asking !== undefined) this.#hold(seq, batch);
    else if (this.#next === undefined || seq > this.#next) {
      this.#hold(seq, batch);
      this.#unsure = true;
      this.#question();
    } else if (seq === this.#next) {
      this.#emit(seq, batch);
    } else this.#old(seq, batch);
  }

  replayed(seq: number, batch: B): void {
    const asking = this.#asking;
    if (asking === undefined) return;
    const first = asking.answers++ === 0;
    if (this.#next === undefined) {
      this.#restart('first', seq === 0);
      this.#next = seq;
    } else if (first && seq === asking.from && this.#next > 0 && seq === this.#next - 1) {
      if (batch.atSeconds === this.#lastAtSeconds) return;
      this.#anew();
      return;
    }
    if (seq < this.#next) return;
    if (seq > this.#next) {
      // The replay no longer has it, or it could not be read.
      this.#restart('gap', false);
      this.#next = seq;
    }
    this.#emit(seq, batch);
  }

  replayEnded(): void {
    const asking = this.#asking;
    if (asking === undefined) return;
    this.#asking = undefined;
    if (asking.answers === 0) {
      // It does not even have the last that we know.
      if (asking.from > 0) return this.#anew();
      if (this.#next !== 0) this.#restart(this.#next === undefined ? 'first' : 'restart', true);
      this.#next = 0;
    }
    // An answer that ends before what is held, again and again, does not fill the gap.
    const lowest = Math.min(...this.#held.keys());
    if (this.#held.size === 0 || asking.next !== this.#next || lowest <= (this.#next as number)) this.#stuck = 0;
    else if (++this.#stuck >= kvFollowLimits.asksMax) {
      this.#restart('gap', false);
      this.#next = lowest;
    }
    this.#drain();
    if (this.#verifyAgain && this.#asking === undefined) this.verify('connected');
  }

  replayFailed(): void {
    const asking = this.#asking;
    if (asking === undefined) return;
    this.#asking = undefined;
    if (++this.#asks < kvFollowLimits.asksMax) {
      // What came of it is kept: the next question begins behind it.
      this.#ask(this.#next === undefined ? 0 : Math.max(0, this.#next - 1));
      return;
    }
    if (!this.#unsure && this.#held.size === 0 && this.#next !== undefined) return;
    this.#restart(this.#next === undefined ? 'first' : 'gap', false);
    const lowest = Math.min(...this.#held.keys());
    this.#next = Number.isFinite(lowest) ? lowest : undefined;
    if (this.#next !== undefined) this.#drain();
  }

  #ask(from: number): void {
    this.#asking = { from, next: this.#next, answers: 0 };
    this.effect({ type: 'ask', from });
  }

  #question(): void {
    this.#asks = 0;
    this.#verifyAgain = false;
    this.#ask(this.#next === undefined ? 0 : Math.max(0, this.#next - 1));
  }

  /** Another life: nothing of the one before counts, and everything from the start of this one is asked for. */
  #anew(): void {
    this.#restart('restart', false);
    this.#next = undefined;
    this.#olds = 0;
    // Held ones may be of the life before; those of this one are in the answer.
    this.#held.clear();
    this.#unsure = true;
    this.#question();
  }

  /** Lower than expected: of a new life where the engine's clock went on, else a copy of what is known. */
  #old(seq: number, batch: B): void {
    if (batch.atSeconds <= this.#lastAtSeconds && ++this.#olds < kvFollowLimits.oldMax) {
      this.duplicates++;
      return;
    }
    this.#anew();
    this.#hold(seq, batch);
  }

  #restart(why: ResetReason, exact: boolean): void {
    this.effect({ type: 'reset', why: this.#hadLife && why === 'first' ? 'restart' : why, exact });
    this.#hadLife = true;
  }

  #emit(seq: number, batch: B): void {
    this.#olds = 0;
    this.#next = seq + 1;
    this.#lastAtSeconds = batch.atSeconds;
    this.effect({ type: 'batch', seq, batch });
  }

  #hold(seq: number, batch: B): void {
    if (this.#held.size >= kvFollowLimits.heldMax && !this.#held.has(seq)) this.dropped++;
    else this.#held.set(seq, batch);
  }

  #drain(): void {
    if (this.#held.size === 0) return;
    const held = [...this.#held].sort(([a], [b]) => a - b);
    this.#held = new Map();
    for (const [seq, batch] of held) {
      // The answer had it, too: nothing odd in that.
      if (this.#next !== undefined && seq < this.#next && batch.atSeconds <= this.#lastAtSeconds) this.duplicates++;
      else this.live(seq, batch);
    }
  }
}
