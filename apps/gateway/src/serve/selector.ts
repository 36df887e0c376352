import type { Selector } from '#libs/domain/route';
import { parseSelector } from '#libs/domain/route';

export type { Selector } from '#libs/domain/route';

const selectorsCachedMax = 256;

/** Parsed selectors by their text, the oldest forgotten first. */
export class Selectors {
  readonly #known = new Map<string, Selector>();

  constructor(readonly lengthMax: number) {}

  of(text: string): Selector | undefined {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const parsed = parseSelector(text, this.lengthMax);
    if (parsed === undefined) return undefined;
    if (this.#known.size >= selectorsCachedMax) this.#known.delete(this.#known.keys().next().value as string);
    this.#known.set(text, parsed);
    return parsed;
  }
}
