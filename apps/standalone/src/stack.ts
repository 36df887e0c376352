import type { Environment } from '#libs/kernel';
import { CodedError, errorText } from '#libs/kernel';

/** Past it a part is given up, so that a hung one cannot keep the others running. */
const stopMsMax = 40_000;

interface Part {
  readonly name: string;
  stop(): Promise<void>;
  /** For the last moment of a process: synchronous, without waiting. */
  kill?(): void;
}

/** What was started, stopped in the opposite order. */
export class Stack {
  readonly #parts: Part[] = [];
  #stopping: Promise<readonly string[]> | undefined;

  constructor(readonly environment: Pick<Environment, 'timers'>) {}

  add(part: Part): void {
    this.#parts.push(part);
  }

  /** Stops all; a second call waits for the first. Resolves to what went wrong, one line each. */
  stop(): Promise<readonly string[]> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<readonly string[]> {
    const problems: string[] = [];
    for (let part = this.#parts.at(-1); part !== undefined; part = this.#parts.at(-1)) {
      const { name } = part;
      const late = Promise.withResolvers<void>();
      const timer = this.environment.timers.after(stopMsMax, () =>
        late.reject(new CodedError('STOP_TIMEOUT', `not stopped after ${stopMsMax / 1000} s`)),
      );
      try {
        await Promise.race([part.stop(), late.promise]);
      } catch (error) {
        problems.push(`${name}: ${errorText(error)}`);
        part.kill?.();
      } finally {
        timer.cancel();
      }
      this.#parts.pop();
    }
    return problems;
  }

  /** At once, and without a word: the second signal. */
  kill(): void {
    for (const part of this.#parts.splice(0).toReversed()) {
      try {
        part.kill?.();
      } catch {
        // Gone already: nothing is left to end.
      }
    }
  }
}
