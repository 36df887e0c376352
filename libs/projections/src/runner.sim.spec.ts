import { describe, expect, test } from '@jest/globals';
import type { StoredCommit } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError, Heap, SeededRng } from '#libs/kernel';
import type { Generation, ItemSource, Move, Projection, ProjectionStore } from '#libs/projections';
import {
  commits,
  commitTable,
  headTable,
  MemoryProjectionStore,
  ProjectionRunner,
  replicas,
  replicaTable,
  Changes,
} from '#libs/projections';
import { sampleLog } from '#libs/testkit';

/** Virtual time: what sleeps wakes in the order of (time, order). */
class World {
  nowMs = 1_800_000_000_000;
  steps = 0;
  /** The database did something since the law was looked at. */
  touched = true;
  readonly rng: SeededRng;
  readonly #queue = new Heap<{ atMs: number; order: number; fn: () => void; cancelled: boolean }>(
    (a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order),
  );
  #order = 0;

  constructor(seed: number) {
    this.rng = new SeededRng(seed);
  }

  after(delayMs: number, fn: () => void): { cancel: () => void } {
    const event = { atMs: this.nowMs + delayMs, order: this.#order++, fn, cancelled: false };
    this.#queue.push(event);
    return { cancel: () => void (event.cancelled = true) };
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((done) => this.after(delayMs, done));
  }

  readonly environment: Environment = {
    clock: { nowMs: () => this.nowMs, monotonicMs: () => this.nowMs },
    timers: {
      after: (delayMs, fn) => this.after(delayMs, fn),
      every: (periodMs, fn) => {
        let timer = { cancel: (): void => {} };
        const again = (): void => {
          timer = this.after(periodMs, () => (again(), fn()));
        };
        again();
        return { cancel: () => timer.cancel() };
      },
      sleep: (delayMs) => this.sleep(delayMs),
    },
    rng: { next: () => this.rng.next(), uint32: () => this.rng.uint32() },
    ids: { uuid: () => `w${this.rng.uint32()}` },
  };

  /** One event, and all that it settles. */
  async step(): Promise<void> {
    const event = this.#queue.pop();
    if (event !== undefined && !event.cancelled) {
      this.nowMs = Math.max(this.nowMs, event.atMs);
      this.steps++;
      event.fn();
    }
    // A tick comes once the promises that the event settled have run out.
    await new Promise<void>((done) => process.nextTick(done));
  }
}

interface Faults {
  on: boolean;
  readonly lostRequest: number;
  readonly lostAnswer: number;
  readonly sourceEnds: number;
}

/** A database behind a network: requests and answers get lost, and a process that died hears nothing any more. */
class FaultyStore implements ProjectionStore {
  constructor(
    readonly inner: ProjectionStore,
    readonly world: World,
    readonly faults: Faults,
    readonly life: { alive: boolean },
  ) {}

  async #call<T>(work: () => Promise<T>): Promise<T> {
    const { world, faults } = this;
    await world.sleep(world.rng.below(20));
    if (faults.on && world.rng.chance(faults.lostRequest)) throw new CodedError('DB_UNAVAILABLE', 'lost request');
    const working = work();
    world.touched = true;
    const answer = await working;
    world.touched = true;
    await world.sleep(world.rng.below(20));
    if (!this.life.alive) await new Promise(() => {});
    if (faults.on && world.rng.chance(faults.lostAnswer)) throw new CodedError('DB_UNAVAILABLE', 'lost answer');
    return answer;
  }

  open: ProjectionStore['open'] = (projection) => this.#call(() => this.inner.open(projection));
  move: ProjectionStore['move'] = (generation, move) => this.#call(() => this.inner.move(generation, move));
  position: ProjectionStore['position'] = (generation) => this.#call(() => this.inner.position(generation));
  halt: ProjectionStore['halt'] = (generation, halt) => this.#call(() => this.inner.halt(generation, halt));
  report: ProjectionStore['report'] = (generation, headSeq) => this.#call(() => this.inner.report(generation, headSeq));
  swap: ProjectionStore['swap'] = (projection, generation) => this.#call(() => this.inner.swap(projection, generation));
}

/** Checkpoint and rows in two steps: what the guarded statement is there to prevent. */
class TornStore extends MemoryProjectionStore {
  constructor(readonly world: World) {
    super();
  }

  override async move(generation: Generation, move: Move): Promise<'moved' | 'fenced'> {
    const nothing = new Changes();
    const outcome = await super.move(generation, { ...move, changes: nothing });
    if (outcome === 'fenced' || this.world.rng.chance(0.1)) return outcome;
    const { seq } = await this.position(generation);
    return await super.move(generation, { ...move, fromSeq: seq, toSeq: seq });
  }
}

