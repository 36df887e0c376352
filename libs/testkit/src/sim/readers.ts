import type { EventLog, FoldSnapshots, Head, StoredCommit } from '#libs/event-log';
import { LogFold, MemorySnapshotStore } from '#libs/event-log';
import { errorText } from '#libs/kernel';
import type { SimProcess } from './process.ts';
import { SimulatedEventLog } from './simulated-log.ts';
import type { Actor, Stage } from './stage.ts';
import type { Digest } from './tally.ts';
import { addToDigest, emptyDigest, simDecoder, simRegistry } from './tally.ts';

/** A reader as its laws see it. */
export interface SimReader {
  readonly headSeq: number;
  readonly state: Digest;
  readonly heads: ReadonlyMap<string, Head>;
  start(): Promise<unknown>;
}

export interface ReaderOptions {
  readonly log: EventLog;
  readonly process: SimProcess;
  readonly snapshots: FoldSnapshots<Digest>;
  readonly onAccepted: (commit: StoredCommit) => void;
}

const readers = 3;
const snapshotEveryCommits = 8;
const restartMs = 500;

/** Followers with folds in memory, which start from snapshots, and whose effects start from what they accept. */
export class Readers implements Actor {
  readonly #readers = new Map<SimProcess, { reader: SimReader; checkedSeq: number }>();
  readonly #snapshots = new MemorySnapshotStore();

  constructor(private readonly stage: Stage) {
    for (let n = 1; n <= readers; n++) stage.addProcess(`reader${n}`, (process) => void this.#boot(process));
  }

  get isQuiet(): boolean {
    const last = this.stage.broker.commits.length;
    for (const { reader } of this.#readers.values()) if (reader.headSeq < last) return false;
    return true;
  }

  unfinished(): string {
    const last = this.stage.broker.commits.length;
    const behind = [...this.#readers].filter(([, { reader }]) => reader.headSeq < last);
    return `readers behind ${last}: ${behind.map(([{ name }, { reader }]) => `${name} at ${reader.headSeq}`).join(', ') || 'none'}`;
  }

  look(): void {
    for (const seen of this.#readers.values()) {
      const { headSeq } = seen.reader;
      if (headSeq === seen.checkedSeq) continue;
      seen.checkedSeq = headSeq;
      const { digest, count } = seen.reader.state;
      const truth = this.stage.oracle.digests[headSeq];
      if (truth !== undefined && truth.digest === digest && truth.count === count) continue;
      this.stage.breaks(`L3 a reader at ${headSeq} holds ${count} commits, the log ${truth?.count}, or others`);
    }
  }

  /** All stand at the end of the log by now: so must their heads. */
  lastLook(): void {
    const truth = headsText(new Map(this.stage.oracle.acceptor.heads()));
    for (const [process, { reader }] of this.#readers) {
      if (headsText(reader.heads) !== truth)
        this.stage.breaks(`L3 ${process.life.name} holds other heads than the log`);
    }
  }

  async #boot(process: SimProcess): Promise<void> {
    const { broker, network, plants, note } = this.stage;
    const { environment } = process;
    for (;;) {
      const options: ReaderOptions = {
        log: new SimulatedEventLog(process, broker, network),
        process,
        snapshots: {
          store: this.#snapshots,
          name: process.name,
          foldVersion: '1',
          encode: (state) => state,
          decode: (json) => json as Digest,
          everyCommits: snapshotEveryCommits,
        },
        onAccepted: ({ commitId, seq }) => this.stage.oracle.onEffect(process.life.name, commitId, seq, this.stage),
      };
      const reader = (plants.makeReader ?? realReader)(options);
      this.#readers.set(process, { reader, checkedSeq: -1 });
      try {
        await reader.start();
        return;
      } catch (thrown) {
        note?.(`${process.life.name} could not start: ${errorText(thrown)}`);
        await environment.timers.sleep(restartMs);
      }
    }
  }
}

function headsText(heads: ReadonlyMap<string, Head>): string {
  return [...heads]
    .map(([subject, { seq, version, hash }]) => `${subject} ${seq} ${version} ${hash}`)
    .sort()
    .join('\n');
}

export function realReader({ log, process, snapshots, onAccepted }: ReaderOptions): SimReader {
  return new LogFold<Digest>({
    log,
    registry: simRegistry,
    decoder: simDecoder,
    environment: process.environment,
    initial: emptyDigest,
    evolve: (state, { stored }) => addToDigest(state, stored.hash),
    snapshots,
    onAccepted: ({ stored }) => onAccepted(stored),
  });
}
