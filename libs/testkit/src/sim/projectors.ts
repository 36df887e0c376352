import type { StoredCommit, StoredFrame } from '#libs/event-log';
import type { Item, ItemSource, Projection } from '#libs/projections';
import { gapTable, headTable, ProjectionRunner, requests, requestTable } from '#libs/projections';
import { SimulatedDatabase } from './database.ts';
import type { SimProcess } from './process.ts';
import { SimulatedFrameStream } from './simulated-frames.ts';
import { SimulatedEventLog } from './simulated-log.ts';
import type { Actor, Stage } from './stage.ts';
import { tallyProjection, tallyTable } from './tally.ts';

const projectors = 2;
const limits = { batchItemsMax: 8, bufferItemsMax: 32 };
/** A projector that found another one ahead stands by for this long. */
const standByMs = 1_000;

/** Rivals for the same tables, from decisions and from frames. */
export class Projectors implements Actor {
  #framesCheckedSeq = 0;

  constructor(
    private readonly stage: Stage,
    /** Records in the frames up to a sequence. */
    private readonly recordsUpTo: (seq: number) => number,
  ) {
    for (let n = 1; n <= projectors; n++) {
      stage.addProcess(`projector${n}`, (process) => {
        const { broker, network, frames } = stage;
        const log = new SimulatedEventLog(process, broker, network);
        const stream = new SimulatedFrameStream(process, broker, frames, network);
        void this.#keep<StoredCommit>(process, tallyProjection, log);
        void this.#keep<StoredFrame>(process, requests, stream);
      });
    }
  }

  get isQuiet(): boolean {
    const { commits, frames } = this.#ends;
    return (
      this.#checkpoint(tallyProjection as Projection) >= commits && this.#checkpoint(requests as Projection) >= frames
    );
  }

  unfinished(): string {
    const { commits, frames } = this.#ends;
    return `rows of decisions at ${this.#checkpoint(tallyProjection as Projection)} of ${commits}, of requests at ${this.#checkpoint(requests as Projection)} of ${frames}`;
  }

  look(): void {
    if (!this.stage.database.touched) return;
    this.stage.database.touched = false;
    this.#lookAtDecisions();
    this.#lookAtRequests();
  }

  lastLook(): void {
    const { store } = this.stage.database;
    const gaps = store.rows(requests as Projection, gapTable).length;
    if (gaps > 0) this.stage.breaks(`L8 ${gaps} gaps in the requests, with every frame in the stream`);
    const ids = store.rows(requests as Projection, requestTable).map((row) => row['request_id'] as string);
    if (new Set(ids).size !== ids.length) this.stage.breaks('L8 a record has two rows');
  }

  get #ends(): { commits: number; frames: number } {
    return { commits: this.stage.broker.commits.length, frames: this.stage.frames.stored.length };
  }

  async #keep<I extends Item>(process: SimProcess, projection: Projection<I>, source: ItemSource<I>): Promise<void> {
    const { database, network } = this.stage;
    const { environment } = process;
    for (;;) {
      const store = new SimulatedDatabase(process, database, network);
      const { state, halt } = await new ProjectionRunner({ projection, source, store, environment, limits }).start();
      if (state === 'halted') this.stage.breaks(`L4 ${projection.name} halted: ${halt?.reason}`);
      await environment.timers.sleep(standByMs);
    }
  }

  #lookAtDecisions(): void {
    const { oracle, database } = this.stage;
    const seq = this.#checkpoint(tallyProjection as Projection);
    if (seq < oracle.rowsSeq) return this.stage.breaks(`L4 the checkpoint went back to ${seq}`);
    const truth = oracle.rowsAt(seq);
    const rows = database.store.rows(tallyProjection as Projection, tallyTable);
    const fits =
      rows.length === truth.size &&
      rows.every((row) => {
        const wanted = truth.get(`lintel.ev.route.replica.${String(row['id'])}`);
        return wanted?.commitId === row['commit_id'] && wanted?.seq === row['seq'] && wanted?.count === row['count'];
      }) &&
      database.store
        .rows(tallyProjection as Projection, headTable)
        .every((row) => truth.get(row['subject'] as string)?.hash === row['hash']);
    if (!fits) this.stage.breaks(`L4 rows at checkpoint ${seq} are not the fold of the log`);
  }

  #lookAtRequests(): void {
    const seq = this.#checkpoint(requests as Projection);
    if (seq === this.#framesCheckedSeq) return;
    this.#framesCheckedSeq = seq;
    const rows = this.stage.database.store.rows(requests as Projection, requestTable).length;
    const wanted = this.recordsUpTo(seq);
    if (rows !== wanted) this.stage.breaks(`L4 ${rows} requests at checkpoint ${seq}, the frames hold ${wanted}`);
  }

  /** 0 where nobody has opened the tables yet. */
  #checkpoint(projection: Projection): number {
    return this.stage.database.opened.has(projection.name) ? this.stage.database.store.checkpoint(projection).seq : 0;
  }
}
