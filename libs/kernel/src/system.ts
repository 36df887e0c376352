import { randomBytes, randomUUID } from 'node:crypto';
import type { Clock, Environment, Ids, Rng, Timer, Timers } from './ports.ts';

/** The one file that touches real time and real randomness; `tidy` refuses them elsewhere. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

function handle(timer: NodeJS.Timeout, clear: (timer: NodeJS.Timeout) => void): Timer {
  timer.unref();
  return { cancel: () => clear(timer) };
}

export const systemTimers: Timers = {
  after: (delayMs, fn) => handle(setTimeout(fn, delayMs), clearTimeout),
  every: (periodMs, fn) => handle(setInterval(fn, periodMs), clearInterval),
  sleep: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
};

export const systemRng: Rng = {
  next: () => Math.random(),
  uint32: () => randomBytes(4).readUInt32LE(0),
};

export const systemIds: Ids = { uuid: () => randomUUID() };

export const systemEnvironment: Environment = {
  clock: systemClock,
  timers: systemTimers,
  rng: systemRng,
  ids: systemIds,
};
