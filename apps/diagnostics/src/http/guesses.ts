import { limits } from '../limits.ts';

interface Window {
  startMs: number;
  wrong: number;
}

/** Counts wrong keys by the address that they came from; past the bound that address is not listened to until its minute is over. */
export class Guesses {
  readonly #windows = new Map<string, Window>();

  /** How long this address has to wait; 0 may try. */
  waitMs(address: string, nowMs: number): number {
    const window = this.#windows.get(address);
    if (window === undefined || window.wrong < limits.guessesMax) return 0;
    return Math.max(0, window.startMs + limits.guessWindowMs - nowMs);
  }

  wrong(address: string, nowMs: number): void {
    const window = this.#windows.get(address);
    if (window !== undefined && nowMs < window.startMs + limits.guessWindowMs) {
      window.wrong++;
      return;
    }
    this.#windows.delete(address);
    // Full of addresses that guess: the oldest is forgotten, and has its guesses again.
    if (this.#windows.size >= limits.guessersMax) this.#windows.delete(this.#windows.keys().next().value as string);
    this.#windows.set(address, { startMs: nowMs, wrong: 1 });
  }
}
