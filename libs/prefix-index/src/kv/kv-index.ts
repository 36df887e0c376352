import { CodedError, NumberMap } from '#libs/kernel';
import type { BlockHashes } from '../hash-blocks.ts';
import type { PrefixMatcher } from '../matcher.ts';
import { BlockTable, grown, none } from './block-table.ts';
import { groupOf, Holder, mediumOf, tagOf } from './holder.ts';
import { kvLimits, media, mediaCount, type Medium } from './limits.ts';
import { type MediaDepths, PrefixWalk } from './walk.ts';

export interface KvIndexOptions {
  readonly blocksMax?: number;
  readonly holdingsMax?: number;
  readonly speculativeMax?: number;
  readonly speculativeMs?: number;
}

/**
 * Which engine holds which block on which medium, as the engines' own events say it. A block is named by the local hash of all
 * tokens up to its end; holders are bits of its row, one column for each medium. Everything is in typed arrays.
 */
export class KvIndex implements PrefixMatcher {
  readonly #table = new BlockTable((rows) => this.#relay(rows, this.#words));
  /** Words of bits for each row. */
  #words = 1;
  /** By medium; those after the first come with their first block. */
  readonly #bits: (Uint32Array | undefined)[] = [new Uint32Array(1024), undefined, undefined];
  #routedBits: Uint32Array | undefined;
  /** Engine hashes beyond the first that stand for one row, slot and medium: rare, as when an adapter is loaded from another path. */
  readonly #more = new NumberMap();
  readonly #replicas = new Map<string, Holder[]>();
  readonly #freeSlots: number[] = [];
  #slotsUsed = 0;
  #holdings = 0;
  readonly #options: Required<KvIndexOptions>;
  readonly #walk: PrefixWalk;
  /** Where the blocks of one event stand. */
  readonly #one = new Float64Array(1);
  readonly #found = new Int32Array(kvLimits.blocksAtOnce);
  readonly #rows = new Int32Array(kvLimits.blocksAtOnce);
  /** Where the blocks of a prompt that is routed stand. */
  readonly #routedRows = new Int32Array(kvLimits.blocksPerPromptMax);
  /** What looks ahead saw: nothing reads it, but a look whose outcome goes nowhere may be left out by a compiler. */
  touched = 0;
  /** Blocks that found no room: the index claims less than there is, never more. */
  refused = 0;

