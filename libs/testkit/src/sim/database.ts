import type { SeededRng } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { Generation, Halt, Move, Opened, Projection, ProjectionStore, Row, Table } from '#libs/projections';
import type { Network, Server } from './network.ts';
import type { SimProcess } from './process.ts';
import type { VirtualTime } from './virtual-time.ts';

const downMsMax = 1_500;

/** What the simulated database server keeps; MemoryProjectionStore is one. */
export interface ServedStore extends ProjectionStore {
  rows(projection: Projection, table: Table): Row[];
  checkpoint(projection: Projection): { readonly seq: number };
}

/** The server: what it has taken it keeps, and it may be away for a while. */
export class DatabaseServer implements Server {
  readonly name = 'database';
  downUntilMs = 0;
  /** Something may have changed since the laws were looked at. */
  touched = false;
  /** Names of the projections whose tables are there. */
  readonly opened = new Set<string>();

  constructor(
    readonly store: ServedStore,
    private readonly time: VirtualTime,
    private readonly rng: SeededRng,
    private readonly network: Network,
  ) {}

  /** Runs a call, and dies before it or after it. */
  run<T>(call: () => Promise<T>, reply: (value: T) => void): void {
    if (this.#dies()) return;
    void call().then((value) => {
      this.touched = true;
      if (!this.#dies()) reply(value);
    });
  }

  #dies(): boolean {
    if (!this.network.strikes('database')) return false;
    this.downUntilMs = this.time.nowMs + this.rng.next() * downMsMax;
    return true;
  }
}

/** One process's connection to the database: each call may be lost on the way there or back. */
export class SimulatedDatabase implements ProjectionStore {
  constructor(
    private readonly process: SimProcess,
    private readonly server: DatabaseServer,
    private readonly network: Network,
  ) {}

  open(projection: Projection): Promise<Opened> {
    return this.#call(`open ${projection.name}`, (store) => {
      this.server.opened.add(projection.name);
      return store.open(projection);
    });
  }

  move(generation: Generation, move: Move): Promise<'moved' | 'fenced'> {
    return this.#call(`move ${generation.name} to ${move.toSeq}`, (store) => store.move(generation, move));
  }

  position(generation: Generation): Promise<{ readonly seq: number; readonly writer: string }> {
    return this.#call('position', (store) => store.position(generation));
  }

  async halt(generation: Generation, halt: Halt): Promise<void> {
    await this.#call('halt', (store) => store.halt(generation, halt).then(() => true));
  }

  async report(generation: Generation, headSeq: number): Promise<void> {
    await this.#call('report', (store) => store.report(generation, headSeq).then(() => true));
  }

  swap(projection: Projection, generation: Generation): Promise<'swapped' | 'behind'> {
    return this.#call('swap', (store) => store.swap(projection, generation));
  }

  async #call<T>(what: string, run: (store: ServedStore) => Promise<T>): Promise<T> {
    const { server } = this;
    const answer = await this.network.request<T>(this.process, server, `database: ${what}`, (reply) =>
      server.run(() => run(server.store), reply),
    );
    if (answer === undefined) throw new CodedError('DB_UNAVAILABLE', `simulated database: no answer to ${what}`);
    return answer;
  }
}
