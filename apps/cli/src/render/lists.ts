import type { Cell, Column } from './table.ts';
import { table } from './table.ts';
import type { Layout } from './text.ts';
import { clean, plural } from './text.ts';
import { nanoText } from './money.ts';
import { age, columnValue, count, duration, time, unknown } from './units.ts';
import { valueText } from './state.ts';

export const listNames = [
  'replicas',
  'policies',
  'tenants',
  'requests',
  'projections',
  'dead-letters',
  'prices',
  'budgets',
] as const;
export type ListName = (typeof listNames)[number];

export type Item = Readonly<Record<string, unknown>>;

/** A value by its name: of the item itself, or of what it is nested in. Undefined where nothing is said of it. */
function of(item: Item, ...names: readonly string[]): unknown {
  for (const name of names) {
    for (const place of [item, item['fields'], item['registration'], item['live']] as (Item | undefined | null)[]) {
      const value = place?.[name];
      if (value !== undefined) return value;
    }
  }
  return undefined;
}

const text = (item: Item, ...names: readonly string[]): string => {
  const value = of(item, ...names);
  return value === undefined || value === null ? unknown : valueText(value);
};
const number = (item: Item, ...names: readonly string[]): number | null => {
  const value = of(item, ...names);
  return typeof value === 'number' ? value : null;
};
/** A null that says that there was none; where nothing is said of it, it is unknown. */
const none = (item: Item, name: string): string => (item[name] === null ? '–' : text(item, name));
const optional = (item: Item, ...names: readonly string[]): string => {
  const value = of(item, ...names);
  return value === undefined || value === null ? '' : valueText(value);
};

/** What an operator does about a replica depends on this one word, and what is unknown is not healthy. */
function replicaState(item: Item, { paint }: Layout): Cell {
  if (of(item, 'ejected') === true) return { text: 'ejected', style: paint.red };
  if (of(item, 'draining') === true) return { text: 'draining', style: paint.yellow };
  const circuit = of(item, 'circuit');
  if (circuit === 'open' || circuit === 'half-open') return { text: `circuit ${circuit}`, style: paint.red };
  const healthy = of(item, 'healthy');
  if (healthy === true) return { text: 'healthy', style: paint.green };
  if (healthy === false) return { text: 'unhealthy', style: paint.red };
  return { text: unknown, style: paint.yellow };
}

function loadOf(item: Item, column: string): string {
  const values = of(item, 'values') as Item | undefined;
  const value = values?.[column];
  return columnValue(column, typeof value === 'number' && Number.isFinite(value) ? value : null);
}

/** What nobody served cost nothing; what was served without a price, or without its tokens being counted, nobody knows. */
function costCell(item: Item, { paint }: Layout): Cell {
  const nano = number(item, 'costNano');
  if (nano !== null) return `${nanoText(nano)} ${text(item, 'currency')}`;
  return of(item, 'cost') === 'nothing' ? '–' : { text: unknown, style: paint.yellow };
}

interface List {
  readonly columns: readonly Column[];
  row(item: Item, layout: Layout): Cell[];
}

const left = (title: string, sticky = false): Column => ({ title, sticky });
const right = (title: string): Column => ({ title, align: 'right' });

