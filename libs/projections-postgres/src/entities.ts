import type { ColumnKind, Table } from '#libs/projections';
import {
  commitTable,
  configurationTable,
  gapTable,
  keyTable,
  policyTable,
  policyVersionTable,
  replicaTable,
  requestTable,
  tenantTable,
} from '#libs/projections';
import type { EntitySchemaColumnOptions } from 'typeorm';
import { EntitySchema } from 'typeorm';
import { pgTypes } from './binary-values.ts';
import type {
  CommitRow,
  ConfigurationRow,
  GapRow,
  KeyRow,
  PolicyRow,
  ProjectionRow,
  ReplicaRow,
  RequestRow,
  TenantRow,
} from './rows.ts';

/** "receivedAtMs" for the time column "received_at". */
export function propertyName(column: string, kind: ColumnKind): string {
  const camel = column.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  return kind === 'time' ? `${camel}Ms` : camel;
}

const toNumber = {
  to: (value: unknown) => value,
  from: (value: string | null) => (value === null ? null : Number(value)),
};
const toMs = {
  to: (value: unknown) => (typeof value === 'number' ? new Date(value) : value),
  from: (value: Date | null) => (value === null ? null : value.getTime()),
};

function column(name: string, kind: ColumnKind, primary: boolean): EntitySchemaColumnOptions {
  const type = pgTypes[kind].sql as 'text';
  const transformer = kind === 'int' ? toNumber : kind === 'time' ? toMs : undefined;
  return { name, type, primary, nullable: !primary, ...(transformer === undefined ? {} : { transformer }) };
}

/** Read side of a table: its view, with one property per column. */
function entity<Row extends object>(name: string, table: Table): EntitySchema<Row> {
  const columns = Object.entries(table.columns).map(([of, kind]) => [
    propertyName(of, kind),
    column(of, kind, table.key.includes(of)),
  ]);
  return new EntitySchema<Row>({
    name,
    schema: 'lintel',
    tableName: table.view as string,
    synchronize: false,
    columns: Object.fromEntries(columns) as never,
  });
}

export const requestEntity = entity<RequestRow>('request', requestTable);
export const gapEntity = entity<GapRow>('request_gap', gapTable);
export const commitEntity = entity<CommitRow>('commit', commitTable);
export const replicaEntity = entity<ReplicaRow>('replica', replicaTable);
export const policyEntity = entity<PolicyRow>('policy', policyTable);
export const policyVersionEntity = entity<PolicyRow>('policy_version', policyVersionTable);
export const tenantEntity = entity<TenantRow>('tenant', tenantTable);
export const keyEntity = entity<KeyRow>('api_key', keyTable);
export const configurationEntity = entity<ConfigurationRow>('configuration', configurationTable);

export const projectionEntity = new EntitySchema<ProjectionRow>({
  name: 'projection',
  schema: 'lintel',
  tableName: 'projection',
  synchronize: false,
  columns: {
    name: column('name', 'text', true),
    version: column('version', 'int', true),
    generation: column('generation', 'int', true),
    schemaName: column('schema_name', 'text', false),
    phase: column('phase', 'text', false),
    seq: column('seq', 'int', false),
    headSeq: column('head_seq', 'int', false),
    items: column('items', 'int', false),
    counts: column('counts', 'json', false),
    haltedSeq: column('halted_seq', 'int', false),
    haltedCode: column('halted_code', 'text', false),
    haltedReason: column('halted_reason', 'text', false),
    movedAtMs: column('moved_at', 'time', false),
    reportedAtMs: column('reported_at', 'time', false),
  } as never,
});

export const entities = [
  requestEntity,
  gapEntity,
  commitEntity,
  replicaEntity,
  policyEntity,
  policyVersionEntity,
  tenantEntity,
  keyEntity,
  configurationEntity,
  projectionEntity,
];
