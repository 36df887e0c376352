import type { MessageInitShape } from '@bufbuild/protobuf';
import type { tenancy } from '#libs/contracts';
import type { TenancyState } from './state.ts';
import type { LimitInit, TenantCommand, TenantState } from './tenant.decider.ts';
import { tenant } from './tenant.decider.ts';

export interface DesiredKey extends Omit<MessageInitShape<typeof tenancy.KeyIssuedSchema>, 'tenantId' | '$typeName'> {
  /** Where its hash is another one than before: how long the one before works. */
  readonly previousUntilMs?: number | undefined;
}

export interface DesiredTenant {
  readonly tenantId: string;
  readonly displayName: string;
  /** Not given is no. */
  readonly cacheSalt?: boolean | undefined;
  readonly warm?: boolean | undefined;
  readonly projects?: readonly { readonly projectId: string; readonly displayName: string }[] | undefined;
  readonly users?:
    | readonly { readonly userId: string; readonly projectId: string; readonly displayName: string }[]
    | undefined;
  readonly keys: readonly DesiredKey[];
  /** None where it is not given. */
  readonly limits?: readonly LimitInit[] | undefined;
}

/** One command for one tenant, with a line that tells a person what it changes. */
export interface PlannedTenancy {
  readonly aggregate: 'tenant';
  readonly id: string;
  readonly command: TenantCommand;
  readonly change: string;
}

export interface PlanOptions {
  readonly source: string;
  /** Stands in rotations. */
  readonly nowMs: number;
  /** Whether a tenant of this source goes when the document lacks it. */
  readonly owns?: (source: string) => boolean;
}

const notNamed = 'configuration: not named any more';

/** Made by hand, one by one: no document takes it away. */
export const byApi = (source: string | undefined): boolean => source === 'api' || source === 'aibrix';

/**
 * The commands that turn `state` into what a document asks for, in order. A document takes away only what a document brought; what the
 * API made stays, and stays the API's though a document names it. A key that someone revoked stays revoked although the document still
 * names it; one that only an earlier document left out comes back. A key that was rotated since stays so.
 * @throws the refusal of the first command that the decider refuses, so nothing is applied in part
 */
export function planTenants(
  desired: readonly DesiredTenant[],
  state: TenancyState,
  options: PlanOptions,
): PlannedTenancy[] {
  const owns = options.owns ?? ((source) => source !== 'apply' && !byApi(source));
  const wanted = new Set(desired.map(({ tenantId }) => tenantId));
  const plan = desired.flatMap((one) => {
    const planner = new TenantPlanner(one.tenantId, state.tenants.get(one.tenantId) ?? tenant.initial);
    planner.bring(one, options);
    return planner.plan;
  });
  for (const [id, before] of state.tenants) {
    if (wanted.has(id) || !owns(before.registration?.source ?? '')) continue;
    const planner = new TenantPlanner(id, before);
    planner.takeAway();
    plan.push(...planner.plan);
  }
  return plan;
}

class TenantPlanner {
  readonly plan: PlannedTenancy[] = [];
  readonly #id: string;
  readonly #before: TenantState;
  #state: TenantState;

  constructor(id: string, before: TenantState) {
    this.#id = id;
    this.#before = before;
    this.#state = before;
  }

