import { route } from '#libs/contracts';
import type { FlowAsker, Passage } from '../flow/index.ts';
import { arrivalOf, causeOfRefusal } from '../flow/index.ts';
import type { FleetReplica } from '../fleet/fleet.ts';
import { Answer } from './answer.ts';
import type { Asker } from './asker.ts';
import type { Attempt } from './attempt.ts';
import { allFailed, endOf, joinBytesMax, outcomeOf, retryAfterOf } from './attempt.ts';
import { takesTextToGoOn } from './engine-traits.ts';
import type { Break } from './breaks.ts';
import { brokenBy, stopped } from './breaks.ts';
import type { Splice } from './body/usage-option.ts';
import { framed, lastChunk } from './body/chunk-frame.ts';
import { continuationOf } from './continuation/of-request.ts';
import type { Continuation } from './continuation/continuation.ts';
import { continuedEvent } from './continuation/continuation.ts';
import type { Refusal } from './errors.ts';
import { errorEvent } from './errors.ts';
import { single } from './headers.ts';
import type { HedgeOwner } from './hedging/hedge.ts';
import { Hedge } from './hedging/hedge.ts';
import type { Hedgeable } from './hedging/hedging.ts';
import { mayHedge } from './hedging/hedging.ts';
import { passTo } from './http/direct-write.ts';
import { latin1 } from './http/syntax.ts';
import { listenToDrain } from './listening.ts';
import { land } from './landing.ts';
import { Outgoing } from './outgoing.ts';
import { appendAnswerHeaders } from './own-answers.ts';
import type { HandoverHost } from './pd/handover.ts';
import { Handover } from './pd/handover.ts';
import type { Plane } from './plane.ts';
import type { Routed } from './routing.ts';
import { noneTakes, whyNone } from './routing.ts';
import { attemptOn, failedBy, pickFor, rememberHolder } from './trying.ts';
import { headersFrom } from './targets/external.ts';
import { unfitToBegin } from './unfit.ts';
import { Upload } from './upload.ts';
import type { Caller, Failure, UpstreamConnection } from './upstream/connection.ts';

const { AttemptEnd, Outcome } = route;
const never = Number.POSITIVE_INFINITY;

/** The engines' side of a request: one try after the other until one answers, and that answer's way to the client. */
export class Attempts implements Caller, FlowAsker, HandoverHost, HedgeOwner, Hedgeable {
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
  readonly outgoing: Outgoing;
  /** Asked while the attempt at hand had not answered yet; undefined where nobody is. */
  #hedge: Hedge | undefined;
  /** Undefined where a stream that breaks ends with an error. */
  #continuation: Continuation | undefined;
  /** A small body that came whole. */
  #whole = '';
  /** Chunks are framed here. */
  #framed = false;
  #draining = false;
  #learned = false;
  /** The body comes as the client sends it: nothing of it is kept once it is under way. */
  readonly #streamed: boolean;
  /** Under way: no other replica can be asked any more. */
  #upload: Upload | undefined;
  #lastFailure = '';
  /** Of `tried` before the present model. */
  #triedBefore = 0;
  #retryAfterS: number | undefined;

  constructor(
    plane: Plane,
    asker: Asker,
    public where: Routed,
    streamed = false,
    usage: Splice | undefined = undefined,
  ) {
    this.#streamed = streamed;
    this.#plane = plane;
    this.#asker = asker;
    const reads = where.plan.profile.continuation !== undefined;
    this.outgoing = new Outgoing(plane, asker, { streamed, usage, reads });
  }

  /** Sends it, or has it wait for a replica with room where its profile says so. */
  begin(): void {
    const { flow } = this.where.plan.profile;
    const passage = flow && this.#plane.flow.enter(arrivalOf(this, flow, this.#asker));
    this.#passage = passage;
    if (passage?.refused !== undefined) this.refuse(passage.refused, 0);
    else if (passage === undefined || passage.ticket !== undefined) this.#tryFirst();
  }

  /** It has waited; there is room now. */
  dispatch(queuedMs: number): void {
    this.#asker.account.queuedMs += queuedMs;
    try {
      this.#tryFirst();
    } catch (thrown) {
      this.#asker.fault(thrown);
    }
  }

