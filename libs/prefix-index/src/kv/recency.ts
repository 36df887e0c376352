import { NumberMap } from '#libs/kernel';
import { grown } from './block-table.ts';

const none = -1;

/** Rows in the order of their last use, with its time. */
export class Recency {
  readonly #entries = new NumberMap();
  #row = new Int32Array(16);
  #newer = new Int32Array(16);
  #older = new Int32Array(16);
  #atMs = new Float64Array(16);
  #oldest = none;
  #newest = none;
  #free: number[] = [];
  #used = 0;

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#row.length * 20 + this.size * 36;
  }

  has(row: number): boolean {
    return this.#entries.get(row) !== none;
  }

  touch(row: number, atMs: number): void {
    let entry = this.#entries.get(row);
    if (entry === none) {
      entry = this.#free.pop() ?? this.#used++;
      if (entry >= this.#row.length) this.#grow();
      this.#row[entry] = row;
      this.#entries.set(row, entry);
    } else this.#unlink(entry);
    this.#atMs[entry] = atMs;
    this.#older[entry] = this.#newest;
    this.#newer[entry] = none;
    if (this.#newest === none) this.#oldest = entry;
    else this.#newer[this.#newest] = entry;
    this.#newest = entry;
  }

  delete(row: number): boolean {
    const entry = this.#entries.get(row);
    if (entry === none) return false;
    this.#unlink(entry);
    this.#entries.delete(row);
    this.#free.push(entry);
    return true;
  }

  /** -1 when there is none. */
  oldestRow(): number {
    return this.#oldest === none ? none : (this.#row[this.#oldest] as number);
  }

  oldestAtMs(): number {
    return this.#oldest === none ? Number.POSITIVE_INFINITY : (this.#atMs[this.#oldest] as number);
  }

  forEach(visit: (row: number) => void): void {
    for (let entry = this.#oldest; entry !== none; entry = this.#newer[entry] as number)
      visit(this.#row[entry] as number);
  }

  #unlink(entry: number): void {
    const older = this.#older[entry] as number;
    const newer = this.#newer[entry] as number;
    if (older === none) this.#oldest = newer;
    else this.#newer[older] = newer;
    if (newer === none) this.#newest = older;
    else this.#older[newer] = older;
  }

  #grow(): void {
    const room = this.#row.length * 2;
    this.#row = grown(this.#row, room);
    this.#newer = grown(this.#newer, room);
    this.#older = grown(this.#older, room);
    this.#atMs = grown(this.#atMs, room);
  }
}
