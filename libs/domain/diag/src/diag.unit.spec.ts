import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import { EventRegistry, route } from '#libs/contracts';
import {
  diffStates,
  emptyFleetState,
  evolveFleet,
  explainCommit,
  explainRequest,
  requestItem,
  stateJson,
  summarize,
} from '#libs/domain/diag';
import type { StoredCommit } from '#libs/event-log';
import { decodeCommit, emptyHead, prepareCommit } from '#libs/event-log';

const registry = new EventRegistry();

function commit(seq: number, id: string, type: string, data: object, aggregate = 'replica'): StoredCommit {
  const prepared = prepareCommit({
    registry,
    subject: { context: 'route', aggregate, id },
    commitId: `c${seq}`,
    head: { ...emptyHead, version: seq - 1 },
    events: [{ type, data }],
    context: { atMs: seq * 1000, actor: 'test:unit' },
  });
  return { ...prepared, seq, storedAtMs: seq * 1000 };
}

const fold = (commits: readonly StoredCommit[]): ReturnType<typeof stateJson> =>
  stateJson(commits.reduce((state, stored) => evolveFleet(state, decodeCommit(stored, registry)), emptyFleetState()));

describe('state', () => {
  const history = [
    commit(1, 'r1', 'ReplicaRegistered', { replicaId: 'r1', url: 'http://a' }),
    commit(2, 'r2', 'ReplicaRegistered', { replicaId: 'r2', url: 'http://b' }),
    commit(3, 'r1', 'ReplicaDrained', { replicaId: 'r1', reason: 'upgrade' }),
    commit(4, 'r2', 'ReplicaRemoved', { replicaId: 'r2', reason: 'gone' }),
  ];

  test('is the fold of the commits', () => {
    const { replicas } = fold(history);
    expect(replicas.map(({ id }) => id)).toEqual(['r1']);
    expect(replicas[0]).toMatchObject({ seq: 3, fields: { url: 'http://a', draining: true, drainReason: 'upgrade' } });
  });

  test('a diff names what was added, changed and removed', () => {
    expect(diffStates(fold(history.slice(0, 2)), fold(history))).toEqual([
      {
        kind: 'replicas',
        id: 'r1',
        change: 'changed',
        commitId: 'c3',
        seq: 3,
        fields: [
          { field: 'drainReason', after: 'upgrade' },
          { field: 'draining', before: false, after: true },
        ],
      },
      { kind: 'replicas', id: 'r2', change: 'removed', fields: [] },
    ]);
    expect(diffStates(fold([]), fold(history))).toMatchObject([{ id: 'r1', change: 'added' }]);
    expect(diffStates(fold(history), fold(history))).toEqual([]);
  });

  test('an id that is also a name of Object.prototype is an id like any other', () => {
    const { replicas } = fold([
      commit(1, '__proto__', 'ReplicaRegistered', { replicaId: '__proto__', url: 'http://a' }),
    ]);
    expect(replicas[0]?.id).toBe('__proto__');
  });
});

const spec = {
  strategy: 'least-request',
  filters: [{ type: 'healthy', version: 1, params: {} }],
  scorers: [{ type: 'inflight', version: 1, params: {}, weight: 2 }],
  picker: { type: 'best', version: 1, params: {} },
};

const frame = create(route.RecordFrameSchema, {
  gatewayId: 'g1',
  bootId: 'b1',
  frameSeq: 1,
  replicaIds: ['r1', 'r2', 'r3'],
  pipelines: [
    { hash: 'h', json: JSON.stringify(spec), strategy: 'least-request', policyId: 'p', policyVersion: 2, policySeq: 9 },
  ],
  records: [
    {
      requestId: 'q1',
      outcome: route.Outcome.COMPLETED,
      httpStatus: 200,
      picks: [
        {
          pipeline: 0,
          seed: 7,
          candidates: [0, 1, 2],
          columns: ['inflight', 'kvUse'],
          values: [3, 0.5, 1, NaN, 0, 0.1],
          agesMs: [0, 120, 0, NaN, 0, 80],
          filteredBy: [0, 0, 1],
          scores: [0.25, 1, NaN],
          totals: [0.25, 1, NaN],
          chosen: 2,
          notes: ['stale:kvUse'],
        },
      ],
      attempts: [{ replica: 1, pick: 0, startMs: 1, firstByteMs: 5, endMs: 9, end: route.AttemptEnd.ANSWERED }],
    },
  ],
});

