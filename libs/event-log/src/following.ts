import type { Following } from './port.ts';

/**
 * Delivers what stands in an array-like source and then what is added to it, one at a time, awaiting the handler.
 * The source says by `wake()` that something may be there. Used by everything that follows memory.
 */
export class Pump<T> implements Following {
  readonly ended: Promise<void>;
  #stopped = false;
  #wake: (() => void) | undefined;

  constructor(
    private readonly next: () => T | undefined,
    private readonly handler: (item: T) => void | Promise<void>,
    private readonly onEnd: () => void,
  ) {
    this.ended = this.#run();
    // Whoever awaits `ended` gets the rejection; one that nobody awaits is not an unhandled one.
    this.ended.catch(() => {});
  }

  wake(): void {
    this.#wake?.();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.wake();
    await this.ended.catch(() => {});
  }

  async #run(): Promise<void> {
    try {
      // Nothing is delivered before whoever called has the Following in hand.
      await Promise.resolve();
      while (!this.#stopped) {
        const item = this.next();
        if (item !== undefined) {
          const handled = this.handler(item);
          if (handled !== undefined) await handled;
          continue;
        }
        const woken = Promise.withResolvers<void>();
        this.#wake = woken.resolve;
        await woken.promise;
        this.#wake = undefined;
      }
    } finally {
      this.onEnd();
    }
  }
}
