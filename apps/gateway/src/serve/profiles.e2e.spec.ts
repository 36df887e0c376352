import { afterEach, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { TestGateway } from './serve.fixture.ts';
import { chat, closeAll, engine, gateway, post } from './serve.fixture.ts';

afterEach(closeAll);

async function withPolicy(more: object): Promise<TestGateway> {
  const origin = await engine((_body, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  const lintel = await gateway([origin]);
  const policy = create(route.RoutingPolicySchema, {
    policyId: 'p',
    models: ['tiny'],
    defaultProfile: 'plain',
    profiles: [
      { name: 'plain', strategy: 'random' },
      { name: 'long', strategy: 'least-request', routingConfig: { promptTokensGte: 100 } },
      { name: 'long-short', strategy: 'least-kv-cache', routingConfig: { promptTokensGte: 100, maxTokensLt: 10 } },
    ],
    ...more,
  });
  lintel.state.route.policyByModel.set('tiny', { policy, source: '', version: 1, seq: 1, commitId: 'c' });
  return lintel;
}

const long = [{ role: 'user', content: 'word '.repeat(200) }];

test.each<[string, Record<string, string>, Record<string, unknown>, [string, string]]>([
  ['nothing asked: the default', {}, {}, ['plain', 'random']],
  ['by name', { 'config-profile': 'long' }, {}, ['long', 'least-request']],
  ['an unknown name: the default', { 'config-profile': 'none' }, {}, ['plain', 'random']],
  ['auto, no hint holds: the default', { 'config-profile': 'auto' }, {}, ['plain', 'random']],
  ['auto, one holds', { 'config-profile': 'auto' }, { messages: long }, ['long', 'least-request']],
  [
    'auto, the most specific',
    { 'config-profile': 'auto' },
    { messages: long, max_tokens: 5 },
    ['long-short', 'least-kv-cache'],
  ],
  [
    'the strategy of the header before that of the profile',
    { 'config-profile': 'long', 'routing-strategy': 'round-robin' },
    {},
    ['long', 'round-robin'],
  ],
])('%s', async (_name, headers, more, [profile, strategy]) => {
  const response = await post(await withPolicy({}), chat(more), headers);
  const said = ['x-aibrix-config-profile', 'routing-strategy'].map((name) => response.headers.get(name));
  expect([response.status, ...said]).toEqual([200, profile, strategy]);
});

test('a lock goes before all; a model without a policy of its own has that of "*"', async () => {
  const lintel = await withPolicy({ lockedStrategy: 'power-of-two', models: ['*'] });
  const { policyByModel } = lintel.state.route;
  const inForce = policyByModel.get('tiny');
  policyByModel.clear();
  if (inForce !== undefined) policyByModel.set('*', inForce);
  const response = await post(lintel, chat(), { 'routing-strategy': 'random', 'config-profile': 'long' });
  expect([response.headers.get('routing-strategy'), response.headers.get('x-aibrix-config-profile')]).toEqual([
    'power-of-two',
    'long',
  ]);
});
