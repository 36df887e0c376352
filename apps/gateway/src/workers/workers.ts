import type { Environment } from '#libs/kernel';
import { CodedError, errorText } from '#libs/kernel';
import { workerLimits as limits } from './limits.ts';
import { mergedMetrics } from './merged-metrics.ts';
import type { WorkerMetrics } from './merged-metrics.ts';
import { WorkerProcess } from './worker-process.ts';

/** A gateway of the supervising process itself, that serves the same port. */
export interface LocalWorker {
  readonly name: string;
  metrics(): Promise<string>;
}

export interface WorkersOptions {
  readonly count: number;
  /** The first of these names is `<instance>-w<first>`. */
  readonly first?: number;
  readonly instance: string;
  /** What a worker runs, and with which flags. */
  readonly main: string;
  readonly args: (name: string) => readonly string[];
  readonly variables: NodeJS.ProcessEnv;
  readonly environment: Environment;
  readonly say: (line: string) => void;
  readonly output?: (text: string) => void;
  /** One of the workers applies the configuration file; none where somebody else does. */
  readonly applies: boolean;
  readonly local?: LocalWorker;
}

/** One place among the workers. */
interface Slot {
  readonly name: string;
  readonly applies: boolean;
  readonly deaths: number[];
  worker: WorkerProcess;
}

/** Processes that share a port: started, looked after, replaced without a refused connection, stopped together. */
export class Workers {
  readonly #options: WorkersOptions;
  readonly #slots: Slot[] = [];
  /** Replaced, and not yet done with their requests. */
  readonly #leaving = new Set<WorkerProcess>();
  #stopping = false;
  #replacing: Promise<void> | undefined;
  #restarts = 0;

  constructor(options: WorkersOptions) {
    this.#options = options;
  }

  get pids(): readonly number[] {
    return this.#slots.map(({ worker }) => worker.pid ?? -1);
  }

  get url(): string {
    return this.#slots[0]?.worker.url ?? '';
  }

  /** Resolves when all serve. `firstServes`: the first of them does. @throws where one ends before it does */
  async start(firstServes: () => Promise<void> = async () => {}): Promise<void> {
    const { count, instance, applies, first = 1 } = this.#options;
    for (let index = 0; index < count; index++) {
      const name = `${instance}-w${first + index}`;
      const leads = applies && index === 0;
      // The first one answers at once, also that it is not ready; the others join when they are.
      const worker = this.#spawn(name, leads, index > 0 || !applies);
      const slot: Slot = { name, applies: leads, deaths: [], worker };
      this.#slots.push(slot);
    }
    try {
      await this.#slots[0]?.worker.serving.finally(firstServes);
      await Promise.all(this.#slots.map(({ worker }) => worker.serving));
    } catch (cause) {
      if (this.#stopping) throw new CodedError('STOPPED', 'stopped while the workers were starting');
      throw new CodedError('WORKER_ENDED', `a worker ${errorText(cause)} before it served`, {
        advice: 'What it said stands above.',
        cause,
      });
    }
    for (const slot of this.#slots) void this.#watch(slot, slot.worker);
  }

  /** Each is replaced in turn by a new process, which takes over its socket, and ends when its requests have. Asked again meanwhile it is the same. */
  async replaceAll(): Promise<void> {
    this.#replacing ??= this.#replaceAll().finally(() => (this.#replacing = undefined));
    await this.#replacing;
  }

  /** The metrics of all of them, each sample with its `worker`. */
  async scrape(): Promise<string> {
    const { local } = this.#options;
    const workers = [...this.#slots.map(({ worker }) => worker), ...this.#leaving];
    const all = await Promise.all<WorkerMetrics>([
      ...(local === undefined ? [] : [local.metrics().then((text) => ({ worker: local.name, text }))]),
      ...workers.map(async (worker) => ({ worker: worker.name, text: await worker.metrics() })),
    ]);
    const help = '# HELP lintel_gateway_worker_restarts_total Workers that died and were started again.';
    return `${mergedMetrics(all)}${help}\n# TYPE lintel_gateway_worker_restarts_total counter\nlintel_gateway_worker_restarts_total ${this.#restarts}\n`;
  }

  /** Drains all. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all([...this.#slots.map(({ worker }) => worker), ...this.#leaving].map((worker) => worker.stop()));
  }

  kill(): void {
    this.#stopping = true;
    for (const worker of [...this.#slots.map((slot) => slot.worker), ...this.#leaving]) worker.kill('SIGKILL');
  }

  #spawn(name: string, applies: boolean, whenReady: boolean, socket?: object): WorkerProcess {
    const { main, args, variables, environment, output } = this.#options;
    return new WorkerProcess(
      name,
      { main, args: args(name), variables, environment, output, scrape: async () => await this.scrape() },
      { kind: 'start', applies, whenReady, handed: socket !== undefined },
      socket,
    );
  }

  /** Starts a worker again that died in its place, as often as it takes. */
  async #watch(slot: Slot, worker: WorkerProcess): Promise<void> {
    const { environment, say } = this.#options;
    const how = await worker.ended;
    if (this.#stopping || slot.worker !== worker) return;
    const nowMs = environment.clock.monotonicMs();
    slot.deaths.push(nowMs);
    while (nowMs - (slot.deaths[0] as number) > limits.restartWindowMs) slot.deaths.shift();
    const delayMs = Math.min(limits.restartDelayMsMax, limits.restartDelayMsMin * 2 ** (slot.deaths.length - 1));
    this.#restarts++;
    say(`${worker.name} died (${how}) and is started again in ${delayMs} ms`);
    await environment.timers.sleep(delayMs);
    if (this.#stopping || slot.worker !== worker) return;
    slot.worker = this.#spawn(worker.name, slot.applies, true);
    void this.#watch(slot, slot.worker);
  }

  async #replaceAll(): Promise<void> {
    for (const slot of this.#slots) {
      if (this.#stopping) return;
      await this.#replace(slot).catch((thrown: unknown) => {
        this.#options.say(`${slot.worker.name} stays: its successor is not there: ${errorText(thrown)}`);
      });
    }
  }

  async #replace(slot: Slot): Promise<void> {
    const { environment, say } = this.#options;
    const old = slot.worker;
    const socket = await old.socket();
    const successor = this.#spawn(this.#freeName(slot), slot.applies, true, socket);
    const late = Promise.withResolvers<never>();
    const timer = environment.timers.after(limits.replaceMsMax, () =>
      late.reject(new Error(`it did not serve within ${limits.replaceMsMax} ms`)),
    );
    try {
      await Promise.race([successor.serving, late.promise]);
    } catch (thrown) {
      successor.ending = true;
      successor.kill('SIGKILL');
      throw thrown;
    } finally {
      timer.cancel();
      // Ours was only passed on.
      (socket as { close?(): void }).close?.();
    }
    slot.worker = successor;
    void this.#watch(slot, successor);
    this.#leaving.add(old);
    void old.ended.then(() => this.#leaving.delete(old));
    old.leave();
    say(`${old.name} is replaced by ${successor.name}`);
  }

  /** Each process that lives has a name of its own: its spool, its leases and its records go by it. */
  #freeName({ name, worker }: Slot): string {
    const taken = new Set([worker, ...this.#leaving].map((each) => each.name));
    for (let index = 0; ; index++) {
      const free = index === 0 ? name : `${name}${String.fromCodePoint(0x61 + (index % 26))}`;
      if (!taken.has(free)) return free;
      if (index > limits.generationsMax) throw new Error(`${index} predecessors still serve`);
    }
  }
}
