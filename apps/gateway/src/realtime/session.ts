import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Span } from '@opentelemetry/api';
import type { tenancy } from '#libs/contracts';
import { route } from '#libs/contracts';
import { keyAllowsEndpoint } from '#libs/domain/tenancy';
import { errorCode, errorText } from '#libs/kernel';
import type { FleetReplica } from '../fleet/fleet.ts';
import type { FlowAsker, Passage } from '../flow/index.ts';
import { arrivalOf, causeOfRefusal } from '../flow/index.ts';
import type { Charge } from '../quota/index.ts';
import { costOf } from '../quota/index.ts';
import type { Served } from '../serve/active-list.ts';
import { allFailed, Attempt, retryableEnd } from '../serve/attempt.ts';
import { closeBooks } from '../serve/books.ts';
import type { Endpoint } from '../serve/endpoints.ts';
import type { Refusal } from '../serve/errors.ts';
import * as errors from '../serve/errors.ts';
import { single } from '../serve/headers.ts';
import { keyOf } from '../serve/keys.ts';
import type { HttpRequest } from '../serve/http/types.ts';
import { refusalBody, refusalHeaders } from '../serve/own-answers.ts';
import type { Plane } from '../serve/plane.ts';
import { Account } from '../serve/record.ts';
import type { Routed } from '../serve/routing.ts';
import { appendOwnHeaders, isRefusal, noneTakes, routed, soleModel, unread, whyNone } from '../serve/routing.ts';
import { headersFrom, pathAt } from '../serve/targets/external.ts';
import type { Lead, LeadAsker } from '../serve/targets/lead.ts';
import { replicasFor } from '../serve/targets/lead.ts';
import { soundTraceparent } from '../serve/tracing.ts';
import type { Handshake } from './credentials.ts';
import { handshakeOf, isWebSocket, withModel } from './credentials.ts';
import { answerHead, passedHeaders, upgradeHeaders } from './handshake-heads.ts';
import type { RealtimeLimits } from './limits.ts';
import type { SessionEnd } from './refusals.ts';
import * as refusals from './refusals.ts';
import type { TunnelEnd } from './tunnel.ts';
import { brokenCodes, Tunnel } from './tunnel.ts';
import type { Cancel, UpgradeCaller } from './upstream.ts';
import { acceptOf, askUpgrade } from './upstream.ts';

const { AttemptEnd, Outcome } = route;
const never = Number.POSITIVE_INFINITY;
const noBody: Buffer = Buffer.alloc(0);

export interface SessionOptions {
  readonly plane: Plane;
  readonly limits: RealtimeLimits;
  readonly endpoint: Endpoint;
  /** From the '?' on, or ''. */
  readonly query: string;
  readonly request: HttpRequest;
  readonly socket: Duplex;
  /** What came behind the head of the upgrade. */
  readonly head: Buffer;
  readonly full: () => boolean;
  readonly ended: () => void;
}

/**
 * One WebSocket session: who asks, which replica, its way there and back, its record. Every path ends in `#finish`, once, when the
 * client's connection is closed.
 */
export class RealtimeSession implements Served, UpgradeCaller, LeadAsker, FlowAsker {
  place = -1;
  readonly requestId: string;
  readonly account = new Account();
  readonly request: HttpRequest;
  readonly target: LeadAsker['target'];
  readonly body = noBody;
  readonly startMs: number;
  /** Undefined where the name asked for is that of the model served. */
  lead: Lead | undefined;
  readonly #options: SessionOptions;
  readonly #plane: Plane;
  readonly #socket: Duplex;
  readonly #handshake: Handshake;
  readonly #receivedAtMs: number;
  readonly #tried: FleetReplica[] = [];
  /** Of `tried` before the present model. */
  #triedBefore = 0;
  #key: tenancy.KeyIssued | undefined;
  #span: Span | undefined;
  #modelKnown = false;
  #charge: Charge | undefined;
  #where: Routed | undefined;
  /** Through flow control; undefined where its profile has none. */
  #passage: Passage | undefined;
  #attempt: Attempt | undefined;
  #cancel: Cancel | undefined;
  #tunnel: Tunnel | undefined;
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #deadlineMs = never;
  #lastFailure = '';
  /** The client was told how it ends, or left. */
  #closed = false;
  #finished = false;

