import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ReplayLine, VerifyAnswer } from '#libs/domain/diag';
import { CodedError } from '#libs/kernel';
import { policyCommit, request, verified, whyCommit, whyRequest } from '../answers.fixture.ts';
import { commitLine, renderWhyCommit } from './commit.ts';
import { renderDeadLetter } from './dead-letter.ts';
import { renderPeople, renderTenant } from './people.ts';
import { renderError } from './errors.ts';
import type { ListName } from './lists.ts';
import { listNames, renderList } from './lists.ts';
import { rebuildProgress, renderApply, renderKey, renderReceipt } from './receipts.ts';
import { renderReplay, replayLine } from './replay.ts';
import { renderState } from './state.ts';
import { renderStatus } from './status.ts';
import { plain, plainLayout } from './text.ts';
import { renderVerify } from './verify.ts';
import { renderWhyRequest } from './why-request.ts';

/** Every text in it becomes `text`, and each object gets a field of that name, of the kind of its others. */
function poisoned<T>(value: T, text: string): T {
  if (typeof value === 'string') return text as T;
  if (Array.isArray(value)) return value.map((one) => poisoned(one, text)) as T;
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, one]) => [name, poisoned(one, text)]);
  return Object.fromEntries([...entries, [text, entries.length === 0 ? text : entries[0]?.[1]]]) as T;
}

const reason = {
  text: 't',
  policyName: 'p',
  policyVersion: 1,
  inputs: [{ name: 'n', seq: 1, value: 1, ageMs: 1 }],
  alternatives: [{ name: 'a', score: 1, note: 'n' }],
};
const commit = { ...policyCommit, reason, unreadable: 'u' };
const part = { seq: 1, rule: 'hash', text: 't' };
const verdict: VerifyAnswer = {
  ...verified,
  ok: false,
  firstBad: part,
  problems: [part],
  notes: ['n'],
  projections: [{ projection: 'p', equal: false, seq: 1, text: 't' }],
};
const difference = { requestId: 'r', receivedAtMs: 0, text: 't' };
const done = {
  kind: 'done',
  durability: 'disk',
  source: 'frames',
  note: 'n',
  ok: false,
  first: difference,
  records: 2,
  picksFree: 0,
  equal: 1,
  different: 1,
  missingPlugin: 1,
  unreadable: 1,
  missingPlugins: { 'load@1': 1 },
  durationMs: 1,
} satisfies ReplayLine;
const entry = {
  id: 'i',
  seq: 1,
  version: 1,
  commitId: 'c',
  atMs: 0,
  actor: 'a',
  fields: { url: 'u', profiles: [{ name: 'n', strategy: 's' }] },
};
const state = {
  replicas: [entry],
  policies: [entry],
  modelRoutes: [entry],
  projects: [entry],
  users: [entry],
  adminKeys: [entry],
  tenants: [entry],
  keys: [entry],
  configurations: [entry],
};
const receipt = { durability: 'disk', seq: 1, version: 1, commitId: 'c', changed: true } as const;
const changes = [
  {
    kind: 'replicas',
    id: 'i',
    change: 'changed',
    commitId: 'c',
    seq: 1,
    fields: [{ field: 'f', before: 'b', after: ['a'] }],
  },
] as const;
const letter = {
  durability: 'disk',
  id: 1,
  consumer: 'c',
  stream: 's',
  subject: 's',
  seq: 1,
  errorCode: 'e',
  errorMessage: 'm',
  deliveries: 1,
  atMs: 0,
  commit,
} as const;
const item = {
  id: 'i',
  replicaId: 'r',
  keys: [{ keyId: 'k' }],
  models: ['m'],
  profiles: [{ name: 'n', strategy: 's' }],
  haltedReason: 'h',
  outcome: 'o',
  state: 's',
  live: { healthy: true, lastError: 'e', servedModels: ['m'], circuit: 'open' },
  errorMessage: 'e',
  actor: 'a',
};

