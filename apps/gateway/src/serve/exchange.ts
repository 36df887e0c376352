import type { Span } from '@opentelemetry/api';
import { route } from '#libs/contracts';
import { errorCode, errorText } from '#libs/kernel';
import type { tenancy } from '#libs/contracts';
import type { TenancyState } from '#libs/domain/tenancy';
import { aibrixTenantId, keyAllowsEndpoint } from '#libs/domain/tenancy';
import type { Listed } from './active-list.ts';
import type { Asker } from './asker.ts';
import { Attempts } from './attempts.ts';
import type { Target } from './endpoints.ts';
import type { HttpRequest, HttpResponse } from './http/types.ts';
import type { Listening } from './listening.ts';
import { listen, listenToBody } from './listening.ts';
import type { Refusal } from './errors.ts';
import * as errors from './errors.ts';
import { countHeader, single, timeoutOf } from './headers.ts';
import { salted } from '../edge/cache-salt.ts';
import { decoderOf } from '../edge/decoder.ts';
import type { Decoded, Decoder } from '../edge/decoder.ts';
import { keyOf } from './keys.ts';
import type { Charge } from '../quota/index.ts';
import { chargeOf, settleCost } from './charging.ts';
import { Once } from './once.ts';
import type { KeptAnswer, Waiter } from './idempotency.ts';
import { soundKey } from './idempotency.ts';
import { giveKept, longUnread, refusalBody, refusalHeaders } from './own-answers.ts';
import type { Plane } from './plane.ts';
import { closeBooks } from './books.ts';
import { lacksUsage } from './compat/aibrix.ts';
import { Account } from './record.ts';
import { appendOwnHeaders, holding, isRefusal, routed, soleModel, storing, unread } from './routing.ts';
import type { ScannedBody } from './body/body-scanner.ts';
import type { Lead } from './targets/lead.ts';
import { replicasFor } from './targets/lead.ts';
import { usageSplice } from './body/usage-option.ts';
import { boundaryOf, formCut, FormScanner } from './body/form-scanner.ts';
import type { FleetReplica } from '../fleet/fleet.ts';
import { soundTraceparent } from './tracing.ts';

const { Outcome } = route;
const noBody: Buffer = Buffer.alloc(0);
const never = Number.POSITIVE_INFINITY;

/**
 * One request from its first byte to its record, on the client's side: who asks, what, and the end. `Attempts` is the engines' side.
 * Every path ends in `#finish`, once.
 */
export class Exchange implements Asker, Listening, Listed, Waiter, Decoded {
  place = -1;
  readonly requestId: string;
  readonly account = new Account();
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  readonly target: Target;
  readonly startMs: number;
  body = noBody;
  span: Span | undefined;
  /** The client left, or was told all it will be: nothing more is written. */
  closed = false;
  /** What it may spend of its tenant's limits; undefined where none applies. */
  charge: Charge | undefined;
  deadlineMs = never;
  expiresMs = never;
  once: Once | undefined;
  /** Undefined where the name asked for is that of the model served. */
  lead: Lead | undefined;
  readonly #plane: Plane;
  readonly #receivedAtMs: number;
  #finished = false;
  #first: Buffer | undefined;
  #more: Buffer[] | undefined;
  #bodyBytes = 0;
  #key: tenancy.KeyIssued | undefined;
  #modelKnown = false;
  /** Of a form: its bytes go on as they come, once it is known where to. */
  #form: FormScanner | undefined;
  #formBytes = 0;
  /** Of a body that comes compressed. */
  #decoder: Decoder | undefined;
  /** Undefined until the request is routed. */
  #attempts: Attempts | undefined;

  constructor(plane: Plane, request: HttpRequest, response: HttpResponse, target: Target) {
    const { clock, ids } = plane.environment;
    this.#plane = plane;
    this.request = request;
    this.response = response;
    this.target = target;
    this.requestId = ids.uuid();
    this.#receivedAtMs = clock.nowMs();
    this.startMs = clock.monotonicMs();
    listen(this, request, response);
    plane.active.add(this);
  }

  /** Milliseconds since the request was received. */
  get elapsedMs(): number {
    return this.#plane.environment.clock.monotonicMs() - this.startMs;
  }

  get key(): tenancy.KeyIssued | undefined {
    return this.#key;
  }

  // ---- Admission ----------------------------------------------------------------------------------------------------

