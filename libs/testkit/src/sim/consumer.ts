import type { StoredCommit } from '#libs/event-log';
import type { SimBroker } from './broker.ts';
import type { VirtualTime } from './virtual-time.ts';

const ackWaitMs = 1_500;

export interface Delivery {
  readonly commit: StoredCommit;
  /** From 1. */
  readonly deliveries: number;
}

/**
 * A durable pull consumer of the broker: progress is the server's, a delivery that is not acknowledged in time comes again,
 * to whoever asks. Its state is on the broker's disk.
 */
export class SimConsumer {
  readonly #deliveries = new Map<number, number>();
  readonly #again: number[] = [];
  #nextSeq = 1;
  #waiting: { untilMs: number; give: (delivery: Delivery) => void }[] = [];

  constructor(
    private readonly time: VirtualTime,
    private readonly broker: SimBroker,
    /** A broken one forgets what was not acknowledged. */
    private readonly redelivers: boolean,
  ) {}

  /** Everything stored was delivered and acknowledged. */
  get isDone(): boolean {
    return this.#deliveries.size === 0 && this.#nextSeq > this.broker.commits.length;
  }

  pull(holdMs: number, give: (delivery: Delivery) => void): void {
    this.#waiting.push({ untilMs: this.time.nowMs + holdMs, give });
    this.#serve();
  }

  acknowledge(seq: number): void {
    this.#deliveries.delete(seq);
  }

  comeAgain(seq: number, delayMs: number): void {
    const deliveries = this.#deliveries.get(seq);
    if (deliveries !== undefined) this.#redeliverIn(delayMs, seq, deliveries);
  }

  #serve(): void {
    for (;;) {
      const waiter = this.#waiting[0];
      if (waiter === undefined) return;
      if (waiter.untilMs < this.time.nowMs) {
        this.#waiting.shift();
        continue;
      }
      const seq = this.#take();
      if (seq === undefined) return;
      this.#waiting.shift();
      const deliveries = (this.#deliveries.get(seq) ?? 0) + 1;
      this.#deliveries.set(seq, deliveries);
      this.#redeliverIn(ackWaitMs, seq, deliveries);
      waiter.give({ commit: this.broker.commits[seq - 1] as StoredCommit, deliveries });
    }
  }

  #take(): number | undefined {
    for (let seq = this.#again.shift(); seq !== undefined; seq = this.#again.shift()) {
      if (this.#deliveries.has(seq)) return seq;
    }
    if (this.#nextSeq <= this.broker.commits.length) return this.#nextSeq++;
    this.broker.whenAt(this.#nextSeq, () => this.#serve());
    return undefined;
  }

  #redeliverIn(delayMs: number, seq: number, deliveries: number): void {
    if (!this.redelivers) return;
    this.time.at(delayMs, 'redelivery', undefined, () => {
      if (this.#deliveries.get(seq) !== deliveries || this.#again.includes(seq)) return;
      this.#again.push(seq);
      this.#serve();
    });
  }
}
