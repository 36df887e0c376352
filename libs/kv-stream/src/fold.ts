import type { StoredFrame } from '#libs/event-log';
import { decodeKvPayload } from '#libs/engines';
import type { Environment } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import type { Holder } from '#libs/prefix-index';
import { applyHoldings, KvIdentity, KvIndex } from '#libs/prefix-index';
import type { EngineBatch, KvFrame, RankPlace } from './frame.ts';
import { decodeKvFrame } from './frame.ts';
import { kvStreamLimits } from './limits.ts';

/** What is known of one cache. `unknown` waits for a snapshot or a reset; `loading` has a part of a snapshot. */
export interface RankView {
  readonly rank: number;
  readonly holder: Holder;
  state: 'unknown' | 'loading' | 'known';
  life: string;
  next: number | undefined;
  lastAtSeconds: number;
  partsLoaded: number;
  /** A part of the snapshot did not fit, or its writer did not know all. */
  partial: boolean;
}

export interface ReplicaView {
  readonly replicaId: string;
  /** Who follows it now. */
  writer: string;
  /** Monotonic, of the last word of its writer. */
  heardAtMs: number;
  /** In the stream, of the last word. */
  lastSeq: number;
  readonly ranks: Map<number, RankView>;
}

export interface KvFoldCounts {
  frames: number;
  batches: number;
  /** Events of engines. */
  events: number;
  /** Holes in what the stream has of an engine. */
  gaps: number;
  resets: number;
  snapshots: number;
  /** Of who follows the replica no more. */
  foreign: number;
  invalid: number;
}

export interface KvFoldHooks {
  /** The replica has another writer, as from this frame. */
  claimed?(replicaId: string, writer: string): void;
  /** A frame was folded. */
  folded?(replicaId: string, seq: number): void;
  /** What the engine itself said, before it is folded: for who counts. */
  problem?(replicaId: string, problem: string): void;
}

/**
 * LINTEL_KV folded into an index. What it says of a replica is the same for everybody who folded the same frames, so that the order
 * of the stream decides who follows an engine, and a successor goes on where the one before stood.
 *
 * All chains begin at the same root, whatever the model's name: an engine has one base model, known by several names, and a request
 * is only ever sent to replicas of its own model.
 */
export class KvFold {
  readonly index: KvIndex;
  readonly identity: KvIdentity;
  readonly replicas = new Map<string, ReplicaView>();
  readonly counts: KvFoldCounts = {
    frames: 0,
    batches: 0,
    events: 0,
    gaps: 0,
    resets: 0,
    snapshots: 0,
    foreign: 0,
    invalid: 0,
  };
  readonly #environment: Environment;
  readonly #hooks: KvFoldHooks;
  /** Since others were let run. */
  #workMs = 0;

  constructor(environment: Environment, hooks: KvFoldHooks = {}, index = new KvIndex()) {
    this.#environment = environment;
    this.#hooks = hooks;
    this.index = index;
    this.identity = new KvIdentity(index);
  }

  /** All of it is known and its writer is heard. */
  exact(replicaId: string, nowMs: number): boolean {
    const view = this.replicas.get(replicaId);
    if (view === undefined || view.ranks.size === 0 || nowMs - view.heardAtMs > kvStreamLimits.staleMs) return false;
    for (const { state, holder } of view.ranks.values()) if (state !== 'known' || !holder.exact) return false;
    return true;
  }

  /** Of what is known of the replica; NaN where nothing is. */
  ageMs(replicaId: string, nowMs: number): number {
    const view = this.replicas.get(replicaId);
    return view === undefined ? Number.NaN : Math.max(0, nowMs - view.heardAtMs);
  }

  /** Replicas that somebody follows and of which a snapshot is needed. */
  wanted(): string[] {
    const wanted: string[] = [];
    for (const { replicaId, ranks } of this.replicas.values()) {
      for (const { state } of ranks.values()) {
        if (state !== 'unknown') continue;
        wanted.push(replicaId);
        break;
      }
    }
    return wanted.slice(0, kvStreamLimits.wantedReplicasMax);
  }

  /** Nothing of the replica is kept. */
  forget(replicaId: string): void {
    this.replicas.delete(replicaId);
    this.index.forgetReplica(replicaId);
  }

  /** Those that are not there any more, and of which nobody said so: whoever followed them died first, or spoke once more after it. */
  forgetGone(there: { has(replicaId: string): boolean }): void {
    const untilMs = this.#environment.clock.monotonicMs() - kvStreamLimits.goneMs;
    for (const { replicaId, heardAtMs } of this.replicas.values()) {
      if (heardAtMs <= untilMs && !there.has(replicaId)) this.forget(replicaId);
    }
  }

