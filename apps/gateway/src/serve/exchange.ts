import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Span } from '@opentelemetry/api';
import { route } from '#libs/contracts';
import { resolveProfile, selectPolicy } from '#libs/domain/route';
import { keyAllows } from '#libs/domain/tenancy';
import { closest, CodedError, errorCode, errorText, fnv1a32 } from '#libs/kernel';
import type { BlockHashes } from '#libs/prefix-index';
import type { tenancy } from '#libs/contracts';
import type { FleetReplica } from '../fleet/fleet.ts';
import { Attempt, endOf, retryableEnd } from './attempt.ts';
import type { BodyScanner } from './body/body-scanner.ts';
import { SseScanner } from './body/sse-scanner.ts';
import { BodyTail } from './body/usage.ts';
import type { Target } from './endpoints.ts';
import type { Refusal } from './errors.ts';
import * as errors from './errors.ts';
import { errorBody } from './errors.ts';
import { appendAnswerHeaders, forwardedHead, headFor, rawHeader, single } from './headers.ts';
import { keyOf } from './keys.ts';
import type { Plane } from './plane.ts';
import type { RoutePlan } from './picks.ts';
import { Account } from './record.ts';
import type { Selector } from './selector.ts';
import { soundTraceparent } from './tracing.ts';
import type { Caller, Failure, UpstreamConnection } from './upstream/connection.ts';

const { AttemptEnd, Outcome } = route;
const exchangeOf = Symbol('exchange');

/** Node's own objects carry their exchange, so that one listener serves all requests. */
interface Carrier {
  [exchangeOf]?: Exchange;
}

const of = (carrier: unknown): Exchange => (carrier as Carrier)[exchangeOf] as Exchange;

export const exchangeIn = (carrier: unknown): Exchange | undefined => (carrier as Carrier | null)?.[exchangeOf];

function onRequestData(this: unknown, chunk: Buffer): void {
  of(this).bodyData(chunk);
}
function onRequestEnd(this: unknown): void {
  of(this).bodyEnd();
}
function onDrain(this: unknown): void {
  of(this).clientDrained();
}
function onResponseClose(this: unknown): void {
  of(this).clientClosed();
}
/** The response's close tells the same. */
const ignoreError = (): void => {};

const noBody: Buffer = Buffer.alloc(0);
const never = Number.POSITIVE_INFINITY;

