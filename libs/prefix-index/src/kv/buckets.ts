const empty = 0;
const removed = 1;
/** Slots count from 0; the words of the first two would be mistaken for what is none. */
const first = 2;
const roomMin = 64;

/**
 * The part of a hash table that is looked at without order: one word for each bucket, so that as much of it as can be is in a processor's
 * caches. A word is the slot in the owner's arrays, and the hash's bits above those of the slot: what differs in them is passed over without
 * a look at the owner. At most half full, and of what was removed at most a quarter.
 */
export class Buckets {
  words = new Int32Array(roomMin);
  mask = roomMin - 1;
  /** The bits of a word that are its slot. */
  slotMask = roomMin - 1;
  /** Buckets that are not empty. */
  #used = 0;

  get bytes(): number {
    return this.words.byteLength;
  }

  /** The slot of a word, negative where there is none. */
  slot(word: number): number {
    return (word & this.slotMask) - first;
  }

  place(hash: number, slot: number): void {
    const { words, mask, slotMask } = this;
    let at = hash & mask;
    while ((words[at] as number) >>> 1 !== 0) at = (at + 1) & mask;
    if (words[at] === empty) this.#used++;
    words[at] = (hash & ~slotMask) | (slot + first);
  }

  remove(hash: number, slot: number): void {
    const { words, mask, slotMask } = this;
    const word = (hash & ~slotMask) | (slot + first);
    let at = hash & mask;
    while (words[at] !== word) at = (at + 1) & mask;
    if (words[(at + 1) & mask] !== empty) {
      words[at] = removed;
      return;
    }
    // Nothing is looked for beyond here, so that what was removed before need not be passed over any more either.
    do {
      words[at] = empty;
      this.#used--;
      at = (at - 1) & mask;
    } while (words[at] === removed);
  }

  /** How many buckets there should be before one more than `live` is placed; 0: as it is. */
  roomFor(live: number): number {
    const room = this.mask + 1;
    if ((live + 1) * 2 > room) return room * 2;
    return this.#used * 4 >= room * 3 ? room : 0;
  }

  /** Slots below `slots` can be placed. */
  fits(slots: number): boolean {
    return slots + first <= this.slotMask + 1;
  }

  /** Empty, with so many buckets, a power of two, for slots below `slots`. */
  reset(room: number = roomMin, slots = 0): void {
    this.words = new Int32Array(room);
    this.mask = room - 1;
    this.slotMask = Math.max(room - 1, 2 ** (32 - Math.clz32(slots + first - 1)) - 1);
    this.#used = 0;
  }
}
