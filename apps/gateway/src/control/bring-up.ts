import type { Environment } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import { controlLimits } from './limits.ts';

/** Something that needs the broker to begin. `start` may be called again after it threw. */
export interface Step {
  readonly name: string;
  start(): Promise<void>;
}

/** Starts steps one after the other, each as often as it takes; what cannot get better ends it and says so. */
export class BringUp {
  /** What it is at; undefined when all is up. */
  missing: string | undefined;
  lastError = '';
  #stopped = false;

  constructor(
    private readonly steps: readonly Step[],
    private readonly environment: Environment,
    private readonly log: (line: string) => void,
    private readonly isFinal: (thrown: unknown) => boolean,
  ) {
    this.missing = steps[0]?.name;
  }

  async run(): Promise<void> {
    for (const step of this.steps) {
      this.missing = step.name;
      if (!(await this.#start(step))) return;
    }
    this.missing = undefined;
  }

  stop(): void {
    this.#stopped = true;
  }

  async #start(step: Step): Promise<boolean> {
    let delayMs: number = controlLimits.retryMsMin;
    while (!this.#stopped) {
      try {
        await step.start();
        return true;
      } catch (thrown) {
        this.lastError = errorText(thrown);
        if (this.#stopped) return false;
        this.log(`${step.name}: ${this.lastError}${this.isFinal(thrown) ? '' : '; trying again'}`);
        if (this.isFinal(thrown)) return false;
      }
      await this.environment.timers.sleep(delayMs);
      delayMs = Math.min(delayMs * 2, controlLimits.retryMsMax);
    }
    return false;
  }
}
