import type { Work } from '#libs/latency-model';
import type { CandidateTable, Column } from '#libs/scheduling';
import type { SimRequest } from './request.ts';
import type { Polled, ReplicaView } from './types.ts';

/** What a feed may read besides the replica. */
export interface PickMoment {
  readonly nowMs: number;
  readonly request: SimRequest;
  /** By replica index: leading blocks of the prompt that are believed to be cached. */
  readonly prefixDepths: Float64Array;
}

/** One column of the candidate table. NaN is unknown. */
export interface ColumnFeed {
  value(view: ReplicaView, moment: PickMoment): number;
  ageMs(view: ReplicaView, moment: PickMoment): number;
}

/** What a gateway sees of one request on one replica, for feeds that learn. */
export interface Observed {
  readonly request: SimRequest;
  readonly replica: number;
  readonly replicaId: string;
  readonly nowMs: number;
  readonly arrivedMs: number;
  /** Prompt tokens that the gateway believed to be cached there when it sent the request; 0 where its strategy does not ask. */
  readonly believedTokens: number;
  /** NaN until it is there. */
  readonly firstTokenMs: number;
  /** From the usage of the answer; NaN before the end. */
  readonly cachedTokens: number;
}

export interface FeedSet {
  /** By column of the scheduler. A column without a feed is unknown, and the report names it. */
  readonly columns: Readonly<Record<string, ColumnFeed>>;
  /** Columns that `write` fills, for a library that fills many at once. */
  readonly writes?: readonly Column[];
  /** Before the rows of a pick. `reads` are the columns of its strategy. */
  ask?(request: SimRequest, reads: readonly Column[], nowMs: number): void;
  /** One row, after the columns above. */
  write?(table: CandidateTable, row: number, view: ReplicaView, nowMs: number): void;
  /** What this gateway's requests there still need, as it tells the others. */
  workOn?(replicaId: string): Work | undefined;
  dispatched?(observed: Observed): void;
  firstToken?(observed: Observed): void;
  finished?(observed: Observed): void;
}

const now = (): number => 0;

/** A count of the gateway's own, good at this instant. */
export const own = (value: ColumnFeed['value']): ColumnFeed => ({ value, ageMs: now });

/** Something that the last poll said. */
export const polled = (value: (last: Polled, view: ReplicaView) => number): ColumnFeed => ({
  value: (view) => (view.polled === undefined ? Number.NaN : value(view.polled, view)),
  ageMs: (view, { nowMs }) => (view.polled === undefined ? Number.NaN : nowMs - view.polled.atMs),
});

/** A counter's growth per second between the last two polls. */
export const polledRate = (counter: (last: Polled) => number): ColumnFeed =>
  polled((last, { polledBefore }) =>
    polledBefore === undefined || last.atMs <= polledBefore.atMs
      ? Number.NaN
      : ((counter(last) - counter(polledBefore)) / (last.atMs - polledBefore.atMs)) * 1000,
  );

/** The columns as the gateway fills them. Every replica is warm: it was there before the first request. */
export const standardFeeds = (): FeedSet => ({
  columns: {
    inflight: {
      value: ({ inflight, inflightElsewhere }) => inflight + inflightElsewhere,
      ageMs: ({ elsewhereAgeMs }) => elsewhereAgeMs,
    },
    // Engines keep KV on the device alone.
    hostBlocks: own(() => 0),
    storageBlocks: own(() => 0),
    // Workloads name no adapters.
    adapterResident: own(() => Number.NaN),
    warmth: own(() => 1),
    prefixBlocks: own(({ index }, { prefixDepths }) => prefixDepths[index] as number),
    // No role sets: every replica does all of a request, of any length, and hands nothing over.
    roles: own(() => 4),
    pairGroup: own(() => 0),
    promptTokensMin: own(() => 0),
    promptTokensMax: own(() => Infinity),
    transferPerKTokenMs: own(() => Number.NaN),
    waiting: polled(({ waiting }) => waiting),
    running: polled(({ running }) => running),
    kvUse: polled(({ kvUsage }) => kvUsage),
  },
});
