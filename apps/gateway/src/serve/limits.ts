import { headBytesMax } from './http/faults.ts';

/** Bounds of the data plane, in one place. */
export interface ServeLimits {
  /** Requests being served at once, over all replicas; the next one is refused with 503. */
  readonly requestsInFlightMax: number;
  /** Requests that wait for a gateway that starts, and for how long. */
  readonly startingHeldMax: number;
  readonly startingWaitMsMax: number;
  readonly bodyBytesMax: number;
  /** Bodies held at once, over all requests. */
  readonly bodyBytesHeldMax: number;
  readonly bodyDepthMax: number;
  /** A form streams through: of it no more is held than `formLookAheadBytesMax`. */
  readonly formBytesMax: number;
  /** Bytes of a form within which its `model` must stand, or the whole of it. */
  readonly formLookAheadBytesMax: number;
  readonly formPartsMax: number;
  readonly formHeaderBytesMax: number;
  readonly modelBytesMax: number;
  /** Replicas tried for one request. */
  readonly attemptsMax: number;
  readonly connectTimeoutMs: number;
  /** From the request sent to the first byte of a stream. */
  readonly firstByteTimeoutMs: number;
  /** The same where the whole answer is generated before its first byte. */
  readonly answerTimeoutMs: number;
  /** Silence inside an answer. */
  readonly idleTimeoutMs: number;
  /** A client that takes nothing of what waits for it. */
  readonly clientStallTimeoutMs: number;
  /** How often timeouts are looked at: they are late by at most this. */
  readonly sweepPeriodMs: number;
  readonly connectionsPerReplicaMax: number;
  readonly idleConnectionsPerReplicaMax: number;
  /** Idle connections to an engine are closed before the engine does so: uvicorn does after 5 s. */
  readonly upstreamKeepAliveMs: number;
  readonly upstreamHeadBytesMax: number;
  readonly upstreamHeadersMax: number;
  /** Blocks of a failed answer that are read to keep its connection; a longer one costs the connection. */
  readonly discardBytesMax: number;
  readonly clientHeadersTimeoutMs: number;
  readonly clientRequestTimeoutMs: number;
  readonly clientKeepAliveMs: number;
  readonly clientHeadersMax: number;
  readonly clientHeadBytesMax: number;
  /** Requests of one connection under way at once; the next ones are not read. */
  readonly clientPipelinedMax: number;
  /** How long what a client still sends after its last answer is read and dropped, so that the answer reaches it. */
  readonly clientLingerMs: number;
  /** Characters of an end user's name that are recorded. */
  readonly endUserLengthMax: number;
  readonly sessionKeyBytesMax: number;
  readonly selectorLengthMax: number;
  /** Idempotency keys remembered; requests that wait behind one of them; how long, and how much of, answers are kept. */
  readonly idempotencyKeysMax: number;
  readonly idempotencyWaitersMax: number;
  readonly idempotencyKeptMs: number;
  readonly idempotencyAnswerBytesMax: number;
  readonly idempotencyBytesMax: number;
  /** Responses whose replica is remembered. */
  readonly responseHoldersMax: number;
  /** Distinct model names in metrics. */
  readonly modelLabelsMax: number;
}

export const serveLimits: ServeLimits = {
  requestsInFlightMax: 16_384,
  startingHeldMax: 1_024,
  startingWaitMsMax: 10_000,
  bodyBytesMax: 32 * 1024 * 1024,
  bodyBytesHeldMax: 512 * 1024 * 1024,
  bodyDepthMax: 256,
  formBytesMax: 1024 * 1024 * 1024,
  formLookAheadBytesMax: 4 * 1024 * 1024,
  formPartsMax: 64,
  formHeaderBytesMax: 8 * 1024,
  modelBytesMax: 512,
  attemptsMax: 3,
  connectTimeoutMs: 2_000,
  firstByteTimeoutMs: 120_000,
  answerTimeoutMs: 600_000,
  idleTimeoutMs: 120_000,
  clientStallTimeoutMs: 60_000,
  sweepPeriodMs: 250,
  connectionsPerReplicaMax: 8_192,
  idleConnectionsPerReplicaMax: 512,
  upstreamKeepAliveMs: 4_000,
  upstreamHeadBytesMax: 32 * 1024,
  upstreamHeadersMax: 128,
  discardBytesMax: 64 * 1024,
  clientHeadersTimeoutMs: 15_000,
  clientRequestTimeoutMs: 120_000,
  clientKeepAliveMs: 65_000,
  clientHeadersMax: 128,
  clientHeadBytesMax: headBytesMax,
  clientPipelinedMax: 16,
  clientLingerMs: 1_000,
  endUserLengthMax: 256,
  sessionKeyBytesMax: 256,
  selectorLengthMax: 1024,
  idempotencyKeysMax: 10_000,
  idempotencyWaitersMax: 64,
  idempotencyKeptMs: 600_000,
  idempotencyAnswerBytesMax: 1024 * 1024,
  idempotencyBytesMax: 64 * 1024 * 1024,
  responseHoldersMax: 65_536,
  modelLabelsMax: 200,
};