  /** No place to wait, or it waited in vain. */
  refuse(refusal: Refusal, queuedMs: number): void {
    this.#asker.account.queuedMs += queuedMs;
    const cause = causeOfRefusal(refusal);
    try {
      if (cause === undefined || !this.#turn(cause)) this.#asker.refuse(refusal);
    } catch (thrown) {
      this.#asker.fault(thrown);
    }
  }

  /** The request has ended, and its record is about to be written. */
  over(): void {
    if (this.#passage === undefined) return;
    const { usage, attempts } = this.#asker.account;
    this.#plane.flow.settle(this.#passage, attempts.length === 0 ? null : usage);
  }

  #tryFirst(): void {
    this.#try();
    const { hedge } = this.where.plan.profile;
    // Of a request that two replicas work on a third one would be no copy.
    if (hedge === undefined || !this.unanswered || this.where.splittable === true) return;
    const { target, account } = this.#asker;
    if (!this.#streamed && mayHedge(target.endpoint.path, account.stream)) {
      this.#plane.hedging.watch(this, hedge, (this.attempt as Attempt).flight);
    }
  }

  /** Picks a replica, or two, and sends the request there. */
  #try(): void {
    const picked = pickFor(this.#plane, this.#asker, this.where, this.#leftOut());
    if (picked.replica === undefined) {
      this.#noReplica();
      return;
    }
    if (this.where.plan.readsRoles && Handover.begin(this.#plane, this.#asker, this, picked)) return;
    this.ask(picked.replica, picked.prefixBlocksMatched);
  }

  ask(replica: FleetReplica, matched: number, handover?: Handover, body?: Buffer): void {
    this.#tried.push(replica);
    const attempt = attemptOn(this.#plane, this.#asker, this.where, replica, matched, handover);
    attempt.body = body;
    this.attempt = attempt;
    this.#send(attempt, this.#connect(replica));
  }

  #connect(replica: FleetReplica): UpstreamConnection | undefined {
    const pool = this.#plane.pool(replica);
    return this.#streamed ? pool.connect() : pool.acquire();
  }

  /** An attempt on the next best replica, for all of the request; undefined where there is none. */
  #next(leftOut = this.#leftOut()): Attempt | undefined {
    const where = this.where.splittable === true ? { ...this.where, splittable: false } : this.where;
    const { replica, prefixBlocksMatched } = pickFor(this.#plane, this.#asker, where, leftOut);
    if (replica === undefined) return undefined;
    this.#tried.push(replica);
    return attemptOn(this.#plane, this.#asker, where, replica, prefixBlocksMatched, undefined);
  }

  mark(replica: FleetReplica | undefined): void {
    if (replica === undefined) this.#tried.pop();
    else this.#tried.push(replica);
  }

  failed(end: route.AttemptEnd, message: string): void {
    this.#attemptFailed(end, message);
  }

  /** Those tried; before the first try in a pool those without room, too. */
  #leftOut(): readonly FleetReplica[] {
    const full = this.#tried.length > this.#triedBefore ? undefined : this.#passage?.full;
    return full === undefined || full.length === 0 ? this.#tried : [...this.#tried, ...full];
  }

  #send(attempt: Attempt, connection: UpstreamConnection | undefined): void {
    const { limits } = this.#plane;
    if (connection === undefined) {
      this.#attemptFailed(AttemptEnd.CONNECT_FAILED, `over ${limits.connectionsPerReplicaMax} connections to it`);
      return;
    }
    const nowMs = this.#asker.nowMs();
    attempt.connection = connection;
    if (!this.committed) this.answer = undefined;
    if (connection.connected) this.onConnected();
    else this.#asker.deadlineMs = nowMs + limits.connectTimeoutMs;
    this.outgoing.write(attempt.replica, connection, this, attempt.body ?? this.#continuation?.resumed?.body);
  }

  #noReplica(): void {
    if (this.#lastFailure !== '') {
      this.#allFailed();
      return;
    }
    if (this.#turn()) return;
    const selectorText = single(this.#asker.request.headers['external-filter']) ?? '';
    if (noneTakes(this.where)) this.#plane.wanted?.(this.where.asked.model, this.where.replicas, 0);
    this.#asker.refuse(whyNone(this.#asker.account.model, this.where, selectorText));
  }

  /** To another model or pool, by its queue, where configuration names one for what befell this one; false where it names none. */
  #turn(cause?: route.StageCause): boolean {
    if (this.#plane.draining || this.#upload !== undefined) return false;
    const next = this.#asker.lead?.after(this.#lastFailure !== '', this.#tried, cause);
    if (next === undefined) return false;
    if (this.#passage !== undefined) this.#plane.flow.settle(this.#passage, null);
    this.where = next;
    this.#triedBefore = this.#tried.length;
    return (this.begin(), true);
  }

  #allFailed(): void {
    if (this.#turn()) return;
    const failed = allFailed(this.#asker.account.attempts.at(-1)?.end, this.#lastFailure, this.#retryAfterS);
    this.#asker.refuse(this.attempt?.refusal ?? failed);
  }

  /** Writes the attempt into the account and charges its replica; false where that was done. */
  endAttempt(end: route.AttemptEnd, error: string, attempt = this.attempt): boolean {
    if (attempt === undefined || !attempt.end(end)) return false;
    this.#plane.metrics.attempt(end);
    land(this.#plane, this.#asker, this.where, attempt, end);
    this.#asker.account.attempts.push(attempt.toRecord(end, this.#asker.elapsedMs, error));
    attempt.handover?.over();
    return true;
  }

  /** Before the first byte: the next best replica, as long as there is one and the client waits. */
  #attemptFailed(end: route.AttemptEnd, message: string, last = false): void {
    if (this.committed) {
      this.#broken(end, message, brokenBy(message));
      return;
    }
    const attempt = this.attempt as Attempt;
    const gone = this.#upload !== undefined ? `${message}; the body was streamed and cannot be sent again` : message;
    if (!this.endAttempt(end, gone)) return;
    this.#asker.deadlineMs = never;
    this.#lastFailure = `${attempt.replica.id}: ${message}`;
    if (end === AttemptEnd.TRANSFER_FAILED) attempt.handover?.dissolve();
    if (this.#asker.closed || this.#adoptHedge()) return;
    try {
      const { limits, draining } = this.#plane;
      const tried = this.#tried.length - this.#triedBefore;
      if (tried >= limits.attemptsMax || last || draining || this.#upload !== undefined) this.#allFailed();
      else this.#try();
    } catch (thrown) {
      this.#asker.fault(thrown);
    }
  }

  // ---- The engine's answer ------------------------------------------------------------------------------------------

  onConnected(): void {
    if (this.#streamed) {
      this.#upload = new Upload(this.#plane, this.#asker, this.attempt as Attempt, this.outgoing);
      return;
    }
    this.#awaitAnswer();
  }

  #awaitAnswer(): void {
    const { limits } = this.#plane;
    this.#asker.deadlineMs =
      this.#asker.nowMs() + (this.#asker.account.stream ? limits.firstByteTimeoutMs : limits.answerTimeoutMs);
  }

  /** More of the body. */
  upload(chunk: Buffer): void {
    if (this.attempt?.ended === undefined) this.#upload?.write(chunk);
  }

  onWritable(): void {
    this.#upload?.writable();
  }

  uploaded(): void {
    if (this.#upload === undefined || this.attempt?.ended !== undefined) return;
    this.#upload.end();
    this.#awaitAnswer();
  }

  onHead(status: number, reason: string, headers: readonly string[]): void {
    const attempt = this.attempt as Attempt;
    attempt.httpStatus = status;
    const failed = failedBy(this.#asker, attempt, status, this.committed ? headers : undefined);
    if (failed === undefined) {
      if (this.committed) return;
      const hides = this.outgoing.hidesUsage(attempt.replica);
      const passed = headersFrom(attempt.replica, headers);
      this.answer = new Answer(status, reason, passed, this.#asker.target.endpoint, hides);
      return;
    }
    attempt.connection?.discard();
    this.#retryAfterS = retryAfterOf(headers) ?? this.#retryAfterS;
    this.#attemptFailed(failed, `it answered ${status}`, failed === AttemptEnd.ANSWERED);
  }

  onBody(chunk: Buffer): void {
    const attempt = this.attempt as Attempt;
    const nowMs = this.#asker.nowMs();
    const answer = this.answer as Answer;
    const atMs = nowMs - this.#asker.startMs;
    if (!this.committed) {
      const unfit = unfitToBegin(this.#plane, this.#asker, attempt, answer, chunk);
      if (unfit !== undefined) {
        if (answer.sse === undefined) attempt.connection?.discard();
        else attempt.connection?.destroy();
        attempt.refused(unfit);
        this.#attemptFailed(unfit.end, unfit.message, unfit.end === AttemptEnd.ANSWERED);
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
      this.#whole = latin1(chunk);
      return;
    }
    if (attempt.firstByteMs === 0) attempt.firstByteMs = atMs;
    const continuation = this.#continuation;
    if (continuation === undefined) this.#take(chunk, attempt, answer, atMs);
    else {
      const passed = continuation.feed(chunk);
      if (passed.length > 0) this.#take(passed, attempt, answer, atMs);
      if (!continuation.failed) return;
      attempt.connection?.destroy();
      this.#attemptFailed(AttemptEnd.BROKEN_STREAM, 'it told an error inside the stream');
    }
  }

  #take(chunk: Buffer, attempt: Attempt, answer: Answer, atMs: number): void {
    answer.feed(chunk, atMs);
    this.#learn(attempt, answer);
    const { flight } = attempt;
    if (!flight.decoding && answer.sse !== undefined && answer.sse.firstTokenMs > 0) {
      this.#plane.picks.signals.firstToken(flight, this.#asker.startMs + atMs);
    }
    this.#pass(answer.filter === undefined ? chunk : answer.filter.feed(chunk), attempt);
  }

  #pass(bytes: Buffer, attempt: Attempt): void {
    if (bytes.length > 0 && !passTo(this.#asker.response, bytes, this.#framed)) this.#awaitClient(attempt);
  }

  onEnd(): void {
    const { account } = this.#asker;
    const answer = this.answer as Answer;
    if (!this.committed) this.#commit(this.attempt as Attempt, answer, this.#asker.elapsedMs, true);
    if (this.#continuation?.open === true) {
      this.#broken(AttemptEnd.BROKEN_STREAM, 'its stream ended early', brokenBy('its stream ended early'));
      return;
    }
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
    if (this.committed && attempt.firstByteMs > 0) {
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
    this.#endHedge(AttemptEnd.HEDGE_LOST, '');
    this.#continuation = continuationOf(this.where.plan.profile.continuation, this.outgoing, attempt.replica, answer);
    if (this.#continuation === undefined) this.#asker.releaseBody();
    attempt.firstByteMs = this.#asker.account.firstByteMs = atMs;
    this.#asker.account.httpStatus = answer.status;
    this.#asker.once?.head(answer.status, answer.headers);
    appendAnswerHeaders(this.#plane, this.#asker, this.where, attempt, answer, whole);
    const { response, request } = this.#asker;
    // It answers before it has read the whole: the rest of the body is read by nobody.
    if (this.#streamed && !request.complete) answer.headers.push('connection', 'close');
    response.writeHead(answer.status, answer.reason, answer.headers);
    // Node would write a chunk in four pieces; its own framing is switched off once the head says "chunked".
    this.#framed = response.chunkedEncoding;
    if (this.#framed) response.chunkedEncoding = false;
  }

  /** Who holds a response is known as soon as the client is told its id. */
  #learn(attempt: Attempt, answer: Answer): void {
    if (!this.#learned) this.#learned = rememberHolder(this.#plane, this.#asker, attempt, answer);
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
    if (outcome === Outcome.UPSTREAM_BROKEN && this.#goOn()) return;
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
    this.#endWith(Buffer.from(open + errorEvent(dialect, status, code, text, this.#asker.requestId)));
  }

  #endWith(event: Buffer): void {
    if (this.#framed) this.#asker.response.write(framed(event));
    this.#asker.response.end(this.#framed ? lastChunk : event);
  }

  // ---- A stream that goes on elsewhere ------------------------------------------------------------------------------

  /** Has another replica go on with the stream that broke; false where none can. */
  #goOn(): boolean {
    const continuation = this.#continuation;
    const answer = this.answer as Answer;
    if (continuation === undefined || this.#asker.closed) return false;
    const ending = continuation.ending();
    if (ending !== undefined) {
      answer.settle(this.#asker.account);
      this.#asker.settle(Outcome.COMPLETED, '', '');
      this.#asker.awaitEnd();
      this.#endWith(ending);
      return true;
    }
    if (!continuation.open || this.#tried.length >= this.#plane.limits.attemptsMax) return false;
    const { chat, wantsUsage } = continuation.request;
    const unfit = chat ? this.where.replicas.filter((replica) => !takesTextToGoOn(replica)) : [];
    const attempt = this.#next([...this.#tried, ...unfit]);
    if (attempt === undefined) return false;
    attempt.continuedTokens = continuation.resume(wantsUsage || answer.filter !== undefined).tokens;
    this.attempt = attempt;
    this.#plane.metrics.continued();
    this.#pass(continuedEvent, attempt);
    this.#send(attempt, this.#connect(attempt.replica));
    return true;
  }

  // ---- A second replica for a late first byte -----------------------------------------------------------------------

  get unanswered(): boolean {
    const { attempt } = this;
    const waits = attempt !== undefined && attempt.ended === undefined && !this.#asker.closed;
    return waits && !this.committed && this.#hedge === undefined;
  }

  hedge(): boolean {
    if (this.#tried.length >= this.#plane.limits.attemptsMax) return false;
    const attempt = this.#next();
    if (attempt === undefined) return false;
    attempt.hedge = true;
    const connection = this.#plane.pool(attempt.replica).connect();
    this.#hedge = new Hedge(this, attempt);
    attempt.connection = connection;
    if (connection === undefined)
      this.hedgeFailed(this.#hedge, AttemptEnd.CONNECT_FAILED, 'too many connections to it');
    else this.outgoing.write(attempt.replica, connection, this.#hedge, undefined);
    return true;
  }

  hedgeAnswers(hedge: Hedge): void {
    const first = this.attempt as Attempt;
    this.endAttempt(AttemptEnd.HEDGE_LOST, '');
    first.connection?.destroy();
    this.#plane.hedging.count('won');
    this.#hedge = undefined;
    this.attempt = hedge.attempt;
    hedge.adopt();
  }

  hedgeFailed(hedge: Hedge, end: route.AttemptEnd, message: string): void {
    this.#hedge = undefined;
    this.#plane.hedging.count('failed');
    this.endAttempt(end, message, hedge.attempt);
  }

  /** The first replica failed: the second is now the only one. */
  #adoptHedge(): boolean {
    const hedge = this.#hedge;
    if (hedge === undefined) return false;
    this.#hedge = undefined;
    this.#plane.hedging.count('won');
    this.attempt = hedge.attempt;
    this.answer = undefined;
    this.#awaitAnswer();
    hedge.adopt();
    return true;
  }

  #endHedge(end: route.AttemptEnd, why: string): void {
    const hedge = this.#hedge;
    if (hedge === undefined) return;
    this.#hedge = undefined;
    this.#plane.hedging.count('lost');
    if (this.endAttempt(end, why, hedge.attempt)) hedge.attempt.connection?.destroy();
  }

  /** Nobody waits for the answer any more. */
  leave(why: string): void {
    const queuedMs = this.#passage && this.#plane.flow.leave(this.#passage, why === '' ? 'client_gone' : 'stopped');
    this.#asker.account.queuedMs += queuedMs ?? 0;
    const { attempt } = this;
    this.#endHedge(AttemptEnd.CLIENT_GONE, why);
    if (this.endAttempt(AttemptEnd.CLIENT_GONE, why)) attempt?.connection?.destroy();
  }

  /** The deadline has passed while an engine was due to say something. */
  late(): void {
    this.#asker.deadlineMs = never;
    const connection = this.attempt?.connection;
    connection?.destroy();
    const begun = this.committed && (this.attempt?.firstByteMs ?? 0) > 0;
    if (begun) this.#broken(AttemptEnd.BROKEN_STREAM, 'it fell silent', brokenBy('it fell silent'));
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
