import { subjects } from '#libs/contracts';
import type { FollowedBatch, KvFollowerOptions, SequenceEffect } from '#libs/engines';
import { KvFollower, KvPoller } from '#libs/engines';
import type { FrameStream } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import type { KvFold, KvFrame, KvSource, RankPlace } from '#libs/kv-stream';
import { isPolled, kvStreamLimits } from '#libs/kv-stream';
import { encodeHoldings } from '#libs/prefix-index';
import { limits } from '../limits.ts';
import { Outbox } from './outbox.ts';

export interface FollowerParts {
  readonly writer: string;
  readonly stream: FrameStream;
  readonly fold: KvFold;
  readonly environment: Environment;
  readonly say: (line: string) => void;
  /** Resolves when the fold has this frame of the stream. */
  readonly foldedTo: (replicaId: string, seq: number) => Promise<void>;
  readonly tuning?: KvFollowerOptions['tuning'];
  readonly sockets?: KvFollowerOptions['sockets'];
  readonly outboxBytesMax: number;
}

/** Each data-parallel rank is a replica of its own. */
const rank = 0;

/**
 * One replica, as one of perhaps several processes that could follow it. Who does, the stream says: whoever claimed it last. A claim is
 * made where nobody was heard for `takeoverMs`; following begins when the own claim has come back, so where the one before ended.
 */
export class ReplicaFollower {
  readonly #parts: FollowerParts;
  #outbox: Outbox | undefined;
  #follower: KvFollower | KvPoller | undefined;
  #opening: Promise<void> | undefined;
  /** Of the engine, as it was published. */
  #place: RankPlace | undefined;
  #claiming = false;
  /** Taking up and letting go, one after another. */
  #turn: Promise<void> = Promise.resolve();
  #stopped = false;
  #claimedAtMs = -Infinity;
  readonly #since: number;
  #bytesSinceSnapshot = 0;
  #lastSnapshotBytes = 0;
  #snapshotAtMs = -Infinity;
  #snapshotWaits = false;
  /** Times that it was let go because the broker did not take its batches. */
  givenUp = 0;

  constructor(
    readonly replicaId: string,
    readonly source: KvSource,
    parts: FollowerParts,
  ) {
    this.#parts = parts;
    this.#since = this.#nowMs();
  }

  /** It is this process that follows the engine. */
  get leads(): boolean {
    return this.#outbox !== undefined;
  }

  get waitingBytes(): number {
    return this.#outbox?.bytes ?? 0;
  }

  get problems(): number {
    return this.#follower?.problems ?? 0;
  }

