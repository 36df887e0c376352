import type { Cell, Column } from './table.ts';
import { table } from './table.ts';
import type { Layout } from './text.ts';
import { plural } from './text.ts';
import { count, duration, unknown } from './units.ts';

export interface KvReplicas {
  readonly blocks: number;
  readonly holdings: number;
  readonly bytes: number;
  readonly replicas: readonly {
    readonly replica: string;
    readonly exact: boolean;
    readonly ageMs: number | null;
    readonly blockTokens: number;
    readonly blocks: number;
    readonly deviceBlocks: number;
    readonly hostBlocks: number;
    readonly storageBlocks: number;
    readonly onlyThere: number;
    readonly follower: string;
  }[];
}

export interface KvTop {
  readonly seen: number;
  readonly blocks: readonly { readonly hash: string; readonly replicas: readonly string[] }[];
}

export interface KvBlock {
  readonly hash: string;
  readonly places: readonly { readonly replica: string; readonly rank: number; readonly medium: string }[];
}

const right = (title: string): Column => ({ title, align: 'right' });

export function renderReplicas({ blocks, bytes, replicas }: KvReplicas, layout: Layout): string {
  if (replicas.length === 0) return 'No replica says what it holds: kvEvents: {} in lintel.yaml has vLLM followed.';
  const columns: Column[] = [
    { title: 'replica', sticky: true },
    { title: 'known' },
    ...['age', 'block', 'blocks', 'device', 'host', 'storage', 'only there'].map(right),
    { title: 'follower' },
  ];
  const rows = replicas.map((one): Cell[] => [
    one.replica,
    one.exact ? 'exactly' : { text: 'in part', style: layout.paint.yellow },
    one.ageMs === null ? unknown : duration(one.ageMs),
    one.blockTokens === 0 ? unknown : count(one.blockTokens),
    count(one.blocks),
    count(one.deviceBlocks),
    count(one.hostBlocks),
    count(one.storageBlocks),
    count(one.onlyThere),
    one.follower === '' ? 'nobody' : one.follower,
  ]);
  const line = `${plural(blocks, 'distinct block')}, ${count(Math.round(bytes / 1e6))} MB of index`;
  return `${table(columns, rows, layout)}\n${layout.paint.dim(line)}`;
}

export function renderTop({ seen, blocks }: KvTop, layout: Layout): string {
  if (blocks.length === 0) return 'No block is held anywhere, as far as is known.';
  const columns: Column[] = [{ title: 'block', sticky: true }, right('replicas'), { title: 'held by' }];
  const rows = blocks.map(({ hash, replicas }): Cell[] => [hash, count(replicas.length), replicas.join(' ')]);
  return `${table(columns, rows, layout)}\n${layout.paint.dim(`${blocks.length} of ${plural(seen, 'distinct block')}`)}`;
}

export function renderBlock({ hash, places }: KvBlock, layout: Layout): string {
  if (places.length === 0) return `Nobody holds ${hash}, as far as is known.`;
  const columns: Column[] = [{ title: 'replica', sticky: true }, right('rank'), { title: 'medium' }];
  return table(
    columns,
    places.map(({ replica, rank, medium }): Cell[] => [replica, count(rank), medium]),
    layout,
  );
}
