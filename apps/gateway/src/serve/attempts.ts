import type { Span } from '@opentelemetry/api';
import type { tenancy } from '#libs/contracts';
import { route } from '#libs/contracts';
import type { FlowAsker, Passage } from '../flow/index.ts';
import type { FleetReplica } from '../fleet/fleet.ts';
import { Answer } from './answer.ts';
import { allFailed, Attempt, endOf, engineDied, retryableEnd } from './attempt.ts';
import type { Splice } from './body/usage-option.ts';
import { spliced } from './body/usage-option.ts';
import { framed, lastChunk } from './body/chunk-frame.ts';
import type { Target } from './endpoints.ts';
import type { HttpRequest, HttpResponse } from './http/types.ts';
import { responsesEndpoint } from './endpoints.ts';
import type { Refusal } from './errors.ts';
import { errorEvent } from './errors.ts';
import { forwardedHead, headFor, rawHeader, single } from './headers.ts';
import { listenToDrain } from './listening.ts';
import type { Once } from './once.ts';
import type { Plane } from './plane.ts';
import type { Charge } from '../quota/index.ts';
import type { Account } from './record.ts';
import type { Routed } from './routing.ts';
import { appendOwnHeaders, whyNone } from './routing.ts';
import type { Caller, Failure, UpstreamConnection } from './upstream/connection.ts';

const { AttemptEnd, Outcome } = route;
const never = Number.POSITIVE_INFINITY;

/** The client's side of a request, as its tries see it. */
export interface Asker {
  readonly requestId: string;
  readonly account: Account;
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  readonly target: Target;
  readonly span: Span | undefined;
  readonly charge: Charge | undefined;
  /** Undefined where nobody checks keys. */
  readonly key: tenancy.KeyIssued | undefined;
  /** Whole, until it is released. */
  readonly body: Buffer;
  readonly startMs: number;
  /** When the client waits no longer. */
  readonly expiresMs: number;
  /** Undefined where the answer need not be kept. */
  readonly once: Once | undefined;
  /** Since `startMs`. */
  readonly elapsedMs: number;
  /** Nothing more may be written. */
  readonly closed: boolean;
  /** When the sweep calls. */
  deadlineMs: number;
  nowMs(): number;
  releaseBody(): void;
  /** Says how the request ends; the first word counts. */
  settle(outcome: route.Outcome, code: string, message: string): void;
  refuse(refusal: Refusal): false;
  fault(thrown: unknown): void;
  awaitEnd(): void;
}

/** The engines' side of a request: one try after the other until one answers, and that answer's way to the client. */
export class Attempts implements Caller, FlowAsker {
  /** The latest one. */
  attempt: Attempt | undefined;
  answer: Answer | undefined;
  /** The answer's head has gone to the client: no other replica can take over. */
  committed = false;
  readonly #plane: Plane;
  readonly #asker: Asker;
  readonly #tried: FleetReplica[] = [];
  /** Through flow control; undefined where its profile has none. */
  #passage: Passage | undefined;
  #commonHead = '';
  /** For engines that are asked for the usage of their stream though the client did not ask for it. */
  #usageHead = '';
  #usageBody = noBody;
  #hidesUsage = false;
  /** A small body that came whole. */
  #whole = '';
  /** Chunks are framed here. */
  #framed = false;
  #draining = false;
  #learned = false;
  /** The body comes as the client sends it: nothing of it is kept once it is under way. */
  readonly #streamed: boolean;
  #uploading = false;
  #lastFailure = '';
  #retryAfterS: number | undefined;

  constructor(
    plane: Plane,
    asker: Asker,
    readonly where: Routed,
    streamed = false,
    private readonly usage: Splice | undefined = undefined,
  ) {
    this.#streamed = streamed;
    this.#plane = plane;
    this.#asker = asker;
  }

