import type { Clock, Timers } from '#libs/kernel';

const progressEveryMs = 5_000;
const labelWidth = 14;

/** Start-up as a person reads it: one line for each step with its duration; a long step says that it goes on. */
export class Progress {
  constructor(
    readonly clock: Clock,
    readonly timers: Timers,
    readonly write: (text: string) => void,
    /** Ends the start between two steps, once somebody wants it stopped. */
    readonly throwIfStopped: () => void = () => {},
  ) {}

  /** Runs a step; `describe` turns its result into the line's text. A failure is printed and thrown on. */
  async step<T>(
    label: string,
    work: (say: (text: string) => void) => Promise<T>,
    describe: (result: T) => string,
  ): Promise<T> {
    this.throwIfStopped();
    const fromMs = this.clock.monotonicMs();
    const duration = (): string => `${((this.clock.monotonicMs() - fromMs) / 1000).toFixed(1)} s`;
    let latest = '';
    const going = this.timers.every(progressEveryMs, () =>
      this.write(`  … ${label.padEnd(labelWidth)} ${latest} (${duration()})\n`),
    );
    try {
      const result = await work((text) => {
        latest = text;
      });
      this.throwIfStopped();
      this.write(`  ✓ ${label.padEnd(labelWidth)} ${describe(result).padEnd(49)} ${duration().padStart(8)}\n`);
      return result;
    } catch (error) {
      this.write(`  ✗ ${label.padEnd(labelWidth)} after ${duration()}\n`);
      throw error;
    } finally {
      going.cancel();
    }
  }
}
