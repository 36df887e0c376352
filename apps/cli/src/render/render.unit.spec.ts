import { describe, expect, test } from '@jest/globals';
import { CodedError } from '#libs/kernel';
import type { ReplayLine, RequestExplanation, StateAnswer } from '#libs/domain/diag';
import { policyCommit, request, verified, whyCommit, whyRequest } from '../answers.fixture.ts';
import { renderCalibration } from './calibration.ts';
import { commitLine, renderWhyCommit } from './commit.ts';
import { errorJson, renderError } from './errors.ts';
import { renderList } from './lists.ts';
import { renderApply, renderReceipt } from './receipts.ts';
import { noteText } from './pick-notes.ts';
import { renderReplay, replayHolds } from './replay.ts';
import { renderState } from './state.ts';
import { appStatus, renderStatus } from './status.ts';
import { table } from './table.ts';
import { ansi, clean, plain, plainLayout } from './text.ts';
import { age, columnValue, duration, score, time } from './units.ts';
import { renderVerify } from './verify.ts';
import { renderWhyRequest } from './why-request.ts';

const lines = (text: string): string[] => text.split('\n');
/** The words of the line that starts so, spaces between columns as one. */
const words = (text: string, start: string): string | undefined =>
  lines(text)
    .find((line) => line.trimStart().startsWith(start))
    ?.trim()
    .replace(/\s+/g, ' ');

const changed = (change: Partial<RequestExplanation>): string =>
  renderWhyRequest({ ...whyRequest, request: { ...request, ...change } }, plainLayout);

describe('calibration', () => {
  const deciles = Array.from({ length: 10 }, (_, at) => ({
    decile: at + 1,
    answers: at === 9 ? 30 : 10,
    share: at === 9 ? 0.25 : 0.25 / 3,
    error: at === 9 ? 0.15 : 0.25 / 3 - 0.1,
    predictedMs: 100,
    measuredMs: at === 0 ? null : 60 + 10 * at,
  }));
  const item = {
    model: 'm',
    kind: 'ttft' as const,
    answers: 130,
    deciles,
    errorMax: 0.15,
    within: 0.667,
    offP50: 0.12,
    offP90: 1.5,
  };
  const answer = {
    durability: 'disk' as const,
    source: 'postgres' as const,
    records: 200,
    sinceMs: 0,
    untilMs: null,
    items: [item],
    note: '',
  };

  test('ten deciles, with what is off, and what is not known', () => {
    const text = renderCalibration(answer, plainLayout);
    expect(words(text, 'm ')).toBe('m time to the first token, 130 answers');
    expect(words(text, '1 ')).toBe('1 10 8.3 % −1.7 100 ms ?');
    expect(words(text, '10 ')).toBe('10 30 25 % +15.0 100 ms 150 ms');
    expect(text).toContain('66.7 % between the 10 % and the 90 % foretold (80 % is right); largest error +15.0 points');
    expect(text).toContain('nine in ten by less than 150 %');
  });

  test('nothing to tell is said', () => {
    expect(renderCalibration({ ...answer, items: [] }, plainLayout)).toContain('No record of this time holds');
    const none = { ...item, deciles: deciles.map((one) => ({ ...one, answers: 0 })) };
    expect(renderCalibration({ ...answer, items: [none] }, plainLayout)).toContain('too few to tell deciles');
  });

  test('why tells what was foretold', () => {
    const ttftForecast = { predictedMs: 210, lowMs: 120, highMs: 480, measuredMs: 250, decile: 6 };
    const text = changed({ ttftForecast, finishForecast: { ...ttftForecast, lowMs: null, decile: null } });
    expect(words(text, 'foretold')).toBe(
      'foretold first token in 210 ms (120 ms to 480 ms eight in ten), came in 250 ms, decile 6',
    );
    expect(words(text, 'end in')).toBe('end in 210 ms, came in 250 ms');
  });
});