  constructor(options: SessionOptions) {
    const { plane, socket, query, request, head } = options;
    const { clock, ids } = plane.environment;
    this.#options = options;
    this.#plane = plane;
    this.#socket = socket;
    this.request = request;
    this.target = { path: options.endpoint.path, endpoint: options.endpoint };
    this.#handshake = handshakeOf(query, request.headers);
    this.requestId = ids.uuid();
    this.#receivedAtMs = clock.nowMs();
    this.startMs = clock.monotonicMs();
    this.account.stream = true;
    plane.active.add(this);
    socket.on('error', () => {});
    socket.on('close', () => this.#clientClosed());
    socket.on('end', () => {
      if (this.#tunnel === undefined && !this.#closed) socket.destroy();
    });
    socket.on('data', this.#onEarly);
    if (head.length > 0) this.#onEarly(head);
    socket.resume();
  }

  get elapsedMs(): number {
    return this.#nowMs() - this.startMs;
  }

  get key(): tenancy.KeyIssued | undefined {
    return this.#key;
  }

  get where(): Routed {
    return this.#where as Routed;
  }

  #nowMs(): number {
    return this.#plane.environment.clock.monotonicMs();
  }

  /** What a client sends before it was answered goes to the engine once there is one. */
  readonly #onEarly = (chunk: Buffer): void => {
    this.#early.push(chunk);
    this.#earlyBytes += chunk.length;
    if (this.#earlyBytes > this.#options.limits.earlyBytesMax) this.#socket.pause();
  };

  // ---- Admission and routing ----------------------------------------------------------------------------------------

  begin(): void {
    try {
      if (this.#admit() && this.#route()) this.#reserve();
    } catch (thrown) {
      this.#fault(thrown);
    }
  }

  #admit(): boolean {
    const { request, endpoint, full } = this.#options;
    const { headers } = request;
    const plane = this.#plane;
    const { account } = this;
    const state = plane.state();
    account.replicasSeq = state.routeSeq;
    account.tenantsSeq = state.tenancySeq;
    const traceparent = soundTraceparent(single(headers['traceparent']));
    this.#span = plane.tracing.start(endpoint.operation, traceparent);
    account.traceparent = this.#span === undefined ? traceparent : plane.tracing.traceparentOf(this.#span);
    account.endUser = (single(headers['user']) ?? '').slice(0, plane.limits.endUserLengthMax);
    account.model = this.#handshake.model.slice(0, plane.limits.modelBytesMax);
    if (plane.draining) return this.#refuse(errors.draining);
    if (plane.active.size > plane.limits.requestsInFlightMax || full()) return this.#refuse(refusals.tooManySessions);
    if (!isWebSocket(request)) return this.#refuse(refusals.notWebSocket);
    if (this.#handshake.ambiguous) return this.#refuse(refusals.ambiguousHandshake);
    if (plane.open) return true;
    const { key } = this.#handshake;
    const authorization = key === undefined ? undefined : `Bearer ${key}`;
    const found = keyOf({ authorization }, 'openai', state, this.#receivedAtMs, plane, request);
    if ('refusal' in found) return this.#refuse(found.refusal);
    this.#key = found.key;
    account.tenantId = found.key.tenantId;
    account.keyId = found.key.keyId;
    account.projectId = found.key.projectId;
    account.userId = found.key.userId;
    if (found.key.endpoints.length > 0 && !keyAllowsEndpoint(found.key, endpoint.path)) {
      return this.#refuse(errors.endpointNotAllowed(endpoint.path));
    }
    return true;
  }

  #route(): boolean {
    const plane = this.#plane;
    const { account, requestId } = this;
    const { headers } = this.#options.request;
    if (account.model === '') account.model = soleModel(plane, this.#key);
    if (account.model === '') return this.#refuse(refusals.noModel);
    const scanned = { ...unread(account.model), stream: true };
    const replicas = replicasFor(plane, this, scanned, false);
    if ('outcome' in replicas) return this.#refuse(replicas);
    this.#modelKnown = true;
    const { path } = this.#options.endpoint;
    const about = {
      requestId,
      path,
      headers,
      scanned,
      cached: false,
      body: noBody,
      key: this.#key,
      nowMs: this.startMs,
    };
    const where = routed(plane, about, replicas);
    if (isRefusal(where)) return this.#refuse(where);
    this.#where = where;
    account.profile = where.plan.profile.profile;
    account.features = where.features;
    account.adapter = where.adapter;
    return true;
  }

  #reserve(): void {
    const { quotas } = this.#plane;
    const { tenantId, keyId, endUser, model } = this.account;
    if (quotas === undefined || this.#key === undefined) return this.#enter();
    const charge = quotas.chargeOf({
      tenantId,
      keyId,
      endUser,
      model,
      promptTokens: 0,
      maxTokens: 0,
      generates: false,
    });
    if (charge === undefined) return this.#enter();
    if ('outcome' in charge) return void this.#refuse(charge);
    this.#charge = charge;
    charge.reserve((refusal) => {
      if (this.#closed) return;
      if (refusal === undefined) this.#enter();
      else this.#refuse(refusal);
    });
  }

  // ---- Waiting for room ---------------------------------------------------------------------------------------------

  /** Asks a replica, or waits for one with room where its profile says so. */
  #enter(): void {
    const { flow } = this.where.plan.profile;
    try {
      const passage = flow && this.#plane.flow.enter(arrivalOf(this, flow, this));
      this.#passage = passage;
      if (passage?.refused !== undefined) this.refuse(passage.refused, 0);
      else if (passage === undefined || passage.ticket !== undefined) this.#pick();
    } catch (thrown) {
      this.#fault(thrown);
    }
  }

  /** It has waited; there is room now. */
  dispatch(queuedMs: number): void {
    this.account.queuedMs += queuedMs;
    this.#try();
  }

  /** No place to wait, or it waited in vain. */
  refuse(refusal: Refusal, queuedMs: number): void {
    this.account.queuedMs += queuedMs;
    const cause = causeOfRefusal(refusal);
    try {
      if (cause === undefined || !this.#turn(cause)) this.#refuse(refusal);
    } catch (thrown) {
      this.#fault(thrown);
    }
  }

  // ---- The engine's side --------------------------------------------------------------------------------------------

  #try(): void {
    try {
      this.#pick();
    } catch (thrown) {
      this.#fault(thrown);
    }
  }

  #pick(): void {
    const plane = this.#plane;
    const { account } = this;
    const where = this.#where as Routed;
    const { clock } = plane.environment;
    const beganMs = clock.monotonicMs();
    const { replica, captured, prefixBlocksMatched } = plane.picks.pick(where, this.#leftOut(), beganMs);
    const pickedAtMs = clock.monotonicMs();
    account.pickUs += (pickedAtMs - beganMs) * 1000;
    account.pickedMs = pickedAtMs - this.startMs;
    if (captured !== undefined) account.picks.push(captured);
    if (replica === undefined) {
      if (this.#turn()) return;
      if (noneTakes(where)) plane.wanted?.(where.asked.model, where.replicas, 0);
      const selector = single(this.#options.request.headers['external-filter']) ?? '';
      const none = this.#lastFailure === '' ? whyNone(account.model, where, selector) : this.#nobody();
      this.#refuse(none);
      return;
    }
    this.#tried.push(replica);
    const flight = plane.picks.dispatched(where, replica, prefixBlocksMatched, true, pickedAtMs);
    this.#attempt = new Attempt(replica, Math.max(0, account.picks.length - 1), account.pickedMs, flight);
    this.#deadlineMs = pickedAtMs + this.#options.limits.openMsMax;
    this.#cancel = this.#ask(replica);
  }

  /** Those tried; before the first try in a pool those without room, too. */
  #leftOut(): readonly FleetReplica[] {
    const full = this.#tried.length > this.#triedBefore ? undefined : this.#passage?.full;
    return full === undefined || full.length === 0 ? this.#tried : [...this.#tried, ...full];
  }

  #ask(replica: FleetReplica): Cancel {
    const plane = this.#plane;
    const { request, limits, endpoint, query } = this.#options;
    const { headers, rawHeaders } = request;
    const { provider, rank } = replica;
    // Where nobody checks keys the client's goes on as it came, but to nobody else's service.
    const checked = !plane.open || provider !== undefined;
    const own = replica.credential === undefined ? undefined : `Bearer ${replica.credential}`;
    const { traceparent } = this.account;
    return askUpgrade(
      {
        target: plane.pool(replica).target,
        path: pathAt(replica, endpoint.path) + this.#named(replica, checked ? this.#handshake.query : query),
        headers: upgradeHeaders({
          rawHeaders,
          address: provider?.host ?? replica.address,
          protocols: checked ? this.#handshake.protocols : single(headers['sec-websocket-protocol']),
          authorization: checked ? own : (headers.authorization ?? own),
          requestId: this.requestId,
          traceparent: this.#span === undefined ? '' : traceparent,
          rank,
          external: provider !== undefined,
        }),
        headBytesMax: plane.limits.upstreamHeadBytesMax,
        bodyBytesMax: limits.refusalBytesMax,
      },
      this,
    );
  }

  /** The query names the model as this replica knows it. */
  #named({ provider }: FleetReplica, query: string): string {
    const { model } = this.account;
    const name = provider?.names.get(model) ?? model;
    const asked = this.#handshake.model;
    const said = asked !== '' || (this.lead?.choice === undefined && provider === undefined) ? asked || name : '';
    return name === said ? query : withModel(query, name);
  }

  /** To another model or pool, where configuration names one for what befell this one; false where it names none. */
  #turn(cause?: route.StageCause): boolean {
    if (this.#plane.draining) return false;
    const next = this.lead?.after(this.#lastFailure !== '', this.#tried, cause);
    if (next === undefined) return false;
    if (this.#passage !== undefined) this.#plane.flow.settle(this.#passage, null);
    this.#where = next;
    this.#triedBefore = this.#tried.length;
    return (this.#enter(), true);
  }

  #nobody(): Refusal {
    return allFailed(this.account.attempts.at(-1)?.end, this.#lastFailure, undefined);
  }

  #endAttempt(end: route.AttemptEnd, error: string): boolean {
    const attempt = this.#attempt;
    if (attempt === undefined || !attempt.end(end)) return false;
    const plane = this.#plane;
    plane.metrics.attempt(end);
    const learnt = { whole: false, promptTokens: 0, outputTokens: 0, cachedTokens: Number.NaN };
    plane.picks.signals.landed(attempt.flight, learnt, this.#nowMs());
    const { replica, pick, startMs, firstByteMs, httpStatus } = attempt;
    const endMs = this.elapsedMs;
    this.account.attempts.push({ replicaId: replica.id, pick, startMs, firstByteMs, endMs, end, httpStatus, error });
    return true;
  }

  #attemptFailed(end: route.AttemptEnd, message: string, last = false): void {
    if (!this.#endAttempt(end, message)) return;
    this.#cancel?.();
    this.#cancel = undefined;
    this.#deadlineMs = never;
    this.#lastFailure = `${this.#attempt?.replica.id ?? ''}: ${message}`;
    if (this.#closed) return;
    const spent = this.#tried.length - this.#triedBefore >= this.#plane.limits.attemptsMax || last;
    try {
      if (!spent && !this.#plane.draining) this.#pick();
      else if (!this.#turn()) this.#refuse(this.#nobody());
    } catch (thrown) {
      this.#fault(thrown);
    }
  }

  onFailure(message: string, connected: boolean): void {
    this.#attemptFailed(connected ? AttemptEnd.RESET : AttemptEnd.CONNECT_FAILED, message);
  }

  /** The engine says no: another replica where that may help, else its own word to the client. */
  onAnswer(answer: IncomingMessage, body: Buffer): void {
    const status = answer.statusCode ?? 0;
    if (this.#attempt !== undefined) this.#attempt.httpStatus = status;
    const mends = this.lead?.mends(status) === true ? AttemptEnd.ANSWERED : undefined;
    const failed = status < 300 ? AttemptEnd.BAD_ANSWER : (retryableEnd(status) ?? mends);
    if (failed !== undefined) {
      this.#attemptFailed(failed, `it answered ${status} to the upgrade`, failed === AttemptEnd.ANSWERED);
      return;
    }
    if (this.#closed || !this.#endAttempt(AttemptEnd.ANSWERED, '')) return;
    this.#settle(Outcome.UPSTREAM_ERROR, 'upstream_error', `The engine answered ${status}.`);
    const { replica } = this.#attempt as Attempt;
    this.#send(status, passedHeaders(headersFrom(replica, answer.rawHeaders)), body);
  }

  onUpgrade(answer: IncomingMessage, upstream: Socket, head: Buffer): void {
    const attempt = this.#attempt as Attempt;
    attempt.httpStatus = 101;
    const key = single(this.#options.request.headers['sec-websocket-key']) ?? '';
    const accept = single(answer.headers['sec-websocket-accept']);
    if (accept !== acceptOf(key) || answer.headers['sec-websocket-extensions'] !== undefined) {
      upstream.destroy();
      this.#attemptFailed(AttemptEnd.BAD_ANSWER, 'its upgrade is none of WebSocket, or offers what was not asked for');
      return;
    }
    if (this.#closed) {
      upstream.destroy();
      return;
    }
    attempt.firstByteMs = this.account.firstByteMs = this.elapsedMs;
    this.account.httpStatus = 101;
    const headers = [
      'connection',
      'Upgrade',
      'upgrade',
      'websocket',
      ...passedHeaders(headersFrom(attempt.replica, answer.rawHeaders)),
    ];
    appendOwnHeaders(headers, this.requestId, this.#where, attempt.replica);
    this.#charge?.appendHeaders(headers);
    this.#socket.write(answerHead(101, headers), 'latin1');
    this.#open(upstream, head);
  }

  #open(upstream: Socket, head: Buffer): void {
    const client = this.#socket;
    client.off('data', this.#onEarly);
    const early = Buffer.concat(this.#early);
    this.#early = [];
    this.#deadlineMs = never;
    this.#tunnel = new Tunnel(client, upstream, {
      nowMs: () => this.#nowMs(),
      maskKey: () => this.#plane.environment.rng.uint32(),
      ended: (end) => this.#tunnelEnded(end),
    });
    this.#tunnel.start(early, head);
  }

  // ---- The end ------------------------------------------------------------------------------------------------------

  /** One side closed, or vanished. */
  #tunnelEnded({ who, clean, code }: TunnelEnd): void {
    const { limits } = this.#options;
    const waits = this.#socket.writableLength > 0 ? limits.stallMsMax : limits.closeMsMax;
    this.#deadlineMs = this.#nowMs() + waits;
    if (clean && !brokenCodes.has(code)) {
      this.#endAttempt(AttemptEnd.ANSWERED, '');
      this.#settle(Outcome.COMPLETED, '', '');
    } else if (who === 'client') {
      this.#endAttempt(AttemptEnd.CLIENT_GONE, '');
      this.#settle(Outcome.CLIENT_GONE, 'client_gone', 'The client closed the connection.');
    } else {
      const said = clean ? `it closed with ${code}` : 'it closed without a word';
      this.#endAttempt(AttemptEnd.BROKEN_STREAM, said);
      const { outcome, code: name, message } = refusals.brokenByEngine(said);
      this.#settle(outcome, name, message);
    }
  }

  /** We end it. The replica is not to blame. */
  #cut({ outcome, code, message, closeCode }: SessionEnd): void {
    this.#endAttempt(AttemptEnd.CLIENT_GONE, message);
    this.#settle(outcome, code, message);
    this.#deadlineMs = this.#nowMs() + this.#options.limits.closeMsMax;
    this.#tunnel?.close(closeCode, message);
  }

  #settle(outcome: route.Outcome, code: string, message: string): void {
    const { account } = this;
    this.#closed = true;
    if (account.outcome !== Outcome.UNSPECIFIED) return;
    account.outcome = outcome;
    account.errorCode = code;
    account.errorMessage = message;
  }

  #refuse(refusal: Refusal): false {
    if (this.#closed) return false;
    this.#leave(refusal.message);
    this.#settle(refusal.outcome, refusal.code, refusal.message);
    const headers = ['content-type', 'application/json', ...refusalHeaders(refusal)];
    const { dialect } = this.#options.endpoint;
    this.#send(refusal.status, headers, Buffer.from(refusalBody(refusal, dialect, this.requestId)));
    return false;
  }

  #send(status: number, headers: string[], body: Buffer): void {
    this.account.httpStatus = status;
    headers.push('content-length', String(body.length), 'connection', 'close');
    appendOwnHeaders(headers, this.requestId, this.#where, this.#attempt?.replica, this.account.outcome);
    this.#charge?.appendHeaders(headers);
    this.#deadlineMs = this.#nowMs() + this.#options.limits.closeMsMax;
    this.#socket.write(answerHead(status, headers), 'latin1');
    this.#socket.end(body);
    this.#socket.resume();
  }

  /** Nobody waits for the engine any more. */
  #leave(why: string): void {
    const queuedMs = this.#passage && this.#plane.flow.leave(this.#passage, why === '' ? 'client_gone' : 'stopped');
    this.account.queuedMs += queuedMs ?? 0;
    this.#endAttempt(AttemptEnd.CLIENT_GONE, why);
    this.#cancel?.();
    this.#cancel = undefined;
    this.#tunnel?.destroy();
  }

  #fault(thrown: unknown): void {
    this.#plane.logger.error({ err: thrown, requestId: this.requestId, code: errorCode(thrown) }, errorText(thrown));
    this.#refuse(errors.internalError);
  }

  #clientClosed(): void {
    this.#tunnel?.clientClosed();
    this.#settle(Outcome.CLIENT_GONE, 'client_gone', 'The client closed the connection.');
    this.#leave('');
    this.#finish();
  }

  sweep(nowMs: number): void {
    if (this.#closed || this.#tunnel === undefined) {
      if (nowMs < this.#deadlineMs) return;
      if (this.#closed) this.#socket.destroy();
      else this.#attemptFailed(AttemptEnd.TIMEOUT, 'it did not upgrade in time');
      return;
    }
    const { limits } = this.#options;
    if (nowMs - this.startMs >= limits.sessionMsMax) this.#cut(refusals.sessionOver(limits.sessionMsMax));
    else if (nowMs - this.#tunnel.lastByteMs >= limits.idleMsMax) this.#cut(refusals.tooSilent(limits.idleMsMax));
    else if (nowMs - this.#tunnel.stalledSinceMs >= limits.stallMsMax) this.#cut(refusals.stalledEnd);
  }

  abort(): void {
    if (this.#closed) this.#socket.destroy();
    else if (this.#tunnel === undefined) this.#refuse(errors.draining);
    else {
      this.#cut(refusals.stoppedEnd);
      // Nobody sweeps any more: what the client does not take now it never will.
      if (this.#socket.writableLength > 0 || this.#socket.writableFinished) this.#socket.destroy();
      else this.#socket.once('finish', () => this.#socket.destroy());
    }
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    const { account } = this;
    const plane = this.#plane;
    plane.active.remove(this);
    this.#options.ended();
    account.tunnel = this.#tunnel?.told();
    account.usage = this.#tunnel?.usage;
    if (this.#passage !== undefined)
      plane.flow.settle(this.#passage, account.attempts.length === 0 ? null : account.usage);
    const { tenancy } = plane.state();
    account.cost = costOf(tenancy.priceBook, account.model, this.#receivedAtMs, account.usage);
    this.#charge?.close({ outcome: account.outcome, usage: account.usage, reached: account.attempts.length > 0 });
    account.totalMs = this.elapsedMs;
    closeBooks(plane, account, {
      requestId: this.requestId,
      receivedAtMs: this.#receivedAtMs,
      endpoint: this.#options.endpoint,
      modelKnown: this.#modelKnown,
      span: this.#span,
      sse: undefined,
    });
  }
}
