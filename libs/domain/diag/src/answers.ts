import type { CommitExplanation } from './explain-commit.ts';
import type { CostExplanation } from './explain-cost.ts';
import type { RequestExplanation } from './explain-request.ts';
import type { StateJson } from './fleet-state.ts';
import type { StateChange } from './state-diff.ts';

/** Stands in every answer: "memory" means that the log ends with the process. */
export interface Durable {
  readonly durability: 'memory' | 'disk';
}

export interface WhyAnswer extends Durable {
  /** Where the record was found. */
  readonly source: 'postgres' | 'frames' | 'log';
  /** What the reader should know about the source: that Postgres is away or behind. */
  readonly note: string;
  readonly request?: RequestExplanation;
  readonly summary?: string;
  /** The commit that made the policy version of each pick, or the commit asked for. */
  readonly commits: readonly CommitExplanation[];
  readonly commit?: CommitExplanation & { readonly accepted: boolean };
}

export interface ReplayDifference {
  readonly requestId: string;
  readonly receivedAtMs: number;
  readonly text: string;
}

export interface ReplayCounts {
  /** Records in the range, those without a pick (refused before one was needed) among them. */
  readonly records: number;
  readonly picksFree: number;
  readonly equal: number;
  readonly different: number;
  /** Records that need a plugin version which this build does not have: not executed, not guessed. */
  readonly missingPlugin: number;
  /** Frames or records that cannot be read. */
  readonly unreadable: number;
}

/** One line each of the answer to a replay. */
export type ReplayLine =
  | ({ readonly kind: 'progress' } & ReplayCounts)
  | ({ readonly kind: 'difference' } & ReplayDifference)
  | { readonly kind: 'missing-plugin'; readonly plugin: string; readonly requestId: string }
  | { readonly kind: 'unreadable'; readonly seq: number; readonly text: string }
  | ({
      readonly kind: 'done';
      readonly source: 'postgres' | 'frames';
      readonly note: string;
      readonly ok: boolean;
      readonly first?: ReplayDifference;
      readonly missingPlugins: Readonly<Record<string, number>>;
      readonly durationMs: number;
    } & ReplayCounts &
      Durable)
  | FailedLine;

export interface VerifyPart {
  readonly seq: number;
  readonly rule: string;
  readonly text: string;
}

export interface ProjectionVerdict {
  readonly projection: string;
  readonly equal: boolean;
  readonly seq: number;
  /** The first row that is not as the log says, in words; or why nothing could be compared. */
  readonly text: string;
}

export interface VerifyAnswer extends Durable {
  readonly ok: boolean;
  readonly commits: number;
  readonly aggregates: number;
  readonly forked: number;
  readonly lastSeq: number;
  readonly anchors: number;
  readonly sealedThroughSeq: number;
  readonly firstBad?: VerifyPart;
  readonly problems: readonly VerifyPart[];
  readonly problemsTotal: number;
  /** Empty where projections were not asked for. */
  readonly projections: readonly ProjectionVerdict[];
  readonly notes: readonly string[];
  readonly durationMs: number;
}

export interface StateAnswer extends Durable {
  readonly at: { readonly seq: number; readonly storedAtMs: number | null };
  readonly state: StateJson;
  readonly diffWith?: { readonly seq: number; readonly storedAtMs: number | null };
  /** From the earlier of the two moments to the later. */
  readonly changes?: readonly StateChange[];
}

export interface LogAnswer extends Durable {
  readonly lastSeq: number;
  readonly commits: readonly CommitExplanation[];
}

export interface ListAnswer<Item> extends Durable {
  /** Sequence of the log that the answer rests on. */
  readonly atSeq: number;
  readonly items: readonly Item[];
  readonly note?: string;
}

export interface ReceiptAnswer extends Durable {
  readonly seq: number;
  readonly version: number;
  readonly commitId: string;
  readonly changed: boolean;
}

export interface ApplyAnswer extends Durable {
  readonly contentHash: string;
  /** True where nothing was sent: `changes` is then what would be done, with seq 0. */
  readonly dryRun: boolean;
  /** Replicas, policies, tenants and keys of the document that are so already. */
  readonly unchanged: number;
  /** Named in the document, but read by each gateway from its own file at its start. */
  readonly leftAlone: readonly string[];
  readonly changes: readonly { readonly what: string; readonly seq: number; readonly commitId: string }[];
  /** Stands in each commit of this application. */
  readonly correlationId: string;
}

export interface KeyAnswer extends ReceiptAnswer {
  readonly tenantId: string;
  readonly keyId: string;
  /** Shown this once; only its sha256 is stored. */
  readonly key: string;
}

export interface AdminKeyAnswer extends ReceiptAnswer {
  readonly keyId: string;
  /** Shown this once; only its sha256 is stored. */
  readonly key: string;
}

