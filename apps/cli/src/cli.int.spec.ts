import { spawn } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { archiveLine } from '#libs/event-log';
import { docExamples } from '#libs/testkit';
import { policyCommit, request, verified, whyCommit, whyRequest } from './answers.fixture.ts';
import type { FakeApi, Ran, TemporaryHome } from './fake.fixture.ts';
import { fakeApi, homeOf, lintel } from './fake.fixture.ts';

let api: FakeApi;
let home: TemporaryHome;

beforeAll(async () => {
  api = await fakeApi();
  home = await homeOf({ apiUrl: api.url, gatewayUrl: api.url, durability: 'disk', pid: process.pid });
});
afterAll(async () => {
  await api.close();
  await home.remove();
});
beforeEach(() => {
  api.replies = {};
});

const ask = async (...argv: string[]): Promise<Ran> => await lintel([...argv, '--home', home.folder]);
const last = (): FakeApi['asked'][number] => api.asked.at(-1)!;
const receipt = { durability: 'disk', seq: 12, version: 3, commitId: 'c12', changed: true };
const replayed = {
  kind: 'done',
  durability: 'disk',
  source: 'frames',
  note: '',
  ok: true,
  records: 3,
  picksFree: 0,
  equal: 3,
  different: 0,
  missingPlugin: 0,
  unreadable: 0,
  missingPlugins: {},
  durationMs: 5,
};

const used = {
  durability: 'disk',
  atSeq: 40,
  by: ['tenant', 'end-user'],
  sinceMs: 0,
  untilMs: 3_600_000,
  items: [
    {
      group: { tenant: 'acme', 'end-user': '=cmd(),"x"' },
      requests: 3,
      served: 2,
      promptTokens: 100,
      cachedTokens: 4,
      completionTokens: 7,
      unpriced: 1,
      costs: [
        { currency: 'EUR', nano: '12500000000000000001' },
        { currency: 'USD', nano: '100000000' },
      ],
    },
    {
      group: { tenant: 'new', 'end-user': '' },
      requests: 1,
      served: 1,
      promptTokens: 5,
      cachedTokens: 0,
      completionTokens: 1,
      unpriced: 1,
      costs: [],
    },
  ],
};