  constructor(options: KvIndexOptions = {}) {
    this.#options = { ...kvLimits, ...options };
    this.#walk = new PrefixWalk({
      table: this.#table,
      bits: this.#bits,
      routedBits: () => this.#routedBits,
      words: () => this.#words,
      holders: (id) => this.#replicas.get(id),
    });
  }

  /** Distinct blocks. */
  get size(): number {
    return this.#table.size;
  }

  /** Blocks held, over all holders, media and groups. */
  get holdings(): number {
    return this.#holdings;
  }

  /** Of the arrays. What routing remembers beside them is bounded by `speculativeMax` for each holder. */
  get bytes(): number {
    let bytes = this.#table.bytes + (this.#routedBits?.byteLength ?? 0);
    for (const column of this.#bits) bytes += column?.byteLength ?? 0;
    for (const holder of this.holders()) bytes += holder.holdings.bytes + holder.routed.bytes;
    return bytes;
  }

  *holders(): Generator<Holder> {
    for (const list of this.#replicas.values()) yield* list;
  }

  /** @throws PREFIX_REPLICAS_TOO_MANY when its first group finds no slot */
  holder(replicaId: string, rank = 0): Holder {
    let list = this.#replicas.get(replicaId);
    if (list === undefined) this.#replicas.set(replicaId, (list = []));
    let holder = list.find((one) => one.rank === rank);
    if (holder === undefined) {
      holder = new Holder(replicaId, rank);
      holder.approximateBlocks = kvLimits.approximateBlocks;
      this.#group(holder, 0);
      list.push(holder);
    }
    return holder;
  }

  /** A KV group that looks back `windowBlocks` only; 0 for all. */
  setGroup(holder: Holder, group: number, windowBlocks: number): void {
    this.#group(holder, group);
    holder.windows[group] = windowBlocks;
  }

  /** The row of a block that the engine names, on any medium and in any group; -1 for one that it does not hold. */
  rowOf(holder: Holder, low: number, high: number): number {
    for (let group = 0; group < holder.slots.length; group++) {
      for (let medium = 0; medium < mediaCount; medium++) {
        const at = holder.holdings.find(low, high, tagOf(medium as Medium, group));
        if (at !== none) return holder.holdings.row(at);
      }
    }
    return none;
  }

  /** The engine stored a block of any place in any prompt, by its local hash. Its row, -1 where there is no room for it. */
  store(holder: Holder, low: number, high: number, medium: Medium, group: number, hash: number): number {
    this.#one[0] = hash;
    return this.#store(holder, low, high, medium, group, this.#one, 0, this.#table.getAny(this.#one, 0), none);
  }

  /** As `store`, of a block that the index has, by its row. */
  copy(holder: Holder, low: number, high: number, medium: Medium, group: number, row: number): number {
    this.#one[0] = this.hashAt(row);
    return this.#store(holder, low, high, medium, group, this.#one, 0, row, none);
  }

  /**
   * As `store`, of blocks that come behind each other: the engine's `words`, two for each block from block `first` on, and their
   * local `hashes[0, count)`. `parentRow` is that of the block before, -1 at the start of a prompt. How many found room: the first that
   * does not ends it.
   */
  storeRun(
    holder: Holder,
    words: Uint32Array,
    first: number,
    hashes: Float64Array,
    count: number,
    medium: Medium,
    group: number,
    parentRow: number,
  ): number {
    const { holdings } = holder;
    const table = this.#table;
    this.touched ^= holdings.touch(words, first, first + count) ^ holdings.touchFree(count) ^ table.touchFree(count);
    let parent = parentRow;
    for (let i = 0, word = first * 2; i < count; i++, word += 2) {
      const low = (words[word] as number) | 0;
      const high = (words[word + 1] as number) | 0;
      const row = table.get(parent, hashes, i);
      parent = this.#store(holder, low, high, medium, group, hashes, i, row, parent);
      if (parent === none) return i;
    }
    return count;
  }

  /**
   * `known`: the row of the block in `hashes[at]`, -1 where it has none yet and gets one behind `parent`. Numbers that are no small integers
   * would be boxed to be handed over, so hashes come as the array that they stand in.
   */
  #store(
    holder: Holder,
    low: number,
    high: number,
    medium: Medium,
    group: number,
    hashes: Float64Array,
    at: number,
    known: number,
    parent: number,
  ): number {
    const tag = tagOf(medium, group);
    const { holdings } = holder;
    let row = known;
    let behind = parent;
    const held = holdings.find(low, high, tag);
    if (held !== none) {
      if (row !== none && holdings.row(held) === row) {
        holdings.again(held);
        return row;
      }
      // The same engine hash for other tokens: the engine collided or restarted unseen. The newer word counts.
      while (!this.drop(holder, low, high, medium, group));
      if (behind !== none && this.hashAt(behind) === none) behind = none;
      if (row !== none && this.hashAt(row) === none) row = none;
    }
    if (this.#holdings >= this.#options.holdingsMax || (row === none && this.size >= this.#options.blocksMax)) {
      this.refused++;
      return none;
    }
    const slot = this.#group(holder, group);
    if (row === none) row = this.#table.add(hashes, at, behind);
    holdings.add(low, high, tag, row);
    this.#holdings++;
    if (this.#set(this.#column(medium), row, slot)) this.#count(row, slot, medium, 1);
    if (medium === media.gpu && this.#routedBits !== undefined) this.#unroute(holder, row, false);
    return row;
  }

  /** As `drop`, of many blocks. How many of them have another copy there, or were not known. */
  dropRun(holder: Holder, words: Uint32Array, medium: Medium, group: number): { copies: number; unknown: number } {
    const { holdings } = holder;
    const tag = tagOf(medium, group);
    const found = this.#found;
    const rows = this.#rows;
    let copies = 0;
    let unknown = 0;
    const blocks = words.length >> 1;
    for (let from = 0; from < blocks; from += kvLimits.blocksAtOnce) {
      const to = Math.min(blocks, from + kvLimits.blocksAtOnce);
      this.touched ^= holdings.touch(words, from, to) ^ holdings.touchEntries(words, from, to);
      for (let i = from; i < to; i++) {
        const at = holdings.find((words[i * 2] as number) | 0, (words[i * 2 + 1] as number) | 0, tag);
        found[i - from] = at;
        rows[i - from] = at === none ? none : holdings.row(at);
      }
      this.touched ^= this.#table.touch(rows, to - from);
      for (let i = from; i < to; i++) {
        const at = found[i - from] as number;
        // One that is named twice may be gone by now.
        if (at === none || !holdings.is(at, (words[i * 2] as number) | 0, (words[i * 2 + 1] as number) | 0, tag))
          unknown++;
        else if (!this.#dropAt(holder, at, medium, group)) copies++;
      }
    }
    return { copies, unknown };
  }

  /** The engine removed a block. True when it has no other copy there, or never had one that we know. */
  drop(holder: Holder, low: number, high: number, medium: Medium, group: number): boolean {
    const { holdings } = holder;
    const at = holdings.find(low, high, tagOf(medium, group));
    return at === none || this.#dropAt(holder, at, medium, group);
  }

  #dropAt(holder: Holder, at: number, medium: Medium, group: number): boolean {
    const { holdings } = holder;
    const row = holdings.row(at);
    if (!holdings.release(at)) return false;
    this.#holdings--;
    const slot = holder.slots[group] as number;
    if (!this.#count(row, slot, medium, -1)) this.#unset(this.#bits[medium], row, slot);
    if (medium === media.gpu) this.#unroute(holder, row, false);
    this.#tidy(row);
    return true;
  }

  /** The engine has nothing any more, or we know nothing of it. */
  clear(holder: Holder): void {
    holder.holdings.forEach((_low, _high, tag, row) => {
      const medium = mediumOf(tag);
      const slot = holder.slots[groupOf(tag)] as number;
      while (this.#count(row, slot, medium, -1));
      this.#unset(this.#bits[medium], row, slot);
      if (this.#table.hash[row] !== none && !holder.routed.has(row)) this.#tidy(row);
    });
    this.#holdings -= holder.holdings.size;
    holder.holdings.clear();
    while (holder.routed.size > 0) this.#unroute(holder, holder.routed.oldestRow(), true);
  }

  forgetReplica(replicaId: string): void {
    for (const holder of this.#replicas.get(replicaId) ?? []) {
      this.clear(holder);
      for (const slot of holder.slots) if (slot !== undefined && slot !== none) this.#freeSlots.push(slot);
    }
    this.#replicas.delete(replicaId);
  }

  /**
   * Speculative: the engine will have these blocks once it has worked the prompt through. The engine's own word takes their place;
   * without it they expire, or, where the engine tells nothing, the least recently used go beyond the number of its blocks.
   */
  insert(blocks: BlockHashes, replicaId: string, nowMs: number): void {
    const holder = this.#replicas.get(replicaId)?.[0] ?? this.holder(replicaId);
    this.#expire(holder, nowMs);
    const roomMax = this.#routedMax(holder);
    let depth = Math.min(blocks.length, roomMax, kvLimits.blocksPerPromptMax);
    const rows = this.#routedRows;
    let parent = none;
    for (let i = 0; i < depth; i++) {
      let row = this.#table.get(parent, blocks, i);
      if (row === none) {
        if (this.size >= this.#options.blocksMax) {
          this.refused += depth - i;
          depth = i;
          break;
        }
        row = this.#table.add(blocks, i, parent);
      }
      rows[i] = row;
      parent = row;
    }
    // From the end, so that the start of a prompt outlives its tail.
    while (--depth >= 0) {
      const row = rows[depth] as number;
      if (this.#held(holder, row)) continue;
      this.#routedBits ??= new Uint32Array((this.#bits[media.gpu] as Uint32Array).length);
      for (const slot of holder.slots) if (slot !== none) this.#set(this.#routedBits, row, slot);
      holder.routed.touch(row, nowMs);
    }
    while (holder.routed.size > roomMax) this.#unroute(holder, holder.routed.oldestRow(), true);
  }

  /** Lets go what was routed and never told. Also done, for its replica, at each `insert`. */
  expire(nowMs: number): void {
    for (const holder of this.holders()) this.#expire(holder, nowMs);
  }

  match(
    blocks: BlockHashes,
    replicaIds: readonly string[],
    out: Float64Array = new Float64Array(replicaIds.length),
  ): Float64Array {
    this.#walk.run(blocks, replicaIds);
    for (let i = 0; i < replicaIds.length; i++) out[i] = this.#walk.depths.storage[i] as number;
    return out;
  }

  /** As `match`, by medium. The arrays are the index's own: valid until the next call, and allocated by none. */
  matchMedia(blocks: BlockHashes, replicaIds: readonly string[]): MediaDepths {
    this.#walk.run(blocks, replicaIds);
    return this.#walk.depths;
  }

  /** Who holds one block, for people. */
  where(hash: number): { replicaId: string; rank: number; medium: Medium | 'routed'; group: number }[] {
    const row = this.#table.scan(hash);
    if (row === none) return [];
    const found: ReturnType<KvIndex['where']> = [];
    for (const { replicaId, rank, slots } of this.holders()) {
      for (const [group, slot] of slots.entries()) {
        if (slot === undefined || slot === none) continue;
        for (let medium = 0; medium < mediaCount; medium++) {
          if (this.#has(this.#bits[medium], row, slot)) {
            found.push({ replicaId, rank, medium: medium as Medium, group });
          }
        }
        if (this.#has(this.#routedBits, row, slot)) found.push({ replicaId, rank, medium: 'routed', group });
      }
    }
    return found;
  }

  /** The local hash of a row. */
  hashAt(row: number): number {
    return this.#table.hash[row] as number;
  }

  #routedMax(holder: Holder): number {
    return holder.exact ? this.#options.speculativeMax : holder.approximateBlocks;
  }

  #expire(holder: Holder, nowMs: number): void {
    if (!holder.exact) return;
    const untilMs = nowMs - this.#options.speculativeMs;
    while (holder.routed.oldestAtMs() <= untilMs) this.#unroute(holder, holder.routed.oldestRow(), true);
  }

  #held(holder: Holder, row: number): boolean {
    for (const slot of holder.slots) {
      if (slot !== none && !this.#has(this.#bits[media.gpu], row, slot)) return false;
    }
    return true;
  }

  #unroute(holder: Holder, row: number, tidy: boolean): void {
    // The bit says it sooner than the map does, and it is the same for each group.
    if (!this.#has(this.#routedBits, row, holder.slots[0] as number)) return;
    holder.routed.delete(row);
    for (const slot of holder.slots) if (slot !== none) this.#unset(this.#routedBits, row, slot);
    if (tidy) this.#tidy(row);
  }

  /** Frees the row that nobody holds. */
  #tidy(row: number): void {
    const words = this.#words;
    if (words === 1 && this.#onlyDevice) {
      if ((this.#bits[media.gpu] as Uint32Array)[row] === 0) this.#table.remove(row);
      return;
    }
    for (let word = row * words, end = word + words; word < end; word++) {
      if ((this.#routedBits?.[word] ?? 0) !== 0) return;
      for (let medium = 0; medium < mediaCount; medium++) {
        const column = this.#bits[medium];
        if (column !== undefined && column[word] !== 0) return;
      }
    }
    this.#table.remove(row);
  }

  get #onlyDevice(): boolean {
    return this.#routedBits === undefined && this.#bits[1] === undefined && this.#bits[2] === undefined;
  }

  #has(column: Uint32Array | undefined, row: number, slot: number): boolean {
    if (column === undefined) return false;
    return ((column[row * this.#words + (slot >> 5)] as number) & (1 << (slot & 31))) !== 0;
  }

  /** True when it was there already. */
  #set(column: Uint32Array, row: number, slot: number): boolean {
    const at = row * this.#words + (slot >> 5);
    const bit = 1 << (slot & 31);
    const was = ((column[at] as number) & bit) !== 0;
    column[at]! |= bit;
    return was;
  }

  #unset(column: Uint32Array | undefined, row: number, slot: number): void {
    if (column !== undefined) column[row * this.#words + (slot >> 5)]! &= ~(1 << (slot & 31));
  }

  /** Changes how many more engine hashes stand for the bit; false when there was none to take away. */
  #count(row: number, slot: number, medium: Medium, change: 1 | -1): boolean {
    if (change === -1 && this.#more.size === 0) return false;
    const key = (row * kvLimits.slotsMax + slot) * 4 + medium;
    const more = Math.max(0, this.#more.get(key));
    if (change === -1 && more === 0) return false;
    if (more + change === 0) this.#more.delete(key);
    else this.#more.set(key, more + change);
    return true;
  }

  #column(medium: Medium): Uint32Array {
    return (this.#bits[medium] ??= new Uint32Array((this.#bits[media.gpu] as Uint32Array).length));
  }

  #group(holder: Holder, group: number): number {
    const known = holder.slots[group];
    if (known !== undefined && known !== none) return known;
    if (group >= kvLimits.groupsMax) {
      throw new CodedError('PREFIX_GROUPS_TOO_MANY', `KV group ${group} of ${holder.replicaId}`, {
        advice: `At most ${kvLimits.groupsMax} groups of an engine can be told apart.`,
      });
    }
    const slot = this.#freeSlots.pop() ?? this.#slotsUsed++;
    if (slot >= kvLimits.slotsMax) {
      this.#slotsUsed = kvLimits.slotsMax;
      throw new CodedError('PREFIX_REPLICAS_TOO_MANY', `over ${kvLimits.slotsMax} KV caches in the prefix index`, {
        advice: 'Forget those that are gone.',
      });
    }
    while (holder.slots.length < group) {
      holder.slots.push(none);
      holder.windows.push(0);
    }
    holder.slots[group] = slot;
    holder.windows[group] = 0;
    if (slot >> 5 >= this.#words) this.#relay(this.#table.hash.length, Math.max(this.#words * 2, (slot >> 5) + 1));
    // What was routed is expected in every group.
    holder.routed.forEach((row) => void this.#set(this.#routedBits as Uint32Array, row, slot));
    return slot;
  }

  /** Columns for more rows, or more words a row. */
  #relay(rows: number, words: number): void {
    const laid = (from: Uint32Array): Uint32Array => {
      if (words === this.#words) return grown(from, rows * words);
      const to = new Uint32Array(rows * words);
      for (let row = 0; row < this.#table.rowsUsed; row++) {
        for (let word = 0; word < this.#words; word++) {
          to[row * words + word] = from[row * this.#words + word] as number;
        }
      }
      return to;
    };
    for (let medium = 0; medium < mediaCount; medium++) {
      const column = this.#bits[medium];
      if (column !== undefined) this.#bits[medium] = laid(column);
    }
    if (this.#routedBits !== undefined) this.#routedBits = laid(this.#routedBits);
    this.#words = words;
  }
}
