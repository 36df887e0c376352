/** One request as searched and listed; `record` is the binary RecordFrame with exactly its decision record. */
export interface RequestRow {
  readonly requestId: string;
  readonly receivedAtMs: number;
  readonly gatewayId: string;
  readonly bootId: string;
  readonly frameSeq: number;
  readonly frameKey: number;
  readonly recordIndex: number;
  readonly streamSeq: number;
  readonly tenantId: string;
  readonly keyId: string;
  readonly endUser: string;
  readonly model: string;
  readonly adapter: string;
  readonly endpoint: string;
  readonly stream: boolean;
  readonly profile: string;
  readonly strategy: string | null;
  readonly policyId: string | null;
  readonly policyVersion: number | null;
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
  /** Billionths of `currency`; null where nobody knows, or nothing was served. */
  readonly costNano: number | null;
  readonly currency: string;
  readonly traceparent: string;
  readonly record: Uint8Array;
}

export interface GapRow {
  readonly kind: 'missing' | 'dropped' | 'undecodable' | 'expired';
  readonly gatewayId: string;
  readonly bootId: string;
  readonly firstFrameSeq: number;
  readonly lastFrameSeq: number;
  /** Null where it cannot be known. */
  readonly records: number | null;
  readonly streamSeq: number;
  readonly noticedAtMs: number;
  readonly note: string;
}

export interface CommitRow {
  readonly seq: number;
  readonly subject: string;
  readonly version: number;
  readonly commitId: string;
  readonly types: readonly string[];
  readonly actor: string;
  readonly causeId: string;
  readonly correlationId: string;
  readonly traceparent: string;
  readonly atMs: number | null;
  readonly storedAtMs: number;
  /** lintel.log.v1.CommitPayload as ProtoJSON, as in the log. */
  readonly payload: Uint8Array;
  readonly hash: string;
  readonly prevHash: string;
  readonly accepted: boolean;
}

export interface ReplicaRow {
  readonly replicaId: string;
  readonly url: string;
  readonly metricsUrl: string;
  readonly engine: string;
  readonly models: readonly string[];
  readonly role: string;
  readonly roleset: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly source: string;
  readonly credentialRef: string;
  readonly draining: boolean;
  readonly drainReason: string | null;
  readonly ejected: boolean;
  readonly ejectReason: string | null;
  readonly ejectedBy: string | null;
  readonly ejectedUntilMs: number | null;
  readonly removed: boolean;
  readonly removeReason: string | null;
  readonly registeredAtMs: number;
  readonly changedAtMs: number;
  readonly seq: number;
  readonly version: number;
  readonly commitId: string;
}

interface Place {
  readonly seq: number;
  readonly commitId: string;
  readonly atMs: number | null;
  readonly actor: string;
}

export interface PolicyRow extends Place {
  readonly policyId: string;
  readonly version: number;
  readonly models: readonly string[] | null;
  readonly lockedStrategy: string | null;
  readonly defaultProfile: string | null;
  /** lintel.route.v1.RoutingPolicy, ProtoJSON; null in the version that retired it. */
  readonly policy: unknown;
  readonly source: string | null;
  readonly retired: boolean;
  readonly retireReason: string | null;
}

export interface TenantRow extends Place {
  readonly tenantId: string;
  readonly displayName: string;
  readonly source: string;
  readonly removed: boolean;
  readonly removeReason: string | null;
  readonly version: number;
}

export interface KeyRow extends Place {
  readonly tenantId: string;
  readonly keyId: string;
  readonly keyHash: string;
  readonly displayName: string;
  readonly models: readonly string[];
  readonly expiresAtMs: number | null;
  readonly revoked: boolean;
  readonly revokeReason: string | null;
}

export interface ConfigurationRow extends Place {
  readonly configurationId: string;
  readonly version: number;
  readonly contentHash: string;
  readonly source: string;
  readonly changes: readonly string[];
}

export interface ProjectionRow {
  readonly name: string;
  readonly version: number;
  readonly generation: number;
  readonly schemaName: string;
  readonly phase: 'live' | 'building' | 'retired';
  readonly seq: number;
  readonly headSeq: number;
  readonly items: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly haltedSeq: number | null;
  readonly haltedCode: string | null;
  readonly haltedReason: string | null;
  readonly movedAtMs: number | null;
  readonly reportedAtMs: number | null;
}
