import { Holdings } from './holdings.ts';
import type { Medium } from './limits.ts';
import { Recency } from './recency.ts';

/** Medium and KV group in eight bits. */
export const tagOf = (medium: Medium, group: number): number => medium | (group << 2);
export const mediumOf = (tag: number): Medium => (tag & 3) as Medium;
export const groupOf = (tag: number): number => tag >> 2;

/** One KV cache: a replica, or one data-parallel rank of it. Made and changed by `KvIndex`. */
export class Holder {
  readonly holdings = new Holdings();
  /** What was routed here, by row. */
  readonly routed = new Recency();
  /** The bit of each KV group; a gap is a group not heard of. */
  readonly slots: number[] = [];
  /** Blocks that a group's attention looks back, 0 for all. */
  readonly windows: number[] = [];
  /**
   * False: what the engine holds is not known, or in part; what was routed is then remembered until `approximateBlocks` push it
   * out. True: the engine tells everything, and what was routed expires by itself.
   */
  exact = false;
  approximateBlocks = 0;
  /** Of all groups; 0 until an event says it. */
  blockSize = 0;

  constructor(
    readonly replicaId: string,
    readonly rank: number,
  ) {}

  /** A prompt's blocks count only where every group has what it needs: one with windows, or with several groups, is walked by itself. */
  get simple(): boolean {
    return this.slots.length === 1 && this.windows[0] === 0;
  }
}
