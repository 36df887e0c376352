import { expect, test } from '@jest/globals';
import { docExamples } from '#libs/testkit';
import { desiredOf } from './desired.ts';
import { parseConfig } from './load.ts';

const routesOf = (yaml: string): object[] => [...(desiredOf(parseConfig(yaml, 'f.yaml'), 'test').modelRoutes ?? [])];

test('the example of docs/gateway.md is one', () => {
  const [example = ''] = docExamples('docs/gateway.md', 'yaml', 'Model names');
  expect(routesOf(example)).toMatchObject([
    { models: ['gpt-4o', 'gpt-4o-mini'], shares: [{ model: 'llama-8b', weight: 1 }], by: 'session' },
    {
      routeId: 'llama-8b',
      shares: [
        { model: '', replicas: 'version!=v2', weight: 95 },
        { replicas: 'version=v2', weight: 5 },
        { replicas: 'version=v2', weight: 0, headerName: 'x-canary', headerValue: 'on' },
      ],
      fallbacks: [
        { model: '', replicas: 'pool=spot', saturated: true, gone: false },
        { model: 'small', saturated: true, gone: true },
      ],
      saturated: { inflight: 64, waiting: 8, kvUse: 0.95 },
    },
    { models: ['assistant'], tenants: ['acme'], shares: [{ model: 'llama-70b' }], by: 'key' },
  ]);
});

test('the id of a route is that of its name, or of its names and tenants', () => {
  const ids = routesOf(
    'modelRoutes:\n- { models: [a], to: x }\n- { models: [a], tenants: [t], to: x }\n- { models: [b/c], to: x }\n- { id: own, models: [d] }\n',
  ).map((one) => (one as { routeId: string }).routeId);
  expect(ids).toEqual([
    'a',
    expect.stringMatching(/^a-[0-9a-f]{8}$/),
    expect.stringMatching(/^b-c-[0-9a-f]{8}$/),
    'own',
  ]);
});

test.each([
  ['modelRoutes:\n- { modles: [a] }\n', /f\.yaml:2:5: .*unknown name "modles" \(did you mean "models"\?\)/],
  ['modelRoutes:\n- models: [a]\n  fallbacks:\n  - { model: b, on: [full] }\n', /f\.yaml:4:.*saturated/],
  ['modelRoutes:\n- models: [a]\n- models: [a]\n  id: z\n', /f\.yaml:3:3: "a" has two model routes/],
  [
    'modelRoutes:\n- models: [a]\n  to:\n  - { model: b, header: { name: x } }\n',
    /f\.yaml:3:3: no share for those who send no header/,
  ],
  ['modelRoutes:\n- models: [a]\n  saturated: {}\n', /f\.yaml:3:3: .*must name a bound/],
  ['tenants: [{ id: t }]\nmodelRoutes:\n- models: [a]\n  tenants: [u]\n', /f\.yaml:4:3: there is no tenant "u"/],
])('%j is told with its line', (yaml, problem) => {
  expect(() => parseConfig(yaml, 'f.yaml')).toThrow(problem);
});

const replicasOf = (yaml: string) => desiredOf(parseConfig(yaml, 'f.yaml'), 'test').replicas;

test('a provider is a replica with a use and names of its own', () => {
  const [example = ''] = docExamples('docs/gateway.md', 'yaml', 'Providers');
  expect(replicasOf(example)).toMatchObject([
    {
      replicaId: 'openai',
      url: 'https://api.openai.com',
      models: ['llama-8b'],
      credentialRef: 'env:OPENAI_API_KEY',
      provider: { basePath: '/v1', names: { 'llama-8b': 'gpt-4o-mini' }, use: 'overflow', allowPrivate: false },
    },
  ]);
  expect(() => parseConfig('providers:\n- { id: p, url: "ftp://x/v1", models: [a] }\n', 'f.yaml')).toThrow(
    /f\.yaml:2:12: .*base URL/,
  );
  expect(() => parseConfig('providers:\n- { id: p, url: "https://x.y/v1?k=1", models: [a] }\n', 'f.yaml')).toThrow(
    /base URL/,
  );
});

test('each data-parallel rank is a replica', () => {
  const [example = ''] = docExamples('docs/gateway.md', 'yaml', 'Data-parallel ranks');
  const ranks = replicasOf(example).map(({ replicaId, dataParallelSize, dataParallelRank }) => [
    replicaId,
    dataParallelSize,
    dataParallelRank,
  ]);
  expect(ranks).toEqual([0, 1, 2, 3].map((rank) => [`dp-dp${rank}`, 4, rank]));
});
