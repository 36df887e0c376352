import { Heap } from '#libs/kernel';

export interface Happening {
  cancelled: boolean;
  readonly atMs: number;
  readonly order: number;
  readonly label: string;
  readonly life: Life | undefined;
  readonly fn: () => void;
}

/** What lives in one incarnation of a process; when it is over, nothing of it happens any more. */
export interface Life {
  alive: boolean;
  readonly name: string;
}

/** Where wall clocks without skew begin. */
export const simEpochMs = 1_700_000_000_000;

const settled = Promise.resolve();
/** The host's own events (signals, test timeouts) get their turn after this many steps. */
const stepsPerTurn = 20_000;

/**
 * One queue of (time, order). A step takes one event, runs it, and lets every promise that it settled run out before the
 * next step is taken; so the same seed gives the same history.
 */
export class VirtualTime {
  nowMs = 0;
  steps = 0;
  /** Looked at after each step; a text ends the run. */
  afterStep: () => string | undefined = () => undefined;
  /** Called before each step where a trace is wanted. */
  onStep: ((event: Happening) => void) | undefined;
  readonly #queue = new Heap<Happening>((a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order));
  #order = 0;
  #thrown: { error: unknown } | undefined;

  at(delayMs: number, label: string, life: Life | undefined, fn: () => void): Happening {
    const event = { cancelled: false, atMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, label, life, fn };
    this.#queue.push(event);
    return event;
  }

  /** Runs until `done()` says so, nothing is left, a law is broken or `untilMs` is reached. */
  run(options: {
    untilMs: number;
    done?: () => boolean;
  }): Promise<{ ended: 'done' | 'empty' | 'time' | 'law'; broken?: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<{
      ended: 'done' | 'empty' | 'time' | 'law';
      broken?: string;
    }>();
    const { untilMs, done } = options;
    let turn = 0;
    // A tick runs once the microtasks before it have run out: the promise's callback comes behind all that the event
    // settled, and the tick behind all that those settled in turn.
    const drained = (): void => {
      if (++turn % stepsPerTurn === 0) setImmediate(step);
      else process.nextTick(step);
    };
    const step = (): void => {
      const broken = this.afterStep();
      if (this.#thrown !== undefined) return reject(this.#thrown.error);
      if (broken !== undefined) return resolve({ ended: 'law', broken });
      if (done?.() === true) return resolve({ ended: 'done' });
      const event = this.#next();
      if (event === undefined) return resolve({ ended: 'empty' });
      if (event.atMs > untilMs) {
        this.#queue.push(event);
        this.nowMs = untilMs;
        return resolve({ ended: 'time' });
      }
      this.nowMs = event.atMs;
      this.steps++;
      this.onStep?.(event);
      try {
        event.fn();
      } catch (error) {
        this.#thrown = { error };
      }
      void settled.then(drained);
    };
    void settled.then(drained);
    return promise;
  }

  #next(): Happening | undefined {
    for (;;) {
      const event = this.#queue.pop();
      if (event === undefined) return undefined;
      if (!event.cancelled && event.life?.alive !== false) return event;
    }
  }
}