  /** Folds one frame, in slices: others run in between. */
  async apply({ subject, bytes, seq }: Pick<StoredFrame, 'subject' | 'bytes' | 'seq'>): Promise<void> {
    const replicaId = subject.slice(subject.lastIndexOf('.') + 1);
    this.counts.frames++;
    let frame: KvFrame;
    try {
      frame = decodeKvFrame(bytes);
    } catch (thrown) {
      this.counts.invalid++;
      this.#hooks.problem?.(replicaId, errorText(thrown));
      return;
    }
    try {
      if (this.#counts(replicaId, frame, seq)) await this.#fold(replicaId, frame);
    } catch (thrown) {
      // Such as more replicas than the index has bits: the others go on.
      this.counts.invalid++;
      this.#lose(replicaId);
      this.#hooks.problem?.(replicaId, errorText(thrown));
    }
    this.#hooks.folded?.(replicaId, seq);
  }

  /** False for what somebody says who follows the replica no more. */
  #counts(replicaId: string, frame: KvFrame, seq: number): boolean {
    let view = this.replicas.get(replicaId);
    if (view === undefined) {
      if (frame.kind === 'gone') return false;
      view = { replicaId, writer: '', heardAtMs: 0, lastSeq: 0, ranks: new Map() };
      this.replicas.set(replicaId, view);
    }
    view.lastSeq = seq;
    if (view.writer !== frame.writer) {
      if (view.writer !== '' && frame.kind !== 'claim') {
        this.counts.foreign++;
        return false;
      }
      view.writer = frame.writer;
      this.#hooks.claimed?.(replicaId, frame.writer);
    }
    view.heardAtMs = this.#environment.clock.monotonicMs();
    return true;
  }

  async #fold(replicaId: string, frame: KvFrame): Promise<void> {
    const view = this.replicas.get(replicaId) as ReplicaView;
    switch (frame.kind) {
      case 'claim':
        return;
      case 'gone':
        this.forget(replicaId);
        return;
      case 'beat':
        for (const place of frame.ranks) this.#beat(view, place);
        return;
      case 'reset': {
        const rank = this.#rank(view, frame.rank);
        this.counts.resets++;
        this.#clear(rank);
        rank.state = 'known';
        rank.life = frame.life;
        rank.holder.exact = frame.exact;
        // An engine counts from 0.
        if (frame.exact) rank.next = 0;
        return;
      }
      case 'batches': {
        const rank = this.#rank(view, frame.rank);
        if (rank.state !== 'known') return;
        if (rank.life !== frame.life) return this.#gap(rank);
        for (const batch of frame.batches) await this.#batch(view, rank, batch);
        return;
      }
      case 'holdings':
        await this.#holdings(view, frame);
    }
  }

  #beat(view: ReplicaView, { rank, life, next }: RankPlace): void {
    const known = this.#rank(view, rank);
    if (known.state === 'known' && (known.life !== life || known.next !== next)) this.#gap(known);
  }

  async #batch(view: ReplicaView, rank: RankView, { seq, payload }: EngineBatch): Promise<void> {
    if (rank.state !== 'known' || (rank.next !== undefined && seq < rank.next)) return;
    if (rank.next !== undefined && seq > rank.next) return this.#gap(rank);
    const { clock } = this.#environment;
    const startMs = clock.monotonicMs();
    rank.next = seq + 1;
    const batch = decodeKvPayload(payload);
    if ('problem' in batch) {
      // Whoever follows the engine could read it.
      this.#hooks.problem?.(view.replicaId, batch.problem);
      return this.#gap(rank);
    }
    rank.lastAtSeconds = batch.atSeconds;
    this.counts.batches++;
    this.counts.events += batch.events.length;
    this.identity.applyAll(rank.holder, '', batch.events);
    await this.#worked(clock.monotonicMs() - startMs);
  }

  async #holdings(view: ReplicaView, frame: KvFrame & { kind: 'holdings' }): Promise<void> {
    const rank = this.#rank(view, frame.rank);
    if (rank.state === 'known' && rank.life === frame.life) return;
    if (frame.part === 0) {
      this.#clear(rank);
      rank.state = 'loading';
      rank.life = frame.life;
    } else if (rank.state !== 'loading' || rank.life !== frame.life || rank.partsLoaded !== frame.part) {
      return;
    }
    const { clock } = this.#environment;
    const startMs = clock.monotonicMs();
    applyHoldings(this.index, frame.chunk);
    if (!rank.holder.exact) rank.partial = true;
    rank.partsLoaded = frame.part + 1;
    rank.holder.exact = rank.partsLoaded === frame.parts && !rank.partial;
    if (rank.partsLoaded === frame.parts) {
      rank.state = 'known';
      rank.next = frame.next;
      rank.lastAtSeconds = frame.lastAtSeconds;
      this.counts.snapshots++;
    }
    await this.#worked(clock.monotonicMs() - startMs);
  }

  #rank(view: ReplicaView, rank: number): RankView {
    let known = view.ranks.get(rank);
    if (known === undefined) {
      const holder = this.index.holder(view.replicaId, rank);
      known = {
        rank,
        holder,
        state: 'unknown',
        life: '',
        next: undefined,
        lastAtSeconds: 0,
        partsLoaded: 0,
        partial: false,
      };
      view.ranks.set(rank, known);
    }
    return known;
  }

  #gap(rank: RankView): void {
    this.counts.gaps++;
    this.#clear(rank);
  }

  #clear(rank: RankView): void {
    this.index.clear(rank.holder);
    rank.holder.exact = false;
    rank.state = 'unknown';
    rank.next = undefined;
    rank.partsLoaded = 0;
    rank.partial = false;
  }

  #lose(replicaId: string): void {
    for (const rank of this.replicas.get(replicaId)?.ranks.values() ?? []) this.#clear(rank);
  }

  async #worked(ms: number): Promise<void> {
    this.#workMs += ms;
    if (this.#workMs < kvStreamLimits.sliceMs) return;
    this.#workMs = 0;
    await this.#environment.timers.sleep(0);
  }
}