describe('usage', () => {
  test('as a table: exact sums, and what is not known is not 0', async () => {
    api.replies = { 'GET /api/v1/usage': { json: used } };
    const { code, out } = await ask('usage', '--by', 'tenant,end-user', '--since', '7d', '--tenant', 'acme');
    expect(last().url).toBe('/api/v1/usage?by=tenant%2Cend-user&since=7d&tenant=acme');
    expect(code).toBe(0);
    expect(out).toContain('12500000000.000000001 EUR + 0.10 USD + ?');
    expect(out).toMatch(/new +– .* \?$/m);
  });

  test('each command of the page is one', async () => {
    const budget = {
      tenantId: 'acme',
      limitId: 'team',
      projectId: '',
      keyId: 'ci',
      endUser: '',
      model: '',
      window: 'month',
      windowStartMs: 0,
      windowEndMs: 2_678_400_000,
      isCurrent: true,
      currency: 'USD',
      hard: false,
      amountNano: 500_000_000_000,
      spentNano: 400_000_000_001,
      alertPercents: [50, 80, 100],
      reachedPercents: [50, 80],
    };
    const price = {
      model: 'm',
      currency: 'USD',
      inputNano: 600,
      cachedInputNano: 75,
      outputNano: 2_400,
      requestNano: 0,
      effectiveFromMs: 0,
      state: 'in-force',
      seq: 4,
      source: 'apply',
    };
    api.replies = {
      'GET /api/v1/usage': { json: used },
      'GET /api/v1/prices': { json: { durability: 'disk', atSeq: 4, items: [price] } },
      'GET /api/v1/budgets': { json: { durability: 'disk', atSeq: 9, items: [budget] } },
    };
    const [example = ''] = docExamples('docs/cli.md', '', 'Usage and cost');
    const lines = example.trim().split('\n');
    expect(lines.length).toBeGreaterThan(5);
    const outs: string[] = [];
    for (const line of lines) {
      const [program, ...argv] = line.replace(/ +#.*$/, '').split(' ');
      expect(program).toBe('lintel');
      const { code, out } = await ask(...argv);
      expect([line, code]).toEqual([line, 0]);
      outs.push(out);
    }
    expect(outs.at(-2)).toMatch(/m +0\.60\/M +0\.075\/M +2\.40\/M +0\.00 +USD +always +in-force/);
    expect(outs.at(-1)).toMatch(/team +acme +ci +month +400\.000000001 USD +500\.00 +80% +50% 80% +50% 80% 100% +told/);
  });

  test('as CSV: a line for each currency, no cost where none is known, no formula', async () => {
    api.replies = { 'GET /api/v1/usage': { json: used } };
    const { out } = await ask('usage', '--by', 'tenant,end-user', '--csv');
    expect(out.split('\r\n')).toEqual([
      'tenant,end_user,requests,served,prompt_tokens,cached_tokens,completion_tokens,unpriced,cost,currency',
      `acme,"'=cmd(),""x""",3,2,100,4,7,1,12500000000.000000001,EUR`,
      `acme,"'=cmd(),""x""",0,0,0,0,0,0,0.10,USD`,
      'new,,1,1,5,0,1,1,,',
      '',
    ]);
  });
});

describe('each command asks what the API takes, and answers what it said', () => {
  test('why: with the key of the home', async () => {
    api.replies = { 'GET /api/v1/why/req-1': { json: whyRequest } };
    const { code, out } = await ask('why', 'req-1');
    expect([code, out.split('\n')[0]]).toEqual([0, whyRequest.summary]);
    expect(last().authorization).toBe('Bearer secret');
  });

  test('why of a commit, and by sequence', async () => {
    api.replies = { 'GET /api/v1/why/%239': { json: whyCommit } };
    const { code, out } = await ask('why', '#9');
    expect([code, out]).toEqual([0, expect.stringContaining('Commit #9 made version 2 of route.policy default')]);
  });

  test('why of nothing known: exit 3, with what the API advises', async () => {
    api.replies = {
      'GET /api/v1/why/x': {
        status: 404,
        json: { code: 'WHY_NOT_FOUND', detail: 'neither …', advice: 'Give the id.' },
      },
    };
    const { code, out, err } = await ask('why', 'x');
    expect([code, out, err]).toEqual([3, '', 'error: neither … [WHY_NOT_FOUND]\nGive the id.\n']);
  });

  test('--json is the answer itself, and errors are JSON on stderr', async () => {
    api.replies = { 'GET /api/v1/why/req-1': { json: whyRequest } };
    expect(JSON.parse((await ask('why', 'req-1', '--json')).out)).toEqual(whyRequest);
    const { code, err } = await ask('why', 'gone', '--json');
    expect([code, JSON.parse(err).error.code]).toEqual([6, 'ROUTE_NOT_FOUND']);
  });

  test('replay: range and strictness', async () => {
    api.replies = { 'POST /api/v1/replay': { lines: [{ ...replayed, kind: 'progress' }, replayed] } };
    const { code, out } = await ask('replay', '--since', '1h', '--limit', '10', '--verify');
    expect([code, out.split('\n')[0]]).toEqual([0, 'All 3 replayed came to the same choice.']);
    expect(JSON.parse(last().body)).toEqual({ since: '1h', limit: 10 });
  });

  test('replay: a difference exits 1 and is shown', async () => {
    const difference = { kind: 'difference', requestId: 'req-9', receivedAtMs: 0, text: 'chosen was a, is b' };
    const done = { ...replayed, ok: false, equal: 2, different: 1, first: difference };
    api.replies = { 'POST /api/v1/replay': { lines: [difference, done] } };
    const { code, out } = await ask('replay');
    expect([code, out]).toEqual([1, expect.stringContaining('different  req-9')]);
  });

  test('replay: what could not be executed exits 1 with --verify only', async () => {
    const done = { ...replayed, ok: false, equal: 2, missingPlugin: 1, missingPlugins: { 'load@9': 1 } };
    api.replies = { 'POST /api/v1/replay': { lines: [done] } };
    expect([(await ask('replay')).code, (await ask('replay', '--verify')).code]).toEqual([0, 1]);
  });

  test('replay: an answer that says that it failed, that ends early, or that is cut is no success', async () => {
    const failed = { kind: 'failed', code: 'LOG_UNAVAILABLE', text: 'the broker is away', advice: 'Wait.' };
    api.replies = { 'POST /api/v1/replay': { lines: [{ ...replayed, kind: 'progress' }, failed] } };
    expect(await ask('replay')).toMatchObject({ code: 4, err: expect.stringContaining('the broker is away') });
    api.replies = { 'POST /api/v1/replay': { lines: [{ ...replayed, kind: 'progress' }] } };
    expect(await ask('replay')).toMatchObject({ code: 6, err: expect.stringContaining('API_ANSWER_CUT_OFF') });
    api.replies = { 'POST /api/v1/replay': { lines: [{ ...replayed, kind: 'progress' }], cut: true } };
    expect(await ask('replay')).toMatchObject({ code: 4, err: expect.stringContaining('the connection was cut') });
  });

  test('verify: 1 where it does not', async () => {
    const firstBad = { seq: 7, rule: 'gap', text: '7 is missing' };
    api.replies = { 'POST /api/v1/verify': { json: verified } };
    expect((await ask('verify', '--projections')).code).toBe(0);
    expect(JSON.parse(last().body)).toEqual({ projections: true });
    api.replies = { 'POST /api/v1/verify': { json: { ...verified, ok: false, firstBad, problems: [firstBad] } } };
    expect(await ask('verify')).toMatchObject({
      code: 1,
      out: expect.stringContaining('first at #7, gap: 7 is missing'),
    });
  });

  test('state', async () => {
    const state = { replicas: [], policies: [], modelRoutes: [], tenants: [], keys: [], configurations: [] };
    api.replies = { 'GET /api/v1/state': { json: { durability: 'disk', at: { seq: 4, storedAtMs: null }, state } } };
    expect(await ask('state', '--at', '#4', '--diff', '15m')).toMatchObject({ code: 0 });
    expect(last().url).toBe('/api/v1/state?at=%234&diff=15m');
  });

  test('log: the newest by default, short subjects, pages behind a sequence', async () => {
    api.replies = { 'GET /api/v1/log': { json: { durability: 'disk', lastSeq: 9, commits: [policyCommit] } } };
    const { code, out } = await ask('log', '--subject', 'route.policy');
    expect([code, out]).toEqual([0, expect.stringContaining('route.policy default v2  PolicyAdopted')]);
    expect(last().url).toBe('/api/v1/log?subject=lintel.ev.route.policy.%3E&limit=20');
    api.replies = { 'GET /api/v1/log': { json: { durability: 'disk', lastSeq: 99, commits: [policyCommit] } } };
    const before = api.asked.length;
    await ask('log', '--after', '#0', '--limit', '2');
    expect(api.asked.slice(before).map(({ url }) => url)).toEqual([
      '/api/v1/log?after=0&limit=2',
      '/api/v1/log?after=9&limit=1',
    ]);
  });

  test('log --follow: the newest, then what comes; a stream that ends is said', async () => {
    api.replies = {
      'GET /api/v1/log': { json: { durability: 'disk', lastSeq: 9, commits: [policyCommit] } },
      'GET /api/v1/log/follow': { lines: [{ ...policyCommit, seq: 10 }] },
    };
    const { code, out, err } = await ask('log', '-f', '--json');
    expect(
      out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).seq),
    ).toEqual([9, 10]);
    expect(last().url).toBe('/api/v1/log/follow?after=9');
    expect([code, err]).toEqual([6, expect.stringContaining('API_ANSWER_CUT_OFF')]);
  });

  test('get: every list, in one or many', async () => {
    const list = { durability: 'disk', atSeq: 3, items: [] };
    for (const name of ['replicas', 'policies', 'tenants', 'requests', 'projections', 'dead-letters']) {
      api.replies = { [`GET /api/v1/${name}`]: { json: list } };
      expect(await ask('get', name)).toMatchObject({ code: 0, out: expect.stringMatching(/^No /) });
    }
    api.replies = { 'GET /api/v1/requests': { json: list } };
    await ask('get', 'request', '--model', 'm', '--limit', '3');
    expect(last().url).toBe('/api/v1/requests?limit=3&model=m');
    expect(await ask('get', 'replcas')).toMatchObject({
      code: 2,
      err: expect.stringContaining('Did you mean replicas?'),
    });
  });

  test('apply: the text as it is, from a file or from standard input', async () => {
    const answer = {
      durability: 'disk',
      contentHash: 'h',
      dryRun: false,
      unchanged: 1,
      leftAlone: ['cors'],
      correlationId: 'a',
      changes: [{ what: '+ replica r9', seq: 12, commitId: 'c12' }],
    };
    api.replies = { 'POST /api/v1/apply': { json: answer } };
    const file = home.path('lintel.yaml');
    await writeFile(file, 'replicas: []\n');
    expect(await ask('apply', '-f', file)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/✓ \+ replica r9[^]*Left alone: cors\./),
    });
    expect(last()).toMatchObject({
      url: '/api/v1/apply?file=lintel.yaml',
      contentType: 'application/yaml',
      body: 'replicas: []\n',
    });
    await lintel(['apply', '-f', '-', '--dry-run', '--prune', '--home', home.folder], { input: 'x: 1\n' });
    expect(last()).toMatchObject({ url: '/api/v1/apply?dryRun=1&prune=1&file=stdin', body: 'x: 1\n' });
    expect(await ask('apply', '-f', home.path('none'))).toMatchObject({
      code: 2,
      err: expect.stringContaining('ENOENT'),
    });
    expect(await ask('apply')).toMatchObject({ code: 2 });
  });

  test('an invalid configuration keeps its lines', async () => {
    const detail = 'lintel.yaml:3: unknown field "modles"\nlintel.yaml:9: port must be a number';
    api.replies = {
      'POST /api/v1/apply': { status: 400, json: { code: 'CONFIG_INVALID', detail, advice: 'models?' } },
    };
    const { code, err } = await lintel(['apply', '-f', '-', '--home', home.folder], { input: 'x' });
    expect([code, err]).toEqual([2, `error: ${detail} [CONFIG_INVALID]\nmodels?\n`]);
  });

  test('replica drain, resume, remove: the reason goes along', async () => {
    api.replies = {
      'POST /api/v1/replicas/r1/drain': { json: receipt },
      'POST /api/v1/replicas/r1/resume': { json: { ...receipt, changed: false } },
      'DELETE /api/v1/replicas/r1': { json: receipt },
    };
    expect(await ask('replica', 'drain', 'r1', '--reason', 'upgrade')).toMatchObject({
      code: 0,
      out: '✓ replica r1 drains. Commit c12 (#12)\n',
    });
    expect(JSON.parse(last().body)).toEqual({ reason: 'upgrade' });
    expect((await ask('replica', 'resume', 'r1')).out).toContain('Nothing changed');
    expect((await ask('replica', 'remove', 'r1', '--reason', 'old')).code).toBe(0);
    expect(last()).toMatchObject({ method: 'DELETE', body: '{"reason":"old"}' });
  });

  test('key issue shows the key once; revoke; hash needs no server and keeps the key out of the arguments', async () => {
    api.replies = {
      'POST /api/v1/tenants/acme/keys': { json: { ...receipt, tenantId: 'acme', keyId: 'ci', key: 'sk-1' } },
      'DELETE /api/v1/tenants/acme/keys/ci': { json: receipt },
    };
    const issued = await ask('key', 'issue', 'acme', 'ci', '--models', 'a, b', '--expires', '30d');
    expect([issued.code, issued.out]).toEqual([0, expect.stringContaining('sk-1')]);
    expect(JSON.parse(last().body)).toEqual({ keyId: 'ci', models: ['a', 'b'], expiresAt: '30d' });
    expect((await ask('key', 'revoke', 'acme', 'ci')).code).toBe(0);
    const hashed = await lintel(['key', 'hash', '--home', '/nowhere'], { input: 'abc\n' });
    expect(hashed.out).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n');
    expect((await lintel(['key', 'hash'], { input: '\n' })).code).toBe(2);
  });

  test('tenants, projects and users are made, listed and removed', async () => {
    const project = { tenantId: 'acme', projectId: 'search', displayName: 'Search', source: 'api' };
    api.replies = {
      'PUT /api/v1/tenants/acme': { json: receipt },
      'PUT /api/v1/tenants/acme/users/ann': { json: receipt },
      'GET /api/v1/tenants/acme/projects': { json: { durability: 'disk', atSeq: 9, items: [project] } },
      'DELETE /api/v1/tenants/acme/projects/search': { json: receipt },
      'GET /api/v1/tenants/acme': {
        json: {
          durability: 'disk',
          atSeq: 9,
          item: { tenantId: 'acme', displayName: 'Acme', source: 'api', projects: [project], users: [], keys: [] },
        },
      },
    };
    expect((await ask('tenants', 'create', 'acme', '--name', 'Acme')).out).toContain('tenant acme is there');
    expect(JSON.parse(last().body)).toEqual({ name: 'Acme' });
    expect((await ask('users', 'create', 'acme', 'ann', '--project', 'search')).code).toBe(0);
    expect(JSON.parse(last().body)).toEqual({ project: 'search' });
    expect((await ask('projects', 'list', 'acme')).out).toMatch(/search +Search +api\n1 project as of #9/);
    expect((await ask('projects', 'remove', 'acme', 'search', '--reason', 'done')).code).toBe(0);
    expect(last()).toMatchObject({ method: 'DELETE', body: '{"reason":"done"}' });
    expect((await ask('tenants', 'show', 'acme')).out).toMatch(
      /tenant acme {2}Acme.*projects.*search.*users\n {2}none/s,
    );
    expect((await ask('tenants', 'show', 'nobody')).code).not.toBe(0);
  });

  test('keys are scoped, changed in part and rotated; admin keys', async () => {
    api.replies = {
      'POST /api/v1/tenants/acme/keys': { json: { ...receipt, tenantId: 'acme', keyId: 'ci', key: 'lk-1' } },
      'PATCH /api/v1/tenants/acme/keys/ci': { json: receipt },
      'POST /api/v1/tenants/acme/keys/ci/rotate': { json: { ...receipt, tenantId: 'acme', keyId: 'ci', key: 'lk-2' } },
      'POST /api/v1/admin-keys': { json: { ...receipt, keyId: 'deploys', key: 'la-1' } },
      'GET /api/v1/tenants/acme/keys': {
        json: {
          durability: 'disk',
          atSeq: 9,
          items: [{ keyId: 'ci', revoked: true, revokeReason: '\u001b[31mleaked' }],
        },
      },
    };
    const scope = ['--endpoints', '/v1/audio/*', '--priority', '-2', '--user', 'ann'];
    expect((await ask('keys', 'create', 'acme', 'ci', ...scope)).out).toContain('lk-1');
    expect(JSON.parse(last().body)).toEqual({ keyId: 'ci', endpoints: ['/v1/audio/*'], priority: -2, user: 'ann' });
    expect((await ask('keys', 'change', 'acme', 'ci', '--priority', 'none', '--expires', 'never')).code).toBe(0);
    expect(JSON.parse(last().body)).toEqual({ priority: null, expiresAt: null });
    expect((await ask('keys', 'change', 'acme', 'ci')).code).toBe(2);
    expect((await ask('keys', 'create', 'acme', 'ci', '--priority', '9')).code).toBe(2);
    const rotated = await ask('keys', 'rotate', 'acme', 'ci', '--overlap', '1h');
    expect(rotated.out).toMatch(/the one before works for 1h more.*lk-2/s);
    expect(JSON.parse(last().body)).toEqual({ overlap: '1h' });
    expect((await ask('admin-keys', 'create', 'deploys', '--expires', '90d')).out).toContain('la-1');
    const listed = await ask('keys', 'list', 'acme');
    expect(listed.out).toContain('revoked: ');
    expect(listed.out).not.toContain('\u001b[31m');
  });

  test('projection list, rebuild, retry', async () => {
    const item = {
      id: 'requests@2',
      generation: 1,
      phase: 'live',
      state: 'halted',
      stale: true,
      seq: 4,
      headSeq: 9,
      lag: 5,
    };
    const list = { durability: 'disk', atSeq: 9, items: [{ ...item, items: 4, haltedReason: 'cannot decode #5' }] };
    api.replies = {
      'GET /api/v1/projections': { json: list },
      'POST /api/v1/projections/requests/retry': { json: list },
      'POST /api/v1/projections/requests/rebuild': {
        lines: [
          { kind: 'progress', projection: 'requests@2', seq: 5, headSeq: 9, itemsPerSecond: 1000 },
          { kind: 'done', projection: 'requests@2', seq: 9, durationMs: 2_000 },
        ],
      },
    };
    expect((await ask('projection', 'list')).out).toContain('halted, stale');
    expect((await ask('projection', 'retry', 'requests')).out).toContain('cannot decode #5');
    const rebuilt = await lintel(['projection', 'rebuild', 'requests', '--home', home.folder], { live: true });
    expect([rebuilt.code, rebuilt.out]).toEqual([
      0,
      '✓ requests@2 is rebuilt up to #9 and serves now; it took 2.00 s.\n',
    ]);
    expect(rebuilt.err).toBe('\r\u001B[K… requests@2: 55 %, #5 of #9, 1000/s\r\u001B[K');
    expect((await ask('projection', 'rebuild', 'requests')).err).toBe('');
    api.replies = {
      'POST /api/v1/projections/requests/rebuild': {
        lines: [{ kind: 'failed', code: 'DB_DOWN', text: 'gone', advice: '' }],
      },
    };
    expect(await ask('projection', 'rebuild', 'requests')).toMatchObject({ code: 6, err: 'error: gone [DB_DOWN]\n' });
  });

  test('dead show and redrive', async () => {
    const letter = {
      durability: 'disk',
      id: 3,
      consumer: 'gateway-x',
      stream: 'LINTEL_EVENTS',
      subject: 'lintel.ev.route.policy.default',
      seq: 9,
      errorCode: 'X',
      errorMessage: 'broke',
      deliveries: 5,
      atMs: 0,
      commit: policyCommit,
    };
    api.replies = {
      'GET /api/v1/dead-letters/3': { json: letter },
      'POST /api/v1/dead-letters/3/redrive': { json: { durability: 'disk', id: 3, consumer: 'gateway-x' } },
      'GET /api/v1/dead-letters/4': { status: 400, json: { code: 'DEAD_LETTER_UNKNOWN', detail: 'no letter 4' } },
    };
    expect((await ask('dead', 'show', '3')).out).toContain('gateway-x could not handle #9 of LINTEL_EVENTS: X.');
    expect((await ask('dead', 'redrive', '3')).out).toBe('✓ gateway-x handled letter 3, which is gone.\n');
    expect((await ask('dead', 'show', '4')).code).toBe(3);
  });

  test('status: ready, and 1 with the dependency that is not', async () => {
    const dependencies = { broker: { state: 'down', detail: 'away', required: true } };
    api.replies = { 'GET /ready': { json: { ready: true, state: 'up', dependencies: {} } } };
    expect((await ask('status')).code).toBe(0);
    api.replies = { 'GET /ready': { status: 503, json: { ready: false, state: 'down', dependencies } } };
    const { code, out } = await ask('status');
    expect([code, out]).toEqual([1, expect.stringContaining('NOT ready: gateway, diagnostics.')]);
  });
});

