import { route } from '#libs/contracts';
import type { Flight } from '#libs/latency-model';
import type { FleetReplica } from '../../fleet/fleet.ts';
import type { Attempt } from '../attempt.ts';
import type { Asker } from '../asker.ts';
import type { Outgoing } from '../outgoing.ts';
import type { Part, Picked } from '../picks.ts';
import type { Plane } from '../plane.ts';
import type { Routed } from '../routing.ts';
import type { UpstreamConnection } from '../upstream/connection.ts';
import type { HandoverPlan } from './plan.ts';
import { decodeBody, planOf, prefillBody } from './plan.ts';
import type { LegHost } from './prefill-leg.ts';
import { PrefillLeg } from './prefill-leg.ts';

const { AttemptEnd } = route;

/** The tries of a request, as one hand-over among them sees them. */
export interface HandoverHost {
  readonly where: Routed;
  /** The answer's head has gone to the client. */
  readonly committed: boolean;
  attempt: Attempt | undefined;
  /** Its replica is not to be picked again for this request; `undefined` takes the last one back. */
  mark(replica: FleetReplica | undefined): void;
  /** Asks a replica for the answer: for the rest of it where there is a hand-over, with a body of ours. */
  ask(replica: FleetReplica, blocksMatched: number, handover?: Handover, body?: Buffer): void;
  readonly outgoing: Outgoing;
  /** Of the attempt under way, or of another one. */
  endAttempt(end: route.AttemptEnd, error: string, attempt?: Attempt): boolean;
  failed(end: route.AttemptEnd, message: string): void;
  onFault(thrown: unknown): void;
}

/** One request computed in two places: its prompt by a prefill replica, its answer by a decode replica. */
export class Handover implements LegHost {
  readonly prefill: FleetReplica;
  readonly decode: FleetReplica;
  /** Prompt tokens that the decode side is believed not to have. */
  readonly tokens: number;
  readonly #leg: PrefillLeg;
  readonly #decodeMatched: number;
  readonly #atOnce: boolean;
  /** Undefined once nothing of it is needed: it holds the client's body. */
  #plan: HandoverPlan | undefined;
  /** Holds the place on the decode side until its own flight begins. */
  #reserved: Flight | undefined;
  /** Milliseconds from the request received; 0 is not yet. */
  #prefilledMs = 0;

  private constructor(
    private readonly plane: Plane,
    private readonly asker: Asker,
    private readonly host: HandoverHost,
    plan: HandoverPlan,
    picked: Picked,
    nowMs: number,
  ) {
    const { where } = host;
    const { picks } = plane;
    this.#plan = plan;
    this.#atOnce = plan.connector.atOnce;
    this.prefill = picked.partner as FleetReplica;
    this.decode = picked.replica as FleetReplica;
    this.#decodeMatched = picked.prefixBlocksMatched;
    const { promptTokens, prefixBlocks } = where.features;
    const share = prefixBlocks > 0 ? this.#decodeMatched / prefixBlocks : 0;
    this.tokens = Math.max(1, Math.round(promptTokens * (1 - share)));
    const matched = picked.partnerBlocksMatched ?? 0;
    const flight = picks.dispatched(where, this.prefill, matched, true, nowMs, { outputTokens: 1 });
    if (!this.#atOnce) this.#reserved = picks.reserve(where, this.decode, nowMs);
    const pick = Math.max(0, asker.account.picks.length - 1);
    this.#leg = new PrefillLeg(this, this.prefill, pick, nowMs - asker.startMs, flight);
  }

  /** False where the two cannot hand over to one another any more: the decode side is then asked for all of it. */
  static begin(plane: Plane, asker: Asker, host: HandoverHost, picked: Picked): boolean {
    const { fields } = host.where;
    const { partner } = picked;
    const plan =
      fields === undefined || partner === undefined
        ? undefined
        : planOf(fields, partner, asker.requestId, plane.environment.rng);
    plane.pd.tried(plan !== undefined);
    if (plan === undefined) return false;
    new Handover(plane, asker, host, plan, picked, asker.startMs + asker.account.pickedMs).#begin(plan);
    return true;
  }

  /** What is left of the request for the decode side. */
  get part(): Part {
    return { transferredTokens: this.tokens };
  }

  #begin(plan: HandoverPlan): void {
    const { host, plane } = this;
    const { attempt } = this.#leg;
    const body = prefillBody(plan, host.outgoing.nameEdits(this.prefill));
    const connection = plane.pool(this.prefill).acquire();
    if (!this.#atOnce || connection === undefined) {
      host.attempt = attempt;
      attempt.handover = this;
      host.mark(this.prefill);
    }
    if (connection === undefined) {
      const { connectionsPerReplicaMax } = plane.limits;
      host.failed(AttemptEnd.CONNECT_FAILED, `over ${connectionsPerReplicaMax} connections to it`);
      return;
    }
    this.#leg.sent(() => {
      const fresh = plane.pool(this.prefill).connect();
      if (fresh === undefined) this.prefillFailed(this.#leg, AttemptEnd.CONNECT_FAILED, 'no connection to it is free');
      else this.#send(fresh, body);
    });
    this.#send(connection, body);
    if (this.#atOnce)
      host.ask(
        this.decode,
        this.#decodeMatched,
        this,
        decodeBody(plan, undefined, host.outgoing.usageEdits(this.decode)),
      );
  }

