import type { BlockHashes } from '../hash-blocks.ts';
import type { BlockTable } from './block-table.ts';
import { grown, none } from './block-table.ts';
import type { Holder } from './holder.ts';
import { kvLimits, mediaCount } from './limits.ts';

/**
 * Leading blocks of a prompt by candidate: on the device, there or in host memory, there or on any medium. Of a replica with
 * several data-parallel ranks, those of its best.
 */
export interface MediaDepths {
  device: Float64Array;
  host: Float64Array;
  storage: Float64Array;
}

export interface WalkView {
  readonly table: BlockTable;
  readonly bits: readonly (Uint32Array | undefined)[];
  readonly routedBits: () => Uint32Array | undefined;
  readonly words: () => number;
  readonly holders: (replicaId: string) => readonly Holder[] | undefined;
}

/** Walks down a prompt, all candidates at once, until none has the next block. Keeps its scratch, so that a walk allocates nothing. */
export class PrefixWalk {
  readonly depths: MediaDepths = {
    device: new Float64Array(64),
    host: new Float64Array(64),
    storage: new Float64Array(64),
  };
  /** By slot: which candidate asks. */
  readonly #candidate = new Int32Array(kvLimits.slotsMax);
  /** By level and word: holders that have all blocks so far. */
  readonly #alive = [0, 1, 2].map(() => new Int32Array(kvLimits.slotsMax / 32));
  readonly #rows = new Int32Array(kvLimits.blocksPerPromptMax);
  #resolved = 0;
  /** By KV group of one holder: present blocks in a row. */
  readonly #runs = new Int32Array(kvLimits.groupsMax);

  constructor(private readonly view: WalkView) {}

  run(blocks: BlockHashes, replicaIds: readonly string[]): void {
    const { device, host, storage } = this.#room(replicaIds.length);
    device.fill(0, 0, replicaIds.length);
    host.fill(0, 0, replicaIds.length);
    storage.fill(0, 0, replicaIds.length);
    this.#resolved = 0;
    const words = this.view.words();
    const levels = this.view.bits[1] === undefined && this.view.bits[2] === undefined ? 1 : mediaCount;
    for (let level = 0; level < mediaCount; level++) (this.#alive[level] as Int32Array).fill(0, 0, words);
    let complex = false;
    for (let i = 0; i < replicaIds.length; i++) {
      const holders = this.view.holders(replicaIds[i] as string);
      if (holders === undefined) continue;
      for (let h = 0; h < holders.length; h++) {
        const holder = holders[h] as Holder;
        if (!holder.simple) {
          complex = true;
          continue;
        }
        const slot = holder.slots[0] as number;
        this.#candidate[slot] = i;
        for (let level = 0; level < levels; level++) (this.#alive[level] as Int32Array)[slot >> 5]! |= 1 << (slot & 31);
      }
    }
    const count = Math.min(blocks.length, kvLimits.blocksPerPromptMax);
    if (levels === 1) this.#walkDevice(blocks, count, words);
    else this.#walkMedia(blocks, count, words);
    if (complex) this.#walkComplex(blocks, count, replicaIds);
    if (levels === 1) {
      for (let i = 0; i < replicaIds.length; i++) storage[i] = host[i] = device[i] as number;
    }
  }

  #walkDevice(blocks: BlockHashes, count: number, words: number): void {
    const gpu = this.view.bits[0] as Uint32Array;
    const routed = this.view.routedBits();
    const alive = this.#alive[0] as Int32Array;
    let depth = 0;
    for (; depth < count; depth++) {
      const row = this.#row(blocks, depth);
      if (row === none) break;
      let any = 0;
      for (let word = 0, at = row * words; word < words; word++, at++) {
        const before = alive[word] as number;
        if (before === 0) continue;
        const has = routed === undefined ? (gpu[at] as number) : (gpu[at] as number) | (routed[at] as number);
        const kept = before & has;
        if (kept !== before) this.#settle(this.depths.device, word, before & ~has, depth);
        alive[word] = kept;
        any |= kept;
      }
      if (any === 0) return;
    }
    for (let word = 0; word < words; word++) this.#settle(this.depths.device, word, alive[word] as number, depth);
  }

  #walkMedia(blocks: BlockHashes, count: number, words: number): void {
    const [gpu, cpu, disk] = this.view.bits;
    const routed = this.view.routedBits();
    const { device, host, storage } = this.depths;
    const [onDevice, onHost, onAny] = this.#alive as [Int32Array, Int32Array, Int32Array];
    let depth = 0;
    for (; depth < count; depth++) {
      const row = this.#row(blocks, depth);
      if (row === none) break;
      let any = 0;
      for (let word = 0, at = row * words; word < words; word++, at++) {
        if (onAny[word] === 0) continue; // who is on the device is on any
        let has = (gpu as Uint32Array)[at] as number;
        if (routed !== undefined) has |= routed[at] as number;
        this.#settle(device, word, (onDevice[word] as number) & ~has, depth);
        onDevice[word]! &= has;
        if (cpu !== undefined) has |= cpu[at] as number;
        this.#settle(host, word, (onHost[word] as number) & ~has, depth);
        onHost[word]! &= has;
        if (disk !== undefined) has |= disk[at] as number;
        this.#settle(storage, word, (onAny[word] as number) & ~has, depth);
        onAny[word]! &= has;
        any |= onAny[word] as number;
      }
      if (any === 0) return;
    }
    for (let word = 0; word < words; word++) {
      this.#settle(device, word, onDevice[word] as number, depth);
      this.#settle(host, word, onHost[word] as number, depth);
      this.#settle(storage, word, onAny[word] as number, depth);
    }
  }

