import { describe, expect } from '@jest/globals';
import { spec } from '#libs/testkit';
import type { ConfigurationCommand, ConfigurationEvent } from './configuration.decider.ts';
import { configuration } from './configuration.decider.ts';
import type { PolicyCommand, PolicyEvent } from './policy.decider.ts';
import { policy } from './policy.decider.ts';
import type { ReplicaCommand, ReplicaEvent } from './replica.decider.ts';
import { replica } from './replica.decider.ts';

describe('replica', () => {
  const facts = (url = 'http://127.0.0.1:8000') => ({ replicaId: 'r1', url, models: ['m'], source: 'flag' });
  const registered = (url?: string): ReplicaEvent => ({ type: 'ReplicaRegistered', data: facts(url) });
  const register = (url?: string): ReplicaCommand => ({ type: 'RegisterReplica', replica: facts(url) });
  const said = { replicaId: 'r1', reason: 'by hand' };
  const drained: ReplicaEvent = { type: 'ReplicaDrained', data: said };
  const ejection = { replicaId: 'r1', gatewayId: 'gw1', reason: '5xx', failures: 9, requests: 10, ejectMs: 1000 };
  const ejected: ReplicaEvent = { type: 'ReplicaEjected', data: ejection };
  const readmission = { replicaId: 'r1', gatewayId: 'gw1', reason: 'probe' };
  const warming = { replicaId: 'r1', gatewayId: 'gw1', because: 'new', ended: 'done' };

  spec(replica)
    .given()
    .when(register())
    .then(registered())
    .given(registered())
    .when(register())
    .thenNothing()
    .given(registered())
    .when(register('http://h:1'))
    .then(registered('http://h:1'))
    .given()
    .when(register('ftp://h:1'))
    .thenRefuses('ROUTE_REPLICA_URL_INVALID')
    .given()
    .when(register('http://h:1/'))
    .thenRefuses('ROUTE_REPLICA_URL_INVALID')
    .given()
    .when(register('http://user:secret@h:1'))
    .thenRefuses('ROUTE_REPLICA_URL_INVALID')
    .given()
    .when({ type: 'DrainReplica', ...said })
    .thenRefuses('ROUTE_REPLICA_UNKNOWN')
    .given(registered())
    .when({ type: 'DrainReplica', ...said })
    .then(drained)
    .given(registered(), drained)
    .when({ type: 'DrainReplica', ...said })
    .thenNothing()
    .given(registered(), drained)
    .when({ type: 'ResumeReplica', ...said })
    .then({ type: 'ReplicaResumed', data: said })
    .given(registered())
    .when({ type: 'ResumeReplica', ...said })
    .thenNothing()
    .given(registered(), drained)
    .when({ type: 'RemoveReplica', ...said })
    .thenState((state) => expect(state).toEqual(replica.initial))
    .given()
    .when({ type: 'RemoveReplica', ...said })
    .thenNothing()
    .given(registered())
    .when({ type: 'EjectReplica', ejection })
    .then(ejected)
    .given(registered(), ejected)
    .when({ type: 'EjectReplica', ejection })
    .thenNothing()
    .given()
    .when({ type: 'EjectReplica', ejection })
    .thenRefuses('ROUTE_REPLICA_UNKNOWN')
    .given(registered(), ejected)
    .when({ type: 'ReadmitReplica', readmission })
    .thenState((state) => expect(state.ejectedBy).toEqual([]))
    .given(registered())
    .when({ type: 'ReadmitReplica', readmission })
    .thenNothing()
    .given(registered(), ejected)
    .when({ type: 'RecordWarming', warming })
    .then({ type: 'ReplicaWarmed', data: warming })
    .given()
    .when({ type: 'RecordWarming', warming })
    .thenRefuses('ROUTE_REPLICA_UNKNOWN');
});

describe('policy', () => {
  const profile = (strategy: string, routingConfig = {}) => ({ name: 'a', strategy, routingConfig });
  const adopt = (strategy: string, routingConfig = {}, more = {}): PolicyCommand => ({
    type: 'AdoptPolicy',
    policy: {
      policyId: 'p',
      models: ['*'],
      defaultProfile: 'a',
      profiles: [profile(strategy, routingConfig)],
      ...more,
    },
    source: 'apply',
  });
  const adopted: PolicyEvent = {
    type: 'PolicyAdopted',
    data: { policy: (adopt('random') as { policy: object }).policy, source: 'apply' },
  };
  const retire: PolicyCommand = { type: 'RetirePolicy', policyId: 'p', reason: 'done' };

  spec(policy)
    .given()
    .when(adopt('random'))
    .thenState((state) => expect(state.policy?.profiles[0]?.strategy).toBe('random'))
    .given(adopted)
    .when(adopt('random'))
    .thenNothing()
    .given(adopted)
    .when(adopt('least-request:2,prefix-cache:1'))
    .thenState((state) => expect(state.policy?.models).toEqual(['*']))
    .given()
    .when(adopt('radnom'))
    .thenRefuses('SCHEDULING_STRATEGY_UNKNOWN')
    .given()
    .when(adopt('random', { 'load-band': { factor: -1 } }))
    .thenRefuses('SCHEDULING_PARAM_INVALID')
    .given()
    .when(adopt('random', { promptTokensGte: 'x' }))
    .thenRefuses('ROUTE_POLICY_INVALID')
    .given()
    .when(adopt('random', { promptTokenGte: 1 }))
    .thenRefuses('ROUTE_POLICY_INVALID')
    .given()
    .when(adopt('random', {}, { models: [] }))
    .thenRefuses('ROUTE_POLICY_INVALID')
    .given()
    .when(adopt('random', {}, { defaultProfile: 'b' }))
    .thenRefuses('ROUTE_POLICY_INVALID')
    .given()
    .when(adopt('random', {}, { lockedStrategy: 'x' }))
    .thenRefuses('SCHEDULING_STRATEGY_UNKNOWN')
    .given()
    .when(adopt('random', {}, { profiles: [profile('random'), profile('random')] }))
    .thenRefuses('ROUTE_POLICY_INVALID')
    .given()
    .when(adopt('random', {}, { policyId: 'no id' }))
    .thenRefuses('ROUTE_POLICY_INVALID')
    .given(adopted)
    .when(retire)
    .then({ type: 'PolicyRetired', data: { policyId: 'p', reason: 'done' } })
    .given()
    .when(retire)
    .thenNothing();
});

describe('configuration', () => {
  const data = { contentHash: 'ab', source: 'config:lintel.yaml', changes: ['+ replica r1'] };
  const applied: ConfigurationEvent = { type: 'ConfigurationApplied', data };
  const record: ConfigurationCommand = { type: 'RecordConfiguration', configuration: data };

  spec(configuration).given().when(record).then(applied).given(applied).when(record).thenNothing();
});
