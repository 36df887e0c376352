import type { KeyDetail, ListAnswer, TenantDetail } from '#libs/domain/diag';
import type { Item } from './lists.ts';
import type { Cell, Column } from './table.ts';
import { table } from './table.ts';
import type { Layout } from './text.ts';
import { blocks, clean, plural } from './text.ts';
import { time, unknown } from './units.ts';

export type PeopleList = 'projects' | 'users' | 'keys' | 'admin-keys';

const word = (value: unknown): string => (typeof value === 'string' ? clean(value) : unknown);
const all = (value: unknown): string =>
  Array.isArray(value) ? (value.length === 0 ? 'all' : clean(value.join(', '))) : unknown;
const when = (value: unknown, layout: Layout): string =>
  value === null ? 'never' : typeof value === 'number' ? time(value, layout) : unknown;

function standing({ revoked, revokeReason }: Item, { paint }: Layout): Cell {
  if (revoked === true) {
    const why = typeof revokeReason === 'string' && revokeReason !== '' ? `: ${clean(revokeReason)}` : '';
    return { text: `revoked${why}`, style: paint.red };
  }
  return revoked === false ? { text: 'good', style: paint.green } : { text: unknown, style: paint.yellow };
}

interface Shape {
  readonly one: string;
  readonly many: string;
  readonly columns: readonly string[];
  row(item: Item, layout: Layout): (string | Cell)[];
}

const shapes: Readonly<Record<PeopleList, Shape>> = {
  projects: {
    one: 'project',
    many: 'projects',
    columns: ['project', 'name', 'made by'],
    row: (item) => [word(item['projectId']), word(item['displayName']), word(item['source'])],
  },
  users: {
    one: 'user',
    many: 'users',
    columns: ['user', 'name', 'project', 'made by'],
    row: (item) => [
      word(item['userId']),
      word(item['displayName']),
      word(item['projectId']) || 'any',
      word(item['source']),
    ],
  },
  keys: {
    one: 'key',
    many: 'keys',
    columns: ['key', 'state', 'project', 'user', 'models', 'endpoints', 'priority', 'expires', 'overlaps', 'made by'],
    row: (item, layout) => [
      word(item['keyId']),
      standing(item, layout),
      word(item['projectId']),
      word(item['userId']),
      all(item['models']),
      all(item['endpoints']),
      item['priority'] === null ? '–' : String(item['priority'] ?? unknown),
      when(item['expiresAtMs'], layout),
      String(item['overlaps'] ?? unknown),
      word(item['source']),
    ],
  },
  'admin-keys': {
    one: 'admin key',
    many: 'admin keys',
    columns: ['key', 'name', 'state', 'expires'],
    row: (item, layout) => [
      word(item['keyId']),
      word(item['displayName']),
      standing(item, layout),
      when(item['expiresAtMs'], layout),
    ],
  },
};

function rowsOf(what: PeopleList, items: readonly Item[], layout: Layout): string {
  const { columns, row } = shapes[what];
  const heads: Column[] = columns.map((title, index) => (index === 0 ? { title, sticky: true } : { title }));
  return table(
    heads,
    items.map((item) => row(item, layout)),
    layout,
  );
}

export function renderPeople(
  what: PeopleList,
  { items, atSeq }: Pick<ListAnswer<Item>, 'items' | 'atSeq'>,
  layout: Layout,
): string {
  const { one, many } = shapes[what];
  if (items.length === 0) return `No ${many}.`;
  return `${rowsOf(what, items, layout)}\n${layout.paint.dim(`${plural(items.length, one, many)} as of #${atSeq}`)}`;
}

export function renderTenant(tenant: TenantDetail, layout: Layout): string {
  const { paint } = layout;
  const part = (what: PeopleList, items: readonly unknown[]): string =>
    `${paint.bold(shapes[what].many)}\n${items.length === 0 ? '  none' : rowsOf(what, items as Item[], layout)}`;
  const keys: readonly KeyDetail[] = tenant.keys;
  return blocks(
    paint.bold(clean(`tenant ${tenant.tenantId}  ${tenant.displayName}`)) +
      paint.dim(clean(`  made by ${tenant.source}`)),
    part('projects', tenant.projects),
    part('users', tenant.users),
    part('keys', keys),
  );
}
