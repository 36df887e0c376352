import type { Environment, Timer } from '#libs/kernel';
import { SeededRng } from '#libs/kernel';
import type { Life, VirtualTime } from './virtual-time.ts';
import { simEpochMs } from './virtual-time.ts';

/**
 * A process that can be killed at any step. Each incarnation has its own life: its timers, its messages and the promises
 * that wait for them end with it, as after kill -9. What survives is what its world keeps for it (disk, database, log).
 */
export class SimProcess {
  life: Life;
  environment: Environment;
  incarnation = 0;
  skewMs = 0;
  /** Cut off from the broker and the database until then. */
  partitionedUntilMs = 0;
  readonly #seed: number;

  constructor(
    readonly name: string,
    private readonly time: VirtualTime,
    rng: SeededRng,
    /** Builds what runs in the process, for each incarnation anew. */
    private readonly boot: (process: SimProcess) => void,
  ) {
    this.#seed = rng.uint32();
    this.life = { alive: false, name };
    this.environment = this.#newEnvironment();
  }

  get isolated(): boolean {
    return this.time.nowMs < this.partitionedUntilMs;
  }

  start(): void {
    this.life = { alive: true, name: `${this.name}#${++this.incarnation}` };
    this.environment = this.#newEnvironment();
    this.boot(this);
  }

  kill(): void {
    this.life.alive = false;
  }

  #newEnvironment(): Environment {
    const { time, life } = this;
    const rng = new SeededRng(this.#seed + this.incarnation);
    const after = (delayMs: number, fn: () => void): Timer => {
      const event = time.at(delayMs, 'timer', life, fn);
      return { cancel: () => void (event.cancelled = true) };
    };
    return {
      clock: { nowMs: () => simEpochMs + time.nowMs + this.skewMs, monotonicMs: () => time.nowMs },
      timers: {
        after,
        every(periodMs, fn) {
          let timer: Timer;
          const again = (): void => {
            timer = after(periodMs, again);
            fn();
          };
          timer = after(periodMs, again);
          return { cancel: () => timer.cancel() };
        },
        sleep: (delayMs) => new Promise((resolve) => void time.at(delayMs, 'sleep', life, resolve)),
      },
      rng,
      ids: { uuid: () => `${rng.uint32().toString(16)}-${rng.uint32().toString(16)}` },
    };
  }
}
