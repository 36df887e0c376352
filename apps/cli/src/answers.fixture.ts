import type { CommitExplanation, RequestExplanation, VerifyAnswer, WhyAnswer } from '#libs/domain/diag';

/** Answers as diagnostics gives them, for tests. */
const noon = Date.UTC(2026, 10, 24, 12, 0, 0, 123);

export const policyCommit: CommitExplanation = {
  seq: 9,
  subject: 'lintel.ev.route.policy.default',
  version: 2,
  commitId: 'cmd-7.1',
  storedAtMs: noon - 60_000,
  atMs: noon - 60_001,
  actor: 'gateway:g1',
  causeId: 'cmd-7',
  correlationId: 'apply-3',
  traceparent: '',
  events: [
    {
      type: 'PolicyAdopted',
      data: { policy: { policyId: 'default', models: ['*'] }, source: 'config:lintel.yaml' },
    },
  ],
  reason: null,
  hash: 'aa11',
  prevHash: 'bb22',
  unreadable: '',
};

export const request: RequestExplanation = {
  requestId: 'req-1',
  receivedAtMs: noon,
  gatewayId: 'g1',
  bootId: 'b1',
  frameSeq: 4,
  tenantId: 'acme',
  keyId: 'ci',
  endUser: '',
  endpoint: '/v1/chat/completions',
  model: 'llama',
  adapter: '',
  stream: true,
  profile: 'default',
  outcome: 'completed',
  httpStatus: 200,
  errorCode: '',
  errorMessage: '',
  answeredBy: 'sim-2',
  traceparent: '00-1-2-01',
  clientAddress: '',
  features: {
    bodyBytes: 300,
    promptTokens: 12,
    promptTokensExact: false,
    maxTokens: 32,
    sessionHash: 0,
    prefixBlocks: 3,
    sloTtftMs: 0,
    sloTpotMs: 0,
  },
  heads: { replicas: 12, policies: 9 },
  picks: [
    {
      strategy: 'least-request:2,prefix-cache:1',
      policyId: 'default',
      policyVersion: 2,
      policySeq: 9,
      pipelineHash: '0123456789abcdef',
      filters: [{ type: 'load-band', version: 1 }],
      scorers: [
        { type: 'load', version: 1, weight: 2 },
        { type: 'prefix-hit', version: 3, weight: 1 },
      ],
      picker: { type: 'best', version: 1 },
      seed: 7,
      chosen: 'sim-2',
      partner: null,
      notes: ['stale:kvUse'],
      candidates: [
        {
          replicaId: 'sim-1',
          chosen: false,
          filteredBy: null,
          total: 0.25,
          scores: { load: 0.25, 'prefix-hit': 0 },
          inputs: { inflight: { value: 3, ageMs: 0 }, kvUse: { value: 0.5, ageMs: 120 } },
        },
        {
          replicaId: 'sim-2',
          chosen: true,
          filteredBy: null,
          total: 2.75,
          scores: { load: 1, 'prefix-hit': 0.75 },
          inputs: { inflight: { value: 1, ageMs: 0 }, kvUse: { value: null, ageMs: null } },
        },
        {
          replicaId: 'sim-3',
          chosen: false,
          filteredBy: 'load-band',
          total: null,
          scores: { load: null, 'prefix-hit': null },
          inputs: { inflight: { value: 40, ageMs: 0 }, kvUse: { value: 0.978, ageMs: 80 } },
        },
      ],
    },
  ],
  attempts: [
    {
      replicaId: 'sim-2',
      pick: 0,
      startMs: 0.9,
      firstByteMs: 43.21,
      endMs: 1204,
      end: 'answered',
      httpStatus: 200,
      error: '',
      role: null,
    },
  ],
  handover: null,
  timings: {
    bodyReadMs: 0.3,
    pickedMs: 0.85,
    pickUs: 45,
    firstByteMs: 43.21,
    totalMs: 1204,
    tpotMs: 12.34,
    tokenGapMsMax: 41,
  },
  usage: { promptTokens: 12, completionTokens: 32, cachedTokens: 8, fromEngine: true },
};

export const whyRequest: WhyAnswer = {
  durability: 'disk',
  source: 'postgres',
  note: '',
  request,
  summary:
    'sim-2 was chosen of 3 candidates by least-request:2,prefix-cache:1 (policy default v2) with 2.750, next sim-1 with 0.250; 1 filtered out. Outcome: completed (HTTP 200).',
  commits: [policyCommit],
};

export const whyCommit: WhyAnswer = {
  durability: 'disk',
  source: 'log',
  note: '',
  commits: [],
  commit: { ...policyCommit, accepted: true },
};

export const verified: VerifyAnswer = {
  durability: 'disk',
  ok: true,
  commits: 120,
  aggregates: 7,
  forked: 0,
  lastSeq: 120,
  anchors: 2,
  sealedThroughSeq: 100,
  problems: [],
  problemsTotal: 0,
  projections: [],
  notes: [],
  durationMs: 81,
};
