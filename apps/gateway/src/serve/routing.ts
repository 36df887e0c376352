import type { IncomingHttpHeaders } from 'node:http';
import type { tenancy } from '#libs/contracts';
import { outcomeName, route } from '#libs/contracts';
import { resolveProfile, selectPolicy } from '#libs/domain/route';
import { keyAllows } from '#libs/domain/tenancy';
import { closest, CodedError, fnv1a32 } from '#libs/kernel';
import type { Asked } from '#libs/latency-model';
import type { BlockHashes } from '#libs/prefix-index';
import type { RequestFeatures } from '#libs/scheduling';
import type { FleetReplica } from '../fleet/fleet.ts';
import type { ExactPrefix } from '../kv/exact-prefix.ts';
import type { ScannedBody } from './body/body-scanner.ts';
import type { Refusal } from './errors.ts';
import * as errors from './errors.ts';
import { single, sloOf } from './headers.ts';
import type { RoutePlan } from './picks.ts';
import type { BodyFields } from './pd/body-fields.ts';
import { splittable } from './pd/request-fields.ts';
import { answersAlone, hasPrefill } from './pd/traits.ts';
import type { Plane } from './plane.ts';
import type { Selector } from './selector.ts';

/** Where a request may go, and by what rule. */
export interface Routed {
  readonly plan: RoutePlan;
  readonly features: RequestFeatures;
  readonly replicas: readonly FleetReplica[];
  readonly selector: Selector | undefined;
  readonly blocks: BlockHashes | undefined;
  readonly exact: ExactPrefix | undefined;
  readonly inexact: string | undefined;
  readonly asked: Asked;
  /** Told to the client; '' where it has no session. */
  readonly sessionId: string;
  /** The model's name where it is an adapter, else ''. */
  readonly adapter: string;
  /** Of a body that may be computed in two places. */
  fields?: BodyFields | undefined;
  readonly splittable?: boolean;
}

export interface RoutedRequest {
  readonly requestId: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly scanned: ScannedBody;
  /** The engine keeps what it computes of the prompt. */
  readonly cached: boolean;
  readonly body: Buffer;
  /** Undefined where nobody checks keys. */
  readonly key: tenancy.KeyIssued | undefined;
  readonly nowMs: number;
}

/** A rule of thumb for text without a tokenizer at hand. */
const bytesPerToken = 4;

export const isRefusal = (result: Routed | Refusal): result is Refusal => 'outcome' in result;

/** The replicas of a model, or why the client may not have them. */
export function replicasOf(
  plane: Plane,
  model: string,
  key: tenancy.KeyIssued | undefined,
): readonly FleetReplica[] | Refusal {
  const { fleet, compat } = plane;
  if (key !== undefined && !keyAllows(key, model)) return errors.modelNotAllowed(model);
  const replicas = fleet.replicasFor(model);
  if (replicas !== undefined) return replicas;
  if (fleet.settling) return errors.modelsSettling(model);
  const names = fleet.models().flatMap(({ id }) => (key === undefined || keyAllows(key, id) ? [id] : []));
  return errors.modelNotFound(model, compat, closest(model, names));
}

/** The one model that a body without `model` can mean, or '' where there are several. */
export function soleModel(plane: Plane, key: tenancy.KeyIssued | undefined): string {
  const bases = plane.fleet
    .models()
    .filter(({ id, parent }) => parent === undefined && (key === undefined || keyAllows(key, id)));
  return bases.length === 1 ? (bases[0]?.id ?? '') : '';
}

/** Nothing was read of a body: there is none, or it is not JSON. */
export const unread = (model: string): ScannedBody => ({
  model,
  modelStart: 0,
  modelEnd: 0,
  stream: false,
  includeUsage: false,
  streamOptions: undefined,
  objectStart: 0,
  maxTokens: 0,
  user: '',
  cacheSalt: '',
  cacheSaltAt: undefined,
  previousResponseId: '',
  promptStart: 0,
  promptEnd: 0,
  promptBytes: 0,
});

/**
 * The replica that holds a response, as long as it is in the fleet: no other one can go on from it. Where it is not known who holds
 * it, any replica may be asked and says so itself.
 */
export function holding(
  plane: Plane,
  replicas: readonly FleetReplica[],
  responseId: string,
  tenantId: string,
): readonly FleetReplica[] | Refusal {
  const holder = plane.holders.find(responseId);
  if (holder === undefined) return replicas;
  if (holder.tenantId !== tenantId) return errors.responseUnknown(responseId);
  const there = replicas.filter(({ id }) => id === holder.replicaId);
  return there.length === 0 ? replicas : there;
}