describe('units', () => {
  test.each([
    [0.421, '0.421 ms'],
    [12.34, '12.3 ms'],
    [999.4, '999 ms'],
    [1204, '1.20 s'],
    [200_000, '3 m 20 s'],
    [7_500_000, '2 h 5 m'],
    [90_000_000, '1 d 1 h'],
    [null, '?'],
    [Number.NaN, '?'],
    [0, '0 ms'],
  ])('%p ms is %p', (value, expected) => expect(duration(value)).toBe(expected));

  test('unknown is a question mark, never 0', () => {
    expect([score(null), age(null), columnValue('waiting', null), time(null, plainLayout)]).toEqual([
      '?',
      '?',
      '?',
      '?',
    ]);
    expect([score(0), age(0), columnValue('waiting', 0)]).toEqual(['0.000', 'now', '0']);
  });

  test('a time is local, with its offset', () => {
    const atMs = Date.UTC(2026, 10, 24, 23, 30, 0, 5);
    expect(time(atMs, { offsetMinutes: () => 330 })).toBe('2026-11-25 05:00:00.005+05:30');
    expect(time(atMs, { offsetMinutes: () => -480 })).toBe('2026-11-24 15:30:00.005-08:00');
  });
});

describe('table', () => {
  const columns = [{ title: 'id', sticky: true }, { title: 'one' }, { title: 'two', align: 'right' as const }];
  const rows = [
    ['a', 'long value', '1'],
    ['bb', 'x', '22'],
  ];

  test('aligns, and leaves no space at the ends', () => {
    expect(lines(table(columns, rows, plainLayout))).toEqual([
      'id  one         two',
      'a   long value    1',
      'bb  x            22',
    ]);
  });

  test('wider than the terminal it goes on below, with the sticky column again', () => {
    expect(lines(table(columns, rows, { ...plainLayout, width: 16 }))).toEqual([
      'id  one',
      'a   long value',
      'bb  x',
      '',
      'id  two',
      'a     1',
      'bb   22',
    ]);
  });

  test('a value and its age are never parted', () => {
    const shown = table(
      [{ title: 'id', sticky: true }, { title: 'a' }, { title: 'v' }, { title: 'age', joined: true }],
      [['x', '12345', '9', 'now']],
      { ...plainLayout, width: 13 },
    );
    expect(lines(shown)).toEqual(['id  a', 'x   12345', '', 'id  v  age', 'x   9  now']);
  });

  test('what comes from elsewhere cannot steer the terminal', () => {
    const evil = 'x\u001B[2J\u202Ey\nz';
    expect(clean(evil)).toBe('x\\u001B[2J\\u202Ey\\nz');
    const coloured = table([{ title: 'a' }], [[{ text: evil, style: ansi.red }]], { ...plainLayout, paint: ansi });
    expect(coloured.split('\u001B').filter((part) => part.startsWith('[2J'))).toEqual([]);
  });
});

