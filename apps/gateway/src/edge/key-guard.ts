import { networkOf } from './addresses.ts';

export const keyGuardLimits = {
  /** Failed keys of one address at once, and how soon it may fail again. */
  failuresMax: 20,
  refillMs: 6_000,
  /** Addresses remembered; of more the one that failed longest ago is forgotten. */
  addressesMax: 10_000,
  /** Good keys seen from an address that also fails: they go on while it is held back. */
  goodKeysMax: 16,
} as const;

interface Failing {
  left: number;
  atMs: number;
  readonly good: Set<string>;
}

/**
 * Holds back addresses that try keys nobody has. Who fails too often is refused before the key is looked up, so that a lucky guess
 * tells nothing; keys that were good from the same address before go on. Costs nothing while nobody fails.
 */
export class KeyGuard {
  readonly counts = { failed: 0, heldBack: 0 };
  readonly #failing = new Map<string, Failing>();

  /** Nobody has failed of late: there is nothing to ask. */
  get idle(): boolean {
    return this.#failing.size === 0;
  }

  get addresses(): number {
    return this.#failing.size;
  }

  /** Seconds that the address has to wait with this key; 0 is not at all. */
  waitS(address: string, keyHash: string, nowMs: number): number {
    const failing = this.#failing.get(networkOf(address));
    if (failing === undefined || failing.good.has(keyHash)) return 0;
    refill(failing, nowMs);
    if (failing.left >= 1) return 0;
    this.counts.heldBack++;
    return Math.ceil(((1 - failing.left) * keyGuardLimits.refillMs) / 1000);
  }

  failed(address: string, nowMs: number): void {
    this.counts.failed++;
    const name = networkOf(address);
    const { failuresMax, addressesMax } = keyGuardLimits;
    const failing = this.#failing.get(name) ?? { left: failuresMax, atMs: nowMs, good: new Set() };
    refill(failing, nowMs);
    failing.left--;
    // The one that fails now is the youngest.
    this.#failing.delete(name);
    this.#failing.set(name, failing);
    if (this.#failing.size > addressesMax) this.#failing.delete(this.#failing.keys().next().value as string);
  }

  succeeded(address: string, keyHash: string): void {
    const good = this.#failing.get(networkOf(address))?.good;
    if (good !== undefined && good.size < keyGuardLimits.goodKeysMax) good.add(keyHash);
  }

  /** Forgets addresses that would be let through as if they had never failed. */
  sweep(nowMs: number): void {
    for (const [name, failing] of this.#failing) {
      refill(failing, nowMs);
      if (failing.left >= keyGuardLimits.failuresMax) this.#failing.delete(name);
    }
  }
}

function refill(failing: Failing, nowMs: number): void {
  failing.left = Math.min(keyGuardLimits.failuresMax, failing.left + (nowMs - failing.atMs) / keyGuardLimits.refillMs);
  failing.atMs = nowMs;
}