/** Each text that a person is shown, of answers whose every text is `text`. */
const person = {
  tenantId: 't',
  projectId: 'p',
  userId: 'u',
  keyId: 'k',
  displayName: 'd',
  source: 's',
  models: ['m'],
  endpoints: ['e'],
  priority: 1,
  expiresAtMs: 1,
  revoked: true,
  revokeReason: 'r',
  overlaps: 1,
};

function everything(text: string): string[] {
  const layout = plainLayout;
  const bad = <T>(value: T): T => poisoned(value, text);
  const status = {
    app: 'a',
    url: 'u',
    ready: false,
    state: 's',
    error: 'e',
    dependencies: { broker: { state: 's', detail: 'd' } },
  };
  return [
    renderWhyRequest(
      bad({
        ...whyRequest,
        request: { ...request, outcome: 'x', errorMessage: 'm', endUser: 'u', adapter: 'a' },
        note: 'n',
      }),
      layout,
    ),
    renderWhyCommit(bad({ ...whyCommit, note: 'n', commit: { ...commit, accepted: false } }), layout),
    commitLine(bad(commit), layout),
    commitLine({ ...bad(commit), unreadable: '' }, layout),
    renderReplay(bad(done), layout, true),
    replayLine({ ...bad(difference), kind: 'difference' }, layout) ?? '',
    replayLine({ ...bad({ seq: 1, text: 't' }), kind: 'unreadable' }, layout) ?? '',
    renderVerify(bad(verdict), layout),
    renderState({ durability: 'disk', at: { seq: 1, storedAtMs: 0 }, state: bad(state) }, layout),
    renderState({ durability: 'disk', at: { seq: 1, storedAtMs: 0 }, state, changes: bad(changes) }, layout),
    ...listNames.map((name: ListName) => renderList(name, bad({ items: [item], note: 'n' }), layout)),
    renderDeadLetter(bad(letter), layout),
    renderReceipt(text, bad(receipt), layout),
    renderKey(text, bad({ ...receipt, key: 'x' }), layout),
    ...(['projects', 'users', 'keys', 'admin-keys'] as const).map((what) =>
      renderPeople(what, bad({ items: [person], atSeq: 1 }), layout),
    ),
    renderTenant(bad({ ...person, projects: [person], users: [person], keys: [person] }), layout),
    renderApply(
      bad({
        durability: 'disk',
        contentHash: 'h',
        dryRun: false,
        unchanged: 0,
        leftAlone: [],
        correlationId: 'c',
        changes: [{ what: 'w', seq: 1, commitId: 'c' }],
      }),
      false,
      layout,
    ),
    rebuildProgress({ ...bad({ projection: 'p' }), kind: 'progress', seq: 1, headSeq: 2, itemsPerSecond: 1 }),
    renderStatus([bad(status)], layout),
    renderError(new CodedError(text, text, { advice: text }), plain),
  ];
}

/** What may move a cursor, recolour, retitle or reorder; line ends are the layout's own. */
const steering = (text: string): string[] =>
  [...text].filter((char) => {
    const code = char.codePointAt(0) ?? 0;
    const control = code < 32 ? code !== 10 : code >= 127 && code < 160;
    return (
      control ||
      (code >= 0x202a && code <= 0x202e) ||
      (code >= 0x2066 && code <= 0x2069) ||
      code === 0x2028 ||
      code === 0x2029
    );
  });

test('L31 no text of an answer steers the terminal, whatever stands in it', () => {
  const evil = fc.string({
    unit: fc.constantFrom('\u001B', '[2J', '\u0007', '\r', '\t', '\u009B', '\u202E', '\u2028', '\u0000', 'a', '"', 'ü'),
  });
  fc.assert(
    fc.property(evil, (text) => {
      for (const shown of everything(`x${text}`)) expect(steering(shown)).toEqual([]);
    }),
    { numRuns: 60 },
  );
});

test('a line break in a text makes no line of its own', () => {
  for (const [index, shown] of everything('x\nfake: all is well').entries()) {
    // Errors keep their lines: a configuration's mistakes stand one a line.
    if (index === everything('x').length - 1) continue;
    expect(shown.split('\n').filter((line) => line.trimStart().startsWith('fake: all is well'))).toEqual([]);
  }
});
