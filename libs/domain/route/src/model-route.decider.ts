import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, toJsonString } from '@bufbuild/protobuf';
import { isSubjectId, route } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import { parseSelector } from './selector.ts';

type RouteInit = MessageInitShape<typeof route.ModelRouteSchema>;

export type ModelRouteCommand =
  | { readonly type: 'SetModelRoute'; readonly route: RouteInit; readonly source: string }
  | { readonly type: 'RemoveModelRoute'; readonly routeId: string; readonly reason: string };

export type ModelRouteEvent =
  | { readonly type: 'ModelRouteSet'; readonly data: MessageInitShape<typeof route.ModelRouteSetSchema> }
  | { readonly type: 'ModelRouteRemoved'; readonly data: { readonly routeId: string; readonly reason: string } };

export interface ModelRouteState {
  readonly route: route.ModelRoute | undefined;
  readonly source: string;
}

export const modelRouteLimits = {
  modelsMax: 256,
  tenantsMax: 256,
  sharesMax: 16,
  fallbacksMax: 8,
  nameLengthMax: 256,
  selectorLengthMax: 1_024,
} as const;

export const hashedBy = ['session', 'key', 'request'] as const;
export type HashedBy = (typeof hashedBy)[number];

/** What names lead to: lintel.ev.route.modelroute.<id>. Its version is the version of the aggregate. */
export const modelRoute: Decider<ModelRouteState, ModelRouteCommand, ModelRouteEvent> = {
  context: 'route',
  aggregate: 'modelroute',
  initial: { route: undefined, source: '' },
  decide(state, command) {
    switch (command.type) {
      case 'SetModelRoute': {
        const wanted = create(route.ModelRouteSchema, command.route);
        checkModelRoute(wanted);
        const same = state.route !== undefined && modelRouteText(state.route) === modelRouteText(wanted);
        if (same && state.source === command.source) return [];
        return [{ type: 'ModelRouteSet', data: { route: wanted, source: command.source } }];
      }
      case 'RemoveModelRoute': {
        const { routeId, reason } = command;
        return state.route === undefined ? [] : [{ type: 'ModelRouteRemoved', data: { routeId, reason } }];
      }
    }
  },
  evolve(_state, event) {
    switch (event.type) {
      case 'ModelRouteSet': {
        const { route: given, source } = create(route.ModelRouteSetSchema, event.data);
        return { route: given, source };
      }
      case 'ModelRouteRemoved':
        return { route: undefined, source: '' };
    }
  },
};

/** ProtoJSON of a route: two are the same when these are. */
export const modelRouteText = (given: route.ModelRoute): string => toJsonString(route.ModelRouteSchema, given);

const invalid = (problem: string, advice?: string): CodedError =>
  new CodedError('ROUTE_MODEL_ROUTE_INVALID', problem, advice === undefined ? {} : { advice });

const printable = /^[^\p{Cc}]+$/u;

function checkName(what: string, name: string): void {
  if (name.length <= modelRouteLimits.nameLengthMax && printable.test(name)) return;
  throw invalid(`${what} ${JSON.stringify(name.slice(0, 80))} is no name of a model`);
}

function checkPool(where: string, model: string, replicas: string): void {
  if (model !== '') checkName(`${where}: the model`, model);
  if (parseSelector(replicas, modelRouteLimits.selectorLengthMax) !== undefined) return;
  throw invalid(
    `${where}: ${JSON.stringify(replicas.slice(0, 80))} selects no replicas`,
    'Write a label selector: version=v2, or tier in (spot,spare).',
  );
}

/** Everything that the gateway relies on: a route that passes never fails a request. @throws ROUTE_MODEL_ROUTE_INVALID */
export function checkModelRoute(given: route.ModelRoute): void {
  const { routeId, models, tenants, shares, fallbacks, saturated, by } = given;
  const { modelsMax, tenantsMax, sharesMax, fallbacksMax } = modelRouteLimits;
  if (!isSubjectId(routeId)) throw invalid(`model route id ${JSON.stringify(routeId.slice(0, 80))}`);
  const where = `model route ${routeId}`;
  if (models.length === 0) throw invalid(`${where} is for no model`, 'Name what clients ask for.');
  if (models.length > modelsMax) throw invalid(`${where} has more than ${modelsMax} models`);
  if (tenants.length > tenantsMax) throw invalid(`${where} has more than ${tenantsMax} tenants`);
  if (shares.length > sharesMax) throw invalid(`${where} has more than ${sharesMax} shares`);
  if (fallbacks.length > fallbacksMax) throw invalid(`${where} has more than ${fallbacksMax} fallbacks`);
  for (const name of models) checkName(`${where}: the name`, name);
  if (!(hashedBy as readonly string[]).includes(by)) throw invalid(`${where} is by ${JSON.stringify(by.slice(0, 40))}`);
  let total = 0;
  for (const { model, replicas, weight, headerName, headerValue } of shares) {
    checkPool(where, model, replicas);
    if (!(weight >= 0 && weight <= 1_000_000)) throw invalid(`${where}: the weight ${weight} is none`);
    if (headerName !== '' && !/^[a-z0-9-]{1,64}$/.test(headerName))
      throw invalid(
        `${where}: ${JSON.stringify(headerName.slice(0, 80))} is no header`,
        'Write its name in lower case.',
      );
    if (headerName === '' && headerValue !== '') throw invalid(`${where}: a header's value without its name`);
    if (weight === 0 && headerName === '')
      throw invalid(`${where}: a share without weight and header is never reached`);
    total += weight;
  }
  if (shares.length > 0 && total === 0) {
    throw invalid(`${where}: no share has a weight`, 'Give one to the share of those who send no header.');
  }
  for (const { model, replicas, saturated: full, gone } of fallbacks) {
    checkPool(where, model, replicas);
    if (!full && !gone)
      throw invalid(`${where}: a fallback that is never used`, 'Say on: [saturated], [gone] or both.');
  }
  const { inflight = 0, waiting = 0, kvUse = 0 } = saturated ?? {};
  if (!(inflight >= 0 && waiting >= 0 && kvUse >= 0 && kvUse <= 1))
    throw invalid(`${where}: saturated has bounds below 0, or a kvUse above 1`);
}
