import type { IncomingHttpHeaders } from 'node:http';
import type { tenancy } from '#libs/contracts';
import { route } from '#libs/contracts';
import { keyAllows } from '#libs/domain/tenancy';
import type { FleetReplica } from '../../fleet/fleet.ts';
import type { ScannedBody } from '../body/body-scanner.ts';
import type { Refusal } from '../errors.ts';
import * as errors from '../errors.ts';
import type { Plane } from '../plane.ts';
import type { Account } from '../record.ts';
import type { Routed } from '../routing.ts';
import { isRefusal, replicasOf, routed, statesOf } from '../routing.ts';
import { causeOfEnd, choiceOf, ModelChoice } from './model-choice.ts';
import type { Naming } from './naming.ts';

/** The request as its lead sees it. */
export interface LeadAsker {
  readonly requestId: string;
  readonly account: Account;
  readonly request: { readonly headers: IncomingHttpHeaders };
  readonly key: tenancy.KeyIssued | undefined;
  readonly target: { readonly path: string; readonly endpoint: { readonly cached: boolean } };
  readonly body: Buffer;
  readonly startMs: number;
  readonly elapsedMs: number;
  /** Set where the name asked for is not that of the model served. */
  lead: Lead | undefined;
}

/** What was read of a body, its model to be replaced by what is served in its place. */
export type Leading = { -readonly [Name in keyof ScannedBody]: ScannedBody[Name] };

/** Where the name that one request asks for leads: to which model, to which one next, and what its body then has to say. */
export class Lead {
  readonly naming: Naming;
  /** Of its own: the scanner goes on to other bodies. */
  #scanned: Leading;

  constructor(
    private readonly plane: Plane,
    private readonly asker: LeadAsker,
    scanned: Leading,
    form: boolean,
    /** Undefined: it leads to the model of that name, and some replica calls that otherwise. */
    readonly choice: ModelChoice | undefined,
  ) {
    const { model, modelStart: start, modelEnd: end, objectStart } = scanned;
    this.naming = { start, end, objectStart: form ? -1 : objectStart, form, asked: end > start ? model : '', model };
    this.#scanned = { ...copyOf(scanned) };
  }

  /** An answer of this status is not passed on as long as a fallback may still follow. */
  mends(status: number): boolean {
    return status >= 500 && this.choice?.more === true;
  }

  /** Where it goes on: after tries that failed, where there was none to try, or for another cause. */
  after(failed: boolean, tried: readonly FleetReplica[], cause?: route.StageCause): Routed | undefined {
    if (this.choice?.more !== true) return undefined;
    return this.next(cause ?? causeOfEnd(failed ? this.asker.account.attempts.at(-1)?.end : undefined), tried);
  }

  /** Every replica that the request may come to; undefined: those that the name asked for has. */
  get reach(): readonly FleetReplica[] | undefined {
    return this.choice?.reach();
  }

  /** The body is another one now, with the same names. */
  reread(scanned: Leading): void {
    this.#scanned = copyOf(scanned);
    this.naming.start = scanned.modelStart;
    this.naming.end = scanned.modelEnd;
    this.naming.objectStart = scanned.objectStart;
  }

  /** Where it begins. */
  begin(choice: ModelChoice): readonly FleetReplica[] | Refusal {
    const replicas = choice.next(route.StageCause.FIRST, [], 0, this.asker.elapsedMs);
    if (replicas === undefined) return errors.noReplica(choice.asked, statesOf(choice.known()));
    this.#serve(choice.stage.model);
    this.#count(choice);
    return replicas;
  }

  /** Undefined where configuration names nothing, or nothing is there. */
  next(cause: route.StageCause, tried: readonly FleetReplica[]): Routed | undefined {
    const { plane, asker, choice } = this;
    if (choice === undefined) return undefined;
    const { account, requestId, body, key, startMs: nowMs } = asker;
    for (;;) {
      const replicas = choice.next(cause, tried, account.picks.length, asker.elapsedMs);
      if (replicas === undefined) return undefined;
      this.#serve(choice.stage.model);
      const { headers } = asker.request;
      const { path, endpoint } = asker.target;
      const asked = { requestId, path, headers, scanned: this.#scanned, cached: endpoint.cached, body, key, nowMs };
      const found = routed(plane, asked, replicas);
      // Its own requestsPerSecond, for one.
      if (isRefusal(found)) continue;
      account.profile = found.plan.profile.profile;
      account.adapter = found.adapter;
      choice.reads(found.features);
      this.#count(choice);
      return found;
    }
  }

  #count({ routeId, took }: ModelChoice): void {
    if (took !== undefined) this.plane.metrics.fallback(routeId, took);
  }

  #serve(model: string): void {
    this.#scanned.model = this.naming.model = this.asker.account.model = model;
  }
}

/** The fields alone: a scanner is an object with more in it. */
function copyOf({
  model,
  modelStart,
  modelEnd,
  stream,
  includeUsage,
  streamOptions,
  objectStart,
  maxTokens,
  user,
  cacheSalt,
  cacheSaltAt,
  previousResponseId,
  promptStart,
  promptEnd,
  promptBytes,
}: Leading): Leading {
  return {
    model,
    modelStart,
    modelEnd,
    stream,
    includeUsage,
    streamOptions,
    objectStart,
    maxTokens,
    user,
    cacheSalt,
    cacheSaltAt,
    previousResponseId,
    promptStart,
    promptEnd,
    promptBytes,
  };
}

/** Undefined where the name asked for is that of the model served and of nothing else: that costs two look-ups. */
function leadOf(plane: Plane, asker: LeadAsker, scanned: Leading, form: boolean): Lead | Refusal | undefined {
  const { account, key, requestId, request } = asker;
  const { model, previousResponseId } = scanned;
  const { tenantId, keyId, endUser } = account;
  const { headers } = request;
  const holder = previousResponseId === '' ? undefined : plane.holders.find(previousResponseId);
  const heldBy = holder?.tenantId === tenantId ? holder.model : '';
  const choice = choiceOf(plane, { asked: model, tenantId, keyId, requestId, endUser, headers, heldBy });
  if (choice === undefined)
    return plane.fleet.renames === true ? new Lead(plane, asker, scanned, form, undefined) : undefined;
  if (key !== undefined && !keyAllows(key, model)) return errors.modelNotAllowed(model);
  return new Lead(plane, asker, scanned, form, choice);
}

/** Replicas for the name asked for; `scanned` then names the model that is served in its place. */
export function replicasFor(
  plane: Plane,
  asker: LeadAsker,
  scanned: Leading,
  form: boolean,
): readonly FleetReplica[] | Refusal {
  const lead = leadOf(plane, asker, scanned, form);
  if (lead !== undefined && 'outcome' in lead) return lead;
  asker.lead = lead;
  const choice = (asker.account.choice = lead?.choice);
  if (lead === undefined || choice === undefined) return replicasOf(plane, scanned.model, asker.key);
  const replicas = lead.begin(choice);
  scanned.model = asker.account.model;
  return replicas;
}
