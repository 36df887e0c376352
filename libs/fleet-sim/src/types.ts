import type { CostProfile, EngineCounts } from '#libs/engine-model';
import type { Work } from '#libs/latency-model';
import type { CandidateTable, Decision, PluginParams, RequestFeatures } from '#libs/scheduling';
import type { FeedSet } from './feeds.ts';
import type { SimRequest, Workload } from './request.ts';

export interface ReplicaSpec {
  readonly id: string;
  readonly profile: CostProfile;
  /** 1 is the profile's; 0.5 takes twice as long. */
  readonly speed: number;
  /** KV blocks; those of the profile where not given. */
  readonly blocks?: number;
  readonly maxNumSeqs?: number;
  readonly maxNumBatchedTokens?: number;
  /** Its polls get no load between these times: the last values stay and grow old. From 0 on nothing is ever known. */
  readonly silent?: { readonly fromMs: number; readonly untilMs: number };
}

/**
 * How deep a prompt is cached where: by what was sent, by the engines' own KV events some milliseconds after they happened, or read
 * from the engines at the instant of the pick.
 */
export type Knowledge = 'approximate' | 'precise' | 'ideal';

export interface FleetOptions {
  readonly workload: Workload;
  readonly replicas: readonly ReplicaSpec[];
  /** A preset or a mix, as a client would name it. */
  readonly strategy: string;
  readonly params?: PluginParams;
  readonly knowledge?: Knowledge;
  /** Gateways that share the load and tell each other their counts; 1 where not given. */
  readonly gateways?: number;
  readonly seed: number;
  /** One set for each gateway; `learnedFeeds` where not given. */
  readonly feeds?: () => FeedSet;
  /** Each pick as it is made. What it is given is reused: copy what must stay. */
  readonly picked?: (pick: FleetPick) => void;
  /** A line for each thing that happens. */
  readonly trace?: (line: string) => void;
}

export interface FleetPick {
  readonly request: SimRequest;
  readonly features: RequestFeatures;
  readonly gateway: number;
  readonly nowMs: number;
  readonly table: CandidateTable;
  readonly decision: Decision;
}

/** What one poll of a replica brought. */
export interface Polled extends EngineCounts {
  /** Answered at; what it says is of then. */
  readonly atMs: number;
  /** Time in steps since the start, ms. */
  readonly busyMs: number;
}

/** A replica as one gateway knows it. */
export interface ReplicaView {
  readonly id: string;
  readonly index: number;
  /** This gateway's own, counted at once. */
  readonly inflight: number;
  /** What other gateways last said, and how old the oldest word is; 0 where there is no other. */
  readonly inflightElsewhere: number;
  readonly elsewhereAgeMs: number;
  /** What those requests still need; undefined where a gateway tells only their count. */
  readonly workElsewhere: Work | undefined;
  readonly polled: Polled | undefined;
  /** The poll before, for rates. */
  readonly polledBefore: Polled | undefined;
}
