import type { Clock } from '#libs/kernel';
import { quotaBounds } from './limits.ts';

export type ClockState = 'unknown' | 'good' | 'off';

interface Anchor {
  readonly brokerMs: number;
  readonly monotonicMs: number;
  readonly uncertaintyMs: number;
}

/**
 * The broker's time, as this process's own commits tell it: windows are named by it. It is carried on by the monotonic clock, so that a
 * jump of the wall clock moves no window; but where the two are further apart than the bound one of them is wrong, and nobody here can
 * tell which.
 */
export class BrokerClock {
  #anchor: Anchor | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly offMsMax: number = quotaBounds.clockOffMsMax,
  ) {}

  /** The wall clock's until a commit has told better. */
  nowMs(): number {
    const anchor = this.#anchor;
    return anchor === undefined
      ? this.clock.nowMs()
      : anchor.brokerMs + (this.clock.monotonicMs() - anchor.monotonicMs);
  }

  get state(): ClockState {
    if (this.#anchor === undefined) return 'unknown';
    return Math.abs(this.skewMs) <= this.offMsMax ? 'good' : 'off';
  }

  /** How far the wall clock is ahead of the broker's. */
  get skewMs(): number {
    return this.clock.nowMs() - this.nowMs();
  }

  monotonicMs(): number {
    return this.clock.monotonicMs();
  }

  /** A commit was stored at `storedAtMs` of the broker's clock, somewhen between these two times of the monotonic one. */
  sample(sentMs: number, answeredMs: number, storedAtMs: number): void {
    const uncertaintyMs = (answeredMs - sentMs) / 2;
    if (uncertaintyMs > this.offMsMax) return;
    const next = { brokerMs: storedAtMs, monotonicMs: sentMs + uncertaintyMs, uncertaintyMs };
    const anchor = this.#anchor;
    if (anchor !== undefined) {
      const ageMs = next.monotonicMs - anchor.monotonicMs;
      const worth = anchor.uncertaintyMs + ageMs * quotaBounds.clockDriftRatio;
      const apartMs = Math.abs(next.brokerMs - (anchor.brokerMs + ageMs));
      // One that contradicts the old one tells of a broker whose clock moved.
      if (uncertaintyMs > worth && apartMs <= uncertaintyMs + worth) return;
    }
    this.#anchor = next;
  }
}