  /** Who asks; false where they were refused. */
  admit(): boolean {
    const { headers } = this.request;
    const plane = this.#plane;
    const { account } = this;
    const state = plane.state();
    account.clientAddress = plane.edge.kept(this.request);
    account.replicasSeq = state.routeSeq;
    account.tenantsSeq = state.tenancySeq;
    const traceparent = soundTraceparent(single(headers['traceparent']));
    account.traceparent = traceparent;
    this.span = plane.tracing.start(this.target.endpoint.operation, traceparent);
    if (this.span !== undefined) account.traceparent = plane.tracing.traceparentOf(this.span);
    if (plane.draining) return this.refuse(errors.draining);
    if (plane.active.size > plane.limits.requestsInFlightMax) {
      return this.refuse(errors.overCapacity(`${plane.active.size - 1} requests`));
    }
    account.endUser = (single(headers['user']) ?? '').slice(0, plane.limits.endUserLengthMax);
    const timeoutMs = timeoutOf(headers['x-request-timeout-ms']);
    if (timeoutMs === undefined) return this.refuse(errors.invalidTimeout);
    this.expiresMs = this.startMs + timeoutMs;
    if (plane.open) return !plane.compat || account.endUser === '' || this.#admitUser(account.endUser, state.tenancy);
    const found = keyOf(headers, this.target.endpoint.dialect, state, this.#receivedAtMs, plane, this.request);
    if ('refusal' in found) return this.refuse(found.refusal);
    this.#key = found.key;
    account.tenantId = found.key.tenantId;
    account.keyId = found.key.keyId;
    account.projectId = found.key.projectId;
    account.userId = found.key.userId;
    const { path } = this.target.endpoint;
    if (found.key.endpoints.length > 0 && !keyAllowsEndpoint(found.key, path)) {
      return this.refuse(errors.endpointNotAllowed(path));
    }
    return true;
  }

  /** With AIBrix's users the header names one of them, whose limits it comes under. */
  #admitUser(name: string, { tenants }: TenancyState): boolean {
    const tenantId = aibrixTenantId(name);
    if (!tenants.has(tenantId)) return this.refuse(errors.unknownUser(name));
    this.account.tenantId = tenantId;
    return true;
  }

  #expire(): void {
    const refusal = errors.deadlineExceeded(Math.round(this.expiresMs - this.startMs));
    this.expiresMs = never;
    if (this.#attempts?.expire(refusal) !== true) this.refuse(refusal);
  }

  /** Reads the body, then routes. */
  serve(): void {
    if (!this.admit()) return;
    const { headers } = this.request;
    const { limits } = this.#plane;
    const encoding = headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity' && encoding !== '') {
      this.#decoder = decoderOf(encoding, this.request, this);
      if (this.#decoder === undefined) return void this.refuse(errors.unsupportedEncoding(encoding));
    }
    const form = this.target.endpoint.body === 'form';
    const bytesMax = form ? limits.formBytesMax : limits.bodyBytesMax;
    if (Number(headers['content-length'] ?? 0) > bytesMax) {
      this.refuse(errors.tooLarge(bytesMax));
      return;
    }
    if (form) {
      const boundary = boundaryOf(headers['content-type'] ?? '');
      // Node keeps the first of two content-types, and the engine might keep the second.
      if (boundary === undefined || countHeader(this.request.rawHeaders, 'content-type') > 1) {
        this.refuse(errors.notForm);
        return;
      }
      this.#form = new FormScanner(boundary, limits);
    }
    listenToBody(this.request);
  }