function source(
  log: readonly StoredCommit[],
  world: World,
  faults: Faults,
  life: { alive: boolean },
): ItemSource<StoredCommit> {
  return {
    lastSeq: async () => log.length,
    follow: async ({ fromSeq }, handler) => {
      const until = { stopped: false };
      const run = async (): Promise<void> => {
        // A log may deliver again what it delivered before; never out of order.
        for (let seq = Math.max(1, fromSeq - world.rng.below(3)); seq <= log.length && !until.stopped; seq++) {
          if (world.rng.chance(0.3)) await world.sleep(world.rng.below(10));
          if (!life.alive) return;
          if (faults.on && world.rng.chance(faults.sourceEnds)) throw new CodedError('LOG_UNAVAILABLE', 'cut off');
          await handler(log[seq - 1] as StoredCommit);
        }
        await new Promise(() => {});
      };
      const ended = run();
      ended.catch(() => {});
      return { ended, stop: async () => void (until.stopped = true) };
    },
  };
}

/** Real chains with forked commits in between. */
function history(rng: SeededRng): StoredCommit[] {
  const real = sampleLog(40, 3);
  const log: StoredCommit[] = [];
  const seqs = new Map<string, number>();
  for (const commit of real) {
    if (rng.chance(0.15)) {
      const fork = { ...commit, commitId: `fork-${commit.commitId}`, prevHash: 'f0', hash: 'f1' };
      log.push({ ...fork, seq: log.length + 1 });
    }
    log.push({ ...commit, seq: log.length + 1 });
    seqs.set(commit.subject, log.length);
  }
  return log;
}

const tables = { commits: [commitTable, headTable], replicas: [replicaTable, headTable] } as const;

function rowsOf(projection: Projection<StoredCommit>, store: MemoryProjectionStore): string {
  const of = tables[projection.name as keyof typeof tables];
  return JSON.stringify(
    of.map((table) =>
      store.rows(projection as Projection, table).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
    ),
  );
}

/** Rows after each prefix of the log, folded in one go. */
async function truth(projection: Projection<StoredCommit>, log: readonly StoredCommit[]): Promise<string[]> {
  const store = new MemoryProjectionStore();
  const { generation } = await store.open(projection as Projection);
  const rows = [rowsOf(projection, store)];
  const fold = projection.begin(new Map(), 0);
  for (const item of log) {
    const changes = new Changes();
    fold.apply([item], changes);
    const { seq } = item;
    await store.move(generation, { fromSeq: seq - 1, toSeq: seq, writer: '', changes, items: 1, headSeq: seq });
    rows.push(rowsOf(projection, store));
  }
  return rows;
}

async function run(seed: number, makeStore: (world: World) => MemoryProjectionStore): Promise<string | undefined> {
  const world = new World(seed);
  const { rng } = world;
  const projection = rng.chance(0.5) ? commits : replicas;
  const log = history(rng);
  const expected = await truth(projection, log);
  // Swarm: each run switches whole kinds of faults off.
  const rate = (most: number): number => (rng.chance(0.5) ? most * rng.next() : 0);
  const faults: Faults = { on: true, lostRequest: rate(0.2), lostAnswer: rate(0.2), sourceEnds: rate(0.1) };
  const crashes = rate(0.05);
  const inner = makeStore(world);
  await inner.open(projection as Projection);
  const limits = { batchItemsMax: 1 + rng.below(8), bufferItemsMax: 8 + rng.below(8), reportMs: 50 };
  const lives: { alive: boolean; done: boolean }[] = [];
  const launch = (): void => {
    const life = { alive: true, done: false };
    lives.push(life);
    const store = new FaultyStore(inner, world, faults, life);
    const runner = new ProjectionRunner({
      projection,
      source: source(log, world, faults, life),
      store,
      environment: world.environment,
      limits,
    });
    void runner.start().then(() => (life.done = true));
  };
  const law = (): string | undefined => {
    if (!world.touched) return undefined;
    world.touched = false;
    const { seq, halt } = inner.checkpoint(projection as Projection);
    if (halt !== undefined) return `halted at ${halt.seq}: ${halt.reason}`;
    return rowsOf(projection, inner) === expected[seq] ? undefined : `rows at ${seq} are not the fold of the log`;
  };
  launch();
  if (rng.chance(0.3)) launch();
  for (let step = 0; step < 5_000; step++) {
    if (step === 300) faults.on = false;
    await world.step();
    const broken = law();
    if (broken !== undefined) return broken;
    if (inner.checkpoint(projection as Projection).seq === log.length) return undefined;
    const living = lives.filter(({ alive, done }) => alive && !done);
    const victim = living[0];
    if (victim !== undefined && faults.on && rng.chance(crashes)) victim.alive = false;
    if (living.length === 0) launch();
  }
  return `not finished: ${JSON.stringify(inner.checkpoint(projection as Projection))}`;
}

describe('ProjectionRunner under faults', () => {
  test('L4 rows are the fold of the log after every step, over 200 seeds', async () => {
    for (let seed = 1; seed <= 200; seed++) {
      const broken = await run(seed, () => new MemoryProjectionStore());
      if (broken !== undefined) throw new Error(`seed ${seed}: ${broken}`);
    }
  });

  test('finds a checkpoint that moves apart from the rows', async () => {
    let found: string | undefined;
    for (let seed = 1; seed <= 20 && found === undefined; seed++)
      found = await run(seed, (world) => new TornStore(world));
    expect(found).toMatch(/not the fold of the log/);
  });
});