  #send(connection: UpstreamConnection, body: Buffer): void {
    const leg = this.#leg;
    leg.attempt.connection = connection;
    if (!this.#atOnce) {
      if (connection.connected) this.prefillConnected();
      else this.asker.deadlineMs = this.asker.nowMs() + this.plane.limits.connectTimeoutMs;
    }
    this.host.outgoing.write(this.prefill, connection, leg, body);
  }

  prefillConnected(): void {
    if (!this.#atOnce) this.asker.deadlineMs = this.asker.nowMs() + this.plane.limits.firstByteTimeoutMs;
  }

  prefilled(leg: PrefillLeg, answer: Buffer | undefined): void {
    const { host, plane, asker } = this;
    const nowMs = asker.nowMs();
    this.#prefilledMs = nowMs - asker.startMs;
    if (answer !== undefined) plane.picks.signals.firstToken(leg.attempt.flight, nowMs);
    plane.pd.prefilled(nowMs - leg.attempt.startMs - asker.startMs);
    if (this.#atOnce) {
      host.endAttempt(AttemptEnd.ANSWERED, '', leg.attempt);
      return;
    }
    if (!host.endAttempt(AttemptEnd.ANSWERED, '')) return;
    host.mark(undefined);
    if (asker.closed || this.#plan === undefined) return;
    try {
      const body =
        answer === undefined ? undefined : decodeBody(this.#plan, answer, host.outgoing.usageEdits(this.decode));
      // An engine that refuses the prompt says so itself once the decode side is asked for all of it.
      if (body === undefined) host.ask(this.decode, this.#decodeMatched);
      else host.ask(this.decode, this.#decodeMatched, this, body);
    } catch (thrown) {
      host.onFault(thrown);
    }
  }

  prefillFailed(leg: PrefillLeg, end: route.AttemptEnd, why: string): void {
    const { host } = this;
    if (!this.#atOnce) {
      host.failed(end, why);
      return;
    }
    if (!host.endAttempt(end, why, leg.attempt) || host.committed || host.attempt?.handover !== this) return;
    host.attempt.connection?.destroy();
    host.failed(AttemptEnd.TRANSFER_FAILED, `${this.prefill.id}, which computed its prompt: ${why}`);
  }

  onFault(thrown: unknown): void {
    this.host.onFault(thrown);
  }

  /** The answer has begun. */
  committed(headers: string[], atMs: number): void {
    const { prefill, tokens } = this;
    const { connector } = this.#plan as HandoverPlan;
    const fromMs = this.#atOnce ? (this.host.attempt?.startMs ?? atMs) : this.#prefilledMs;
    const prefillMs = this.#atOnce ? 0 : this.#prefilledMs - this.#leg.attempt.startMs;
    const transferMs = Math.max(0, atMs - fromMs);
    this.asker.account.handover = { connector: connector.name, prefillMs, transferMs, tokens };
    this.plane.pd.handedOver(tokens, transferMs);
    headers.push('prefill-target-pod', prefill.id, 'prefill-target-pod-ip', prefill.address);
    this.#plan = undefined;
  }

  /** An answer that says that the decode side could not take over. */
  brokenBy(status: number): route.AttemptEnd | undefined {
    return status >= 500 && !this.host.committed ? AttemptEnd.TRANSFER_FAILED : undefined;
  }

  /** Nobody is to blame, but the pair is not tried again: the decode side may do all of it, or take over from another. */
  dissolve(): void {
    this.plane.pd.transferFailed();
    this.host.mark(undefined);
    this.host.mark(this.prefill);
  }

  /** The try under way has ended, on whichever side it was: nothing of it goes on. */
  over(): void {
    if (this.#reserved !== undefined) this.plane.picks.release(this.#reserved, this.asker.nowMs());
    this.#reserved = undefined;
    const { attempt } = this.#leg;
    if (!this.#atOnce || attempt.ended !== undefined) return;
    attempt.connection?.destroy();
    this.host.endAttempt(AttemptEnd.CLIENT_GONE, 'its answer was not needed any more', attempt);
  }
}

/** The head of the answer goes to the client: what was kept to ask another replica is let go. */
export function answerBegun(where: Routed, attempt: Attempt, headers: string[], atMs: number): void {
  where.fields = undefined;
  attempt.body = undefined;
  attempt.handover?.committed(headers, atMs);
}
