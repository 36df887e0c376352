/** Where an engine keeps a response that can be asked for, or continued. */
export interface Holder {
  readonly replicaId: string;
  readonly model: string;
  readonly tenantId: string;
}

/**
 * Which replica holds which response, learned from the answers that pass. Bounded: two maps, and the older is dropped whole when the
 * younger is full, so that nothing is ever deleted one by one. What is used moves to the younger.
 */
export class ResponseHolders {
  #young = new Map<string, Holder>();
  #old = new Map<string, Holder>();
  readonly #half: number;

  constructor(max: number) {
    this.#half = Math.max(1, Math.floor(max / 2));
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** An id of one tenant is never taken over by another's. */
  remember(id: string, holder: Holder): void {
    const known = this.find(id);
    if (known !== undefined && known.tenantId !== holder.tenantId) return;
    this.#put(id, holder);
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