describe('why a request', () => {
  const shown = renderWhyRequest(whyRequest, plainLayout);

  test('of a request that was handed over both choices, both attempts and the hand-over', () => {
    const [pick] = request.picks;
    const [attempt] = request.attempts;
    const text = changed({
      picks: [{ ...pick!, partner: 'sim-3' }],
      attempts: [
        { ...attempt!, replicaId: 'sim-3', role: 'prefill', firstByteMs: null },
        { ...attempt!, role: 'decode' },
      ],
      handover: { connector: 'nixl', prefillMs: 120, transferMs: 14, tokens: 2_048 },
    });
    expect(words(text, '▷')).toContain('sim-3 chosen for the prompt');
    expect(text).toMatch(/1\s+sim-3\s+prefill/);
    expect(text).toMatch(/2\s+sim-2\s+decode/);
    expect(words(text, 'hand-over')).toBe(
      'hand-over ~2048 tokens by nixl · prompt computed in 120 ms · first byte 14 ms later',
    );
  });

  test('as what a request was sent to an engine that does not speak its protocol, and which attempt was a hedge', () => {
    const [attempt] = request.attempts;
    expect(shown).not.toContain('sent as');
    const text = changed({
      attempts: [
        { ...attempt!, end: 'hedge_lost', sentAs: '' },
        {
          ...attempt!,
          replicaId: 'sim-1',
          hedge: true,
          error: 'asked as a hedge',
          sentAs: '/v1/chat/completions (label)',
        },
      ],
    });
    expect(words(text, '1  sim-2')).toBe('1 sim-2 +0.9 ms +43.2 ms +1.20 s hedge_lost 200 as it came');
    expect(words(text, '2  sim-1')).toBe(
      '2 sim-1 +0.9 ms +43.2 ms +1.20 s answered 200 /v1/chat/completions (label) asked as a hedge',
    );
  });

  test('what a request cost and by which prices; unpriced is unknown, and what nobody served has no cost', () => {
    const cost = { state: 'priced', nano: 1_250_000, currency: 'USD', priceSeq: 12 } as const;
    expect(words(changed({ cost }), 'cost')).toBe('cost 0.00125 USD, by the prices of commit #12');
    const none = { nano: null, currency: '', priceSeq: 0 };
    expect(words(changed({ cost: { ...none, state: 'unpriced' } }), 'cost')).toBe(
      'cost ? (unpriced: its model had no price, or its tokens were not counted)',
    );
    expect(words(changed({ cost: { ...none, state: 'nothing' } }), 'cost')).toBeUndefined();
  });

  test('what went through a WebSocket session', () => {
    const tunnel = { bytesUp: 3_000, bytesDown: 1, messagesUp: 3, messagesDown: 1, closeCode: 1000 };
    expect(words(changed({ tunnel }), 'session')).toBe(
      'session up 3 messages, 3000 bytes · down 1 message, 1 byte · closed with 1000',
    );
    expect(words(changed({ tunnel: { ...tunnel, closeCode: null } }), 'session')).toContain('no close frame was seen');
    expect(words(changed({ tunnel: null }), 'session')).toBeUndefined();
  });

  test('who asked: tenant, project, user, key, end user and address', () => {
    const who = { projectId: 'search', userId: 'ann', endUser: 'eve', clientAddress: '10.0.0.0/24' };
    expect(words(changed(who), 'by')).toBe(
      'by tenant acme · project search · user ann · key ci · end user eve · from 10.0.0.0/24',
    );
  });

  test('a list of requests says what each cost: unknown is ?, nothing is –', () => {
    const item = { requestId: 'r', outcome: 'completed', cost: 'priced', costNano: 1_250_000, currency: 'USD' };
    const items = [
      item,
      { ...item, requestId: 's', cost: 'unpriced', costNano: null },
      { ...item, requestId: 't', cost: 'nothing', costNano: null },
    ];
    const list = lines(renderList('requests', { items }, plainLayout));
    const at = list[0]!.indexOf(' cost') + ' cost'.length;
    expect(
      list.slice(1, 4).map((line) =>
        line
          .slice(0, at)
          .trim()
          .split(/\s{2,}/)
          .at(-1),
      ),
    ).toEqual(['0.00125 USD', '?', '–']);
  });

  test('the sentence stands first', () => {
    expect(lines(shown)[0]).toBe(whyRequest.summary);
  });

  test('the chosen one stands first in the table and is marked; each value has its age beside it', () => {
    const titles = lines(shown).findIndex((line) => line.trimStart().startsWith('replica '));
    expect(words(shown, 'replica ')).toBe('replica verdict total load ×2 prefix-hit ×1 inflight age kvUse age');
    expect(lines(shown)[titles + 1]).toMatch(/^▶ {2}sim-2 /);
    expect(words(shown, '▶')).toBe('▶ sim-2 chosen 2.750 1.000 0.750 1 now ?');
    expect(words(shown, 'sim-1')).toBe('sim-1 behind 2.500 0.250 0.250 0.000 3 now 50 % 120 ms');
  });

  test('a filtered one names its filter and has no score', () => {
    expect(words(shown, '✗')).toBe('✗ sim-3 filtered: load-band – – – 40 now 97.8 % 80 ms');
  });

  test('what degraded is said in words', () => {
    expect(shown).toContain('! kvUse was too old for a candidate: a coarser signal was used for all');
    expect([noteText('no-session'), noteText('odd:thing')]).toEqual(['the request names no session', 'odd:thing']);
  });

  test('attempts, timings, usage, and the commit that made the policy', () => {
    expect(words(shown, '1  sim-2')).toBe('1 sim-2 +0.9 ms +43.2 ms +1.20 s answered 200');
    expect(words(shown, 'timings')).toBe(
      'timings body read 0.3 ms → picked 0.85 ms (deciding took 45 µs) → first byte 43.2 ms → total 1.20 s · per token 12.3 ms, longest gap 41 ms',
    );
    expect(words(shown, 'usage')).toBe("usage 12 prompt (8 cached) + 32 completion tokens, the engine's own count");
    expect(words(shown, 'policy')).toBe(
      'policy default v2, made by commit cmd-7.1 (#9) at 2026-11-24 11:59:00.122+00:00 by gateway:g1',
    );
    expect(words(shown, 'plugins')).toBe(
      'plugins load-band@1 · load@1 · prefix-hit@3 · best@1 · seed 7 · pipeline 0123456789ab',
    );
  });

  test('steps that were not reached and usage that nobody saw are unknown', () => {
    const text = changed({ timings: {}, usage: null, attempts: [] });
    expect(words(text, 'timings')).toContain('first byte ? → total ?');
    expect(words(text, 'usage')).toBe('usage ? (no usage was seen)');
    expect(text).not.toContain('attempts');
  });

  test('usage that the gateway counted leaves unknown what only the engine knows', () => {
    const text = changed({ usage: { promptTokens: 23, completionTokens: 16, cachedTokens: 0, fromEngine: false } });
    expect(words(text, 'usage')).toBe(
      'usage ~23 prompt (? cached) + 16 completion tokens, counted by the gateway: the engine sent no usage',
    );
  });

  test('a refusal without a pick names its problem and shows no table', () => {
    const text = changed({
      picks: [],
      attempts: [],
      outcome: 'rejected_model',
      httpStatus: 404,
      errorCode: 'model_not_found',
      errorMessage: 'no replica serves "gpt"',
      answeredBy: null,
    });
    expect(words(text, 'problem')).toBe('problem model_not_found: no replica serves "gpt"');
    expect(text).not.toContain('verdict');
  });

  test('a retry shows each pick and which attempt it led to', () => {
    const [pick] = request.picks;
    const [attempt] = request.attempts;
    const failed = {
      ...attempt!,
      replicaId: 'sim-1',
      firstByteMs: null,
      end: 'connect_failed',
      httpStatus: 0,
      error: 'refused',
    };
    const text = changed({ picks: [pick!, pick!], attempts: [failed, { ...attempt!, pick: 1 }] });
    expect(text).toContain('pick 1 of 2');
    expect(text).toContain('pick 2 of 2');
    expect(words(text, '1  sim-1')).toBe('1 sim-1 1 +0.9 ms ? +1.20 s connect_failed ? refused');
    expect(words(text, '2  sim-2')).toBe('2 sim-2 2 +0.9 ms +43.2 ms +1.20 s answered 200');
  });

  test('a large field is cut, and says what was cut', () => {
    const [pick] = request.picks;
    const [loser] = pick!.candidates;
    const many = Array.from({ length: 40 }, (_, index) => ({ ...loser!, replicaId: `r${index}`, total: index / 100 }));
    const wide = { ...pick!, candidates: [...many, ...pick!.candidates.slice(1)] };
    const cut = changed({ picks: [wide] });
    expect(cut).toContain('… 26 more candidates, 1 of them filtered out; --all shows them');
    expect(words(cut, '▶')).toContain('sim-2 chosen');
    const whole = renderWhyRequest({ ...whyRequest, request: { ...request, picks: [wide] } }, plainLayout, {
      all: true,
    });
    expect(words(whole, 'r0 ')).toContain('r0 behind');
  });

  test('a policy made by no commit, and one whose commit is not at hand', () => {
    const [pick] = request.picks;
    expect(words(changed({ picks: [{ ...pick!, policyId: '', policySeq: 0 }] }), 'policy')).toBe(
      'policy built-in default, made by no commit',
    );
    const away = renderWhyRequest({ ...whyRequest, commits: [] }, plainLayout);
    expect(words(away, 'policy')).toBe('policy default v2, made by commit #9, which this answer does not hold');
  });
});

