import { CodedError } from '#libs/kernel';

/** Lets a bounded number of publishes be under way; the next ones wait, bounded as well. */
export class Window {
  #used = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    private readonly size: number,
    private readonly waitingMax: number,
    private readonly fullCode: string,
  ) {}

  get used(): number {
    return this.#used;
  }

  /** Undefined where there is room at once, so that the common case costs no turn of the event loop. */
  enter(): Promise<void> | undefined {
    if (this.#used < this.size) {
      this.#used++;
      return undefined;
    }
    if (this.#waiting.length >= this.waitingMax) {
      throw new CodedError(this.fullCode, `${this.size} publishes are under way and ${this.waitingMax} wait`, {
        advice: 'The broker is slower than the writers: try again later.',
      });
    }
    return new Promise((admitted) => this.#waiting.push(admitted));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#used--;
    else next();
  }
}