describe('explaining a request', () => {
  const request = explainRequest(frame, frame.records[0] as route.DecisionRecord);

  test('each candidate with its inputs, their ages, its scores and what removed it', () => {
    expect(request.picks[0]?.candidates).toEqual([
      {
        replicaId: 'r1',
        chosen: false,
        filteredBy: null,
        total: 0.25,
        scores: { inflight: 0.25 },
        inputs: { inflight: { value: 3, ageMs: 0 }, kvUse: { value: 0.5, ageMs: 120 } },
      },
      {
        replicaId: 'r2',
        chosen: true,
        filteredBy: null,
        total: 1,
        scores: { inflight: 1 },
        inputs: { inflight: { value: 1, ageMs: 0 }, kvUse: { value: null, ageMs: null } },
      },
      {
        replicaId: 'r3',
        chosen: false,
        filteredBy: 'healthy',
        total: null,
        scores: { inflight: null },
        inputs: { inflight: { value: 0, ageMs: 0 }, kvUse: { value: 0.1, ageMs: 80 } },
      },
    ]);
    expect(request).toMatchObject({ answeredBy: 'r2', outcome: 'completed', timings: { totalMs: null } });
  });

  test('in one sentence', () => {
    expect(summarize(request)).toBe(
      'r2 was chosen of 3 candidates by least-request (policy p v2) with 1.000, next r1 with 0.250; 1 filtered out. Outcome: completed (HTTP 200).',
    );
  });

  describe('says what it cost', () => {
    const costOf = (change: Partial<route.DecisionRecord>): unknown => {
      const record = { ...(frame.records[0] as route.DecisionRecord), ...change };
      const explained = explainRequest(frame, record);
      return { ...explained.cost, listed: requestItem(explained).cost };
    };
    const none = { nano: null, currency: '', priceSeq: 0 };

    test.each([
      [
        'a price in force',
        { costNano: 70, priceSeq: 3, currency: 'EUR' },
        { state: 'priced', nano: 70, currency: 'EUR', priceSeq: 3 },
      ],
      [
        'a price of nothing',
        { priceSeq: 3, currency: 'EUR' },
        { state: 'priced', nano: 0, currency: 'EUR', priceSeq: 3 },
      ],
      ['no price, though a replica answered', {}, { ...none, state: 'unpriced' }],
      [
        'no price for counted tokens',
        { attempts: [], usage: create(route.UsageSchema, {}) },
        { ...none, state: 'unpriced' },
      ],
      ['nobody who served it', { attempts: [] }, { ...none, state: 'nothing' }],
      ["an engine's own refusal", { outcome: route.Outcome.UPSTREAM_ERROR }, { ...none, state: 'nothing' }],
      ['a sum that can be none', { costNano: 2 ** 60, priceSeq: 3 }, { ...none, state: 'unpriced' }],
    ] as [string, Partial<route.DecisionRecord>, { state: string }][])('%s', (_what, change, expected) => {
      expect(costOf(change)).toEqual({ ...expected, listed: expected.state });
    });
  });

  test('as what it was sent, which attempt was a hedge, and what went through a session', () => {
    const record = create(route.DecisionRecordSchema, {
      attempts: [{ replica: 0, hedge: true, sentAs: '/tokenize (learnt)', end: route.AttemptEnd.HEDGE_LOST }],
      tunnel: { bytesUp: 5, bytesDown: 6, messagesUp: 1, messagesDown: 2 },
    });
    expect(explainRequest(frame, record)).toMatchObject({
      attempts: [{ hedge: true, sentAs: '/tokenize (learnt)', end: 'hedge_lost', error: 'asked as a hedge' }],
      tunnel: { bytesUp: 5, bytesDown: 6, messagesUp: 1, messagesDown: 2, closeCode: null },
    });
    expect(request.tunnel).toBeNull();
  });

  test('a pipeline that cannot be read is said', () => {
    const broken = { ...frame, pipelines: [] };
    const { picks } = explainRequest(broken, frame.records[0] as route.DecisionRecord);
    expect(picks[0]?.notes).toContain('the pipeline of this pick cannot be read');
  });
});

test('a commit that cannot be read is explained as far as it goes', () => {
  const stored = { ...commit(1, 'r1', 'ReplicaDrained', { replicaId: 'r1' }), payload: new Uint8Array([1, 2]) };
  expect(explainCommit(stored)).toMatchObject({ seq: 1, commitId: 'c1', unreadable: expect.stringContaining('JSON') });
});
