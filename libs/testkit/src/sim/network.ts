import type { SeededRng } from '#libs/kernel';
import type { FaultKind, Faults } from './faults.ts';
import type { SimProcess } from './process.ts';
import type { VirtualTime } from './virtual-time.ts';

/** A request is given up after this; its effect is then unknown. */
const requestTimeoutMs = 400;
const usualTravelMs = 2;
const reorderedTravelMsMax = 40;
const delayMsMin = 100;
const delayMsMax = 700;

/** What answers requests: away until `downUntilMs`. */
export interface Server {
  readonly name: string;
  downUntilMs: number;
}

/** Carries requests to a server and answers back, with everything that can happen on the way. */
export class Network {
  faults: Faults;
  /** How often each kind struck. */
  readonly struck: Partial<Record<FaultKind, number>> = {};

  constructor(
    private readonly time: VirtualTime,
    private readonly rng: SeededRng,
    faults: Faults,
  ) {
    this.faults = faults;
  }

  /**
   * `serve` runs at the server when the request arrives, perhaps twice, and calls `reply`, at once or later. Undefined: no
   * answer came in time.
   */
  request<T>(
    from: SimProcess,
    to: Server,
    label: string,
    serve: (reply: (answer: T) => void) => void,
    timeoutMs = requestTimeoutMs,
  ): Promise<T | undefined> {
    const { promise, resolve } = Promise.withResolvers<T | undefined>();
    const { life } = from;
    if (!life.alive) return promise;
    const timeout = this.time.at(timeoutMs, `no answer: ${label}`, life, () => resolve(undefined));
    if (from.isolated || this.strikes('lostRequest')) return promise;
    const answer = (value: T): void => {
      if (!life.alive || from.isolated || this.strikes('lostAck')) return;
      this.time.at(this.#travelMs(), `answer: ${label}`, life, () => {
        timeout.cancelled = true;
        resolve(value);
      });
    };
    const arrive = (): void => {
      if (this.time.nowMs >= to.downUntilMs) serve(answer);
    };
    this.time.at(this.#travelMs(), label, undefined, arrive);
    if (this.strikes('duplicate')) this.time.at(this.#travelMs(), `again: ${label}`, undefined, arrive);
    return promise;
  }

  strikes(kind: FaultKind): boolean {
    const chance = this.faults[kind];
    if (chance === 0 || !this.rng.chance(chance)) return false;
    this.count(kind);
    return true;
  }

  count(kind: FaultKind): void {
    this.struck[kind] = (this.struck[kind] ?? 0) + 1;
  }

  #travelMs(): number {
    if (this.strikes('delay')) return delayMsMin + this.rng.next() * (delayMsMax - delayMsMin);
    return this.strikes('reorder') ? this.rng.next() * reorderedTravelMsMax : usualTravelMs;
  }
}
