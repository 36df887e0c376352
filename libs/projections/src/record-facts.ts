import { fromBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { singleRecordFrame } from './single-record.ts';

/** What the rows of a request say, read from its record. */
export interface RecordFacts {
  readonly requestId: string;
  readonly receivedAtMs: number;
  readonly tenantId: string;
  readonly keyId: string;
  readonly endUser: string;
  readonly endpoint: string;
  readonly model: string;
  readonly adapter: string;
  readonly stream: boolean;
  readonly profile: string;
  /** Of the key; '' where it has none. */
  readonly projectId: string;
  readonly userId: string;
  /** Of the last pick; null where nothing was picked or the record is broken. */
  readonly strategy: string | null;
  readonly policyId: string | null;
  readonly policyVersion: number | null;
  /** The replica that answered; null when none did. */
  readonly replicaId: string | null;
  readonly outcome: number;
  readonly httpStatus: number;
  readonly errorCode: string;
  readonly attempts: number;
  /** Null where nobody measured; 0 says "not reached". */
  readonly firstByteMs: number | null;
  readonly totalMs: number | null;
  readonly tokenSpanMs: number;
  readonly tokenGaps: number;
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
  /** Only the engine knows. */
  readonly cachedTokens: number | null;
  readonly traceparent: string;
  /** Means something where `priceSeq` is not 0: else nobody knows what it cost. */
  readonly costNano: number;
  readonly priceSeq: number;
  readonly currency: string;
  /** Bytes of a RecordFrame with exactly this record. */
  readonly record: Uint8Array;
}

export interface FrameFacts {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly frameSeq: number;
  readonly closedAtMs: number;
  readonly dropped: number;
  readonly records: readonly RecordFacts[];
}

/** This attempt's replica is the one whose answer the client saw: what the prefill side says nobody sees. */
export const hasAnswered = (end: number, firstByteMs: number, role: number): boolean =>
  role !== route.ReplicaRole.PREFILL &&
  (end === route.AttemptEnd.ANSWERED || end === route.AttemptEnd.BROKEN_STREAM || firstByteMs > 0);

function factsOf(frame: route.RecordFrame, record: route.DecisionRecord): RecordFacts {
  const lastPick = record.picks.at(-1);
  const pipeline = lastPick === undefined ? undefined : frame.pipelines[lastPick.pipeline];
  const answered = record.attempts.findLast(({ end, firstByteMs, role }) => hasAnswered(end, firstByteMs, role));
  const { requestId, receivedAtMs, tenantId, keyId, endUser, endpoint, model, adapter, stream, profile } = record;
  const { projectId, userId } = record;
  const { outcome, httpStatus, errorCode, traceparent, timings, usage } = record;
  return {
    requestId,
    receivedAtMs,
    tenantId,
    keyId,
    endUser,
    endpoint,
    model,
    adapter,
    stream,
    profile,
    projectId,
    userId,
    strategy: pipeline?.strategy ?? null,
    policyId: pipeline?.policyId ?? null,
    policyVersion: pipeline?.policyVersion ?? null,
    replicaId: answered === undefined ? null : (frame.replicaIds[answered.replica] ?? null),
    outcome,
    httpStatus,
    errorCode,
    attempts: record.attempts.length,
    firstByteMs: timings?.firstByteMs ?? null,
    totalMs: timings?.totalMs ?? null,
    tokenSpanMs: timings?.tokenSpanMs ?? 0,
    tokenGaps: timings?.tokenGaps ?? 0,
    promptTokens: usage?.promptTokens ?? null,
    completionTokens: usage?.completionTokens ?? null,
    cachedTokens: usage?.fromEngine === true ? usage.cachedTokens : null,
    traceparent,
    costNano: record.costNano,
    priceSeq: record.priceSeq,
    currency: record.currency,
    record: singleRecordFrame(frame, record),
  };
}

/** By the generated code: right for every frame, and slow. Throws for what is no RecordFrame. */
export function decodeFrame(bytes: Uint8Array): FrameFacts {
  const frame = fromBinary(route.RecordFrameSchema, bytes);
  const { gatewayId, bootId, frameSeq, closedAtMs, dropped } = frame;
  return { gatewayId, bootId, frameSeq, closedAtMs, dropped, records: frame.records.map((one) => factsOf(frame, one)) };
}
