import type { Environment } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import type { Item, ItemSource, Projection } from './projection.ts';
import { projectionId } from './projection.ts';
import type { RunnerHooks, RunnerLimits, RunnerStatus } from './runner.ts';
import { ProjectionRunner } from './runner.ts';
import type { ProjectionStore } from './store.ts';

export interface HostEntry<I extends Item> {
  readonly projection: Projection<I>;
  readonly source: ItemSource<I>;
}

export interface ProjectionHostOptions {
  readonly store: ProjectionStore;
  readonly environment: Environment;
  readonly limits?: Partial<RunnerLimits>;
  readonly hooks?: (projection: string) => RunnerHooks;
  /** Says what a person should know: halts, takeovers, failed swaps. */
  readonly log?: (line: string, projection: string) => void;
}

/** A fenced projector looks again after this: the one that was ahead may have gone. */
const fencedRetryMs = 2_000;
/** How often a build under construction is looked at, and how near to the end of the stream it must be to be swapped in. */
const swapPollMs = 500;
const swapLagMax = 1_000;

interface Running {
  readonly id: string;
  runner: ProjectionRunner<Item>;
  ended: Promise<void>;
}

/**
 * Keeps projections running in one process: starts a fenced one again, and swaps in the tables of a newer version when they
 * have caught up. A halted one stays halted until `retry`.
 */
export class ProjectionHost {
  readonly #options: ProjectionHostOptions;
  readonly #running = new Map<string, Running>();
  readonly #entries = new Map<string, HostEntry<Item>>();
  readonly #swapping = new Set<string>();
  #stopping = false;
  readonly #stopped = Promise.withResolvers<void>();

  constructor(options: ProjectionHostOptions) {
    this.#options = options;
  }

  start<I extends Item>(entry: HostEntry<I>): void {
    const id = projectionId(entry.projection);
    this.#entries.set(id, entry as unknown as HostEntry<Item>);
    this.#launch(id);
  }

  statuses(): RunnerStatus[] {
    return [...this.#running.values()].map(({ runner }) => runner.status);
  }

  /** Starts a halted projection again at its checkpoint, after its cause was mended. */
  async retry(id: string): Promise<void> {
    const running = this.#running.get(id);
    if (running === undefined || running.runner.status.state !== 'halted') return;
    await running.ended;
    this.#launch(id);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#stopped.resolve();
    await Promise.all(
      [...this.#running.values()].map(async ({ runner, ended }) => {
        await runner.stop();
        await ended;
      }),
    );
  }

  #launch(id: string): void {
    const running: Running = { id, runner: this.#runner(id), ended: Promise.resolve() };
    this.#running.set(id, running);
    running.ended = this.#keep(running);
  }

  #runner(id: string): ProjectionRunner<Item> {
    const { store, environment, limits, hooks } = this.#options;
    const entry = this.#entries.get(id) as HostEntry<Item>;
    const optional = {
      ...(limits === undefined ? {} : { limits }),
      ...(hooks === undefined ? {} : { hooks: hooks(id) }),
    };
    return new ProjectionRunner({ ...entry, store, environment, ...optional });
  }

  async #keep(running: Running): Promise<void> {
    const { environment, log } = this.#options;
    for (;;) {
      const swapper = environment.timers.every(swapPollMs, () => void this.#swapWhenNear(running));
      const status = await running.runner.start();
      swapper.cancel();
      if (status.state === 'halted') log?.(`halted at ${status.halt?.seq}: ${status.halt?.reason}`, running.id);
      if (status.state !== 'fenced' || this.#stopping) return;
      log?.('another projector is ahead; looking again soon', running.id);
      await Promise.race([environment.timers.sleep(fencedRetryMs), this.#stopped.promise]);
      if (this.#stopping) return;
      running.runner = this.#runner(running.id);
    }
  }

  async #swapWhenNear(running: Running): Promise<void> {
    const { runner, id } = running;
    const { phase, seq, headSeq, generation } = runner.status;
    if (phase !== 'building' || generation === undefined || this.#swapping.has(id)) return;
    if (seq === undefined || headSeq === undefined || headSeq - seq > swapLagMax) return;
    this.#swapping.add(id);
    try {
      const { projection } = this.#entries.get(id) as HostEntry<Item>;
      const outcome = await this.#options.store.swap(projection, generation);
      if (outcome === 'swapped') {
        runner.wentLive();
        this.#options.log?.('caught up; readers now see these tables', id);
      }
    } catch (error) {
      this.#options.log?.(`could not be swapped in yet: ${errorText(error)}`, id);
    } finally {
      this.#swapping.delete(id);
    }
  }
}
