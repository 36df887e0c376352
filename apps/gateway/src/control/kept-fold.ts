import type { FoldStatus, Head } from '#libs/event-log';
import { LogFold } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError, errorText } from '#libs/kernel';
import { controlLimits } from './limits.ts';

/**
 * A fold that is begun again while the log is away at its start. Once it follows, the fold itself waits for the log. What it cannot
 * decode halts it for good.
 */
export class KeptFold<State> {
  #fold: LogFold<State>;
  #caughtUp = false;
  #stopped = false;

  constructor(
    readonly name: string,
    private readonly make: () => LogFold<State>,
    private readonly environment: Environment,
    private readonly log: (line: string) => void,
  ) {
    this.#fold = make();
  }

  get state(): State {
    return this.#fold.state;
  }

  get seq(): number {
    return this.#fold.headSeq;
  }

  get status(): FoldStatus {
    return this.#fold.status;
  }

  /** Everything stored at the time of the start is folded. */
  get caughtUp(): boolean {
    return this.#caughtUp;
  }

  get failure(): CodedError | undefined {
    return this.#fold.failure;
  }

  get fromSnapshot(): boolean {
    return this.#fold.fromSnapshot;
  }

  get forked(): number {
    return this.#fold.counts.forked;
  }

  headOf(subject: string): Head {
    return this.#fold.headOf(subject);
  }

  /** Resolves when it has caught up. @throws what cannot get better, or FOLD_STOPPED */
  async start(): Promise<void> {
    let delayMs: number = controlLimits.retryMsMin;
    while (!this.#stopped) {
      try {
        await this.#fold.start();
        this.#caughtUp = true;
        return;
      } catch (thrown) {
        if (!(thrown instanceof CodedError) || /^(EVENT_|COMMIT_)/.test(thrown.code)) throw thrown;
        this.log(`the fold of ${this.name} cannot start: ${errorText(thrown)}; it goes on trying`);
      }
      await this.environment.timers.sleep(delayMs);
      delayMs = Math.min(delayMs * 2, controlLimits.retryMsMax);
      if (!this.#stopped) this.#fold = this.make();
    }
    throw new CodedError('FOLD_STOPPED', `the fold of ${this.name} was stopped`);
  }

  async waitFor(seq: number, timeoutMs: number): Promise<void> {
    await this.#fold.waitFor(seq, timeoutMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#caughtUp) {
      await this.#fold.saveSnapshot().catch((thrown: unknown) => {
        this.log(`no snapshot of ${this.name}: ${errorText(thrown)}; the next start folds from the beginning`);
      });
    }
    await this.#fold.stop();
  }
}