  /** Holders with several KV groups, one by one: a depth counts where each group has all that its attention looks back at. */
  #walkComplex(blocks: BlockHashes, count: number, replicaIds: readonly string[]): void {
    for (let i = 0; i < replicaIds.length; i++) {
      const holders = this.view.holders(replicaIds[i] as string);
      if (holders === undefined) continue;
      for (let h = 0; h < holders.length; h++) {
        const holder = holders[h] as Holder;
        if (holder.simple) continue;
        this.#better(this.depths.device, i, this.#complexDepth(blocks, count, holder, 1));
        this.#better(this.depths.host, i, this.#complexDepth(blocks, count, holder, 2));
        this.#better(this.depths.storage, i, this.#complexDepth(blocks, count, holder, mediaCount));
      }
    }
  }

  #complexDepth(blocks: BlockHashes, count: number, holder: Holder, media: number): number {
    const { slots, windows } = holder;
    const runs = this.#runs;
    runs.fill(0, 0, slots.length);
    let best = 0;
    for (let depth = 0; depth < count; depth++) {
      const row = this.#row(blocks, depth);
      if (row === none) break;
      let whole = true;
      for (let group = 0; group < slots.length; group++) {
        const slot = slots[group] as number;
        if (slot === none) continue;
        const window = windows[group] as number;
        if (this.#has(row, slot, media)) runs[group]!++;
        else if (window === 0) return best;
        else runs[group] = 0;
        if (window !== 0 && (runs[group] as number) < Math.min(window, depth + 1)) whole = false;
      }
      if (whole) best = depth + 1;
    }
    return best;
  }

  #has(row: number, slot: number, media: number): boolean {
    const at = row * this.view.words() + (slot >> 5);
    let bits = this.view.routedBits()?.[at] ?? 0;
    for (let medium = 0; medium < media; medium++) bits |= this.view.bits[medium]?.[at] ?? 0;
    return (bits & (1 << (slot & 31))) !== 0;
  }

  /** The row of the block at `depth`, looked up once a walk. The one before must be there. */
  #row(blocks: BlockHashes, depth: number): number {
    if (depth < this.#resolved) return this.#rows[depth] as number;
    const parent = depth === 0 ? none : (this.#rows[depth - 1] as number);
    const row = this.view.table.get(parent, blocks, depth);
    this.#rows[depth] = row;
    this.#resolved = depth + 1;
    return row;
  }

  #settle(out: Float64Array, word: number, gone: number, depth: number): void {
    for (let bits = gone; bits !== 0; bits &= bits - 1) {
      const slot = (word << 5) + (31 - Math.clz32(bits & -bits));
      this.#better(out, this.#candidate[slot] as number, depth);
    }
  }

  #better(out: Float64Array, candidate: number, depth: number): void {
    if (depth > (out[candidate] as number)) out[candidate] = depth;
  }

  #room(candidates: number): MediaDepths {
    const { depths } = this;
    if (depths.device.length < candidates) {
      for (const level of ['device', 'host', 'storage'] as const) depths[level] = grown(depths[level], candidates * 2);
    }
    return depths;
  }
}
