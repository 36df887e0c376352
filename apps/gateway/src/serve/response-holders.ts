/** Where an engine keeps a response that can be asked for, or continued. */
export interface Holder {
  readonly replicaId: string;
  readonly model: string;
  /** The name that the client asked for, where it was another one. */
  readonly asked?: string | undefined;
  readonly tenantId: string;
}

const askable = /^[A-Za-z0-9_-]{1,256}$/;

/**
 * Which replica holds which response, learned from the answers that pass. Bounded: two maps, and the older is dropped whole when the
 * younger is full, so that nothing is ever deleted one by one. What is used moves to the younger.
 */
export class ResponseHolders {
  #young = new Map<string, Holder>();
  #old = new Map<string, Holder>();
  readonly #half: number;
  /** Told of what this gateway's own answers said. */
  told: ((id: string, holder: Holder) => void) | undefined;

  constructor(max: number) {
    this.#half = Math.max(1, Math.floor(max / 2));
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** An id of one tenant is never taken over by another's. One that nobody could ask for is not kept. */
  remember(id: string, holder: Holder): void {
    if (this.learn(id, holder)) this.told?.(id, holder);
  }

  /** The same, of another gateway's answers. False where it was not kept. */
  learn(id: string, holder: Holder): boolean {
    if (!askable.test(id)) return false;
    const known = this.find(id);
    if (known !== undefined && known.tenantId !== holder.tenantId) return false;
    this.#put(id, holder);
    return true;
  }

  /** Those used last first, at most so many. */
  *latest(count: number): Generator<readonly [string, Holder]> {
    let left = count;
    for (const half of [this.#young, this.#old]) {
      // A map keeps the order of its puts.
      const entries = [...half].slice(-left).toReversed();
      yield* entries;
      left -= entries.length;
      if (left <= 0) return;
    }
  }

  find(id: string): Holder | undefined {
    const young = this.#young.get(id);
    if (young !== undefined) return young;
    const old = this.#old.get(id);
    if (old !== undefined) this.#put(id, old);
    return old;
  }

  #put(id: string, holder: Holder): void {
    if (this.#young.size >= this.#half && !this.#young.has(id)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(id, holder);
  }
}