describe('archive export', () => {
  const lines = [
    archiveLine({ kind: 'header', format: 1, stream: 'LINTEL_EVENTS', createdAtMs: 1 }),
    archiveLine({ kind: 'end', commits: 0, lastSeq: 0 }),
  ];
  const whole = `${lines.join('\n')}\n`;

  test('to standard output byte for byte, and to a file that verifies offline', async () => {
    api.replies = { 'GET /api/v1/archive': { text: whole } };
    expect((await ask('archive', 'export')).out).toBe(whole);
    const file = home.path('log.ndjson');
    expect((await ask('archive', 'export', '-o', file)).code).toBe(0);
    expect(await readFile(file, 'utf8')).toBe(whole);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await lintel(['verify', '--archive', file, '--home', '/nowhere'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('The archive verifies'),
    });
    expect(await ask('archive', 'export', '-o', file)).toMatchObject({
      code: 2,
      err: expect.stringContaining('--force'),
    });
    expect((await ask('archive', 'export', '-o', file, '--force')).code).toBe(0);
  });

  test('one that is cut off leaves no file and is no success', async () => {
    const file = home.path('cut.ndjson');
    api.replies = { 'GET /api/v1/archive': { text: `${lines[0]}\n` } };
    expect(await ask('archive', 'export', '-o', file)).toMatchObject({
      code: 1,
      err: expect.stringContaining('ARCHIVE_TRUNCATED'),
    });
    api.replies = {
      'GET /api/v1/archive': {
        lines: [JSON.parse(lines[0]!), { kind: 'failed', code: 'LOG_GAP', text: '5 is missing', advice: '' }],
      },
    };
    expect(await ask('archive', 'export', '-o', file)).toMatchObject({
      code: 6,
      err: expect.stringContaining('LOG_GAP'),
    });
    await expect(stat(file)).rejects.toThrow('ENOENT');
    await expect(stat(`${file}.part`)).rejects.toThrow('ENOENT');
  });

  test('verify --archive names a file that is none', async () => {
    const file = home.path('not.ndjson');
    await writeFile(file, 'hello\n');
    expect(await ask('verify', '--archive', file)).toMatchObject({ code: 1, err: expect.stringContaining('line 1') });
    expect((await ask('verify', '--archive', home.path('none'))).code).toBe(2);
    expect((await ask('verify', '--archive', home.folder)).code).toBe(2);
  });
});

