import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { route } from '#libs/contracts';
import { docExamples } from '#libs/testkit';
import { ConfigInvalid, desiredOf, parseConfig } from './index.ts';

function problemsOf(text: string): readonly { line: number; message: string; suggestion?: string | undefined }[] {
  try {
    parseConfig(text, 'lintel.yaml');
  } catch (error) {
    if (error instanceof ConfigInvalid) return error.problems;
    throw error;
  }
  return [];
}

describe('lintel.yaml', () => {
  test('a small file gets its defaults', () => {
    const config = parseConfig('replicas:\n  - url: http://127.0.0.1:8000\n', 'lintel.yaml');
    expect(config.replicas[0]).toEqual({
      url: 'http://127.0.0.1:8000',
      models: [],
      role: 'combined',
      roleset: '',
      labels: {},
    });
    expect(config.open).toBe(false);
  });

  test('an empty file is a valid one', () => {
    expect(parseConfig('', 'lintel.yaml').replicas).toEqual([]);
  });

  test('an unknown name is named with its line and what was meant', () => {
    expect(problemsOf('open: true\nreplicas:\n  - url: http://a:1\n    modles: [x]\n')).toEqual([
      expect.objectContaining({
        line: 4,
        message: 'replicas.0: unknown name "modles"',
        suggestion: 'did you mean "models"?',
      }),
    ]);
  });

  test('every mistake is named at once', () => {
    const text = 'port: 99999\nreplicas:\n  - url: ftp://x\n    role: prefil\ntenants:\n  - id: "a b"\n';
    expect(problemsOf(text).map(({ line }) => line)).toEqual([1, 3, 4, 6]);
  });

  test('projects, users and scopes of keys', () => {
    const text = [
      'tenants:',
      '  - id: acme',
      '    projects: [{ id: search, name: Search }]',
      '    users: [{ id: ann, project: search }]',
      `    keys: [{ id: k, sha256: "${'a'.repeat(64)}", user: ann, endpoints: [/v1/audio/*], priority: -1, previousUntil: "2027-01-01T00:00:00Z" }]`,
    ].join('\n');
    expect(desiredOf(parseConfig(text, 'lintel.yaml'), 'test').tenants).toMatchObject([
      {
        projects: [{ projectId: 'search', displayName: 'Search' }],
        users: [{ userId: 'ann', projectId: 'search' }],
        keys: [
          {
            keyId: 'k',
            userId: 'ann',
            projectId: 'search',
            endpoints: ['/v1/audio/*'],
            priority: -1,
            previousUntilMs: Date.UTC(2027, 0, 1),
          },
        ],
      },
    ]);
  });

  test('projects, users and endpoints that are not there are named with their lines and what was meant', () => {
    const text = [
      'tenants:',
      '  - id: acme',
      '    projects:',
      '      - id: search',
      '      - id: ads',
      '    users:',
      '      - id: ann',
      '        project: serach',
      '      - id: bob',
      '        project: ads',
      '    keys:',
      '      - id: k',
      `        sha256: "${'a'.repeat(64)}"`,
      '        user: anne',
      '      - id: l',
      `        sha256: "${'b'.repeat(64)}"`,
      '        user: bob',
      '        project: search',
    ].join('\n');
    expect(problemsOf(text).map(({ line, message }) => [line, message])).toEqual([
      [8, 'tenant "acme" has no project "serach"; did you mean "search"?'],
      [14, 'tenant "acme" has no user "anne"; did you mean "ann"?'],
      [18, 'user "bob" is of project "ads"; leave the project out, or take another user'],
    ]);
    const scoped = `${text.slice(0, text.indexOf('        user: anne'))}        endpoints: [/v1/chat/completion]\n        priorty: 1`;
    expect(problemsOf(scoped.replace('serach', 'search'))).toMatchObject([
      { line: 14, message: expect.stringContaining('did you mean "/v1/chat/completions"?') },
      { line: 15, suggestion: 'did you mean "priority"?' },
    ]);
  });

  test('limits become one each, named by what they are', () => {
    const limits = [
      { requests: { minute: 60, day: 1000 }, per: ['user'] },
      { id: 'gold', models: ['m'], concurrent: 4, maxTokens: 9 },
    ];
    const keys = [{ id: 'ci', sha256: 'a'.repeat(64), limits: [{ tokens: { hour: 5 } }] }];
    const config = parseConfig(JSON.stringify({ tenants: [{ id: 't', limits, keys }] }), 'lintel.yaml');
    const [tenant] = desiredOf(config, 'test').tenants;
    expect(tenant!.limits!.map(({ limitId, keyId, amount, windowMs }) => [limitId, keyId, amount, windowMs])).toEqual([
      ['requests/minute per user', '', 60, 60_000],
      ['requests/day per user', '', 1000, 86_400_000],
      ['gold concurrent of m', '', 4, 0],
      ['gold maxTokens of m', '', 9, 0],
      ['key ci tokens/hour', 'ci', 5, 3_600_000],
    ]);
    expect(tenant!.limits![0]).toMatchObject({ perUser: true, perKey: false, perModel: false });
  });

  test('the example of keys in docs/gateway.md is one', () => {
    const [example = ''] = docExamples('docs/gateway.md', 'yaml', 'Keys');
    const [tenant] = desiredOf(parseConfig(example, 'docs/gateway.md'), 'test').tenants;
    expect(tenant!.keys[0]).toMatchObject({ keyId: 'ci', userId: 'ann', projectId: 'search', priority: -1 });
  });

  test('the example of limits in docs/gateway.md is one', () => {
    const [example = ''] = docExamples('docs/gateway.md', 'yaml', 'Limits');
    const [tenant] = desiredOf(parseConfig(example, 'docs/gateway.md'), 'test').tenants;
    expect(tenant!.limits!.map(({ limitId }) => limitId)).toEqual([
      'requests/minute',
      'requests/day',
      'tokens/minute',
      'concurrent',
      'maxTokens',
      'requests/minute per model per user',
      'key ci requests/second',
    ]);
  });

  test('limits that bound nothing, count the same or are no whole numbers are named with their lines', () => {
    const text = [
      'tenants:',
      '  - id: t',
      '    limits:',
      '      - per: [user]',
      '      - requests: { minute: 1.5 }',
      '      - requests: { minute: 1, fortnight: 1 }',
    ].join('\n');
    expect(problemsOf(text).map(({ line, message }) => [line, message.replace(/:.*/s, '')])).toEqual([
      [4, 'tenants.0.limits.0'],
      [5, 'tenants.0.limits.1.requests.minute'],
      [6, 'tenants.0.limits.2.requests'],
    ]);
    const twice = 'tenants:\n  - id: t\n    limits:\n      - concurrent: 1\n      - concurrent: 2\n';
    expect(problemsOf(twice)).toEqual([
      expect.objectContaining({ line: 5, message: expect.stringContaining('"concurrent" is limited twice') }),
    ]);
    expect(problemsOf(twice.replace('- concurrent: 2', '- { id: b, concurrent: 2 }'))).toEqual([]);
  });

  test('what a tenant wishes of caches', () => {
    const [plain, wishing] = desiredOf(
      parseConfig('tenants: [{ id: a }, { id: b, cacheSalt: true, warm: true }]', 'f'),
      'test',
    ).tenants;
    expect([plain?.warm, wishing?.cacheSalt, wishing?.warm]).toEqual([undefined, true, true]);
  });

  test('a broken YAML has its line', () => {
    expect(problemsOf('replicas:\n  - url: "http://a:1\n')[0]?.line).toBeGreaterThanOrEqual(2);
    expect(problemsOf('open: true\nopen: false\n')[0]?.message).toMatch(/unique/i);
  });

  test('ids used twice and profiles that are not there are refused', () => {
    const text = `policies:
  - id: p
    models: ["*"]
    defaultProfile: fast
    profiles: { fats: { strategy: random } }
  - id: p
    models: [m]
    profiles: { default: { strategy: random } }
`;
    expect(problemsOf(text).map(({ message }) => message)).toEqual([
      'policy id "p" is used twice',
      'no profile "fast" in this policy; did you mean "fats"?',
    ]);
  });

  test('no text crashes the parser: it is a configuration or a list of problems', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const { line } of problemsOf(text)) expect(line).toBeGreaterThanOrEqual(1);
      }),
    );
  });
});

