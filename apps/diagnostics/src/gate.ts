import { CodedError } from '#libs/kernel';

/** Lets at most `max` in at once; the next one is refused and told so. */
export class Gate {
  #inside = 0;

  constructor(
    private readonly what: string,
    private readonly max: number,
  ) {}

  /** @throws DIAGNOSTICS_BUSY_UNAVAILABLE */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.max) {
      throw new CodedError('DIAGNOSTICS_BUSY_UNAVAILABLE', `${this.#inside} ${this.what} are being answered already`, {
        advice: 'Ask again when one of them has ended.',
      });
    }
    this.#inside++;
    try {
      return await work();
    } finally {
      this.#inside--;
    }
  }
}