const lists: Readonly<Record<ListName, List>> = {
  replicas: {
    columns: [
      left('replica', true),
      left('state'),
      right('checked'),
      right('inflight'),
      right('waiting'),
      right('running'),
      right('KV use'),
      { ...right('age'), joined: true },
      left('engine'),
      left('models'),
      left('url'),
      left('note'),
    ],
    row: (item, layout) => [
      text(item, 'replicaId', 'id'),
      replicaState(item, layout),
      age(number(item, 'healthAgeMs')),
      loadOf(item, 'inflight'),
      loadOf(item, 'waiting'),
      loadOf(item, 'running'),
      loadOf(item, 'kvUse'),
      age(number(item, 'valuesAgeMs')),
      text(item, 'engine')
        .toLowerCase()
        .replace(/^engine_kind_/, ''),
      (of(item, 'servedModels') as string[] | undefined)?.length ? text(item, 'servedModels') : text(item, 'models'),
      text(item, 'url'),
      [optional(item, 'drainReason'), optional(item, 'ejectReason'), optional(item, 'lastError')]
        .filter((one) => one !== '')
        .join('; '),
    ],
  },
  policies: {
    columns: [
      left('policy', true),
      right('version'),
      left('models'),
      left('locked'),
      left('profile'),
      left('strategies'),
      left('from'),
      left('commit'),
    ],
    row: (item, layout) => {
      const profiles = (of(item, 'profiles') ?? (of(item, 'policy') as Item | undefined)?.['profiles'] ?? []) as Item[];
      return [
        text(item, 'policyId', 'id'),
        count(number(item, 'version')),
        text(item, 'models'),
        optional(item, 'lockedStrategy'),
        optional(item, 'defaultProfile'),
        profiles.map((one) => `${String(one['name'] ?? '')}: ${String(one['strategy'] ?? '')}`).join('; '),
        optional(item, 'source'),
        commitCell(item, layout),
      ];
    },
  },
  tenants: {
    columns: [left('tenant', true), left('name'), left('keys'), left('limits'), left('from'), left('commit')],
    row: (item, layout) => [
      text(item, 'tenantId', 'id'),
      optional(item, 'displayName'),
      keysText(of(item, 'keys')),
      limitsText(of(item, 'limits')),
      optional(item, 'source'),
      commitCell(item, layout),
    ],
  },
  requests: {
    columns: [
      left('request', true),
      left('received'),
      left('model'),
      left('replica'),
      left('outcome'),
      right('HTTP'),
      right('tries'),
      right('first byte'),
      right('total'),
      right('prompt'),
      right('cached'),
      right('completion'),
      right('cost'),
      left('tenant'),
      left('strategy'),
    ],
    row: (item, layout) => {
      const outcome = text(item, 'outcome');
      const style = outcome === 'completed' ? layout.paint.green : layout.paint.red;
      return [
        text(item, 'requestId', 'id'),
        time(number(item, 'receivedAtMs'), layout),
        text(item, 'model'),
        none(item, 'replicaId'),
        { text: outcome, style },
        count(number(item, 'httpStatus')),
        count(number(item, 'attempts')),
        duration(number(item, 'ttftMs', 'firstByteMs')),
        duration(number(item, 'totalMs')),
        count(number(item, 'promptTokens')),
        count(number(item, 'cachedTokens')),
        count(number(item, 'completionTokens')),
        costCell(item, layout),
        optional(item, 'tenantId'),
        none(item, 'strategy'),
      ];
    },
  },
  projections: {
    columns: [
      left('projection', true),
      left('state'),
      right('at'),
      right('head'),
      right('lag'),
      right('items'),
      right('generation'),
      left('phase'),
      left('halted because'),
    ],
    row: (item, { paint }) => {
      const state = text(item, 'state');
      const bad = of(item, 'stale') === true || optional(item, 'haltedReason') !== '';
      return [
        text(item, 'id', 'name'),
        {
          text: of(item, 'stale') === true && state !== 'stale' ? `${state}, stale` : state,
          style: bad ? paint.red : paint.green,
        },
        count(number(item, 'seq')),
        count(number(item, 'headSeq')),
        count(number(item, 'lag')),
        count(number(item, 'items')),
        count(number(item, 'generation')),
        text(item, 'phase'),
        optional(item, 'haltedReason'),
      ];
    },
  },
  budgets: {
    columns: [
      left('budget', true),
      left('tenant'),
      left('of'),
      left('window'),
      right('spent'),
      right('budget'),
      right('used'),
      left('reached'),
      left('alerts'),
      left('beyond'),
      left('ends'),
    ],
    row: (item, layout) => {
      const [spent, amount] = [number(item, 'spentNano'), number(item, 'amountNano')];
      const share = spent === null || amount === null || amount === 0 ? null : Math.floor((spent / amount) * 100);
      const reached = (item['reachedPercents'] as number[] | undefined) ?? [];
      const style = reached.some((percent) => percent >= 100)
        ? layout.paint.red
        : reached.length > 0
          ? layout.paint.yellow
          : layout.paint.green;
      const apart = ['projectId', 'keyId', 'endUser', 'model'].map((name) => optional(item, name));
      return [
        text(item, 'limitId'),
        text(item, 'tenantId'),
        apart.filter((one) => one !== '').join(' · '),
        `${text(item, 'window')}${item['isCurrent'] === true ? '' : ' (over)'}`,
        `${nanoText(spent)} ${optional(item, 'currency')}`,
        nanoText(amount),
        { text: share === null ? unknown : `${share}%`, style },
        { text: percents(reached), style },
        percents((item['alertPercents'] as number[] | undefined) ?? []),
        item['hard'] === true ? 'refused' : 'told',
        time(number(item, 'windowEndMs'), layout),
      ];
    },
  },
  prices: {
    columns: [
      left('model', true),
      right('input'),
      right('cached input'),
      right('output'),
      right('request'),
      left('currency'),
      left('from'),
      left('state'),
      left('version'),
    ],
    row: (item, layout) => [
      text(item, 'model'),
      // Per million tokens, as prices are told.
      ...['inputNano', 'cachedInputNano', 'outputNano'].map((name) => perMillion(number(item, name))),
      nanoText(number(item, 'requestNano')),
      text(item, 'currency'),
      of(item, 'effectiveFromMs') === 0 ? 'always' : time(number(item, 'effectiveFromMs'), layout),
      text(item, 'state'),
      { text: `#${text(item, 'seq')} ${optional(item, 'source')}`, style: layout.paint.dim },
    ],
  },
  'dead-letters': {
    columns: [
      right('letter'),
      left('consumer'),
      left('subject'),
      right('sequence'),
      right('tries'),
      left('parked'),
      left('error'),
    ],
    row: (item, layout) => [
      text(item, 'id'),
      text(item, 'consumer'),
      text(item, 'subject'),
      `#${text(item, 'seq')}`,
      count(number(item, 'deliveries')),
      time(number(item, 'atMs'), layout),
      { text: `${text(item, 'errorCode')}: ${text(item, 'errorMessage')}`, style: layout.paint.red },
    ],
  },
};