  /** Once each `beatMs`. */
  tick(): void {
    if (this.#stopped) return;
    const nowMs = this.#nowMs();
    if (this.#outbox !== undefined) {
      this.#beat();
      const due = nowMs - this.#snapshotAtMs > limits.snapshotMsMax;
      const grown = this.#bytesSinceSnapshot > Math.max(limits.snapshotBytesMin, this.#lastSnapshotBytes);
      if (due || grown) this.snapshot();
      return;
    }
    const heardAtMs = this.#parts.fold.replicas.get(this.replicaId)?.heardAtMs ?? -Infinity;
    // Somebody who was just seen for the first time, in what the stream keeps, has its time to be heard as well.
    const silentMs = nowMs - Math.max(heardAtMs, heardAtMs === -Infinity ? -Infinity : this.#since);
    if (silentMs < kvStreamLimits.takeoverMs || nowMs - this.#claimedAtMs < kvStreamLimits.takeoverMs) return;
    void this.#claim(nowMs);
  }

  /** The stream says who follows it from here on. */
  claimed(writer: string): void {
    if (writer !== this.#parts.writer) {
      if (this.leads) this.#parts.say(`${writer} follows ${this.replicaId} from here on`);
      this.#letGo();
    } else {
      this.#turn = this.#turn.then(() => {
        const { writer: now } = this.#parts.fold.replicas.get(this.replicaId) ?? {};
        if (!this.#stopped && this.#outbox === undefined && now === writer) this.#lead();
      });
    }
  }

  /** Says all that the engine holds; soon, and not twice at once. */
  snapshot(): void {
    const outbox = this.#outbox;
    const view = this.#parts.fold.replicas.get(this.replicaId)?.ranks.get(rank);
    if (outbox === undefined || this.#snapshotWaits || this.#place === undefined || view === undefined) return;
    if (this.#nowMs() - this.#snapshotAtMs < limits.snapshotMsMin) return;
    this.#snapshotWaits = true;
    this.#snapshotAtMs = this.#nowMs();
    outbox.put({ frames: (seq) => this.#snapshotFrames(seq) });
  }

  /** `removed`: the replica is gone from the fleet, and everybody is told. */
  async stop(removed: boolean): Promise<void> {
    this.#stopped = true;
    await this.#turn;
    const outbox = this.#outbox;
    await this.#closeFollower();
    if (outbox === undefined) return;
    if (removed) outbox.put({ frame: { kind: 'gone', writer: this.#parts.writer } });
    await outbox.finish();
    this.#outbox = undefined;
  }

  async #claim(nowMs: number): Promise<void> {
    if (this.#claiming) return;
    this.#claiming = true;
    this.#claimedAtMs = nowMs;
    const outbox = this.#newOutbox();
    outbox.put({ frame: { kind: 'claim', writer: this.#parts.writer } });
    await outbox.finish();
    this.#claiming = false;
  }

  #newOutbox(): Outbox {
    const { stream, writer, environment, outboxBytesMax } = this.#parts;
    // Each has ids of its own.
    const life = `${writer}.${environment.ids.uuid().slice(0, 8)}`;
    const outbox: Outbox = new Outbox(
      stream,
      subjects.kv(this.replicaId),
      writer,
      environment,
      (why) => {
        this.#parts.say(`${this.replicaId}: its KV events could not be published: ${why}; it is taken up again`);
        this.givenUp++;
        if (this.#outbox === outbox) this.#letGo();
      },
      life,
      outboxBytesMax,
    );
    return outbox;
  }

  #lead(): void {
    const { fold, say } = this.#parts;
    const outbox = this.#newOutbox();
    this.#outbox = outbox;
    const known = fold.replicas.get(this.replicaId)?.ranks.get(rank);
    let resume: { next: number; lastAtSeconds: number } | undefined;
    this.#place = undefined;
    if (known?.state === 'known' && known.next !== undefined && known.lastAtSeconds > 0) {
      const { life, next, lastAtSeconds, holder } = known;
      this.#place = { rank, life, next, exact: holder.exact };
      resume = { next, lastAtSeconds };
    }
    this.#bytesSinceSnapshot = 0;
    this.#snapshotWaits = false;
    this.#beat();
    this.#opening = this.#open(resume)
      .then(async (follower) => {
        if (this.#outbox === outbox && !this.#stopped) this.#follower = follower;
        else await follower.close();
      })
      .catch((thrown: unknown) => {
        say(`${this.replicaId}: ${this.source.endpoint} cannot be followed: ${errorText(thrown)}`);
        this.#letGo();
      });
  }

  async #open(resume: KvFollowerOptions['resume']): Promise<KvFollower | KvPoller> {
    const { environment, tuning, say, sockets } = this.#parts;
    const onEffect: KvFollowerOptions['onEffect'] = (effect) => this.#effect(effect);
    const { endpoint, replay, blockTokens } = this.source;
    if (isPolled(this.source)) {
      let said = '';
      const onProblem = (problem: string): void => {
        if (problem !== said) say(`${this.replicaId}: ${problem}`);
        said = problem;
      };
      return new KvPoller({ url: endpoint, blockTokens, environment, resume, onEffect, onProblem });
    }
    return await KvFollower.open({
      endpoint,
      replayEndpoint: replay,
      environment,
      resume,
      sockets,
      ...(tuning === undefined ? {} : { tuning }),
      onEffect,
    });
  }

  #effect(effect: Exclude<SequenceEffect<FollowedBatch>, { type: 'ask' }>): void {
    const outbox = this.#outbox;
    if (outbox === undefined) return;
    const { writer, environment } = this.#parts;
    if (effect.type === 'reset') {
      const { exact, why } = effect;
      const life = environment.ids.uuid();
      this.#place = { rank, life, next: exact ? 0 : undefined, exact };
      outbox.put({ frame: { kind: 'reset', writer, rank, life, exact, why } });
      return;
    }
    if (this.#place === undefined) return;
    const { seq, batch } = effect;
    this.#place = { ...this.#place, next: seq + 1 };
    this.#bytesSinceSnapshot += batch.payload.byteLength;
    outbox.put({ batch: { seq, payload: batch.payload }, rank, life: this.#place.life });
  }

  #beat(): void {
    const ranks = this.#place === undefined ? [] : [this.#place];
    this.#outbox?.put({ frame: { kind: 'beat', writer: this.#parts.writer, ranks } });
  }

  async *#snapshotFrames(publishedSeq: number): AsyncGenerator<KvFrame> {
    const { fold, writer, foldedTo } = this.#parts;
    try {
      await foldedTo(this.replicaId, publishedSeq);
      const view = fold.replicas.get(this.replicaId)?.ranks.get(rank);
      // Not known here either: what brings it about is on its way.
      if (view?.state !== 'known') return;
      const { life, next, lastAtSeconds, holder } = view;
      const chunks = [...encodeHoldings(fold.index, [holder], () => null)];
      this.#bytesSinceSnapshot = 0;
      this.#lastSnapshotBytes = 0;
      for (const [part, chunk] of chunks.entries()) {
        this.#lastSnapshotBytes += chunk.byteLength;
        yield { kind: 'holdings', writer, rank, life, part, parts: chunks.length, next, lastAtSeconds, chunk };
      }
    } finally {
      this.#snapshotWaits = false;
    }
  }

  #letGo(): void {
    const outbox = this.#outbox;
    this.#outbox = undefined;
    this.#place = undefined;
    this.#turn = this.#turn.then(async () => {
      await this.#closeFollower();
      await outbox?.close();
    });
  }

  async #closeFollower(): Promise<void> {
    await this.#opening;
    this.#opening = undefined;
    const follower = this.#follower;
    this.#follower = undefined;
    await follower?.close();
  }

  #nowMs(): number {
    return this.#parts.environment.clock.monotonicMs();
  }
}
