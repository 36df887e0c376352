/** Thrown inside, never out of the cutter: what our writers do not write is left to the generated code. */
export const unusual = new Error('not the usual form');

export const Wire = { Varint: 0, Fixed64: 1, Bytes: 2, Fixed32: 5 } as const;

export const frameLists: readonly number[] = [5, 6, 7];
export const recordLists: readonly number[] = [11, 12, 19];
export const pickLists: readonly number[] = [4, 11];

/** Fields in ascending order, each once but for lists: as every writer of ours has them. */
export function next(before: number, field: number, lists: readonly number[]): number {
  if (field > before || (field === before && lists.includes(field))) return field;
  throw unusual;
}

/** Place of `index` in the record's own dictionary, given on first use. */
export function place(places: Uint16Array, used: number[], index: number): number {
  if (index >= places.length) throw unusual;
  let own = places[index] as number;
  if (own === 0) {
    used.push(index);
    own = used.length;
    places[index] = own;
  }
  return own - 1;
}