describe('commits', () => {
  test('why a commit', () => {
    const text = renderWhyCommit(whyCommit, plainLayout);
    expect(lines(text)[0]).toBe('Commit #9 made version 2 of route.policy default: PolicyAdopted, by gateway:g1.');
    expect(words(text, 'state')).toBe('state accepted');
    expect(text).toContain('    "source": "config:lintel.yaml"'.slice(2));
  });

  test('one that lost a race is said to have lost it', () => {
    const text = renderWhyCommit({ ...whyCommit, commit: { ...policyCommit, accepted: false } }, plainLayout);
    expect(words(text, 'state')).toMatch(/^state NOT accepted/);
  });

  test('reasons: inputs with ages, alternatives with scores', () => {
    const reason = {
      text: 'failed 5 of 6',
      policyName: 'outlier',
      policyVersion: 3,
      inputs: [{ name: 'failures', seq: 4, value: null, ageMs: 12 }],
      alternatives: [{ name: 'keep', score: 0.1, note: 'below' }],
    };
    const text = renderWhyCommit({ ...whyCommit, commit: { ...policyCommit, reason, accepted: true } }, plainLayout);
    expect(words(text, 'because')).toBe('because failed 5 of 6');
    expect(words(text, 'failures')).toBe('failures ? 12 ms #4');
    expect(words(text, 'keep')).toBe('keep 0.100 below');
  });

  test('a line of the timeline', () => {
    expect(commitLine(policyCommit, plainLayout).replace(/\s+/g, ' ')).toBe(
      ' #9 2026-11-24 11:59:00.123+00:00 route.policy default v2 PolicyAdopted policy={"policyId":"default","models":["*"]} source=config:lintel.yaml by gateway:g1',
    );
    expect(commitLine({ ...policyCommit, events: [], unreadable: 'bad JSON' }, plainLayout)).toContain(
      'unreadable: bad JSON',
    );
  });
});

