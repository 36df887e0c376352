import { describe, expect, test } from '@jest/globals';
import { commitOf } from './commits.fixture.ts';
import { modelRoute } from './model-route.decider.ts';
import type { DesiredRouting } from './plan.ts';
import { planConfiguration } from './plan.ts';
import { policy } from './policy.decider.ts';
import { selectPolicy } from './profiles.ts';
import { replica } from './replica.decider.ts';
import type { RouteState } from './state.ts';
import { emptyRouteState, evolveRoute, routeStateFromJson, routeStateToJson } from './state.ts';

const options = { source: 'config:lintel.yaml' };
const desired = (replicas: string[], policies: string[] = []): DesiredRouting => ({
  replicas: replicas.map((replicaId, index) => ({
    replicaId,
    url: `http://127.0.0.1:${8000 + index}`,
    source: options.source,
  })),
  policies: policies.map((policyId) => ({
    policyId,
    models: policyId === 'all' ? ['*'] : [policyId, 'shared'],
    profiles: [{ name: 'a', strategy: 'random', routingConfig: { promptTokensGte: 5, 'load-band': { factor: 2 } } }],
  })),
});

/** Plans and folds what the deciders make of it, through the codec. */
function apply(state: RouteState, wanted: DesiredRouting): string[] {
  const plan = planConfiguration(wanted, state, options);
  for (const { aggregate, id, command } of plan) {
    const known = { replica: state.replicas, policy: state.policies, modelroute: state.modelRoutes }[aggregate];
    const events =
      aggregate === 'replica'
        ? replica.decide(state.replicas.get(id) ?? replica.initial, command)
        : aggregate === 'policy'
          ? policy.decide(state.policies.get(id) ?? policy.initial, command)
          : modelRoute.decide(state.modelRoutes.get(id) ?? modelRoute.initial, command);
    evolveRoute(state, commitOf(aggregate, id, (known.get(id)?.version ?? 0) + 1, ...events));
  }
  return plan.map(({ change }) => change);
}

describe('planConfiguration', () => {
  test('brings the state to what is desired, and then asks for nothing', () => {
    const state = emptyRouteState();
    expect(apply(state, desired(['r1', 'r2'], ['all']))).toEqual([
      '+ replica r1 http://127.0.0.1:8000',
      '+ replica r2 http://127.0.0.1:8001',
      '+ policy all for *',
    ]);
    expect(apply(state, desired(['r1', 'r2'], ['all']))).toEqual([]);
    expect(apply(state, desired(['r2'], ['m']))).toEqual([
      '~ replica r2 http://127.0.0.1:8000',
      '- replica r1 http://127.0.0.1:8000',
      '+ policy m for m, shared',
      '- policy all',
    ]);
    expect([...state.replicas.keys(), ...state.policies.keys()]).toEqual(['r2', 'm']);
  });

  test('leaves what was applied by hand', () => {
    const state = emptyRouteState();
    const data = { replicaId: 'hand', url: 'http://h:1', source: 'apply' };
    evolveRoute(state, commitOf('replica', 'hand', 1, { type: 'ReplicaRegistered', data }));
    expect(apply(state, desired([]))).toEqual([]);
  });

  test('L22 refuses the whole where one part is refused', () => {
    const broken = { ...desired(['r1']), policies: [{ policyId: 'p', models: ['*'], lockedStrategy: 'nope' }] };
    expect(() => planConfiguration(broken, emptyRouteState(), options)).toThrow(
      expect.objectContaining({ code: 'SCHEDULING_STRATEGY_UNKNOWN' }),
    );
  });
});

test('a model has its own policy, else that of "*", else the built-in one; of two, that of the lesser id', () => {
  const state = emptyRouteState();
  expect(selectPolicy(state, 'm').policy.policyId).toBe('built-in');
  apply(state, desired([], ['z', 'm', 'all']));
  expect(['m', 'z', 'shared', 'other'].map((model) => selectPolicy(state, model).policy.policyId)).toEqual([
    'm',
    'z',
    'm',
    'all',
  ]);
  expect(selectPolicy(state, 'm')).toMatchObject({ version: 1, seq: 101, commitId: 'm-1', source: options.source });
});

test('a snapshot gives the same state back', () => {
  const state = emptyRouteState();
  apply(state, desired(['r1', 'r2'], ['all', 'm']));
  const data = { replicaId: 'r1', reason: 'x' };
  evolveRoute(state, commitOf('replica', 'r1', 2, { type: 'ReplicaDrained', data }));
  evolveRoute(
    state,
    commitOf('configuration', 'main', 1, { type: 'ConfigurationApplied', data: { contentHash: 'ab' } }),
  );
  expect(routeStateFromJson(JSON.parse(JSON.stringify(routeStateToJson(state))))).toEqual(state);
  expect(state.replicas.get('r1')).toMatchObject({ draining: true, version: 2 });
});
