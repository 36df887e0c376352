/** Wall and monotonic time. Rules never read time from anywhere else. */
export interface Clock {
  /** Milliseconds since the Unix epoch; may jump. */
  nowMs(): number;
  /** Milliseconds from an arbitrary origin; never goes back. For durations and ages. */
  monotonicMs(): number;
}

export interface Timer {
  cancel(): void;
}

export interface Timers {
  /** Runs `fn` once after `delayMs` (≥ 0). The timer does not keep the process alive. */
  after(delayMs: number, fn: () => void): Timer;
  /** Runs `fn` each `periodMs` until cancelled. */
  every(periodMs: number, fn: () => void): Timer;
  /** Resolves after `delayMs`. Keeps the process alive while it waits. */
  sleep(delayMs: number): Promise<void>;
}

export interface Rng {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform 32-bit unsigned integer. */
  uint32(): number;
}

export interface Ids {
  /** A new RFC 9562 UUID. */
  uuid(): string;
}

/** Everything that makes a run differ from the next one. */
export interface Environment {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly rng: Rng;
  readonly ids: Ids;
}