const done: Extract<ReplayLine, { kind: 'done' }> = {
  kind: 'done',
  durability: 'disk',
  source: 'postgres',
  note: '',
  ok: true,
  records: 12_000,
  picksFree: 20,
  equal: 11_980,
  different: 0,
  missingPlugin: 0,
  unreadable: 0,
  missingPlugins: {},
  durationMs: 600,
};

describe('replay', () => {
  test('all equal', () => {
    const text = renderReplay(done, plainLayout, true);
    expect(lines(text)[0]).toBe('All 11,980 replayed came to the same choice.');
    expect(words(text, 'took')).toBe('took 600 ms (20,000/s), records from postgres');
  });

  test('a difference is shown first, with what to ask next', () => {
    const first = { requestId: 'req-9', receivedAtMs: 0, text: 'recorded sim-1, replayed sim-2' };
    const bad = { ...done, ok: false, equal: 11_979, different: 1, first };
    const text = renderReplay(bad, plainLayout, false);
    expect(lines(text)[0]).toBe('1 record of 11,980 replayed came to ANOTHER choice than was made.');
    expect(words(text, 'first')).toContain('recorded sim-1, replayed sim-2');
    expect(words(text, 'next')).toBe('next lintel why req-9');
    expect(replayHolds(bad, false)).toBe(false);
  });

  test('a plugin that is gone is said, and verifies nothing', () => {
    const gone = { ...done, ok: false, equal: 11_000, missingPlugin: 980, missingPlugins: { 'prefix-hit@2': 980 } };
    expect(replayHolds(gone, false)).toBe(true);
    expect(replayHolds(gone, true)).toBe(false);
    expect(words(renderReplay(gone, plainLayout, true), 'missing')).toBe(
      'missing prefix-hit@2 is not in this build: 980 records not executed',
    );
    expect(lines(renderReplay(gone, plainLayout, true))[0]).toContain('NOT verified');
  });

  test('an unreadable record is never equal', () => {
    expect(replayHolds({ ...done, unreadable: 1 }, false)).toBe(false);
  });

  test('an empty range says that nothing was replayed', () => {
    expect(lines(renderReplay({ ...done, records: 0, equal: 0 }, plainLayout, true))[0]).toContain(
      'nothing was replayed',
    );
  });
});