describe('finding the server', () => {
  test('none runs: exit 4, and how to start one', async () => {
    const empty = await homeOf();
    const { code, err } = await lintel(['why', 'x', '--home', empty.folder]);
    await empty.remove();
    expect([code, err]).toEqual([4, expect.stringContaining(`no Lintel is running in ${empty.folder}`)]);
    expect(err).toContain('npm start');
  });

  test('one that was killed is said to have ended; a live one that does not listen is not', async () => {
    const closed = await new Promise<string>((resolve) => {
      const server = createServer().listen(0, '127.0.0.1', () => {
        const { port } = server.address() as { port: number };
        server.close(() => resolve(`http://127.0.0.1:${port}`));
      });
    });
    const gone = await homeOf({ apiUrl: closed, pid: 2 ** 22 + 1 });
    const alive = await homeOf({ apiUrl: closed, pid: process.pid });
    const [dead, deaf] = [
      await lintel(['state', '--home', gone.folder]),
      await lintel(['state', '--home', alive.folder]),
    ];
    expect(dead).toMatchObject({ code: 4, err: expect.stringContaining('has ended [LINTEL_NOT_RUNNING]') });
    const status = await lintel(['status', '--home', gone.folder]);
    expect(status).toMatchObject({ code: 4, err: expect.stringContaining('LINTEL_NOT_RUNNING') });
    expect(deaf).toMatchObject({ code: 4, err: expect.stringContaining('nobody listens there (ECONNREFUSED)') });
    await Promise.all([gone.remove(), alive.remove()]);
  });

  test('--api needs a key, unless it is the one of the home', async () => {
    api.replies = { 'GET /api/v1/why/req-1': { json: whyRequest } };
    expect((await ask('why', 'req-1', '--api', api.url)).code).toBe(0);
    const stranger = await lintel(['why', 'x', '--api', api.url, '--home', '/nowhere']);
    expect(stranger).toMatchObject({ code: 2, err: expect.stringContaining('LINTEL_ADMIN_KEY') });
    expect((await ask('why', 'x', '--api', 'http://[bad')).code).toBe(2);
  });

  test('LINTEL_API and LINTEL_ADMIN_KEY; empty counts as unset', async () => {
    api.replies = { 'GET /api/v1/why/req-1': { json: whyRequest } };
    process.env['LINTEL_API'] = `${api.url}/`;
    process.env['LINTEL_ADMIN_KEY'] = 'other';
    try {
      expect((await lintel(['why', 'req-1', '--home', '/nowhere'])).code).toBe(0);
      expect(last().authorization).toBe('Bearer other');
      process.env['LINTEL_API'] = '';
      process.env['LINTEL_ADMIN_KEY'] = '';
      expect((await ask('why', 'req-1')).code).toBe(0);
      expect(last().authorization).toBe('Bearer secret');
    } finally {
      delete process.env['LINTEL_API'];
      delete process.env['LINTEL_ADMIN_KEY'];
    }
  });

  test('a wrong key is refused: 5; a torn file is said: 2', async () => {
    api.replies = {
      'GET /api/v1/why/x': { status: 401, json: { code: 'ADMIN_KEY_UNAUTHORIZED', detail: 'this needs the key' } },
    };
    expect(await ask('why', 'x')).toMatchObject({ code: 5, err: expect.stringContaining('LINTEL_ADMIN_KEY') });
    const torn = await homeOf();
    await writeFile(torn.path('connection.json'), '{"apiUrl":');
    expect(await lintel(['why', 'x', '--home', torn.folder])).toMatchObject({
      code: 2,
      err: expect.stringContaining('connection.json'),
    });
    await torn.remove();
  });

  test('somebody else who answers there is named', async () => {
    api.replies = {
      'GET /api/v1/why/x': { text: '<html>' },
      'GET /api/v1/state': { status: 502, text: 'Bad Gateway' },
    };
    expect(await ask('why', 'x')).toMatchObject({ code: 6, err: expect.stringContaining('not JSON') });
    expect(await ask('state')).toMatchObject({ code: 6, err: expect.stringContaining('HTTP 502') });
    api.replies = { 'GET /api/v1/why/x': { json: { hello: 'world' } } };
    expect(await ask('why', 'x')).toMatchObject({
      code: 6,
      err: expect.stringContaining('not as this lintel knows it'),
    });
  });

  test('a log in memory is marked on stderr, once', async () => {
    const memory = await homeOf({ apiUrl: api.url, durability: 'memory', pid: process.pid });
    api.replies = { 'GET /api/v1/why/req-1': { json: { ...whyRequest, durability: 'memory' } } };
    const { err } = await lintel(['why', 'req-1', '--home', memory.folder]);
    await memory.remove();
    expect(err.match(/NOT DURABLE/g)).toHaveLength(1);
  });
});