export interface ProjectionState {
  readonly id: string;
  readonly generation: number;
  readonly phase: string;
  readonly state: string;
  readonly stale: boolean;
  readonly seq: number;
  readonly headSeq: number;
  readonly lag: number;
  readonly items: number;
  readonly haltedReason: string | null;
}

export type RebuildLine =
  | {
      readonly kind: 'progress';
      readonly projection: string;
      readonly seq: number;
      readonly headSeq: number;
      readonly itemsPerSecond: number;
    }
  | { readonly kind: 'done'; readonly projection: string; readonly seq: number; readonly durationMs: number }
  | FailedLine;

export interface DeadLetterItem {
  readonly id: number;
  readonly consumer: string;
  readonly stream: string;
  readonly subject: string;
  readonly seq: number;
  readonly errorCode: string;
  readonly errorMessage: string;
  readonly deliveries: number;
  readonly atMs: number;
}

export interface DeadLetterAnswer extends DeadLetterItem, Durable {
  /** What could not be handled; null where the log no longer tells. */
  readonly commit: CommitExplanation | null;
}

export interface RedriveAnswer extends Durable {
  readonly id: number;
  readonly consumer: string;
}

/** What the gateway last saw of a replica: telemetry, not decisions. */
export interface ReplicaLive {
  readonly healthy: boolean;
  /** "closed", "open", "half-open". */
  readonly circuit: string;
  readonly healthAgeMs: number | null;
  readonly servedModels: readonly string[];
  /** By column name; a missing one is unknown. */
  readonly values: Readonly<Record<string, number | null>>;
  readonly valuesAgeMs: number | null;
  readonly lastError: string;
}

/** One group of the ledger. */
/** Answers that fell into one tenth of what was expected of them. */
export interface CalibrationDecile {
  /** 1 to 10. */
  readonly decile: number;
  readonly answers: number;
  /** Of all with a decile; a calibrated prediction has 0.1 in each. */
  readonly share: number;
  /** share − 0.1. */
  readonly error: number;
  /** Means; null where none fell here. */
  readonly predictedMs: number | null;
  readonly measuredMs: number | null;
}

export interface CalibrationItem {
  readonly model: string;
  readonly kind: 'ttft' | 'finish';
  /** Answers with a prediction; those whose deciles were known when they were sent are in `deciles`. */
  readonly answers: number;
  readonly deciles: readonly CalibrationDecile[];
  /** The largest |error| of a decile. */
  readonly errorMax: number;
  /** Share of the answers between low and high, which is to be 0.8. */
  readonly within: number;
  /** |measured ∕ predicted − 1|: its median, and what nine in ten stay within; null where nothing was measured. */
  readonly offP50: number | null;
  readonly offP90: number | null;
}

export interface CalibrationAnswer extends Durable {
  readonly source: 'postgres' | 'frames';
  readonly records: number;
  readonly sinceMs: number;
  readonly untilMs: number | null;
  /** By model and kind. */
  readonly items: readonly CalibrationItem[];
  readonly note: string;
}

export interface UsageItem {
  /** By the names that were asked for. */
  readonly group: Readonly<Record<string, string>>;
  readonly requests: number;
  /** Answered by a replica. */
  readonly served: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Served at a cost that nobody knows: it is in none of the costs. */
  readonly unpriced: number;
  /** Billionths, as whole numbers that may be longer than a double holds. */
  readonly costs: readonly { readonly currency: string; readonly nano: string }[];
}

export interface UsageAnswer extends Durable {
  /** The frame up to which the ledger has counted. */
  readonly atSeq: number;
  readonly by: readonly string[];
  /** Whole hours. */
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly items: readonly UsageItem[];
  readonly note?: string;
}

/** One window of one budget. */
export interface BudgetItem {
  readonly tenantId: string;
  readonly limitId: string;
  /** What it counts apart, or is for; empty is all. */
  readonly projectId: string;
  readonly keyId: string;
  readonly endUser: string;
  readonly model: string;
  readonly window: string;
  readonly windowStartMs: number;
  readonly windowEndMs: number;
  readonly isCurrent: boolean;
  readonly currency: string;
  readonly amountNano: number;
  /** As the gateways have reported; 0 is nothing reported. */
  readonly spentNano: number;
  /** Beyond it requests are refused. */
  readonly hard: boolean;
  readonly alertPercents: readonly number[];
  readonly reachedPercents: readonly number[];
}

/** A price of a model, in billionths of the currency. */
export interface PriceItem {
  readonly model: string;
  readonly currency: string;
  readonly inputNano: number;
  readonly cachedInputNano: number;
  readonly outputNano: number;
  readonly requestNano: number;
  /** 0 is always. */
  readonly effectiveFromMs: number;
  readonly state: 'in-force' | 'to-come' | 'over';
  /** Of the commit that set the book: the version that records name. */
  readonly seq: number;
  readonly source: string;
}

