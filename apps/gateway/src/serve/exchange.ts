import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Span } from '@opentelemetry/api';
import { route } from '#libs/contracts';
import { errorCode, errorText } from '#libs/kernel';
import type { tenancy } from '#libs/contracts';
import type { FleetReplica } from '../fleet/fleet.ts';
import type { Listed } from './active-list.ts';
import { Answer } from './answer.ts';
import { allFailed, Attempt, endOf, engineDied, retryableEnd } from './attempt.ts';
import { framed, lastChunk } from './body/chunk-frame.ts';
import type { Target } from './endpoints.ts';
import type { Listening } from './listening.ts';
import { listen, listenToBody, listenToDrain } from './listening.ts';
import type { Refusal } from './errors.ts';
import * as errors from './errors.ts';
import { errorBody } from './errors.ts';
import { forwardedHead, headFor, rawHeader, single } from './headers.ts';
import { keyOf } from './keys.ts';
import type { Plane } from './plane.ts';
import { closeBooks } from './books.ts';
import { Account } from './record.ts';
import type { Routed } from './routing.ts';
import { appendOwnHeaders, isRefusal, replicasOf, routed, whyNone } from './routing.ts';
import { soundTraceparent } from './tracing.ts';
import type { Caller, Failure, UpstreamConnection } from './upstream/connection.ts';

const { AttemptEnd, Outcome } = route;
const noBody: Buffer = Buffer.alloc(0);
const never = Number.POSITIVE_INFINITY;

/** One request from its first byte to its record. Every path ends in `#finish`, once. */
export class Exchange implements Caller, Listening, Listed {
  place = -1;
  readonly requestId: string;
  readonly account = new Account();
  readonly #plane: Plane;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #target: Target;
  readonly #receivedAtMs: number;
  readonly #startMs: number;
  #finished = false;
  /** The client left, or was told all it will be: nothing more is written. */
  #closed = false;
  #draining = false;
  #deadlineMs = never;
  // The request.
  #first: Buffer | undefined;
  #more: Buffer[] | undefined;
  #bodyBytes = 0;
  #body = noBody;
  #key: tenancy.KeyIssued | undefined;
  #modelKnown = false;
  #span: Span | undefined;
  // Routing.
  #routed: Routed | undefined;
  readonly #tried: FleetReplica[] = [];
  #commonHead = '';
  // The answer.
  #attempt: Attempt | undefined;
  #answer: Answer | undefined;
  #committed = false;
  /** A small body that came whole. */
  #whole = '';
  /** Chunks are framed here. */
  #framed = false;
  #lastFailure = '';
  #retryAfterS: number | undefined;

  constructor(plane: Plane, request: IncomingMessage, response: ServerResponse, target: Target) {
    const { clock, ids } = plane.environment;
    this.#plane = plane;
    this.#request = request;
    this.#response = response;
    this.#target = target;
    this.requestId = ids.uuid();
    this.#receivedAtMs = clock.nowMs();
    this.#startMs = clock.monotonicMs();
    listen(this, request, response);
    plane.active.add(this);
  }