describe('the command line itself', () => {
  test.each([
    [['whyy', 'x'], 'Did you mean why?'],
    [['drain', 'r1'], 'Did you mean lintel replica drain?'],
    [['why', 'x', '--jsno'], 'Did you mean --json?'],
    [['why'], "missing required argument 'id'"],
    [['log', '--after', 'yesterday'], 'must be a sequence'],
    [['replay', '--limit', '0'], 'must be a whole number'],
    [['completion', 'fihs'], 'Did you mean fish?'],
    [['verify', '--trusted-key', 'k'], '--trusted-key goes with --archive'],
  ])('%j exits 2 and says %j', async (argv, said) => {
    expect(await lintel(argv)).toMatchObject({ code: 2, out: '', err: expect.stringContaining(said) });
  });

  test('help and version go to stdout with 0; no command is a mistake', async () => {
    expect(await lintel(['--help'])).toMatchObject({ code: 0, out: expect.stringContaining('Exit codes: 0 done') });
    expect(await lintel(['--version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
    expect(await lintel([])).toMatchObject({ code: 2, out: '' });
  });

  test('names for the shell, or silence', async () => {
    api.replies = { 'GET /api/v1/completion/replicas': { json: ['r1', 'r2'] } };
    expect((await ask('complete-names', 'replicas')).out).toBe('r1\nr2\n');
    expect(await lintel(['complete-names', 'replicas', '--home', '/nowhere'])).toEqual({ code: 0, out: '', err: '' });
  });
});

describe('as a process', () => {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const node = [
    '--experimental-transform-types',
    '--conditions=lintel-source',
    '--disable-warning=ExperimentalWarning',
    main,
  ];

  test('without a terminal there is no colour, and the exit code is that of the command', async () => {
    const child = spawn(process.execPath, [...node, 'why', 'x', '--home', '/nowhere'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let err = '';
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect(code).toBe(4);
    expect(err).toMatch(/^error: no Lintel is running in \/nowhere/);
    expect(err).not.toContain('\u001B');
  });

  test('a reader that leaves ends it without a word', async () => {
    const commits = Array.from({ length: 5_000 }, (_, index) => ({ ...policyCommit, seq: index + 1 }));
    api.replies = {
      'GET /api/v1/log': { json: { durability: 'disk', lastSeq: 5_000, commits } },
      'GET /api/v1/log/follow': { lines: commits },
    };
    const child = spawn(process.execPath, [...node, 'log', '--follow', '--home', home.folder], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let err = '';
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.stdout.once('data', () => child.stdout.destroy());
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect([code, err]).toEqual([0, '']);
  });
});

test('L31 what an engine said cannot steer the terminal', async () => {
  const evil = { ...request, errorMessage: 'x\u001B]0;owned\u0007', outcome: 'upstream_failed', errorCode: 'e' };
  api.replies = { 'GET /api/v1/why/req-1': { json: { ...whyRequest, request: evil, summary: 'a\u001B[2Jb' } } };
  const { out } = await ask('why', 'req-1');
  expect([...out].filter((char) => char < ' ' && char !== '\n')).toEqual([]);
  expect(out).toContain('x\\u001B]0;owned');
});
