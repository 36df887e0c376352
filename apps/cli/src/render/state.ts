import type { StateAnswer, StateChange, StateEntry, StateKind } from '#libs/domain/diag';
import { stateKinds } from '#libs/domain/diag';
import type { Column } from './table.ts';
import { table } from './table.ts';
import type { Layout } from './text.ts';
import { blocks, clean, plural, short } from './text.ts';
import { time } from './units.ts';

const valueLengthMax = 60;
/** Fields shown of each kind, in this order; --json has all. */
const fieldsShown: Readonly<Record<StateKind, readonly string[]>> = {
  replicas: ['url', 'engine', 'models', 'role', 'draining', 'ejected', 'source'],
  policies: ['models', 'lockedStrategy', 'defaultProfile', 'profiles', 'source'],
  modelRoutes: ['models', 'tenants', 'shares', 'fallbacks', 'source'],
  tenants: ['displayName', 'source'],
  projects: ['displayName', 'source'],
  users: ['displayName', 'projectId', 'source'],
  keys: ['displayName', 'projectId', 'userId', 'models', 'endpoints', 'priority', 'expiresAtMs', 'revoked'],
  adminKeys: ['displayName', 'expiresAtMs', 'revoked'],
  configurations: ['source', 'contentHash', 'changes'],
};

export function valueText(value: unknown): string {
  if (value === undefined) return '–';
  if (value === null || value === '') return '';
  if (typeof value === 'string') return short(value, valueLengthMax);
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value) && value.every((one) => typeof one === 'string'))
    return short(value.join(', '), valueLengthMax);
  return short(JSON.stringify(value), valueLengthMax);
}

type Profile = { readonly name?: string; readonly strategy?: string };

function cell(name: string, value: unknown, layout: Layout): string {
  if (name === 'expiresAtMs') return typeof value === 'number' ? time(value, layout) : 'never';
  if (name === 'contentHash' && typeof value === 'string') return value.slice(0, 12);
  if (name === 'changes' && Array.isArray(value)) return plural(value.length, 'change');
  if (name === 'profiles' && Array.isArray(value)) {
    return short(
      (value as Profile[]).map((one) => `${one.name ?? ''}: ${one.strategy ?? ''}`).join('; '),
      valueLengthMax,
    );
  }
  return valueText(value);
}

function kindTable(kind: StateKind, entries: readonly StateEntry[], layout: Layout): string {
  const { paint } = layout;
  if (entries.length === 0) return `${paint.bold(kind)}\n  none`;
  const fields = fieldsShown[kind];
  const columns: Column[] = [
    { title: 'id', sticky: true },
    ...fields.map((title) => ({ title: title === 'expiresAtMs' ? 'expires' : title })),
    { title: 'version', align: 'right' },
    { title: 'commit' },
  ];
  const rows = entries.map((entry) => [
    entry.id,
    ...fields.map((name) => cell(name, entry.fields[name], layout)),
    String(entry.version),
    { text: `#${entry.seq} ${time(entry.atMs, layout)} by ${entry.actor}`, style: paint.dim },
  ]);
  return `${paint.bold(kind)}\n${table(columns, rows, layout)}`;
}

type Moment = StateAnswer['at'];

function momentText({ seq, storedAtMs }: Moment, layout: Layout): string {
  if (seq === 0) return 'the beginning (no commit)';
  return storedAtMs === null ? `#${seq}` : `#${seq} (${time(storedAtMs, layout)})`;
}

function changeBlock(change: StateChange, layout: Layout): string {
  const { paint } = layout;
  const { kind, id, fields, commitId, seq } = change;
  const by = seq === undefined ? '' : paint.dim(clean(`  by commit ${commitId ?? ''} (#${seq})`));
  const what = clean(`${kind} ${id}`);
  if (change.change === 'added') return `${paint.green('+')} ${what}${by}`;
  if (change.change === 'removed') return `${paint.red('-')} ${what}`;
  const lines = fields.map(({ field, before, after }) =>
    clean(`    ${field}: ${valueText(before) || '""'} → ${valueText(after) || '""'}`),
  );
  return [`${paint.yellow('~')} ${what}${by}`, ...lines].join('\n');
}

function diffText(answer: StateAnswer, layout: Layout): string {
  const changes = answer.changes ?? [];
  const ends = [answer.at, answer.diffWith ?? answer.at].sort((a, b) => a.seq - b.seq) as [Moment, Moment];
  const title = `From ${momentText(ends[0], layout)} to ${momentText(ends[1], layout)}: ${changes.length === 0 ? 'nothing changed' : plural(changes.length, 'change')}.`;
  return blocks(layout.paint.bold(title), changes.map((change) => changeBlock(change, layout)).join('\n'));
}

export function renderState(answer: StateAnswer, layout: Layout): string {
  if (answer.changes !== undefined) return diffText(answer, layout);
  return blocks(
    layout.paint.bold(`The fleet as the log says at ${momentText(answer.at, layout)}.`),
    ...stateKinds.map((kind) => kindTable(kind, answer.state[kind] ?? [], layout)),
  );
}