describe('role sets', () => {
  const text = `
rolesets:
  - name: a
    models: [m]
    engine: vllm
    connector: mooncake
    promptTokens: { min: 512, max: 8192 }
    prefill: [{ url: "http://p:1", engineId: p-1, bootstrapPort: 9001, labels: { tier: gold } }]
    decode: ["http://d:1", "http://d:2"]
`;

  test('become replicas with their role, and labels that say how they hand over', () => {
    const { replicas } = desiredOf(parseConfig(text, 'lintel.yaml'), 'test');
    expect(replicas.map(({ url, role, roleset, models }) => [url, role, roleset, models])).toEqual([
      ['http://p:1', route.ReplicaRole.PREFILL, 'a', ['m']],
      ['http://d:1', route.ReplicaRole.DECODE, 'a', ['m']],
      ['http://d:2', route.ReplicaRole.DECODE, 'a', ['m']],
    ]);
    const both = { 'lintel.kv-connector': 'mooncake', 'lintel.prompt-tokens': '512-8192' };
    expect(replicas[0]!.labels).toEqual({
      ...both,
      'lintel.kv-bootstrap-port': '9001',
      'lintel.kv-engine-id': 'p-1',
      tier: 'gold',
    });
    expect(replicas[1]!.labels).toEqual(both);
  });

  test('the example in docs/gateway.md is one', () => {
    const [example = ''] = docExamples('docs/gateway.md', 'yaml', 'Prefill and decode');
    const { replicas, policies } = desiredOf(parseConfig(example, 'docs/gateway.md'), 'test');
    expect(replicas.map(({ role }) => role).toSorted()).toEqual([
      route.ReplicaRole.COMBINED,
      route.ReplicaRole.PREFILL,
      route.ReplicaRole.DECODE,
      route.ReplicaRole.DECODE,
    ]);
    expect(policies[0]).toMatchObject({ profiles: [{ strategy: 'pd' }] });
  });

  test('need both sides, and a connector that exists', () => {
    expect(problemsOf(text.replace('["http://d:1", "http://d:2"]', '[]'))).toHaveLength(1);
    expect(problemsOf(text.replace('mooncake', 'moon'))[0]!.message).toContain('nixl');
  });
});