  /** Sends it, or has it wait for a replica with room where its profile says so. */
  begin(): void {
    const { flow } = this.where.plan.profile;
    if (flow === undefined) {
      this.try();
      return;
    }
    const { account, request, startMs, body, key } = this.#asker;
    const { tenantId: tenant } = account;
    const bodyBytes = body.length;
    const priority = key?.priority;
    const arrival = { asker: this, flow, headers: request.headers, tenant, priority, startMs, bodyBytes };
    this.#passage = this.#plane.flow.enter(arrival);
    if (this.#passage.ticket !== undefined) this.try();
  }

  /** It has waited; there is room now. */
  dispatch(queuedMs: number): void {
    this.#asker.account.queuedMs = queuedMs;
    try {
      this.try();
    } catch (thrown) {
      this.#asker.fault(thrown);
    }
  }

  refuse(refusal: Refusal, queuedMs: number): void {
    this.#asker.account.queuedMs = queuedMs;
    this.#asker.refuse(refusal);
  }

  /** The request has ended, and its record is about to be written. */
  over(): void {
    if (this.#passage === undefined) return;
    const { usage, attempts } = this.#asker.account;
    this.#plane.flow.settle(this.#passage, attempts.length === 0 ? null : usage);
  }

  /** Picks a replica and sends the request there. */
  try(): void {
    const plane = this.#plane;
    const { account } = this.#asker;
    const { where } = this;
    const { clock } = plane.environment;
    const pickStartMs = clock.monotonicMs();
    const picked = plane.picks.pick(where, this.#leftOut(), pickStartMs);
    const pickedAtMs = clock.monotonicMs();
    account.pickUs += (pickedAtMs - pickStartMs) * 1000;
    account.pickedMs = pickedAtMs - this.#asker.startMs;
    const { replica, captured } = picked;
    if (captured !== undefined) account.picks.push(captured);
    if (replica === undefined) {
      this.#noReplica();
      return;
    }
    this.#tried.push(replica);
    const matched = picked.prefixBlocksMatched;
    const flight = plane.picks.dispatched(where, replica, matched, account.stream, pickedAtMs);
    plane.metrics.prefix(where.features.prefixBlocks, matched);
    this.attempt = new Attempt(replica, Math.max(0, account.picks.length - 1), account.pickedMs, flight);
    this.#send(this.attempt, this.#streamed ? plane.pool(replica).connect() : plane.pool(replica).acquire());
  }

  /** Those tried; before the first try those without room. */
  #leftOut(): readonly FleetReplica[] {
    return this.#tried.length === 0 && this.#passage !== undefined ? this.#passage.full : this.#tried;
  }

  #send(attempt: Attempt, connection: UpstreamConnection | undefined): void {
    const { replica } = attempt;
    const { open, limits } = this.#plane;
    if (connection === undefined) {
      this.#attemptFailed(AttemptEnd.CONNECT_FAILED, `over ${limits.connectionsPerReplicaMax} connections to it`);
      return;
    }
    this.#hidesUsage = this.usage !== undefined && tellsUsage(replica);
    const common = this.#hidesUsage
      ? this.#headForUsage()
      : (this.#commonHead ||= this.#head(this.#asker.body.length, true));
    const { target, request, expiresMs } = this.#asker;
    attempt.connection = connection;
    this.answer = undefined;
    const nowMs = this.#asker.nowMs();
    const { method = '', headers } = request;
    const head = headFor(
      {
        method,
        path: target.path + target.query,
        address: replica.address,
        credential: open && headers.authorization !== undefined ? undefined : replica.credential,
        timeoutMs: expiresMs === never ? undefined : Math.max(1, Math.round(expiresMs - nowMs)),
      },
      common,
    );
    if (connection.connected) this.onConnected();
    else this.#asker.deadlineMs = nowMs + limits.connectTimeoutMs;
    if (this.#streamed) connection.send(head, noBody, this, true);
    else connection.send(head, this.#hidesUsage ? this.#usageBody : this.#asker.body, this);
  }

  #headForUsage(): string {
    if (this.#usageHead === '') {
      this.#usageBody = spliced(this.#asker.body, this.usage as Splice);
      this.#usageHead = this.#head(this.#usageBody.length, false);
    }
    return this.#usageHead;
  }

  #head(bodyBytes: number, passEncodings: boolean): string {
    const { request, requestId, span, account } = this.#asker;
    const { rawHeaders, headers } = request;
    return forwardedHead({
      rawHeaders,
      connection: headers.connection,
      bodyBytes: this.#streamed ? lengthOf(headers['content-length']) : bodyBytes,
      passAuthorization: this.#plane.open,
      passEncodings,
      requestId,
      traceparent: span === undefined ? undefined : account.traceparent,
    });
  }

  #noReplica(): void {
    if (this.#lastFailure !== '') {
      this.#allFailed();
      return;
    }
    const selectorText = single(this.#asker.request.headers['external-filter']) ?? '';
    this.#asker.refuse(whyNone(this.#asker.account.model, this.where, selectorText));
  }

  #allFailed(): void {
    this.#asker.refuse(allFailed(this.#asker.account.attempts.at(-1)?.end, this.#lastFailure, this.#retryAfterS));
  }

  /** Writes the attempt into the account and charges its replica; false where that was done. */
  endAttempt(end: route.AttemptEnd, error: string): boolean {
    const attempt = this.attempt;
    if (attempt === undefined || !attempt.end(end)) return false;
    this.#plane.metrics.attempt(end);
    this.#land(attempt, end);
    this.#asker.account.attempts.push({
      replicaId: attempt.replica.id,
      pick: attempt.pick,
      startMs: attempt.startMs,
      firstByteMs: attempt.firstByteMs,
      endMs: this.#asker.elapsedMs,
      end,
      httpStatus: attempt.httpStatus,
      error,
    });
    return true;
  }

  /** What the attempt teaches of its replica. */
  #land({ flight, httpStatus }: Attempt, end: route.AttemptEnd): void {
    const { usage } = this.#asker.account;
    const whole = end === AttemptEnd.ANSWERED && httpStatus < 400;
    const { picks, metrics } = this.#plane;
    picks.signals.landed(
      flight,
      {
        whole,
        promptTokens: usage?.promptTokens ?? 0,
        outputTokens: usage?.completionTokens ?? 0,
        cachedTokens: usage?.fromEngine === true ? usage.cachedTokens : Number.NaN,
      },
      this.#asker.nowMs(),
    );
    if (whole) metrics.predicted(this.where.asked.model, flight);
  }

  /** Before the first byte: the next best replica, as long as there is one and the client waits. */
  #attemptFailed(end: route.AttemptEnd, message: string): void {
    const attempt = this.attempt as Attempt;
    const gone = this.#uploading ? `${message}; the body was streamed and cannot be sent again` : message;
    if (!this.endAttempt(end, gone)) return;
    this.#asker.deadlineMs = never;
    this.#lastFailure = `${attempt.replica.id}: ${message}`;
    if (this.#asker.closed) return;
    try {
      const { limits, draining } = this.#plane;
      if (this.#tried.length >= limits.attemptsMax || draining || this.#uploading) this.#allFailed();
      else this.try();
    } catch (thrown) {
      this.#asker.fault(thrown);
    }
  }

  // ---- The engine's answer ------------------------------------------------------------------------------------------

  onConnected(): void {
    if (this.#streamed) {
      this.#startUpload();
      return;
    }
    this.#awaitAnswer();
  }

  #awaitAnswer(): void {
    const { limits } = this.#plane;
    this.#asker.deadlineMs =
      this.#asker.nowMs() + (this.#asker.account.stream ? limits.firstByteTimeoutMs : limits.answerTimeoutMs);
  }

  /** The replica took the connection: from here on it is the only one that can be asked. */
  #startUpload(): void {
    const { body, request } = this.#asker;
    this.#uploading = true;
    this.#asker.deadlineMs = never;
    const full = !this.upload(body);
    this.#asker.releaseBody();
    if (!full) request.resume();
  }

  /** More of the body. False where the client has to wait: the engine's time runs meanwhile. */
  upload(chunk: Buffer): boolean {
    const { attempt } = this;
    if (attempt?.connection === undefined || attempt.ended !== undefined || chunk.length === 0) return true;
    const chunked = this.#asker.request.headers['content-length'] === undefined;
    if (attempt.connection.write(chunked ? framed(chunk) : chunk)) return true;
    this.#asker.deadlineMs = this.#asker.nowMs() + this.#plane.limits.idleTimeoutMs;
    this.#asker.request.pause();
    return false;
  }

  onWritable(): void {
    this.#asker.deadlineMs = never;
    this.#asker.request.resume();
  }

  uploaded(): void {
    const { attempt } = this;
    if (attempt?.connection === undefined || attempt.ended !== undefined) return;
    if (this.#asker.request.headers['content-length'] === undefined) attempt.connection.write(lastChunk);
    attempt.connection.sent();
    this.#awaitAnswer();
  }

  onHead(status: number, reason: string, headers: readonly string[]): void {
    const attempt = this.attempt as Attempt;
    attempt.httpStatus = status;
    const failed = retryableEnd(status);
    if (failed === undefined) {
      this.answer = new Answer(status, reason, headers, this.#asker.target.endpoint, this.#hidesUsage);
      return;
    }
    attempt.connection?.discard();
    const retryAfter = Number(rawHeader(headers, 'retry-after'));
    if (retryAfter > 0 && retryAfter < retryAfterSMax) this.#retryAfterS = Math.ceil(retryAfter);
    this.#attemptFailed(failed, `it answered ${status}`);
  }

  onBody(chunk: Buffer): void {
    const attempt = this.attempt as Attempt;
    const nowMs = this.#asker.nowMs();
    const answer = this.answer as Answer;
    const atMs = nowMs - this.#asker.startMs;
    if (!this.committed) {
      if (engineDied(answer.status, chunk)) {
        attempt.connection?.discard();
        this.#attemptFailed(AttemptEnd.SERVER_ERROR, 'its engine core died');
        return;
      }
      this.#commit(attempt, answer, atMs, chunk.length === answer.length);
    }
    this.#asker.once?.feed(chunk);
    this.#asker.deadlineMs = nowMs + this.#plane.limits.idleTimeoutMs;
    if (chunk.length === answer.length && chunk.length <= joinBytesMax && answer.sse === undefined) {
      // The whole body at once: its end follows in this very turn, and head and body go out in one write.
      answer.feedWhole(chunk);
      this.#learn(attempt, answer);
      this.#whole = chunk.toString('latin1');
      return;
    }
    answer.feed(chunk, atMs);
    this.#learn(attempt, answer);
    const { flight } = attempt;
    if (!flight.decoding && answer.sse !== undefined && answer.sse.firstTokenMs > 0) {
      this.#plane.picks.signals.firstToken(flight, nowMs);
    }
    this.#pass(answer.filter === undefined ? chunk : answer.filter.feed(chunk), attempt);
  }

  #pass(bytes: Buffer, attempt: Attempt): void {
    if (bytes.length === 0) return;
    // A chunk's memory is the connection's and is read into again.
    if (!this.#asker.response.write(this.#framed ? framed(bytes) : Buffer.from(bytes))) this.#awaitClient(attempt);
  }

  onEnd(): void {
    const { account } = this.#asker;
    const answer = this.answer as Answer;
    if (!this.committed) this.#commit(this.attempt as Attempt, answer, this.#asker.elapsedMs, true);
    if (answer.filter !== undefined) this.#pass(answer.filter.rest(), this.attempt as Attempt);
    answer.settle(account);
    if (answer.sse?.errorTold === true) {
      this.endAttempt(AttemptEnd.BROKEN_STREAM, 'it told an error inside the stream');
      this.#asker.settle(Outcome.UPSTREAM_BROKEN, 'upstream_error', 'The engine told an error inside the stream.');
    } else {
      this.endAttempt(AttemptEnd.ANSWERED, '');
      const outcome = outcomeOf(answer.status);
      if (outcome === Outcome.COMPLETED) this.#asker.settle(outcome, '', '');
      else this.#asker.settle(outcome, 'upstream_error', `The engine answered ${answer.status}.`);
    }
    this.#asker.once?.whole(this.#asker.nowMs());
    this.#asker.awaitEnd();
    if (this.#whole !== '') this.#asker.response.end(this.#whole, 'latin1');
    else this.#asker.response.end(this.#framed ? lastChunk : undefined);
  }

  onFault(thrown: unknown): void {
    this.#asker.fault(thrown);
  }

  onFailure(failure: Failure, message: string): void {
    const attempt = this.attempt as Attempt;
    if (this.committed) {
      this.#broken(AttemptEnd.BROKEN_STREAM, message, brokenBy(message));
      return;
    }
    const { connection } = attempt;
    if (failure === 'reset' && connection?.stale === true && !attempt.reconnected) {
      attempt.reconnected = true;
      this.#send(attempt, this.#plane.pool(attempt.replica).connect());
      return;
    }
    this.#attemptFailed(endOf(failure), message);
  }

  /** The head goes out with the first byte of the body: until then another replica can still answer. */
  #commit(attempt: Attempt, answer: Answer, atMs: number, whole: boolean): void {
    this.committed = true;
    this.#asker.releaseBody();
    attempt.firstByteMs = this.#asker.account.firstByteMs = atMs;
    this.#asker.account.httpStatus = answer.status;
    this.#asker.once?.head(answer.status, answer.headers);
    // Of an answer that is still to come nobody knows yet how it ends.
    const outcome = whole ? outcomeOf(answer.status) : Outcome.UNSPECIFIED;
    appendOwnHeaders(answer.headers, this.#asker.requestId, this.where, attempt.replica, outcome);
    this.#asker.charge?.appendHeaders(answer.headers);
    const { response, request } = this.#asker;
    // It answers before it has read the whole: the rest of the body is read by nobody.
    if (this.#streamed && !request.complete) answer.headers.push('connection', 'close');
    response.writeHead(answer.status, answer.reason, answer.headers);
    // Node would write a chunk in four pieces; its own framing is switched off once the head says "chunked".
    this.#framed = response.chunkedEncoding;
    if (this.#framed) response.chunkedEncoding = false;
  }

  /** Remembers who holds a response as soon as the client is told its id. */
  #learn(attempt: Attempt, answer: Answer): void {
    const { target, account } = this.#asker;
    if (this.#learned || target.endpoint !== responsesEndpoint) return;
    const id = answer.responseId();
    if (id === '') return;
    this.#learned = true;
    const { tenantId, model } = account;
    this.#plane.holders.remember(id, { replicaId: attempt.replica.id, model, tenantId });
  }

  #awaitClient(attempt: Attempt): void {
    if (!this.#draining) {
      this.#draining = true;
      listenToDrain(this.#asker.response);
    }
    this.#asker.deadlineMs = this.#asker.nowMs() + this.#plane.limits.clientStallTimeoutMs;
    attempt.connection?.pause();
  }

  clientDrained(): void {
    if (this.#asker.closed || this.attempt?.ended !== undefined) return;
    this.#asker.deadlineMs = this.#asker.nowMs() + this.#plane.limits.idleTimeoutMs;
    this.attempt?.connection?.resume();
  }

  /** After the first byte: a terminal event on a stream, a cut connection elsewhere; never an end that looks whole. */
  #broken(end: route.AttemptEnd, message: string, { outcome, code, text }: Break): void {
    if (!this.endAttempt(end, message)) return;
    const answer = this.answer as Answer;
    answer.settle(this.#asker.account);
    this.#asker.settle(outcome, code, text);
    if (answer.sse === undefined || answer.length >= 0) {
      this.#asker.response.destroy();
      return;
    }
    if (answer.filter !== undefined) this.#pass(answer.filter.rest(), this.attempt as Attempt);
    // An event that was cut is ended first, so that the error is an event of its own.
    const open = answer.sse.atLineStart ? '\n' : '\n\n';
    this.#asker.awaitEnd();
    const { dialect } = this.#asker.target.endpoint;
    const status = outcome === Outcome.EVICTED_DEADLINE ? 504 : 502;
    const event = Buffer.from(open + errorEvent(dialect, status, code, text, this.#asker.requestId));
    if (this.#framed) this.#asker.response.write(framed(event));
    this.#asker.response.end(this.#framed ? lastChunk : event);
  }

  /** Nobody waits for the answer any more. */
  leave(why: string): void {
    const queuedMs = this.#passage && this.#plane.flow.leave(this.#passage, why === '' ? 'ClientGone' : 'Stopped');
    if (queuedMs !== undefined && queuedMs > 0) this.#asker.account.queuedMs = queuedMs;
    const { attempt } = this;
    if (this.endAttempt(AttemptEnd.CLIENT_GONE, why)) attempt?.connection?.destroy();
  }

  /** The deadline has passed while an engine was due to say something. */
  late(): void {
    this.#asker.deadlineMs = never;
    const connection = this.attempt?.connection;
    connection?.destroy();
    if (this.committed) this.#broken(AttemptEnd.BROKEN_STREAM, 'it fell silent', brokenBy('it fell silent'));
    else if (connection?.connected === true) this.#attemptFailed(AttemptEnd.TIMEOUT, 'it did not answer in time');
    else this.#attemptFailed(AttemptEnd.CONNECT_FAILED, 'it did not take the connection in time');
  }

  /** The gateway stops; the replica is not to blame. True where the client was told inside its answer. */
  stop(): boolean {
    return this.#cut('the gateway stopped', stopped);
  }

  /** The client waits no longer than until now. True where it was told inside its answer. */
  expire({ outcome, code, message }: Refusal): boolean {
    return this.#cut('the deadline of the client passed', { outcome, code, text: message });
  }

  #cut(why: string, said: Break): boolean {
    if (this.committed && this.attempt?.ended === undefined) {
      this.attempt?.connection?.destroy();
      this.#broken(AttemptEnd.CLIENT_GONE, why, said);
      return true;
    }
    this.leave(why);
    return false;
  }
}

/** Up to here joining head and body costs less than writing them apart. */
const joinBytesMax = 16 * 1024;
const retryAfterSMax = 3600;
const noBody: Buffer = Buffer.alloc(0);
const lengthOf = (header: string | undefined): number | undefined =>
  header === undefined ? undefined : Number(header);
const outcomeOf = (status: number): route.Outcome => (status < 400 ? Outcome.COMPLETED : Outcome.UPSTREAM_ERROR);

/** How a stream that had begun is said to have ended. */
interface Break {
  readonly outcome: route.Outcome;
  readonly code: string;
  readonly text: string;
}

const stopped: Break = {
  outcome: Outcome.EVICTED_DEADLINE,
  code: 'gateway_stopped',
  text: 'The gateway stopped before the answer was whole. Send the request again.',
};
const brokenBy = (message: string): Break => ({
  outcome: Outcome.UPSTREAM_BROKEN,
  code: 'upstream_broken',
  text: `The replica failed after the answer had begun: ${message}. Send the request again.`,
});

const usageKinds = new Set<route.EngineKind>([route.EngineKind.VLLM, route.EngineKind.SGLANG]);
/** A replica's label that says whether it may be asked for usage, whatever its engine is. */
const usageLabel = 'lintel.stream-usage';

/** Engines known to take `stream_options.include_usage`. */
function tellsUsage({ engine, labels }: FleetReplica): boolean {
  const label = labels[usageLabel];
  return label === undefined ? usageKinds.has(engine) : label === 'on';
}