/** Replicas that may hold a response which is asked for by its id alone, with the model it is of, '' where that is not known. */
export function storing(
  plane: Plane,
  responseId: string,
  tenantId: string,
  key: tenancy.KeyIssued | undefined,
): { readonly model: string; readonly replicas: readonly FleetReplica[] } | Refusal {
  const holder = plane.holders.find(responseId);
  if (holder !== undefined && holder.tenantId === tenantId) {
    const { model, asked = model } = holder;
    const replicas = asked === model ? replicasOf(plane, model, key) : (plane.fleet.replicasFor(model) ?? []);
    if ('outcome' in replicas) return replicas;
    if (key !== undefined && !keyAllows(key, asked)) return errors.modelNotAllowed(asked);
    const held = holding(plane, replicas, responseId, tenantId);
    return 'outcome' in held ? held : { model: holder.model, replicas: held };
  }
  if (holder !== undefined) return errors.responseUnknown(responseId);
  const all = new Set<FleetReplica>();
  for (const { id } of plane.fleet.models()) {
    if (key !== undefined && !keyAllows(key, id)) continue;
    for (const replica of plane.fleet.replicasFor(id) ?? []) all.add(replica);
  }
  return { model: '', replicas: [...all] };
}

/** How to route a request for these replicas of its model. */
export function routed(plane: Plane, request: RoutedRequest, replicas: readonly FleetReplica[]): Routed | Refusal {
  const { headers, scanned, body } = request;
  const { model, promptStart, promptEnd, promptBytes, maxTokens } = scanned;
  const filter = single(headers['external-filter']);
  const selector = filter === undefined ? undefined : plane.selectors.of(filter);
  if (filter !== undefined && selector === undefined) return errors.invalidSelector;
  const promptTokens = Math.ceil(promptBytes / bytesPerToken);
  const plan = planOf(plane, headers, model, promptTokens, maxTokens);
  if ('outcome' in plan) return plan;
  let fields: BodyFields | undefined;
  if (plan.readsRoles && hasPrefill(replicas)) {
    const split = splittable(request.path, body);
    if ('own' in split) return errors.ownTransferField(split.own);
    if ('fields' in split) fields = split.fields;
  }
  const { requestsPerSecond, pipeline, profile } = plan.profile;
  if (requestsPerSecond > 0) {
    const name = `${model}\n${pipeline.policyId}\n${profile}`;
    if (!plane.rates.take(name, requestsPerSecond, request.nowMs)) return errors.rateExceeded(requestsPerSecond);
  }
  const blocks =
    plan.readsPrefix && request.cached && promptEnd > promptStart
      ? plane.picks.blocks(model, scanned.cacheSalt, body.subarray(promptStart, promptEnd))
      : undefined;
  const parent = plane.fleet.model(model)?.parent;
  const adapter = parent === undefined ? '' : model;
  const known = blocks === undefined ? undefined : exactOf(plane, request, parent ?? model, adapter, replicas);
  const exact = typeof known === 'object' ? known : undefined;
  const inexact = typeof known === 'string' ? known : undefined;
  const session = sessionOf(plane, request, plan);
  const features: RequestFeatures = {
    bodyBytes: body.length,
    promptTokens: exact?.promptTokens ?? promptTokens,
    promptTokensExact: exact !== undefined,
    maxTokens,
    sessionHash: session === '' ? 0 : fnv1a32(sessionOwn(request, session)) || 1,
    prefixBlocks: (exact?.blocks ?? blocks)?.length ?? 0,
    sloTtftMs: sloOf(headers['x-slo-ttft-ms']),
    sloTpotMs: sloOf(headers['x-slo-tpot-ms']),
  };
  const sessionId = plan.readsSession || headers['x-session-id'] !== undefined ? session : '';
  // Adapters take as long as their base model.
  const asked = { tenant: tenantOf(request), model: parent ?? model, promptTokens: features.promptTokens, maxTokens };
  const splits = fields !== undefined;
  return {
    plan,
    features,
    replicas,
    selector,
    blocks,
    exact,
    inexact,
    asked,
    sessionId,
    adapter,
    fields,
    splittable: splits,
  };
}