export interface ReplicaItem {
  readonly replicaId: string;
  readonly url: string;
  readonly engine: string;
  readonly models: readonly string[];
  readonly role: string;
  readonly roleset: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly source: string;
  readonly draining: boolean;
  readonly drainReason: string | null;
  readonly ejected: boolean;
  readonly ejectReason: string | null;
  readonly seq: number;
  readonly version: number;
  readonly commitId: string;
  /** Null where no gateway could be asked: unknown. */
  readonly live: ReplicaLive | null;
}

export interface PolicyItem {
  readonly policyId: string;
  readonly version: number;
  readonly models: readonly string[];
  readonly lockedStrategy: string;
  readonly defaultProfile: string;
  readonly profiles: readonly {
    readonly name: string;
    readonly strategy: string;
    readonly requestsPerSecond: number;
  }[];
  readonly source: string;
  readonly seq: number;
  readonly commitId: string;
}

export interface KeyItem {
  readonly keyId: string;
  readonly displayName: string;
  /** Empty is all. */
  readonly models: readonly string[];
  /** Null is never. */
  readonly expiresAtMs: number | null;
  readonly revoked: boolean;
  readonly revokeReason: string | null;
  readonly seq: number;
}

export interface ProjectItem {
  readonly tenantId: string;
  readonly projectId: string;
  readonly displayName: string;
  readonly source: string;
}

export interface UserItem {
  readonly tenantId: string;
  readonly userId: string;
  /** Empty is the whole tenant. */
  readonly projectId: string;
  readonly displayName: string;
  readonly source: string;
}

/** A key with its scope. */
export interface KeyDetail extends Omit<KeyItem, 'seq'> {
  readonly tenantId: string;
  readonly projectId: string;
  readonly userId: string;
  /** Empty is all. */
  readonly endpoints: readonly string[];
  /** Null is as the profile says. */
  readonly priority: number | null;
  readonly source: string;
  /** Former keys that still work. */
  readonly overlaps: number;
}

export interface TenantDetail {
  readonly tenantId: string;
  readonly displayName: string;
  readonly source: string;
  readonly projects: readonly ProjectItem[];
  readonly users: readonly UserItem[];
  readonly keys: readonly KeyDetail[];
}

export interface AdminKeyItem {
  readonly keyId: string;
  readonly displayName: string;
  /** Null is never. */
  readonly expiresAtMs: number | null;
  readonly revoked: boolean;
}

export interface OneAnswer<Item> extends Durable {
  readonly atSeq: number;
  readonly item: Item;
}

export interface LimitItem {
  readonly limitId: string;
  /** Empty: each key of the tenant. */
  readonly keyId: string;
  readonly models: readonly string[];
  readonly per: readonly ('key' | 'user' | 'model')[];
  /** "requests", "tokens", "concurrent" … */
  readonly metric: string;
  /** 0 where it has none. */
  readonly windowMs: number;
  readonly amount: number;
}

export interface TenantItem {
  readonly tenantId: string;
  readonly displayName: string;
  readonly source: string;
  readonly seq: number;
  readonly version: number;
  readonly commitId: string;
  readonly keys: readonly KeyItem[];
  readonly limits: readonly LimitItem[];
}

export interface RequestItem {
  readonly requestId: string;
  readonly receivedAtMs: number;
  readonly gatewayId: string;
  readonly tenantId: string;
  readonly keyId: string;
  readonly endpoint: string;
  readonly model: string;
  readonly stream: boolean;
  readonly strategy: string | null;
  readonly policyId: string | null;
  readonly policyVersion: number | null;
  /** The replica that answered; null when none did. */
  readonly replicaId: string | null;
  readonly outcome: string;
  readonly httpStatus: number;
  readonly errorCode: string;
  readonly attempts: number;
  readonly ttftMs: number | null;
  readonly tpotMs: number | null;
  readonly totalMs: number | null;
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
  readonly cachedTokens: number | null;
  /** "nothing" where no replica served it; "unpriced" where one did and nobody knows what it cost. */
  readonly cost: CostExplanation['state'];
  /** Billionths of the currency; null unless priced. */
  readonly costNano: number | null;
  readonly currency: string;
}

export interface NotaryAnswer extends Durable {
  readonly sealedSeq: number;
  readonly headSeq: number;
  readonly anchors: number;
  /** SPKI DER in base64. */
  readonly publicKey: string;
  readonly lastSealedAtMs: number | null;
  readonly halted: boolean;
  readonly haltedReason: string;
}

/** The last line of a stream of lines that could not be finished. */
export interface FailedLine {
  readonly kind: 'failed';
  readonly code: string;
  readonly text: string;
  readonly advice: string;
}