  bodyData(chunk: Buffer): void {
    if (this.#decoder === undefined) this.decodedData(chunk);
    else if (!this.closed) this.#decoder.feed(chunk);
  }

  decodeFailed(bomb: boolean): void {
    this.refuse(errors.badEncoding(bomb));
  }

  decodedData(chunk: Buffer): void {
    if (this.closed) return;
    if (this.#form === undefined) this.#hold(chunk);
    else this.#formData(this.#form, chunk);
  }

  #formData(form: FormScanner, chunk: Buffer): void {
    const { limits } = this.#plane;
    this.#formBytes += chunk.length;
    if (this.#formBytes > limits.formBytesMax) {
      this.refuse(errors.tooLarge(limits.formBytesMax));
      return;
    }
    const found = form.feed(chunk);
    this.account.stream = form.stream;
    if (this.#attempts === undefined) this.account.model = form.model;
    if (found !== undefined) {
      this.refuse(errors.badForm(found));
      return;
    }
    if (this.#attempts !== undefined) {
      this.#attempts.upload(chunk);
      return;
    }
    this.#hold(chunk);
    // What is all here already is sent whole, and again if need be.
    // One that came compressed is held whole: the connection's flow is not that of its bytes.
    if (this.#decoder !== undefined) return;
    if (this.closed || form.ended || this.#formBytes === Number(this.request.headers['content-length'])) return;
    if (form.model === '') {
      if (this.#bodyBytes > limits.formLookAheadBytesMax) {
        this.refuse(errors.modelTooLate(limits.formLookAheadBytesMax));
      }
      return;
    }
    this.request.pause();
    this.#go(true);
  }

  #hold(chunk: Buffer): void {
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
    if (this.#decoder === undefined) this.decodedEnd();
    else this.#decoder.end();
  }

  decodedEnd(): void {
    if (this.closed) return;
    this.account.bodyReadMs = this.elapsedMs;
    if (this.#form?.ended === false) this.refuse(errors.badForm(formCut));
    else if (this.#attempts === undefined) this.#go(false);
    else this.#attempts.uploaded();
  }

  /** Routes the request and sends it. `streamed`: the rest of its body is still to come. */
  #go(streamed: boolean): void {
    const first = this.#first ?? noBody;
    this.body = this.#more === undefined ? first : Buffer.concat([first, ...this.#more]);
    this.#first = this.#more = undefined;
    this.#start(streamed);
  }

  #start(streamed: boolean): void {
    try {
      const attempts = this.#route(streamed);
      if (attempts !== undefined) this.#reserve(attempts);
    } catch (thrown) {
      this.fault(thrown);
    }
  }

  // ---- Routing ------------------------------------------------------------------------------------------------------

  /** The request on its way, or nothing where it was refused. */
  #route(streamed: boolean): Attempts | undefined {
    const { endpoint } = this.target;
    if (this.#form !== undefined) return this.#routeForm(this.#form, streamed);
    if (endpoint.body === 'none') return this.#routeStored(this.target.id ?? '');
    const plane = this.#plane;
    const { account } = this;
    const { scanner } = plane;
    const problem = scanner.scan(this.body, endpoint.prompts, endpoint.modelOptional);
    // Also a refused request's record says what it asked for, as far as it was read.
    account.stream = scanner.stream;
    if (account.endUser === '') account.endUser = scanner.user.slice(0, plane.limits.endUserLengthMax);
    account.model = scanner.model;
    if (problem !== undefined) return this.#stop(errors.badBody(problem));
    if (scanner.model === '') {
      account.model = scanner.model = soleModel(plane, this.#key);
      if (scanner.model === '') return this.#stop(errors.severalModels);
    }
    const replicas = replicasFor(plane, this, scanner, false);
    if ('outcome' in replicas) return this.#stop(replicas);
    this.#modelKnown = true;
    const lacking = plane.compat ? lacksUsage(plane, account, endpoint, scanner) : undefined;
    if (lacking !== undefined) return this.#stop(lacking);
    if (!this.#hasTurn()) return undefined;
    const before = scanner.previousResponseId;
    const held = before === '' ? replicas : holding(plane, replicas, before, account.tenantId);
    if ('outcome' in held) return this.#stop(held);
    this.body = salted(plane, account.tenantId, this.body, endpoint, this.lead?.reach ?? held);
    this.lead?.reread(scanner);
    return this.#routeTo(scanner, held);
  }

  /** False where another request with the same idempotency key is under way, was answered, or was another request. */
  #hasTurn(): boolean {
    const key = single(this.request.headers['idempotency-key']);
    if (key === undefined || this.account.stream || this.once !== undefined) return true;
    if (!soundKey(key)) return this.refuse(errors.invalidIdempotencyKey);
    const { idempotency, limits } = this.#plane;
    const { path, query } = this.target;
    const { tenantId } = this.account;
    const about = { key, tenantId, headers: this.request.headers };
    this.once = new Once(idempotency, limits.idempotencyAnswerBytesMax, about, path + query, this.body);
    const turn = this.once.begin(this, this.nowMs());
    if (turn === 'first') return true;
    if (turn === 'conflict') return this.refuse(errors.idempotencyConflict);
    if (turn === 'full') return this.refuse(errors.overCapacity('as many idempotency keys as it can'));
    if (turn !== 'waits') this.answered(turn);
    return false;
  }

  /** The answer to the same request before. */
  answered(kept: KeptAnswer): void {
    if (!this.closed) giveKept(this.#plane, this, kept);
  }

  promoted(): void {
    this.once?.promoted();
    this.#start(false);
  }

  /** What is asked for by a response's id: only the replica that holds it has it. */
  #routeStored(responseId: string): Attempts | undefined {
    const found = storing(this.#plane, responseId, this.account.tenantId, this.#key);
    if ('outcome' in found) return this.#stop(found);
    this.account.model = found.model;
    this.#modelKnown = found.model !== '';
    return this.#routeTo(unread(found.model), found.replicas);
  }

  #routeForm({ model, stream, modelStart, modelEnd }: FormScanner, streamed: boolean): Attempts | undefined {
    const named = model === '' ? soleModel(this.#plane, this.#key) : model;
    this.account.model = named;
    if (named === '') return this.#stop(errors.severalModels);
    const scanned = { ...unread(named), stream, modelStart, modelEnd };
    const replicas = replicasFor(this.#plane, this, scanned, true);
    if ('outcome' in replicas) return this.#stop(replicas);
    this.#modelKnown = true;
    return this.#routeTo(scanned, replicas, streamed);
  }

  #routeTo(scanned: ScannedBody, replicas: readonly FleetReplica[], streamed = false): Attempts | undefined {
    const plane = this.#plane;
    const { requestId, body, account } = this;
    const { headers } = this.request;
    const { cached, usageOption } = this.target.endpoint;
    const usage = usageOption && plane.streamUsage ? usageSplice(scanned) : undefined;
    const nowMs = this.startMs;
    const asked = { requestId, path: this.target.path, headers, scanned, cached, body, key: this.#key, nowMs };
    const found = routed(plane, asked, replicas);
    if (isRefusal(found)) return this.#stop(found);
    account.profile = found.plan.profile.profile;
    account.features = found.features;
    account.adapter = found.adapter;
    return (this.#attempts = new Attempts(plane, this, found, streamed, usage));
  }

  /** Sends it, where it is within its tenant's limits: at once, or after a moment's wait for a lease. */
  #reserve(attempts: Attempts): void {
    const { quotas } = this.#plane;
    const { body, operation } = this.target.endpoint;
    if (quotas === undefined || this.account.tenantId === '' || body === 'none') return attempts.begin();
    const charge = chargeOf(this.#plane, this.account, operation, this.#receivedAtMs);
    if (charge === undefined) return attempts.begin();
    if ('outcome' in charge) return void this.refuse(charge);
    this.charge = charge;
    charge.reserve((refusal) => {
      try {
        if (this.closed) return;
        if (refusal === undefined) attempts.begin();
        else this.refuse(refusal);
      } catch (thrown) {
        this.fault(thrown);
      }
    });
  }

  #stop(refusal: Refusal): undefined {
    this.refuse(refusal);
    return undefined;
  }

  /** Nobody will be sent it any more: streams live long, and prompts are large. */
  releaseBody(): void {
    this.#plane.heldBytes -= this.#bodyBytes;
    this.#bodyBytes = 0;
    this.body = noBody;
    this.#first = this.#more = undefined;
  }

  clientDrained(): void {
    this.#attempts?.clientDrained();
  }

  /** All is written: the client has so long to take it. */
  awaitEnd(): void {
    this.deadlineMs = this.nowMs() + this.#plane.limits.clientStallTimeoutMs;
  }

  // ---- The end ------------------------------------------------------------------------------------------------------

  /** Says how it ends, once. */
  settle(outcome: route.Outcome, code: string, message: string): void {
    const { account } = this;
    if (account.outcome !== Outcome.UNSPECIFIED) return;
    account.outcome = outcome;
    account.errorCode = code;
    account.errorMessage = message;
    this.closed = true;
  }

  /** Answers with an error of our own. Always false: the caller stops. */
  refuse(refusal: Refusal): false {
    if (this.closed) return false;
    this.#attempts?.leave(refusal.message);
    this.#decoder?.stop();
    if (this.response.headersSent) {
      // An engine answered before it had read a form that then turned out to be broken.
      this.settle(refusal.outcome, refusal.code, refusal.message);
      this.response.destroy();
      return false;
    }
    if (this.#form !== undefined) this.request.resume();
    const { status, code, message } = refusal;
    this.settle(refusal.outcome, code, message);
    this.account.httpStatus = status;
    const headers = refusalHeaders(refusal);
    if (refusal.close === true || longUnread(this.request)) headers.push('connection', 'close');
    this.#sendJson(status, refusalBody(refusal, this.target.endpoint.dialect, this.requestId), headers);
    return false;
  }

  /** The parser of HTTP gave up inside this request. */
  refuseMalformed({ status, code, message }: { status: number; code: string; message: string }): void {
    this.refuse({ status, code, message, outcome: Outcome.REJECTED_BAD_REQUEST, close: true });
  }

  /** Answers with what we know ourselves. */
  answer(json: string): void {
    this.settle(Outcome.COMPLETED, '', '');
    this.account.httpStatus = 200;
    this.#sendJson(200, json, []);
  }

  #sendJson(status: number, json: string, headers: string[]): void {
    headers.push('content-type', 'application/json', 'content-length', String(Buffer.byteLength(json)));
    appendOwnHeaders(
      headers,
      this.requestId,
      this.#attempts?.where,
      this.#attempts?.attempt?.replica,
      this.account.outcome,
    );
    this.charge?.appendHeaders(headers);
    this.#plane.edge.cors?.append(headers, this.request);
    this.awaitEnd();
    this.response.writeHead(status, headers);
    this.response.end(json);
  }

  /** Something of ours threw. */
  fault(thrown: unknown): void {
    this.#plane.logger.error({ err: thrown, requestId: this.requestId, code: errorCode(thrown) }, errorText(thrown));
    this.#attempts?.leave('the gateway made a mistake');
    if (this.response.headersSent) {
      this.settle(Outcome.INTERNAL_ERROR, errors.internalError.code, errorText(thrown));
      this.response.destroy();
    } else this.refuse(errors.internalError);
  }

  /** The response is closed: all sent, or the client left. */
  clientClosed(): void {
    if (this.#finished) return;
    const { account } = this;
    const response = this.response;
    if (account.outcome === Outcome.UNSPECIFIED) {
      if (this.#attempts?.committed === true) this.#attempts.answer?.settle(account);
      this.settle(Outcome.CLIENT_GONE, 'client_gone', 'The client closed the connection.');
    } else if (account.outcome === Outcome.COMPLETED && !response.writableFinished) {
      account.outcome = Outcome.CLIENT_GONE;
      account.errorCode = 'client_gone';
      account.errorMessage = 'The client closed the connection before it had the whole answer.';
    }
    this.closed = true;
    this.#attempts?.leave('');
    this.#finish();
  }

  /** Called now and then: what is too late ends. */
  sweep(nowMs: number): void {
    // A request that waits behind another on its connection has no socket of its own to tell it.
    if (this.request.socket.destroyed) {
      this.clientClosed();
      return;
    }
    if (nowMs >= this.expiresMs && !this.closed) {
      this.#expire();
      return;
    }
    if (nowMs < this.deadlineMs) return;
    const attempts = this.#attempts;
    if (attempts?.attempt === undefined || attempts.attempt.ended !== undefined || this.response.writableNeedDrain) {
      // Behind another answer on its connection it has to wait as long as that one takes.
      if (this.response.socket === null) this.deadlineMs = nowMs + this.#plane.limits.clientStallTimeoutMs;
      else this.request.socket.destroy();
      return;
    }
    attempts.late();
  }

  /** The gateway stops and waits no longer. The replica is not to blame. */
  abort(): void {
    if (this.#attempts?.stop() === true) return;
    if (this.response.headersSent) this.request.socket.destroy();
    else this.refuse(errors.draining);
  }

  nowMs(): number {
    return this.#plane.environment.clock.monotonicMs();
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#decoder?.stop();
    const plane = this.#plane;
    const { account } = this;
    plane.active.remove(this);
    this.releaseBody();
    this.once?.over(this, this.nowMs());
    settleCost(plane, account, this.charge, this.#receivedAtMs);
    this.#attempts?.over();
    account.totalMs = this.elapsedMs;
    closeBooks(plane, account, {
      requestId: this.requestId,
      receivedAtMs: this.#receivedAtMs,
      endpoint: this.target.endpoint,
      modelKnown: this.#modelKnown,
      span: this.span,
      sse: this.#attempts?.answer?.sse,
    });
  }
}
