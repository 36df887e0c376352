import type { Candidates, Column } from './contract.ts';
import { columns } from './contract.ts';

const roomMin = 16;

/** A reusable table of candidates: `reset`, then for each replica `add` and `set`. A column not set is unknown. */
export class CandidateTable implements Candidates {
  readonly ids: string[] = [];
  #room = 0;
  #values!: Record<Column, Float64Array>;
  #ages!: Record<Column, Float32Array>;

  constructor() {
    this.#grow(roomMin);
  }

  get count(): number {
    return this.ids.length;
  }

  reset(): void {
    this.ids.length = 0;
  }

  /** Index of the new candidate, all of whose columns are unknown. */
  add(id: string): number {
    const index = this.ids.length;
    if (index === this.#room) this.#grow(this.#room * 2);
    this.ids.push(id);
    for (const column of columns) {
      this.#values[column][index] = Number.NaN;
      this.#ages[column][index] = Number.NaN;
    }
    return index;
  }

  /** `ageMs` 0 is the caller's own count at this instant. */
  set(index: number, column: Column, value: number, ageMs = 0): void {
    this.#values[column][index] = value;
    this.#ages[column][index] = ageMs;
  }

  values(column: Column): Float64Array {
    return this.#values[column];
  }

  agesMs(column: Column): Float32Array {
    return this.#ages[column];
  }

  #grow(room: number): void {
    const values = {} as Record<Column, Float64Array>;
    const ages = {} as Record<Column, Float32Array>;
    for (const column of columns) {
      values[column] = new Float64Array(room);
      ages[column] = new Float32Array(room);
      if (this.#room === 0) continue;
      values[column].set(this.#values[column]);
      ages[column].set(this.#ages[column]);
    }
    this.#values = values;
    this.#ages = ages;
    this.#room = room;
  }
}
