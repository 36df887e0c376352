import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, toJsonString } from '@bufbuild/protobuf';
import { isSubjectId, route } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import { resolveStrategy } from '#libs/scheduling';
import { parseRoutingConfig } from './routing-config.ts';

type PolicyInit = MessageInitShape<typeof route.RoutingPolicySchema>;

export type PolicyCommand =
  | { readonly type: 'AdoptPolicy'; readonly policy: PolicyInit; readonly source: string }
  | { readonly type: 'RetirePolicy'; readonly policyId: string; readonly reason: string };

export type PolicyEvent =
  | { readonly type: 'PolicyAdopted'; readonly data: MessageInitShape<typeof route.PolicyAdoptedSchema> }
  | { readonly type: 'PolicyRetired'; readonly data: { readonly policyId: string; readonly reason: string } };

export interface PolicyDecisionState {
  readonly policy: route.RoutingPolicy | undefined;
  readonly source: string;
}

export const policyLimits = { profilesMax: 64, modelsMax: 256 } as const;

/** One routing policy: lintel.ev.route.policy.<id>. Its version is the version of the aggregate. */
export const policy: Decider<PolicyDecisionState, PolicyCommand, PolicyEvent> = {
  context: 'route',
  aggregate: 'policy',
  initial: { policy: undefined, source: '' },
  decide(state, command) {
    switch (command.type) {
      case 'AdoptPolicy': {
        const wanted = create(route.RoutingPolicySchema, command.policy);
        checkPolicy(wanted);
        const same = state.policy !== undefined && textOf(state.policy) === textOf(wanted);
        if (same && state.source === command.source) return [];
        return [{ type: 'PolicyAdopted', data: { policy: wanted, source: command.source } }];
      }
      case 'RetirePolicy': {
        const { policyId, reason } = command;
        return state.policy === undefined ? [] : [{ type: 'PolicyRetired', data: { policyId, reason } }];
      }
    }
  },
  evolve(_state, event) {
    switch (event.type) {
      case 'PolicyAdopted': {
        const { policy, source } = create(route.PolicyAdoptedSchema, event.data);
        return { policy, source };
      }
      case 'PolicyRetired':
        return { policy: undefined, source: '' };
    }
  },
};

/** ProtoJSON of a policy: two policies are the same when these are. */
export const textOf = (given: route.RoutingPolicy): string => toJsonString(route.RoutingPolicySchema, given);

/**
 * Everything that the gateway relies on when it resolves a profile: a policy that passes never fails a request.
 * @throws ROUTE_POLICY_INVALID, SCHEDULING_STRATEGY_…, SCHEDULING_PARAM_INVALID
 */
export function checkPolicy(given: route.RoutingPolicy): void {
  if (!isSubjectId(given.policyId)) throw invalid(`policy id ${JSON.stringify(given.policyId.slice(0, 80))}`);
  if (given.models.length === 0) throw invalid(`policy ${given.policyId} governs no model`, 'Name models, or "*".');
  if (given.models.length > policyLimits.modelsMax) throw invalid(`more than ${policyLimits.modelsMax} models`);
  if (given.profiles.length > policyLimits.profilesMax) throw invalid(`more than ${policyLimits.profilesMax} profiles`);
  if (given.lockedStrategy !== '') resolveStrategy(given.lockedStrategy);
  const names = new Set<string>();
  for (const { name, strategy, requestsPerSecond, routingConfig } of given.profiles) {
    if (name === '' || name === 'auto') throw invalid(`a profile is named "${name}"`, '"auto" is kept for matching.');
    if (names.has(name)) throw invalid(`two profiles are named ${name}`);
    if (!(requestsPerSecond >= 0)) throw invalid(`requestsPerSecond of profile ${name} is ${requestsPerSecond}`);
    names.add(name);
    resolveStrategy(strategy === '' ? 'random' : strategy, parseRoutingConfig(routingConfig).params);
  }
  if (given.defaultProfile !== '' && !names.has(given.defaultProfile)) {
    throw invalid(
      `default profile ${given.defaultProfile} is not among the profiles`,
      `Profiles: ${[...names].join(', ')}.`,
    );
  }
}

const invalid = (problem: string, advice?: string): CodedError =>
  new CodedError('ROUTE_POLICY_INVALID', problem, advice === undefined ? {} : { advice });