  /** Milliseconds since the request was received. */
  get #elapsedMs(): number {
    return this.#plane.environment.clock.monotonicMs() - this.#startMs;
  }

  get target(): Target {
    return this.#target;
  }

  get key(): tenancy.KeyIssued | undefined {
    return this.#key;
  }

  // ---- Admission ----------------------------------------------------------------------------------------------------

  /** Who asks; false where they were refused. */
  admit(): boolean {
    const { headers } = this.#request;
    const plane = this.#plane;
    const { account } = this;
    const state = plane.state();
    account.replicasSeq = state.routeSeq;
    account.tenantsSeq = state.tenancySeq;
    const traceparent = soundTraceparent(single(headers['traceparent']));
    account.traceparent = traceparent;
    this.#span = plane.tracing.start(this.#target.endpoint.operation, traceparent);
    if (this.#span !== undefined) account.traceparent = plane.tracing.traceparentOf(this.#span);
    if (plane.draining) return this.refuse(errors.draining);
    if (plane.active.size > plane.limits.requestsInFlightMax) {
      return this.refuse(errors.overCapacity(`${plane.active.size - 1} requests`));
    }
    account.endUser = (single(headers['user']) ?? '').slice(0, plane.limits.endUserLengthMax);
    if (plane.open) return true;
    const found = keyOf(headers.authorization, state, this.#receivedAtMs);
    if ('refusal' in found) return this.refuse(found.refusal);
    this.#key = found.key;
    account.tenantId = found.key.tenantId;
    account.keyId = found.key.keyId;
    return true;
  }

  /** Reads the body, then routes. */
  serve(): void {
    if (!this.admit()) return;
    const { headers } = this.#request;
    const { limits } = this.#plane;
    const encoding = headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity' && encoding !== '') {
      this.refuse(errors.unsupportedEncoding(encoding));
      return;
    }
    if (Number(headers['content-length'] ?? 0) > limits.bodyBytesMax) {
      this.refuse(errors.tooLarge(limits.bodyBytesMax));
      return;
    }
    listenToBody(this.#request);
  }

  bodyData(chunk: Buffer): void {
    if (this.#closed) return;
    const plane = this.#plane;
    this.#bodyBytes += chunk.length;
    plane.heldBytes += chunk.length;
    if (this.#bodyBytes > plane.limits.bodyBytesMax) {
      this.refuse(errors.tooLarge(plane.limits.bodyBytesMax));
      return;
    }
    if (plane.heldBytes > plane.limits.bodyBytesHeldMax) {
      this.refuse(errors.overCapacity(`${plane.limits.bodyBytesHeldMax} bytes of bodies`));
      return;
    }
    if (this.#first === undefined) this.#first = chunk;
    else (this.#more ??= []).push(chunk);
  }

  bodyEnd(): void {
    if (this.#closed) return;
    const first = this.#first ?? noBody;
    this.#body = this.#more === undefined ? first : Buffer.concat([first, ...this.#more]);
    this.#first = this.#more = undefined;
    this.account.bodyReadMs = this.#elapsedMs;
    try {
      if (this.#route()) this.#try();
    } catch (thrown) {
      this.fault(thrown);
    }
  }

  // ---- Routing ------------------------------------------------------------------------------------------------------

  #route(): boolean {
    const plane = this.#plane;
    const { account } = this;
    const { scanner } = plane;
    const body = this.#body;
    const problem = scanner.scan(body);
    // Also a refused request's record says what it asked for, as far as it was read.
    account.stream = scanner.stream;
    if (account.endUser === '') account.endUser = scanner.user.slice(0, plane.limits.endUserLengthMax);
    account.model = scanner.model;
    if (problem !== undefined) {
      const marker =
        problem.code === 'missing_model' ? 'x-error-no-model-in-request' : 'x-error-request-body-processing';
      return this.refuse(errors.badRequest(problem.code, problem.message, problem.param, [marker, 'true']));
    }
    const replicas = replicasOf(plane, scanner.model, this.#key);
    if ('outcome' in replicas) return this.refuse(replicas);
    this.#modelKnown = true;
    const { headers } = this.#request;
    const { requestId } = this;
    const nowMs = this.#startMs;
    const found = routed(plane, { requestId, headers, scanned: scanner, body, key: this.#key, nowMs }, replicas);
    if (isRefusal(found)) return this.refuse(found);
    this.#routed = found;
    account.profile = found.plan.profile.profile;
    account.features = found.features;
    account.adapter = found.adapter;
    return true;
  }

  // ---- Attempts -----------------------------------------------------------------------------------------------------

  /** Picks a replica and sends the request there. */
  #try(): void {
    const plane = this.#plane;
    const { account } = this;
    const where = this.#routed as Routed;
    const { clock } = plane.environment;
    const pickStartMs = clock.monotonicMs();
    const picked = plane.picks.pick(where, this.#tried);
    const pickedAtMs = clock.monotonicMs();
    account.pickUs += (pickedAtMs - pickStartMs) * 1000;
    account.pickedMs = pickedAtMs - this.#startMs;
    const { replica, captured } = picked;
    if (captured !== undefined) account.picks.push(captured);
    if (replica === undefined) {
      this.#noReplica();
      return;
    }
    this.#tried.push(replica);
    plane.picks.dispatched(where.blocks, replica);
    plane.metrics.prefix(where.features.prefixBlocks, picked.prefixBlocksMatched);
    this.#attempt = new Attempt(replica, Math.max(0, account.picks.length - 1), account.pickedMs);
    this.#send(this.#attempt, plane.pool(replica).acquire());
  }

  #send(attempt: Attempt, connection: UpstreamConnection | undefined): void {
    const { replica } = attempt;
    const { open, limits } = this.#plane;
    if (connection === undefined) {
      this.#attemptFailed(AttemptEnd.CONNECT_FAILED, `over ${limits.connectionsPerReplicaMax} connections to it`);
      return;
    }
    if (this.#commonHead === '') {
      const { rawHeaders, headers } = this.#request;
      this.#commonHead = forwardedHead({
        rawHeaders,
        connection: headers.connection,
        bodyBytes: this.#body.length,
        passAuthorization: open,
        requestId: this.requestId,
        traceparent: this.#span === undefined ? undefined : this.account.traceparent,
      });
    }
    const { endpoint, query } = this.#target;
    const credential = open && this.#request.headers.authorization !== undefined ? undefined : replica.credential;
    attempt.connection = connection;
    this.#answer = undefined;
    if (connection.connected) this.onConnected();
    else this.#deadlineMs = this.#now() + limits.connectTimeoutMs;
    connection.send(headFor(endpoint.path + query, replica.address, credential, this.#commonHead), this.#body, this);
  }

  #noReplica(): void {
    if (this.#lastFailure !== '') {
      this.#allFailed();
      return;
    }
    const selectorText = single(this.#request.headers['external-filter']) ?? '';
    this.refuse(whyNone(this.account.model, this.#routed as Routed, selectorText));
  }

  #allFailed(): void {
    this.refuse(allFailed(this.account.attempts.at(-1)?.end, this.#lastFailure, this.#retryAfterS));
  }

  /** Writes the attempt into the account and charges its replica; false where that was done. */
  #endAttempt(end: route.AttemptEnd, error: string): boolean {
    const attempt = this.#attempt;
    if (attempt === undefined || !attempt.end(end)) return false;
    this.#plane.metrics.attempt(end);
    this.account.attempts.push({
      replicaId: attempt.replica.id,
      pick: attempt.pick,
      startMs: attempt.startMs,
      firstByteMs: attempt.firstByteMs,
      endMs: this.#elapsedMs,
      end,
      httpStatus: attempt.httpStatus,
      error,
    });
    return true;
  }

  /** Before the first byte: the next best replica, as long as there is one and the client waits. */
  #attemptFailed(end: route.AttemptEnd, message: string): void {
    const attempt = this.#attempt as Attempt;
    if (!this.#endAttempt(end, message)) return;
    this.#deadlineMs = never;
    this.#lastFailure = `${attempt.replica.id}: ${message}`;
    if (this.#closed) return;
    try {
      if (this.#tried.length >= this.#plane.limits.attemptsMax || this.#plane.draining) this.#allFailed();
      else this.#try();
    } catch (thrown) {
      this.fault(thrown);
    }
  }

  // ---- The engine's answer ------------------------------------------------------------------------------------------

  onConnected(): void {
    const { limits } = this.#plane;
    this.#deadlineMs = this.#now() + (this.account.stream ? limits.firstByteTimeoutMs : limits.answerTimeoutMs);
  }

  onHead(status: number, reason: string, headers: readonly string[]): void {
    const attempt = this.#attempt as Attempt;
    attempt.httpStatus = status;
    const failed = retryableEnd(status);
    if (failed === undefined) {
      this.#answer = new Answer(status, reason, headers);
      return;
    }
    attempt.connection?.discard();
    const retryAfter = Number(rawHeader(headers, 'retry-after'));
    if (retryAfter > 0 && retryAfter < retryAfterSMax) this.#retryAfterS = Math.ceil(retryAfter);
    this.#attemptFailed(failed, `it answered ${status}`);
  }

  onBody(chunk: Buffer): void {
    const attempt = this.#attempt as Attempt;
    const nowMs = this.#now();
    const answer = this.#answer as Answer;
    const atMs = nowMs - this.#startMs;
    if (!this.#committed) {
      if (engineDied(answer.status, chunk)) {
        attempt.connection?.discard();
        this.#attemptFailed(AttemptEnd.SERVER_ERROR, 'its engine core died');
        return;
      }
      this.#commit(attempt, answer, atMs);
    }
    this.#deadlineMs = nowMs + this.#plane.limits.idleTimeoutMs;
    if (chunk.length === answer.length && chunk.length <= joinBytesMax && answer.sse === undefined) {
      // The whole body at once: its end follows in this very turn, and head and body go out in one write.
      answer.feedWhole(chunk);
      this.#whole = chunk.toString('latin1');
      return;
    }
    answer.feed(chunk, atMs);
    // The chunk's memory is the connection's and is read into again.
    if (!this.#response.write(this.#framed ? framed(chunk) : Buffer.from(chunk))) this.#awaitClient(attempt);
  }

  onEnd(): void {
    const { account } = this;
    const answer = this.#answer as Answer;
    if (!this.#committed) this.#commit(this.#attempt as Attempt, answer, this.#elapsedMs);
    answer.settle(account);
    if (answer.sse?.errorTold === true) {
      this.#endAttempt(AttemptEnd.BROKEN_STREAM, 'it told an error inside the stream');
      this.#settle(Outcome.UPSTREAM_BROKEN, 'upstream_error', 'The engine told an error inside the stream.');
    } else {
      this.#endAttempt(AttemptEnd.ANSWERED, '');
      if (answer.status < 400) this.#settle(Outcome.COMPLETED, '', '');
      else this.#settle(Outcome.UPSTREAM_ERROR, 'upstream_error', `The engine answered ${answer.status}.`);
    }
    this.#awaitEnd();
    if (this.#whole !== '') this.#response.end(this.#whole, 'latin1');
    else this.#response.end(this.#framed ? lastChunk : undefined);
  }

  onFault(thrown: unknown): void {
    this.fault(thrown);
  }

  onFailure(failure: Failure, message: string): void {
    const attempt = this.#attempt as Attempt;
    if (this.#committed) {
      this.#broken(AttemptEnd.BROKEN_STREAM, message);
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
  #commit(attempt: Attempt, answer: Answer, atMs: number): void {
    this.#committed = true;
    this.#releaseBody();
    attempt.firstByteMs = this.account.firstByteMs = atMs;
    this.account.httpStatus = answer.status;
    appendOwnHeaders(answer.headers, this.requestId, this.#routed, attempt.replica);
    const response = this.#response;
    response.writeHead(answer.status, answer.reason, answer.headers);
    // Node would write a chunk in four pieces; its own framing is switched off once the head says "chunked".
    this.#framed = response.chunkedEncoding;
    if (this.#framed) response.chunkedEncoding = false;
  }

  /** Nobody will be sent it any more: streams live long, and prompts are large. */
  #releaseBody(): void {
    this.#plane.heldBytes -= this.#bodyBytes;
    this.#bodyBytes = 0;
    this.#body = noBody;
    this.#first = this.#more = undefined;
  }

  #awaitClient(attempt: Attempt): void {
    if (!this.#draining) {
      this.#draining = true;
      listenToDrain(this.#response);
    }
    this.#deadlineMs = this.#now() + this.#plane.limits.clientStallTimeoutMs;
    attempt.connection?.pause();
  }

  clientDrained(): void {
    if (this.#closed || this.#attempt?.ended !== undefined) return;
    this.#deadlineMs = this.#now() + this.#plane.limits.idleTimeoutMs;
    this.#attempt?.connection?.resume();
  }

  /** After the first byte: a terminal event on a stream, a cut connection elsewhere; never an end that looks whole. */
  #broken(end: route.AttemptEnd, message: string): void {
    if (!this.#endAttempt(end, message)) return;
    const answer = this.#answer as Answer;
    answer.settle(this.account);
    const ours = end !== AttemptEnd.BROKEN_STREAM;
    const code = ours ? 'gateway_stopped' : 'upstream_broken';
    const text = ours
      ? 'The gateway stopped before the answer was whole. Send the request again.'
      : `The replica failed after the answer had begun: ${message}. Send the request again.`;
    this.#settle(ours ? Outcome.EVICTED_DEADLINE : Outcome.UPSTREAM_BROKEN, code, text);
    if (answer.sse === undefined || answer.length >= 0) {
      this.#response.destroy();
      return;
    }
    // An event that was cut is ended first, so that the error is an event of its own.
    const open = answer.sse.atLineStart ? '\n' : '\n\n';
    this.#awaitEnd();
    const event = Buffer.from(`${open}data: ${errorBody(502, code, text)}\n\n`);
    if (this.#framed) this.#response.write(framed(event));
    this.#response.end(this.#framed ? lastChunk : event);
  }

  /** All is written: the client has so long to take it. */
  #awaitEnd(): void {
    this.#deadlineMs = this.#now() + this.#plane.limits.clientStallTimeoutMs;
  }

  // ---- The end ------------------------------------------------------------------------------------------------------

  /** Says how it ends, once. */
  #settle(outcome: route.Outcome, code: string, message: string): void {
    const { account } = this;
    if (account.outcome !== Outcome.UNSPECIFIED) return;
    account.outcome = outcome;
    account.errorCode = code;
    account.errorMessage = message;
    this.#closed = true;
  }

  /** Answers with an error of our own. Always false: the caller stops. */
  refuse(refusal: Refusal): false {
    if (this.#closed) return false;
    const { status, code, message, param, marker, retryAfterS, allow } = refusal;
    this.#settle(refusal.outcome, code, message);
    this.account.httpStatus = status;
    const headers: string[] = [];
    if (marker !== undefined) headers.push(marker[0], marker[1]);
    if (retryAfterS !== undefined) headers.push('retry-after', String(retryAfterS));
    if (allow !== undefined) headers.push('allow', allow);
    if (status === 401) headers.push('www-authenticate', 'Bearer');
    if (refusal.close === true || this.#longUnread()) headers.push('connection', 'close');
    this.#sendJson(status, errorBody(status, code, message, param ?? null), headers);
    return false;
  }

  /** A body is still to come that is not worth reading for the sake of its connection. */
  #longUnread(): boolean {
    const { complete, headers } = this.#request;
    if (complete) return false;
    const length = headers['content-length'];
    return length === undefined ? headers['transfer-encoding'] !== undefined : Number(length) > unreadBytesMax;
  }

  /** The parser of HTTP gave up inside this request. */
  refuseMalformed({ status, code, message }: { status: number; code: string; message: string }): void {
    this.refuse({ status, code, message, outcome: Outcome.REJECTED_BAD_REQUEST, close: true });
  }

  /** Answers with what we know ourselves. */
  answer(json: string): void {
    this.#settle(Outcome.COMPLETED, '', '');
    this.account.httpStatus = 200;
    this.#sendJson(200, json, []);
  }

  #sendJson(status: number, json: string, headers: string[]): void {
    headers.push('content-type', 'application/json', 'content-length', String(Buffer.byteLength(json)));
    appendOwnHeaders(headers, this.requestId, this.#routed, this.#attempt?.replica);
    this.#awaitEnd();
    this.#response.writeHead(status, headers);
    this.#response.end(json);
  }

  /** Something of ours threw. */
  fault(thrown: unknown): void {
    this.#plane.logger.error({ err: thrown, requestId: this.requestId, code: errorCode(thrown) }, errorText(thrown));
    this.#endAttempt(AttemptEnd.CLIENT_GONE, 'the gateway made a mistake');
    this.#attempt?.connection?.destroy();
    if (this.#response.headersSent) {
      this.#settle(Outcome.INTERNAL_ERROR, errors.internalError.code, errorText(thrown));
      this.#response.destroy();
    } else this.refuse(errors.internalError);
  }

  /** The response is closed: all sent, or the client left. */
  clientClosed(): void {
    if (this.#finished) return;
    const { account } = this;
    const response = this.#response;
    if (account.outcome === Outcome.UNSPECIFIED) {
      if (this.#committed) this.#answer?.settle(account);
      this.#settle(Outcome.CLIENT_GONE, 'client_gone', 'The client closed the connection.');
    } else if (account.outcome === Outcome.COMPLETED && !response.writableFinished) {
      account.outcome = Outcome.CLIENT_GONE;
      account.errorCode = 'client_gone';
      account.errorMessage = 'The client closed the connection before it had the whole answer.';
    }
    this.#closed = true;
    const attempt = this.#attempt;
    if (this.#endAttempt(AttemptEnd.CLIENT_GONE, '')) attempt?.connection?.destroy();
    this.#finish();
  }

  /** Called now and then: what is too late ends. */
  sweep(nowMs: number): void {
    // A request that waits behind another on its connection has no socket of its own to tell it.
    if (this.#request.socket.destroyed) {
      this.clientClosed();
      return;
    }
    if (nowMs < this.#deadlineMs) return;
    const attempt = this.#attempt;
    if (attempt === undefined || attempt.ended !== undefined || this.#response.writableNeedDrain) {
      // Behind another answer on its connection it has to wait as long as that one takes.
      if (this.#response.socket === null) this.#deadlineMs = nowMs + this.#plane.limits.clientStallTimeoutMs;
      else this.#request.socket.destroy();
      return;
    }
    this.#deadlineMs = never;
    const { connection } = attempt;
    connection?.destroy();
    if (this.#committed) this.#broken(AttemptEnd.BROKEN_STREAM, 'it fell silent');
    else if (connection?.connected === true) this.#attemptFailed(AttemptEnd.TIMEOUT, 'it did not answer in time');
    else this.#attemptFailed(AttemptEnd.CONNECT_FAILED, 'it did not take the connection in time');
  }

  /** The gateway stops and waits no longer. The replica is not to blame. */
  abort(): void {
    this.#attempt?.connection?.destroy();
    if (this.#committed && this.#attempt?.ended === undefined) {
      this.#broken(AttemptEnd.CLIENT_GONE, 'the gateway stopped');
      return;
    }
    this.#endAttempt(AttemptEnd.CLIENT_GONE, 'the gateway stopped');
    if (this.#response.headersSent) this.#request.socket.destroy();
    else this.refuse(errors.draining);
  }

  #now(): number {
    return this.#plane.environment.clock.monotonicMs();
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    const plane = this.#plane;
    const { account } = this;
    plane.active.remove(this);
    this.#releaseBody();
    account.totalMs = this.#elapsedMs;
    closeBooks(plane, account, {
      requestId: this.requestId,
      receivedAtMs: this.#receivedAtMs,
      endpoint: this.#target.endpoint,
      modelKnown: this.#modelKnown,
      span: this.#span,
      sse: this.#answer?.sse,
    });
  }
}

/** Up to here joining head and body costs less than writing them apart. */
const joinBytesMax = 16 * 1024;
const retryAfterSMax = 3600;
const unreadBytesMax = 256 * 1024;
