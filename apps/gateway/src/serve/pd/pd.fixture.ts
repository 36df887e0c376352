import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { PolicyInForce } from '#libs/domain/route';
import type { FakeReplica, TestGateway } from '../serve.fixture.ts';

const { ReplicaRole } = route;
export type Role = 'prefill' | 'decode' | 'combined';
const roles = { prefill: ReplicaRole.PREFILL, decode: ReplicaRole.DECODE, combined: ReplicaRole.COMBINED } as const;

export const long = 'The river carries what the mountains let go, and the sea keeps none of it. '.repeat(60);
export const short = 'Hello';

export const ask = (content: string, more: Record<string, unknown> = {}): string =>
  JSON.stringify({
    model: 'tiny',
    temperature: 0,
    seed: 7,
    max_tokens: 12,
    ...more,
    messages: [{ role: 'user', content }],
  });

export function place(replica: FakeReplica, role: Role, labels: Record<string, string> = {}, roleset = 'a'): void {
  replica.role = roles[role];
  replica.roleset = role === 'combined' ? '' : roleset;
  replica.labels = labels;
}

/** Everything by `pd`. */
export function pdPolicy(lintel: TestGateway, routingConfig: object = {}): void {
  const policy = create(route.RoutingPolicySchema, {
    policyId: 'pd',
    models: ['*'],
    defaultProfile: 'pd',
    profiles: [{ name: 'pd', strategy: 'pd', routingConfig: routingConfig as never }],
  });
  const inForce: PolicyInForce = { policy, source: 'test', version: 1, seq: 1, commitId: 'c' };
  lintel.state.route.policyByModel.set('*', inForce);
}

/** What an engine's metrics say. */
export async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