/** One request from its first byte to its record. Every path ends in `#finish`, once. */
export class Exchange implements Caller {
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
  #plan: RoutePlan | undefined;
  #replicas: readonly FleetReplica[] = [];
  #selector: Selector | undefined;
  #blocks: BlockHashes | undefined;
  #sessionId = '';
  readonly #tried: FleetReplica[] = [];
  #commonHead = '';
  // The answer.
  #attempt: Attempt | undefined;
  #status = 0;
  #reason = '';
  #answerHeaders: readonly string[] = [];
  #committed = false;
  #sse: SseScanner | undefined;
  #tail: BodyTail | undefined;
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
    (request as Carrier)[exchangeOf] = this;
    (response as Carrier)[exchangeOf] = this;
    response.on('close', onResponseClose);
    request.on('error', ignoreError);
    plane.active.add(this);
  }

  /** Milliseconds since the request was received. */
  get #elapsedMs(): number {
    return this.#plane.environment.clock.monotonicMs() - this.#startMs;
  }

  get target(): Target {
    return this.#target;
  }

  get request(): IncomingMessage {
    return this.#request;
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
    this.#request.on('data', onRequestData);
    this.#request.on('end', onRequestEnd);
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
    const problem = scanner.scan(this.#body);
    // Also a refused request's record says what it asked for, as far as it was read.
    account.stream = scanner.stream;
    if (account.endUser === '') account.endUser = scanner.user.slice(0, plane.limits.endUserLengthMax);
    account.model = scanner.model;
    if (problem !== undefined) {
      const marker =
        problem.code === 'missing_model' ? 'x-error-no-model-in-request' : 'x-error-request-body-processing';
      return this.refuse(errors.badRequest(problem.code, problem.message, problem.param, [marker, 'true']));
    }
    return this.#chooseModel(scanner) && this.#choosePlan(scanner);
  }

  #chooseModel({ model }: BodyScanner): boolean {
    const { fleet, compat } = this.#plane;
    if (this.#key !== undefined && !keyAllows(this.#key, model)) return this.refuse(errors.modelNotAllowed(model));
    const replicas = fleet.replicasFor(model);
    if (replicas === undefined) {
      if (fleet.settling) return this.refuse(errors.modelsSettling(model));
      const names = fleet
        .models()
        .flatMap(({ id }) => (this.#key === undefined || keyAllows(this.#key, id) ? [id] : []));
      return this.refuse(errors.modelNotFound(model, compat, closest(model, names)));
    }
    this.#modelKnown = true;
    if (fleet.model(model)?.parent !== undefined) this.account.adapter = model;
    this.#replicas = replicas;
    return true;
  }

  #choosePlan(scanner: BodyScanner): boolean {
    const plane = this.#plane;
    const { account } = this;
    const { headers } = this.#request;
    const { model, promptStart, promptEnd, maxTokens } = scanner;
    const filter = single(headers['external-filter']);
    if (filter !== undefined) {
      this.#selector = plane.selectors.of(filter);
      if (this.#selector === undefined) {
        const message = 'external-filter is no label selector. Write for example "tier=gold,zone in (a,b),!canary".';
        return this.refuse(errors.badRequest('invalid_external_filter', message, null, ['x-error-routing', 'true']));
      }
    }
    const promptTokens = Math.ceil((promptEnd - promptStart) / bytesPerToken);
    const inForce = selectPolicy(plane.state().route, model);
    let plan: RoutePlan;
    try {
      const wanted = {
        routingStrategy: single(headers['routing-strategy']),
        configProfile: single(headers['config-profile']),
      };
      plan = plane.picks.plan(resolveProfile(inForce, wanted, { promptTokens, maxTokens }));
    } catch (thrown) {
      if (!(thrown instanceof CodedError) || !thrown.code.startsWith('SCHEDULING_STRATEGY')) throw thrown;
      return this.refuse(errors.invalidStrategy([thrown.message, thrown.advice].filter(Boolean).join('. ')));
    }
    this.#plan = plan;
    account.profile = plan.profile.profile;
    const { requestsPerSecond } = plan.profile;
    if (requestsPerSecond > 0) {
      const name = `${model}\n${plan.profile.pipeline.policyId}\n${plan.profile.profile}`;
      if (!plane.rates.take(name, requestsPerSecond, this.#startMs)) {
        return this.refuse(errors.rateExceeded(requestsPerSecond));
      }
    }
    if (plan.readsPrefix && promptEnd > promptStart) {
      this.#blocks = plane.picks.blocks(model, scanner.cacheSalt, this.#body.subarray(promptStart, promptEnd));
    }
    account.features = {
      bodyBytes: this.#body.length,
      promptTokens,
      promptTokensExact: false,
      maxTokens,
      sessionHash: this.#session(plan),
      prefixBlocks: this.#blocks?.length ?? 0,
    };
    return true;
  }

  /** Hash of the session that the client names, or of one made for it where the strategy needs one. */
  #session(plan: RoutePlan): number {
    const { headers } = this.#request;
    const { sessionKeyBytesMax } = this.#plane.limits;
    let session = single(headers['x-session-id']) ?? single(headers['x-aibrix-session-key']) ?? '';
    if (session.length > sessionKeyBytesMax) session = '';
    if (session === '' && plan.readsSession) session = this.requestId;
    if (session === '') return 0;
    if (plan.readsSession || headers['x-session-id'] !== undefined) this.#sessionId = session;
    return fnv1a32(session) || 1;
  }

  // ---- Attempts -----------------------------------------------------------------------------------------------------

  /** Picks a replica and sends the request there. */
  #try(): void {
    const plane = this.#plane;
    const { account } = this;
    const plan = this.#plan as RoutePlan;
    const { clock } = plane.environment;
    const pickStartMs = clock.monotonicMs();
    const picked = plane.picks.pick({
      plan,
      features: account.features as NonNullable<typeof account.features>,
      blocks: this.#blocks,
      replicas: this.#replicas,
      tried: this.#tried,
      selector: this.#selector,
    });
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
    plane.picks.dispatched(this.#blocks, replica);
    plane.metrics.prefix(this.#blocks?.length ?? 0, picked.prefixBlocksMatched);
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
    this.#status = 0;
    if (connection.connected) this.onConnected();
    else this.#deadlineMs = this.#now() + limits.connectTimeoutMs;
    connection.send(headFor(endpoint.path + query, replica.address, credential, this.#commonHead), this.#body, this);
  }

  #noReplica(): void {
    if (this.#lastFailure !== '') {
      this.#allFailed();
      return;
    }
    if (this.#selector !== undefined) {
      this.refuse(errors.noneSelected(single(this.#request.headers['external-filter']) ?? ''));
      return;
    }
    const states = new Map<string, number>();
    for (const replica of this.#replicas) {
      const state = replica.routability();
      states.set(state, (states.get(state) ?? 0) + 1);
    }
    const why = [...states].map(([state, count]) => `${count} ${state}`).join(', ');
    this.refuse(errors.noReplica(this.account.model, why === '' ? 'none is registered' : why));
  }

  #allFailed(): void {
    const last = this.account.attempts.at(-1)?.end;
    const status = last === AttemptEnd.OVERLOADED ? 503 : last === AttemptEnd.TIMEOUT ? 504 : 502;
    this.refuse(
      errors.upstreamFailed(status, this.#lastFailure, this.#retryAfterS ?? (status === 503 ? 1 : undefined)),
    );
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
    this.#status = status;
    this.#reason = reason;
    this.#answerHeaders = headers;
    const failed = retryableEnd(status);
    if (failed === undefined) return;
    attempt.connection?.discard();
    const retryAfter = Number(rawHeader(headers, 'retry-after'));
    if (retryAfter > 0 && retryAfter < retryAfterSMax) this.#retryAfterS = Math.ceil(retryAfter);
    this.#attemptFailed(failed, `it answered ${status}`);
  }

  onBody(chunk: Buffer): void {
    const attempt = this.#attempt as Attempt;
    const nowMs = this.#now();
    if (!this.#committed) {
      attempt.firstByteMs = this.account.firstByteMs = nowMs - this.#startMs;
      this.#commit();
    }
    this.#deadlineMs = nowMs + this.#plane.limits.idleTimeoutMs;
    if (this.#sse !== undefined) this.#sse.feed(chunk, nowMs - this.#startMs);
    else this.#tail?.feed(chunk);
    if (!this.#response.write(chunk)) this.#awaitClient(attempt);
  }

  onEnd(): void {
    const { account } = this;
    if (!this.#committed) {
      account.firstByteMs = (this.#attempt as Attempt).firstByteMs = this.#elapsedMs;
      this.#commit();
    }
    this.#readAccounts();
    if (this.#sse?.errorTold === true) {
      this.#endAttempt(AttemptEnd.BROKEN_STREAM, 'it told an error inside the stream');
      this.#settle(Outcome.UPSTREAM_BROKEN, 'upstream_error', 'The engine told an error inside the stream.');
    } else if (this.#status >= 400) {
      this.#endAttempt(AttemptEnd.ANSWERED, '');
      this.#settle(Outcome.UPSTREAM_ERROR, 'upstream_error', `The engine answered ${this.#status}.`);
    } else {
      this.#endAttempt(AttemptEnd.ANSWERED, '');
      this.#settle(Outcome.COMPLETED, '', '');
    }
    this.#deadlineMs = this.#now() + this.#plane.limits.clientStallTimeoutMs;
    this.#response.end();
  }

  onFailure(failure: Failure, message: string): void {
    const attempt = this.#attempt as Attempt;
    if (this.#committed) {
      this.#broken(message);
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
  #commit(): void {
    this.#committed = true;
    this.#releaseBody();
    const headers = this.#answerHeaders;
    const out: string[] = [];
    appendAnswerHeaders(out, headers);
    this.#ownHeaders(out);
    const plain = rawHeader(headers, 'content-encoding') === undefined;
    if (plain && this.#status < 400) {
      if (rawHeader(headers, 'content-type')?.startsWith('text/event-stream') === true) this.#sse = new SseScanner();
      else this.#tail = new BodyTail();
    }
    this.account.httpStatus = this.#status;
    this.#response.writeHead(this.#status, this.#reason, out);
  }

  /** Nobody will be sent it any more: streams live long, and prompts are large. */
  #releaseBody(): void {
    this.#plane.heldBytes -= this.#bodyBytes;
    this.#bodyBytes = 0;
    this.#body = noBody;
    this.#first = this.#more = undefined;
  }

  #ownHeaders(out: string[]): void {
    out.push('request-id', this.requestId, 'x-lintel-request-id', this.requestId);
    const plan = this.#plan;
    if (plan === undefined) return;
    out.push('routing-strategy', plan.profile.strategy);
    if (plan.profile.profile !== '') out.push('x-aibrix-config-profile', plan.profile.profile);
    if (this.#sessionId !== '') out.push('x-session-id', this.#sessionId);
    const replica = this.#attempt?.replica;
    if (replica !== undefined) out.push('target-pod', replica.id, 'target-pod-ip', replica.address);
  }

  #awaitClient(attempt: Attempt): void {
    if (!this.#draining) {
      this.#draining = true;
      this.#response.on('drain', onDrain);
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
  #broken(message: string): void {
    if (!this.#endAttempt(AttemptEnd.BROKEN_STREAM, message)) return;
    this.#readAccounts();
    const text = `The replica failed after the answer had begun: ${message}.`;
    this.#settle(Outcome.UPSTREAM_BROKEN, 'upstream_broken', text);
    const sse = this.#sse;
    if (sse === undefined || rawHeader(this.#answerHeaders, 'content-length') !== undefined) {
      this.#response.destroy();
      return;
    }
    // An event that was cut is ended first, so that the error is an event of its own.
    const open = sse.atLineStart ? '\n' : '\n\n';
    this.#deadlineMs = this.#now() + this.#plane.limits.clientStallTimeoutMs;
    this.#response.end(`${open}data: ${errorBody(502, 'upstream_broken', text)}\n\n`);
  }

  #readAccounts(): void {
    const { account } = this;
    const sse = this.#sse;
    if (sse === undefined) {
      account.usage = this.#tail?.usage();
      return;
    }
    account.tokenGaps = sse.tokenGaps;
    account.tokenSpanMs = sse.lastTokenMs - sse.firstTokenMs;
    account.tokenGapMsMax = sse.gapMsMax;
    account.usage = sse.usage ?? {
      promptTokens: account.features?.promptTokens ?? 0,
      completionTokens: sse.tokenEvents,
      cachedTokens: 0,
      fromEngine: false,
    };
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
    const body = errorBody(status, code, message, param ?? null);
    const headers = ['content-type', 'application/json', 'content-length', String(Buffer.byteLength(body))];
    this.#ownHeaders(headers);
    if (marker !== undefined) headers.push(marker[0], marker[1]);
    if (retryAfterS !== undefined) headers.push('retry-after', String(retryAfterS));
    if (allow !== undefined) headers.push('allow', allow);
    if (status === 401) headers.push('www-authenticate', 'Bearer');
    if (refusal.close === true || this.#longUnread()) headers.push('connection', 'close');
    this.#deadlineMs = this.#now() + this.#plane.limits.clientStallTimeoutMs;
    this.#response.writeHead(status, headers);
    this.#response.end(body);
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
    const headers = ['content-type', 'application/json', 'content-length', String(Buffer.byteLength(json))];
    this.#ownHeaders(headers);
    this.#deadlineMs = this.#now() + this.#plane.limits.clientStallTimeoutMs;
    this.#response.writeHead(200, headers);
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
      if (this.#committed) this.#readAccounts();
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
    if (this.#committed) this.#broken('it fell silent');
    else if (connection?.connected === true) this.#attemptFailed(AttemptEnd.TIMEOUT, 'it did not answer in time');
    else this.#attemptFailed(AttemptEnd.CONNECT_FAILED, 'it did not take the connection in time');
  }

  /** The gateway stops and waits no longer. */
  abort(): void {
    this.#attempt?.connection?.destroy();
    if (this.#committed && this.#attempt?.ended === undefined) this.#broken('the gateway stopped');
    else this.#request.socket.destroy();
  }

  #now(): number {
    return this.#plane.environment.clock.monotonicMs();
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    const plane = this.#plane;
    const { account } = this;
    plane.active.delete(this);
    this.#releaseBody();
    account.totalMs = this.#elapsedMs;
    const { path, operation } = this.#target.endpoint;
    plane.metrics.observe({
      model: this.#modelKnown ? account.model : '',
      endpoint: path,
      status: account.httpStatus,
      outcome: account.outcome,
      ttftMs: this.#sse === undefined ? account.firstByteMs : this.#sse.firstTokenMs,
      tpotMs: account.tokenGaps === 0 ? 0 : account.tokenSpanMs / account.tokenGaps,
      totalMs: account.totalMs,
      pickUs: account.pickUs,
      promptTokens: account.usage?.promptTokens ?? 0,
      completionTokens: account.usage?.completionTokens ?? 0,
      cachedTokens: account.usage?.cachedTokens ?? 0,
    });
    if (plane.record === undefined && this.#span === undefined) return;
    const record = account.toRecord(this.requestId, this.#receivedAtMs, path);
    if (this.#span !== undefined) {
      plane.tracing.end(this.#span, operation, record, { tokens: this.#sse?.tokenEvents ?? 0 });
    }
    plane.record?.(record);
  }
}

/** A rule of thumb for text without a tokenizer at hand. */
const bytesPerToken = 4;
const retryAfterSMax = 3600;
const unreadBytesMax = 256 * 1024;
