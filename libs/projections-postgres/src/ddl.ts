import { createHash } from 'node:crypto';
import type { Projection, Table } from '#libs/projections';
import { pgTypes } from './binary-values.ts';

export const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;

export const dayMs = 86_400_000;

/** "proj_requests_v2_g2" */
export function schemaName(name: string, version: number, generation: number): string {
  return `proj_${name.replaceAll('-', '_')}_v${version}_g${generation}`;
}

/** Tells whether tables were made from this definition. */
export function shapeOf(projection: Projection): string {
  const shape = projection.tables.map((table) => {
    const { name, columns, key, indexes = [], partitionByDay = null, view = null, state = false } = table;
    return { name, columns, key, indexes, partitionByDay, view, state };
  });
  return createHash('sha256').update(JSON.stringify(shape)).digest('hex').slice(0, 16);
}

function indexOn(index: readonly string[]): string {
  const [only = ''] = index;
  return only.endsWith(' hash') ? `using hash (${quote(only.slice(0, -5))})` : `(${index.map(indexColumn).join(', ')})`;
}

function indexColumn(column: string): string {
  return column.endsWith(' desc') ? `${quote(column.slice(0, -5))} desc` : quote(column);
}

/** Statements that make a table, empty and without indexes but its key's: see `indexStatements`. */
export function tableStatements(schema: string, table: Table): string[] {
  const place = `${quote(schema)}.${quote(table.name)}`;
  const columns = Object.entries(table.columns).map(
    ([name, kind]) => `${quote(name)} ${pgTypes[kind].sql}${table.key.includes(name) ? ' not null' : ''}`,
  );
  const key = table.key.map(quote).join(', ');
  const partition = table.partitionByDay === undefined ? '' : ` partition by range (${quote(table.partitionByDay)})`;
  return [`create table ${place} (${columns.join(', ')}, primary key (${key}))${partition}`];
}

/** Statements that make a table's indexes where they are not there yet. */
export function indexStatements(schema: string, table: Table): string[] {
  const place = `${quote(schema)}.${quote(table.name)}`;
  return (table.indexes ?? []).map(
    (index, number) => `create index if not exists ${quote(`${table.name}_${number}`)} on ${place} ${indexOn(index)}`,
  );
}

/** Statements that make the readers' views select from this build. A view of an older version may have other columns, so it is replaced. */
export function viewStatements(schema: string, projection: Projection): string[] {
  return projection.tables.flatMap((table) =>
    table.view === undefined
      ? []
      : [
          `drop view if exists lintel.${quote(table.view)}`,
          `create view lintel.${quote(table.view)} as select * from ${quote(schema)}.${quote(table.name)}`,
        ],
  );
}

/** "request_20261124" for the UTC day that holds the time. */
export function partitionName(table: Table, atMs: number): string {
  return `${table.name}_${new Date(atMs).toISOString().slice(0, 10).replaceAll('-', '')}`;
}

export function partitionStatement(schema: string, table: Table, dayStartMs: number): string {
  const from = new Date(dayStartMs).toISOString();
  const to = new Date(dayStartMs + dayMs).toISOString();
  const partition = `${quote(schema)}.${quote(partitionName(table, dayStartMs))}`;
  return `create table if not exists ${partition} partition of ${quote(schema)}.${quote(table.name)} for values from ('${from}') to ('${to}')`;
}