describe("AIBrix's standalone file", () => {
  test('endpoints, rolesets and the config annotation become replicas and a policy', () => {
    const config = parseConfig(
      `models:
  - name: llama-8b
    engine: vllm
    endpoints: ["10.0.0.1:8000", "10.0.0.2:8000"]
    annotations:
      model.aibrix.ai/config: '{"lockedRoutingStrategy":"random","profiles":{"default":{"routingStrategy":"least-request"}}}'
  - name: big
    engine: sglang
    rolesets:
      - { name: rs1, prefill: ["h1:1"], decode: ["h2:1", "h3:1"] }
`,
      'endpoints.yaml',
    );
    expect(config.compat).toBe('aibrix');
    expect(config.replicas.map(({ url, role, roleset }) => [url, role, roleset])).toEqual([
      ['http://10.0.0.1:8000', 'combined', ''],
      ['http://10.0.0.2:8000', 'combined', ''],
      ['http://h1:1', 'prefill', 'rs1'],
      ['http://h2:1', 'decode', 'rs1'],
      ['http://h3:1', 'decode', 'rs1'],
    ]);
    expect(config.policies[0]).toMatchObject({ models: ['llama-8b'], lockedStrategy: 'random' });
    expect(config.policies[1]).toMatchObject({ models: ['big'], profiles: { default: { strategy: 'pd' } } });
  });

  test('how role sets hand over stands in annotations, and the lengths that they are for in the profile', () => {
    const config = parseConfig(
      `models:
  - name: big
    engine: sglang
    rolesets: [{ name: rs1, prefill: ["h1:1"], decode: ["h2:1"] }]
    annotations:
      model.aibrix.ai/sglang-bootstrap-port: "9009"
      model.aibrix.ai/config: '{"profiles":{"default":{"routingStrategy":"pd","routingConfig":{"promptLenBucketMaxLength":2047,"combined":true}}}}'
`,
      'endpoints.yaml',
    );
    expect(config.replicas[0]!.labels).toMatchObject({
      'model.aibrix.ai/sglang-bootstrap-port': '9009',
      'lintel.prompt-tokens': '0-2048',
    });
    expect(config.policies).toMatchObject([{ profiles: { default: { strategy: 'pd', routingConfig: {} } } }]);
  });

  test('an invalid annotation is a problem, not a crash', () => {
    const text = 'models:\n  - name: m\n    endpoints: ["a:1"]\n    annotations: { model.aibrix.ai/config: "{" }\n';
    expect(problemsOf(text)[0]?.message).toMatch(/^model\.aibrix\.ai\/config: /);
  });

  test('a model without endpoints and rolesets is refused', () => {
    expect(problemsOf('models:\n  - name: m\n')[0]?.message).toContain('needs either "endpoints" or "rolesets"');
  });
});
