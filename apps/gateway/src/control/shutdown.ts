import type { Environment } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import { controlLimits } from './limits.ts';

export interface StopStep {
  readonly name: string;
  readonly limitMs?: number;
  stop(): Promise<void>;
}

/** Stops parts in order, each within its time: one that hangs or fails is named and passed over. */
export class Shutdown {
  #running: Promise<void> | undefined;

  constructor(
    private readonly environment: Environment,
    private readonly log: (line: string) => void,
  ) {}

  get begun(): boolean {
    return this.#running !== undefined;
  }

  /** Asked again it is the same stop. */
  run(steps: readonly StopStep[]): Promise<void> {
    return (this.#running ??= this.#run(steps));
  }

  async #run(steps: readonly StopStep[]): Promise<void> {
    for (const { name, stop, limitMs = controlLimits.stopStepMsMax } of steps) {
      const late = Promise.withResolvers<void>();
      const timer = this.environment.timers.after(limitMs, () => {
        this.log(`stop: ${name} is not done after ${limitMs} ms; going on without it`);
        late.resolve();
      });
      const work = stop().catch((thrown: unknown) => this.log(`stop: ${name}: ${errorText(thrown)}`));
      await Promise.race([work, late.promise]);
      timer.cancel();
    }
  }
}