describe('verify', () => {
  test('a good log', () => {
    const text = renderVerify(verified, plainLayout);
    expect(lines(text)[0]).toBe('The log verifies: 120 commits, every chain and seal fits, nothing is missing.');
    expect(words(text, 'anchors')).toBe('anchors 2 anchors, sealed through #100, 20 sequences after the last seal');
  });

  test('the first bad sequence stands in the first line', () => {
    const bad = { seq: 17, rule: 'hash', text: 'commit c17 was changed' };
    const text = renderVerify(
      { ...verified, ok: false, firstBad: bad, problems: [bad], problemsTotal: 130 },
      plainLayout,
    );
    expect(lines(text)[0]).toBe('The log does NOT verify: first at #17, hash: commit c17 was changed.');
    expect(words(text, '#17')).toBe('#17 hash commit c17 was changed');
    expect(text).toContain('… 129 more');
  });

  test('rows that are not what the log says', () => {
    const projections = [
      { projection: 'replicas@1', equal: true, seq: 120, text: '' },
      { projection: 'requests@2', equal: false, seq: 119, text: 'row req-3: outcome' },
    ];
    const text = renderVerify({ ...verified, ok: false, projections }, plainLayout);
    expect(lines(text)[0]).toBe('The log verifies, but rows of requests@2 are NOT what it says.');
    expect(words(text, '✗')).toBe('✗ requests@2 #119 NOT equal row req-3: outcome');
  });
});

describe('state', () => {
  const entry = {
    id: 'sim-1',
    seq: 3,
    version: 2,
    commitId: 'c3',
    atMs: 0,
    actor: 'test',
    fields: { url: 'http://a', engine: 'vllm', models: ['m', 'n'], draining: true, ejected: false },
  };
  const answer: StateAnswer = {
    durability: 'disk',
    at: { seq: 3, storedAtMs: 0 },
    state: {
      replicas: [entry],
      policies: [],
      modelRoutes: [],
      projects: [],
      users: [],
      adminKeys: [],
      tenants: [],
      keys: [],
      configurations: [],
    },
  };

  test('by kind', () => {
    const text = renderState(answer, plainLayout);
    expect(lines(text)[0]).toBe('The fleet as the log says at #3 (1970-01-01 00:00:00.000+00:00).');
    expect(words(text, 'sim-1')).toBe('sim-1 http://a vllm m, n – yes no – 2 #3 1970-01-01 00:00:00.000+00:00 by test');
  });

  test('a difference runs from the earlier to the later', () => {
    const text = renderState(
      {
        ...answer,
        diffWith: { seq: 1, storedAtMs: null },
        changes: [
          {
            kind: 'replicas',
            id: 'sim-1',
            change: 'changed',
            commitId: 'c3',
            seq: 3,
            fields: [{ field: 'draining', before: false, after: true }],
          },
          { kind: 'policies', id: 'p', change: 'removed', fields: [] },
        ],
      },
      plainLayout,
    );
    expect(lines(text)).toEqual([
      'From #1 to #3 (1970-01-01 00:00:00.000+00:00): 2 changes.',
      '',
      '~ replicas sim-1  by commit c3 (#3)',
      '    draining: no → yes',
      '- policies p',
    ]);
  });
});

