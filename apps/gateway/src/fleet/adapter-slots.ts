import type { AdapterUse } from '#libs/engines';

/** Engines with more slots than this are taken to have this many. */
const slotsBound = 256;

/** Which adapters are believed to be in an engine's slots: those that it says to run or to wait for, and those that were sent there last. */
export class AdapterSlots {
  /** Oldest first. */
  #used: string[] = [];

  /** 1, 0, or NaN where the engine does not say how many slots it has. */
  resident(adapter: string, use: AdapterUse | undefined): number {
    if (use === undefined || use.slotsMax === undefined) return Number.NaN;
    if (use.running.includes(adapter) || use.waiting.includes(adapter)) return 1;
    return this.#used.includes(adapter) ? 1 : 0;
  }

  /** A request for it goes there: the one not used for longest makes room. */
  sent(adapter: string, use: AdapterUse | undefined): void {
    const at = this.#used.indexOf(adapter);
    if (at >= 0) this.#used.splice(at, 1);
    this.#used.push(adapter);
    const slots = Math.min(use?.slotsMax ?? 1, slotsBound);
    while (this.#used.length > slots) this.#used.shift();
  }

  /** The engine started anew. */
  clear(): void {
    this.#used = [];
  }
}
