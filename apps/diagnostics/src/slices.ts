import type { Timers } from '#libs/kernel';
import { limits } from './limits.ts';

/** Gives the event loop back now and then during a long computation. */
export class Slices {
  #items = 0;

  constructor(private readonly timers: Timers) {}

  /** Call once for each item; wait for what it answers. */
  next(): Promise<void> | undefined {
    return ++this.#items % limits.itemsPerSlice === 0 ? this.timers.sleep(0) : undefined;
  }
}