  bring(desired: DesiredTenant, { source, nowMs }: PlanOptions): void {
    const before = this.#before;
    const { tenantId, displayName, projects = [], users = [], keys, limits = [] } = desired;
    const { cacheSalt = false, warm = false } = desired;
    const keeps = (was: string | undefined): string => (byApi(was) ? (was as string) : source);
    const sign = (known: boolean): string => (known ? '~' : '+');
    this.#propose(
      { type: 'RegisterTenant', tenantId, displayName, source: keeps(before.registration?.source), cacheSalt, warm },
      `${sign(before.registration !== undefined)} tenant ${tenantId}`,
    );
    for (const project of projects) {
      const was = before.projects.get(project.projectId);
      this.#propose(
        { type: 'RegisterProject', tenantId, ...project, source: keeps(was?.source) },
        `${sign(was !== undefined)} project ${project.projectId} of tenant ${tenantId}`,
      );
    }
    for (const user of users) {
      const was = before.users.get(user.userId);
      this.#propose(
        { type: 'RegisterUser', tenantId, ...user, source: keeps(was?.source) },
        `${sign(was !== undefined)} user ${user.userId} of tenant ${tenantId}`,
      );
    }
    for (const key of keys) this.#bringKey(key, keeps(before.keys.get(key.keyId ?? '')?.key.source), nowMs);
    this.#takeAwayBut(
      new Set(keys.map(({ keyId = '' }) => keyId)),
      new Set(users.map(({ userId }) => userId)),
      new Set(projects.map(({ projectId }) => projectId)),
    );
    // Limits have no source of their own: those of a tenant that the API made are the API's.
    if (limits.length === 0 && byApi(before.registration?.source)) return;
    const limitsSign = before.limits.length === 0 ? '+' : limits.length === 0 ? '-' : '~';
    this.#propose({ type: 'SetLimits', tenantId, limits }, `${limitsSign} limits of tenant ${tenantId}`);
  }

  #bringKey({ previousUntilMs = 0, ...key }: DesiredKey, source: string, nowMs: number): void {
    const tenantId = this.#id;
    const { keyId = '', keyHash = '' } = key;
    const was = this.#before.keys.get(keyId);
    if (was?.revoked !== undefined && was.revoked !== notNamed) return;
    const current = was?.key.keyHash ?? keyHash;
    const formerly = was?.previous?.some((one) => one.keyHash === keyHash) === true;
    const rotates = was !== undefined && was.revoked === undefined && keyHash !== current && !formerly;
    if (rotates) {
      const rotation = { type: 'RotateKey', tenantId, keyId, keyHash, previousUntilMs, atMs: nowMs } as const;
      this.#propose(rotation, `~ key ${keyId} of tenant ${tenantId} rotated`);
    }
    this.#propose(
      { type: 'IssueKey', tenantId, ...key, keyHash: formerly ? current : keyHash, source },
      `${was === undefined ? '+' : '~'} key ${keyId} of tenant ${tenantId}`,
    );
  }

  /** The tenant, or where the API made something in it all but that. */
  takeAway(): void {
    const { registration, keys, users, projects } = this.#before;
    const tenantId = this.#id;
    const kept =
      [...keys.values()].some(({ key, revoked }) => revoked === undefined && byApi(key.source)) ||
      [...users.values(), ...projects.values()].some(({ source }) => byApi(source));
    if (!kept) {
      this.#propose({ type: 'RemoveTenant', tenantId, reason: notNamed }, `- tenant ${tenantId}`);
      return;
    }
    this.#takeAwayBut(new Set(), new Set(), new Set());
    this.#propose(
      { type: 'RegisterTenant', tenantId, displayName: registration?.displayName ?? '', source: 'api' },
      `~ tenant ${tenantId} stays, for what the API made in it`,
    );
  }

  #takeAwayBut(keys: ReadonlySet<string>, users: ReadonlySet<string>, projects: ReadonlySet<string>): void {
    const tenantId = this.#id;
    const before = this.#before;
    for (const [keyId, { key }] of before.keys) {
      if (keys.has(keyId) || byApi(key.source)) continue;
      this.#propose({ type: 'RevokeKey', tenantId, keyId, reason: notNamed }, `- key ${keyId} of tenant ${tenantId}`);
    }
    for (const [userId, { source }] of before.users) {
      if (users.has(userId) || byApi(source) || this.#holds((key) => key.userId === userId)) continue;
      this.#propose(
        { type: 'RemoveUser', tenantId, userId, reason: notNamed },
        `- user ${userId} of tenant ${tenantId}`,
      );
    }
    for (const [projectId, { source }] of before.projects) {
      if (projects.has(projectId) || byApi(source)) continue;
      const users = [...this.#state.users.values()];
      if (this.#holds((key) => key.projectId === projectId) || users.some((user) => user.projectId === projectId))
        continue;
      this.#propose(
        { type: 'RemoveProject', tenantId, projectId, reason: notNamed },
        `- project ${projectId} of tenant ${tenantId}`,
      );
    }
  }

  /** A good key of the API's would go with it. */
  #holds(which: (key: tenancy.KeyIssued) => boolean): boolean {
    return [...this.#state.keys.values()].some(
      ({ key, revoked }) => revoked === undefined && byApi(key.source) && which(key),
    );
  }

  #propose(command: TenantCommand, change: string): void {
    const events = tenant.decide(this.#state, command);
    for (const event of events) this.#state = tenant.evolve(this.#state, event);
    if (events.length > 0) this.plan.push({ aggregate: 'tenant', id: this.#id, command, change });
  }
}
