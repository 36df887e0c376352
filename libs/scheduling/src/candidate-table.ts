import type { Candidates, Column } from './contract.ts';
import { columnIndex, columns } from './contract.ts';

const roomMin = 16;

/** A reusable table of candidates: `reset`, then for each replica `add` and `set`. A column not set is unknown. */
export class CandidateTable implements Candidates {
  readonly ids: string[] = [];
  #room = 0;
  /** By column; NaN in all rows that are not in use, so that adding a row costs nothing. */
  readonly #values: Float64Array[] = [];
  readonly #ages: Float32Array[] = [];
  /** 1 for each column that may hold something: a pick writes a few of many. */
  readonly #written = new Uint8Array(columns.length);

  constructor() {
    this.#grow(roomMin);
  }

  get count(): number {
    return this.ids.length;
  }

  reset(): void {
    const { length } = this.ids;
    this.ids.length = 0;
    for (let column = 0; column < columns.length; column++) {
      if (this.#written[column] === 0) continue;
      this.#written[column] = 0;
      const values = this.#values[column] as Float64Array;
      const ages = this.#ages[column] as Float32Array;
      // Of a few rows, which most picks have, a loop costs less than two calls.
      for (let row = 0; row < length; row++) values[row] = ages[row] = Number.NaN;
    }
  }

  /** Index of the new candidate, all of whose columns are unknown. */
  add(id: string): number {
    const index = this.ids.length;
    if (index === this.#room) this.#grow(this.#room * 2);
    this.ids.push(id);
    return index;
  }

  /** `ageMs` 0 is the caller's own count at this instant. */
  set(index: number, column: Column, value: number, ageMs = 0): void {
    this.put(index, columnIndex[column], value, ageMs);
  }

  /** The same by the column's place in `columnIndex`. */
  put(index: number, column: number, value: number, ageMs: number): void {
    this.#written[column] = 1;
    (this.#values[column] as Float64Array)[index] = value;
    (this.#ages[column] as Float32Array)[index] = ageMs;
  }

  /** May be written into, as `agesMs`. */
  values(column: Column): Float64Array {
    const index = columnIndex[column];
    this.#written[index] = 1;
    return this.#values[index] as Float64Array;
  }

  agesMs(column: Column): Float32Array {
    const index = columnIndex[column];
    this.#written[index] = 1;
    return this.#ages[index] as Float32Array;
  }

  #grow(room: number): void {
    for (let column = 0; column < columns.length; column++) {
      const values = new Float64Array(room).fill(Number.NaN);
      const ages = new Float32Array(room).fill(Number.NaN);
      if (this.#room > 0) {
        values.set(this.#values[column] as Float64Array);
        ages.set(this.#ages[column] as Float32Array);
      }
      this.#values[column] = values;
      this.#ages[column] = ages;
    }
    this.#room = room;
  }
}
