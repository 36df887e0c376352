import type { Environment, Timer } from '#libs/kernel';
import { SeededRng } from '#libs/kernel';

interface Due {
  atMs: number;
  readonly order: number;
  readonly fn: () => void;
  readonly periodMs: number | undefined;
  cancelled: boolean;
}

export interface ManualTime extends Environment {
  /** Lets time pass: everything due runs in order, and what it promised settles before the next. */
  pass(ms: number): Promise<void>;
}

/** Time that stands still unless a test moves it. */
export function manualTime(): ManualTime {
  let nowMs = 0;
  let order = 0;
  let uuids = 0;
  let due: Due[] = [];
  const add = (delayMs: number, fn: () => void, periodMs?: number): Timer => {
    const one: Due = { atMs: nowMs + Math.max(0, delayMs), order: order++, fn, periodMs, cancelled: false };
    due.push(one);
    return { cancel: () => void (one.cancelled = true) };
  };
  // One turn of the real event loop: every promise that can settle by then has settled.
  const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
  const pass = async (ms: number): Promise<void> => {
    const untilMs = nowMs + ms;
    await settle();
    for (;;) {
      due = due.filter(({ cancelled }) => !cancelled).sort((a, b) => a.atMs - b.atMs || a.order - b.order);
      const next = due[0];
      if (next === undefined || next.atMs > untilMs) break;
      nowMs = next.atMs;
      if (next.periodMs === undefined) due.shift();
      else next.atMs += next.periodMs;
      next.fn();
      await settle();
    }
    nowMs = untilMs;
    await settle();
  };
  return {
    pass,
    clock: { nowMs: () => 1_700_000_000_000 + nowMs, monotonicMs: () => nowMs },
    timers: {
      after: (delayMs, fn) => add(delayMs, fn),
      every: (periodMs, fn) => add(periodMs, fn, periodMs),
      sleep: (delayMs) => new Promise((resolve) => void add(delayMs, resolve)),
    },
    rng: new SeededRng(1),
    ids: { uuid: () => `uuid-${++uuids}` },
  };
}