/** What the engines themselves say of the prompt, or why that does not help. */
function exactOf(
  { kv }: Plane,
  { path, body, scanned, key, nowMs }: RoutedRequest,
  base: string,
  adapter: string,
  replicas: readonly FleetReplica[],
): ExactPrefix | string | undefined {
  if (kv === undefined) return undefined;
  const { cacheSalt, promptStart, promptEnd } = scanned;
  const tenantId = key?.tenantId ?? '';
  return kv.prefixOf({ path, base, adapter, cacheSalt, tenantId, replicas, body, promptStart, promptEnd }, nowMs);
}

function planOf(
  plane: Plane,
  headers: IncomingHttpHeaders,
  model: string,
  promptTokens: number,
  maxTokens: number,
): RoutePlan | Refusal {
  const wanted = {
    routingStrategy: single(headers['routing-strategy']),
    configProfile: single(headers['config-profile']),
  };
  const inForce = selectPolicy(plane.state().route, model);
  try {
    return plane.picks.plan(resolveProfile(inForce, wanted, { promptTokens, maxTokens }));
  } catch (thrown) {
    if (!(thrown instanceof CodedError) || !thrown.code.startsWith('SCHEDULING_STRATEGY')) throw thrown;
    return errors.invalidStrategy([thrown.message, thrown.advice].filter(Boolean).join('. '));
  }
}

/** For whom service is counted: the key's tenant, else the end user; '' is nobody. */
const tenantOf = ({ key, headers, scanned }: RoutedRequest): string =>
  key?.tenantId ?? single(headers['user']) ?? scanned.user;

/** Two tenants' sessions of one name are two: neither can steer towards the other's replica. */
const sessionOwn = ({ key }: RoutedRequest, session: string): string =>
  key === undefined ? session : `${key.tenantId}\0${session}`;

/** The session that the client names, or one made for it where the strategy needs one; '' is none. */
function sessionOf(plane: Plane, { headers, requestId }: RoutedRequest, plan: RoutePlan): string {
  const named = single(headers['x-session-id']) ?? single(headers['x-aibrix-session-key']) ?? '';
  if (named !== '' && named.length <= plane.limits.sessionKeyBytesMax) return named;
  return plan.readsSession ? requestId : '';
}

/** None of the model's replicas takes requests, whoever asks: one that starts or wakes would help. */
export const noneTakes = ({ replicas }: Routed): boolean =>
  replicas.every((replica) => {
    const state = replica.routability();
    return state !== 'ready' && state !== 'unknown';
  });

/** How many replicas are in which state, in words. */
export function statesOf(replicas: readonly FleetReplica[]): string {
  const states = new Map<string, number>();
  for (const replica of replicas) {
    const state = replica.routability();
    states.set(state, (states.get(state) ?? 0) + 1);
  }
  return states.size === 0 ? 'none is registered' : [...states].map(([state, count]) => `${count} ${state}`).join(', ');
}

/** What stands between the client and these replicas, in words. */
export function whyNone(model: string, { replicas, selector }: Routed, selectorText: string): Refusal {
  const asked = (replica: FleetReplica): boolean => ['ready', 'unknown'].includes(replica.routability());
  if (selector !== undefined && replicas.some(asked)) return errors.noneSelected(selectorText);
  // Ready, but each for a part of requests only: of those with another strategy, or with its other side.
  const bound = replicas.some((replica) => asked(replica) && !answersAlone(replica));
  const parts = bound ? '; prefill and decode replicas answer together, by the strategy pd' : '';
  return errors.noReplica(model, statesOf(replicas) + parts);
}

/** What every answer says of its request, and of where it went as far as it came. */
export function appendOwnHeaders(
  out: string[],
  requestId: string,
  where: Routed | undefined,
  replica: FleetReplica | undefined,
  /** As far as it is known when the head goes out. */
  outcome = route.Outcome.UNSPECIFIED,
): void {
  out.push('request-id', requestId, 'x-lintel-request-id', requestId);
  if (outcome !== route.Outcome.UNSPECIFIED) out.push('x-lintel-outcome', outcomeName(outcome));
  if (where === undefined) return;
  const { strategy, profile } = where.plan.profile;
  out.push('routing-strategy', strategy);
  if (profile !== '') out.push('x-aibrix-config-profile', profile);
  if (where.sessionId !== '') out.push('x-session-id', where.sessionId);
  if (replica !== undefined) out.push('target-pod', replica.id, 'target-pod-ip', replica.address);
}