const percents = (list: readonly number[]): string =>
  list.length === 0 ? '–' : list.map((percent) => `${percent}%`).join(' ');

const perMillion = (nano: number | null): string => (nano === null ? unknown : `${nanoText(nano * 1e6)}/M`);

function commitCell(item: Item, layout: Layout): Cell {
  const seq = number(item, 'seq');
  const actor = optional(item, 'actor');
  const at = number(item, 'atMs');
  const when = at === null ? '' : ` ${time(at, layout)}`;
  return {
    text: seq === null ? unknown : `#${seq}${when}${actor === '' ? '' : ` by ${actor}`}`,
    style: layout.paint.dim,
  };
}

function keysText(keys: unknown): string {
  if (!Array.isArray(keys)) return typeof keys === 'number' ? count(keys) : unknown;
  if (keys.length === 0) return 'none';
  return (keys as Item[])
    .map((key) => `${String(key['keyId'] ?? key['id'] ?? unknown)}${of(key, 'revoked') === true ? ' (revoked)' : ''}`)
    .join(', ');
}

function limitsText(limits: unknown): string {
  if (!Array.isArray(limits)) return unknown;
  if (limits.length === 0) return 'none';
  return (limits as Item[]).map((limit) => `${String(limit['limitId'])}: ${String(limit['amount'])}`).join(', ');
}

const names: Readonly<Record<ListName, string>> = {
  replicas: 'replica',
  policies: 'policy',
  tenants: 'tenant',
  requests: 'request',
  projections: 'projection',
  'dead-letters': 'dead letter',
  prices: 'price',
  budgets: 'budget',
};

/** What names of models lead to stands beside the policies. */
function modelRouteTable(routes: readonly Item[], layout: Layout): string {
  const columns = ['route', 'version', 'names', 'tenants', 'lead to', 'fallbacks', 'from', 'commit'];
  const rows = routes.map((item) => [
    text(item, 'routeId', 'id'),
    count(number(item, 'version')),
    text(item, 'models'),
    optional(item, 'tenants'),
    optional(item, 'shares'),
    optional(item, 'fallbacks'),
    optional(item, 'source'),
    commitCell(item, layout),
  ]);
  return `${table(
    columns.map((title, index) => left(title, index === 0)),
    rows,
    layout,
  )}\n${layout.paint.dim(plural(routes.length, 'model route'))}`;
}

export function renderList(
  name: ListName,
  answer: {
    readonly items: readonly Item[];
    readonly atSeq?: number;
    readonly note?: string;
    readonly modelRoutes?: readonly Item[];
  },
  layout: Layout,
): string {
  const { items, atSeq, note, modelRoutes = [] } = answer;
  const many = name === 'dead-letters' ? 'dead letters' : name;
  const noteLine = note === undefined || note === '' ? '' : `\n${layout.paint.yellow(clean(note))}`;
  const routes = modelRoutes.length === 0 ? '' : `\n\n${modelRouteTable(modelRoutes, layout)}`;
  if (items.length === 0) return `No ${many}.${routes}${noteLine}`;
  const { columns, row } = lists[name];
  const seen = atSeq === undefined ? '' : ` as of #${atSeq}`;
  return `${table(
    columns,
    items.map((item) => row(item, layout)),
    layout,
  )}\n${layout.paint.dim(`${plural(items.length, names[name], many)}${seen}`)}${routes}${noteLine}`;
}
