import { fromBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { StoredFrame } from '#libs/event-log';
import type { RecordInput, SealedFrame, SpoolOptions } from '#libs/recording';
import { FramePublisher, Recorder, Spool } from '#libs/recording';
import { SimDisk } from './disk.ts';
import type { SimProcess } from './process.ts';
import { SimulatedFrameStream } from './simulated-frames.ts';
import type { Actor, Stage } from './stage.ts';
import { simEpochMs } from './virtual-time.ts';

const gatewayId = 'gw1';
const requestPeriodMs = 700;
const spoolFolder = 'spool';

/** Tells which frames it took: those must survive the process. */
export class WatchedSpool extends Spool {
  constructor(
    options: SpoolOptions,
    private readonly onKept: (msgId: string) => void,
  ) {
    super(options);
  }

  override append(frame: SealedFrame): boolean {
    const kept = super.append(frame);
    if (kept) this.onKept(frame.msgId);
    return kept;
  }
}

interface Incarnation {
  readonly recorder: Recorder;
  readonly publisher: FramePublisher;
  readonly spool: Spool;
}

/** A gateway that records requests: the real recorder, publisher and spool on a disk that survives its crashes. */
export class Gateway implements Actor {
  readonly #disk: SimDisk;
  readonly #process: SimProcess;
  #now: Incarnation | undefined;
  /** Records by the incarnation that made them; killed ones may lose what was in memory only. */
  readonly #issued = new Map<string, number>();
  readonly #killed = new Set<number>();
  readonly #recordsOfFrame = new Map<string, readonly string[]>();
  readonly #kept = new Set<string>();
  readonly #arrived = new Map<string, string>();
  readonly #upTo: number[] = [0];

  constructor(private readonly stage: Stage) {
    this.#disk = new SimDisk(stage.network, () => stage.rng.next());
    this.#process = stage.addProcess('gateway', (process) => this.#boot(process));
  }

  get isQuiet(): boolean {
    const { recorder, publisher, spool } = this.#now ?? {};
    return recorder?.status().waiting === 0 && publisher?.status().queued === 0 && spool?.frames === 0;
  }

  unfinished(): string {
    const { recorder, publisher, spool } = this.#now ?? {};
    return `${recorder?.status().waiting} records waiting, ${publisher?.status().queued} frames queued, ${spool?.frames} spooled`;
  }

  /** Records in the frames up to a sequence of the stream. */
  recordsUpTo(seq: number): number {
    return this.#upTo[seq] ?? Number.NaN;
  }

  onFrame({ msgId, bytes, seq }: StoredFrame): void {
    const { stage } = this;
    stage.note?.(`frame ${msgId} stored at ${seq}`);
    const { records } = fromBinary(route.RecordFrameSchema, bytes);
    const ids = records.map(({ requestId }) => requestId);
    this.#upTo[seq] = (this.#upTo[seq - 1] as number) + ids.length;
    const wanted = this.#recordsOfFrame.get(msgId);
    if (wanted?.join() !== ids.join()) stage.breaks(`L8 frame ${msgId} holds ${ids.join()}, ${wanted?.join()} went in`);
    for (const id of ids) {
      const before = this.#arrived.get(id);
      if (before !== undefined) stage.breaks(`L8 record ${id} arrived in ${before} and in ${msgId}`);
      this.#arrived.set(id, msgId);
    }
  }

  lastLook(): void {
    const { stage } = this;
    for (const msgId of this.#kept) {
      for (const id of this.#recordsOfFrame.get(msgId) ?? []) {
        if (!this.#arrived.has(id)) stage.breaks(`L8 record ${id} was in the spool and never arrived`);
      }
    }
    for (const [id, incarnation] of this.#issued) {
      if (!this.#arrived.has(id) && !this.#killed.has(incarnation)) {
        stage.breaks(`L8 record ${id} never arrived, and its gateway was not killed`);
      }
    }
  }

  #boot(process: SimProcess): void {
    const { stage } = this;
    const { environment, life, incarnation } = process;
    this.#killed.add(incarnation - 1);
    const disk = this.#disk.seenBy(life, () => stage.crash(process));
    const makeSpool = stage.plants.makeSpool ?? ((options, onKept) => new WatchedSpool(options, onKept));
    const spool = makeSpool({ folder: spoolFolder, disk, segmentBytesMax: 600 }, (msgId) => {
      if (life.alive) this.#kept.add(msgId);
    });
    const stream = new SimulatedFrameStream(process, stage.broker, stage.frames, stage.network);
    const publisher = new FramePublisher({ stream, spool, environment });
    const waiting: string[] = [];
    const recorder = new Recorder({
      gatewayId,
      bootId: `b${incarnation}`,
      environment,
      offer: (frame) => {
        this.#recordsOfFrame.set(frame.msgId, waiting.splice(0, frame.records));
        return publisher.offer(frame);
      },
    });
    this.#now = { recorder, publisher, spool };
    publisher.start();
    let number = 0;
    const request = (): void => {
      if (stage.calm) return;
      const id = `q${incarnation}.${++number}`;
      this.#issued.set(id, incarnation);
      waiting.push(id);
      recorder.record(record(id, simEpochMs + stage.time.nowMs));
      environment.timers.after(stage.rng.next() * 2 * requestPeriodMs, request);
    };
    request();
  }

  /** The process that is killed last is not followed by another boot. */
  onKilled(process: SimProcess): void {
    if (process === this.#process) this.#killed.add(process.incarnation);
  }
}

const none: readonly never[] = [];

const record = (requestId: string, receivedAtMs: number): RecordInput => ({
  requestId,
  receivedAtMs,
  tenantId: 'sim',
  keyId: 'sim',
  endUser: '',
  endpoint: '/v1/completions',
  model: 'sim',
  adapter: '',
  stream: false,
  features: undefined,
  picks: none,
  attempts: none,
  outcome: route.Outcome.COMPLETED,
  httpStatus: 200,
  errorCode: '',
  timings: undefined,
  usage: undefined,
  traceparent: '',
  heads: {},
  errorMessage: '',
  profile: '',
});