describe('lists', () => {
  test('a tenant has its limits beside its keys', () => {
    const limits = [
      { limitId: 'requests/minute', amount: 600 },
      { limitId: 'concurrent', amount: 4 },
    ];
    const items = [{ tenantId: 'acme', keys: [], limits }];
    expect(renderList('tenants', { items }, plainLayout)).toContain('requests/minute: 600, concurrent: 4');
    expect(
      renderList('tenants', { items: [{ tenantId: 't', keys: [{ keyId: 'k' }], limits: [] }] }, plainLayout),
    ).toMatch(/k +none/);
  });

  test('a replica of which nothing is known is not healthy', () => {
    const text = renderList('replicas', { items: [{ replicaId: 'r1', url: 'http://a' }], atSeq: 4 }, plainLayout);
    expect(words(text, 'r1')).toBe('r1 ? ? ? ? ? ? ? ? ? http://a');
    expect(text).toContain('1 replica as of #4');
  });

  test('a replica with telemetry', () => {
    const item = {
      registration: { replicaId: 'r1', url: 'http://a', engine: 'ENGINE_KIND_VLLM', models: [] },
      draining: false,
      healthy: true,
      circuit: 'closed',
      healthAgeMs: 40,
      values: { inflight: 2, kvUse: 0.5 },
      valuesAgeMs: 120,
      servedModels: ['m'],
    };
    expect(words(renderList('replicas', { items: [item] }, plainLayout), 'r1')).toBe(
      'r1 healthy 40 ms 2 ? ? 50 % 120 ms vllm m http://a',
    );
  });

  test('an empty list says so', () => {
    expect(renderList('dead-letters', { items: [] }, plainLayout)).toBe('No dead letters.');
  });
});

describe('receipts, status, errors', () => {
  const receipt = { durability: 'disk', seq: 5, version: 2, commitId: 'c5', changed: true } as const;

  test('a receipt names its commit; no change is no success story', () => {
    expect(renderReceipt('replica r1 drains', receipt, plainLayout)).toBe('✓ replica r1 drains. Commit c5 (#5)');
    expect(renderReceipt('replica r1 drains', { ...receipt, changed: false }, plainLayout)).toContain(
      'Nothing changed',
    );
  });

  test('a dry run says that nothing was written', () => {
    const answer = {
      durability: 'disk',
      contentHash: 'x',
      unchanged: 2,
      leftAlone: ['cors'],
      dryRun: true,
      correlationId: 'a',
      changes: [{ what: 'replica r3 added', seq: 0, commitId: '' }],
    } as const;
    expect(lines(renderApply(answer, true, plainLayout))).toEqual([
      '1 change would be made; nothing was written. 2 entries are already so.',
      '  replica r3 added',
      'Left alone: cors. Each gateway reads them from its own file when it starts.',
    ]);
  });

  test('status names who is not ready and what it waits for', () => {
    const gateway = appStatus('gateway', 'http://g', 503, {
      state: 'down',
      dependencies: { broker: { state: 'down', detail: 'reconnecting', required: true } },
    });
    const text = renderStatus([gateway, appStatus('diagnostics', 'http://d', 200, { state: 'up' })], plainLayout);
    expect(lines(text)[0]).toBe('NOT ready: gateway.');
    expect(words(text, 'broker')).toBe('broker down reconnecting');
  });

  test('an error: message, code, advice', () => {
    const error = new CodedError('CONFIG_INVALID', 'lintel.yaml:3: "modles"\nlintel.yaml:9: port', {
      advice: 'Did you mean models?',
    });
    expect(lines(renderError(error, plain))).toEqual([
      'error: lintel.yaml:3: "modles"',
      'lintel.yaml:9: port [CONFIG_INVALID]',
      'Did you mean models?',
    ]);
    expect(JSON.parse(errorJson(error, 2))).toMatchObject({ error: { code: 'CONFIG_INVALID', exitCode: 2 } });
  });
});
