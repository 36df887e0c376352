import type { Database } from './database.ts';
import {
  configurationEntity,
  keyEntity,
  policyEntity,
  policyVersionEntity,
  replicaEntity,
  tenantEntity,
} from './entities.ts';
import { listRowsMax, Reader } from './reader.ts';
import type { ConfigurationRow, KeyRow, PolicyRow, ReplicaRow, TenantRow } from './rows.ts';

const take = listRowsMax;

export class ReplicasReader {
  readonly #replicas: Reader<ReplicaRow>;

  constructor(database: Database) {
    this.#replicas = new Reader(database, replicaEntity);
  }

  /** By id. Removed ones are left out unless asked for. */
  async list(options: { readonly removed?: boolean } = {}): Promise<ReplicaRow[]> {
    const where = options.removed === true ? {} : { removed: false };
    return await this.#replicas.read(async (rows) => await rows.find({ where, order: { replicaId: 'ASC' }, take }));
  }

  async find(replicaId: string): Promise<ReplicaRow | undefined> {
    return await this.#replicas.read(async (rows) => (await rows.findOne({ where: { replicaId } })) ?? undefined);
  }
}

export class PoliciesReader {
  readonly #policies: Reader<PolicyRow>;
  readonly #versions: Reader<PolicyRow>;
  readonly #configurations: Reader<ConfigurationRow>;

  constructor(database: Database) {
    this.#policies = new Reader(database, policyEntity);
    this.#versions = new Reader(database, policyVersionEntity);
    this.#configurations = new Reader(database, configurationEntity);
  }

  /** By id. Retired ones are left out unless asked for. */
  async list(options: { readonly retired?: boolean } = {}): Promise<PolicyRow[]> {
    const where = options.retired === true ? {} : { retired: false };
    return await this.#policies.read(async (rows) => await rows.find({ where, order: { policyId: 'ASC' }, take }));
  }

  async find(policyId: string): Promise<PolicyRow | undefined> {
    return await this.#policies.read(async (rows) => (await rows.findOne({ where: { policyId } })) ?? undefined);
  }

  /** What a request record's policy version refers to: its commit is in the row. */
  async version(policyId: string, version: number): Promise<PolicyRow | undefined> {
    return await this.#versions.read(
      async (rows) => (await rows.findOne({ where: { policyId, version } })) ?? undefined,
    );
  }

  /** Newest first. */
  async versions(policyId: string): Promise<PolicyRow[]> {
    return await this.#versions.read(
      async (rows) => await rows.find({ where: { policyId }, order: { version: 'DESC' }, take }),
    );
  }

  /** Applications of configuration documents, newest first. */
  async configurations(): Promise<ConfigurationRow[]> {
    return await this.#configurations.read(async (rows) => await rows.find({ order: { seq: 'DESC' }, take }));
  }
}

export class TenantsReader {
  readonly #tenants: Reader<TenantRow>;
  readonly #keys: Reader<KeyRow>;

  constructor(database: Database) {
    this.#tenants = new Reader(database, tenantEntity);
    this.#keys = new Reader(database, keyEntity);
  }

  /** By id. Removed ones are left out unless asked for. */
  async list(options: { readonly removed?: boolean } = {}): Promise<TenantRow[]> {
    const where = options.removed === true ? {} : { removed: false };
    return await this.#tenants.read(async (rows) => await rows.find({ where, order: { tenantId: 'ASC' }, take }));
  }

  /** Keys by hash only, revoked ones too. Of all tenants where none is named. */
  async keys(tenantId?: string): Promise<KeyRow[]> {
    const where = tenantId === undefined ? {} : { tenantId };
    return await this.#keys.read(
      async (rows) => await rows.find({ where, order: { tenantId: 'ASC', keyId: 'ASC' }, take }),
    );
  }
}
