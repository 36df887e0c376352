import { fromJson, toJson } from '@bufbuild/protobuf';
import { inScope, tenancy } from '#libs/contracts';
import type { DecodedCommit } from '#libs/event-log';
import type { Budgets } from './budgets.ts';
import { budgetsFromJson, budgetsToJson, evolveBudgets } from './budgets.ts';
import type { PriceBook } from './price-book.ts';
import { emptyPriceBook, evolvePriceBook, priceBookFromJson, priceBookToJson } from './price-book.ts';
import type { AdminKeyEvent, AdminKeyState } from './admin-key.decider.ts';
import { adminKeys, adminKeysFromJson, adminKeysToJson } from './admin-key.decider.ts';
import type { IssuedKey, PreviousHash, TenantEvent, TenantState } from './tenant.decider.ts';
import { tenant } from './tenant.decider.ts';

/** Tenants and their keys by hash, as the fold of `lintel.ev.tenancy.>`. Owned and changed by its fold alone. */
export interface TenancyState {
  readonly tenants: Map<string, TenantState>;
  /** Key hash → keys that have or had it, in the order of their issue: one, unless two tenants were given the same key. */
  readonly keysByHash: Map<string, readonly IssuedKey[]>;
  /** Of tenants that have any. */
  readonly limits: Map<string, TenantLimits>;
  priceBook: PriceBook;
  /** Empty where the fold does not follow them. */
  budgets: Budgets;
  /** Keys of the admin API. */
  admin: AdminKeyState;
}

export interface TenantLimits {
  /** Of the commit that set them: of two, the greater is the newer. */
  readonly seq: number;
  readonly limits: readonly tenancy.Limit[];
}

export const emptyTenancyState = (): TenancyState => ({
  tenants: new Map(),
  keysByHash: new Map(),
  limits: new Map(),
  priceBook: emptyPriceBook,
  budgets: new Map(),
  admin: adminKeys.initial,
});

/** Folds one accepted commit into `state` and returns it. Commits of other contexts change nothing. */
export function evolveTenancy(state: TenancyState, { subject, events, stored }: DecodedCommit): TenancyState {
  if (subject.context !== 'tenancy') return state;
  if (subject.aggregate === 'budget') evolveBudgets(state.budgets, subject.id, events);
  if (subject.aggregate === 'prices') state.priceBook = evolvePriceBook(state.priceBook, events, stored.seq);
  if (subject.aggregate === 'admin') {
    for (const event of events) state.admin = adminKeys.evolve(state.admin, event as unknown as AdminKeyEvent);
    return state;
  }
  if (subject.aggregate !== 'tenant') return state;
  const before = state.tenants.get(subject.id) ?? tenant.initial;
  let after = before;
  for (const event of events) after = tenant.evolve(after, event as unknown as TenantEvent);
  if (after.registration === undefined) state.tenants.delete(subject.id);
  else state.tenants.set(subject.id, after);
  reindex(state, before, after);
  if (after.limits.length === 0) state.limits.delete(subject.id);
  else if (after.limits !== before.limits) state.limits.set(subject.id, { seq: stored.seq, limits: after.limits });
  return state;
}

/** Every hash that is or was one of its own. */
const hashesOf = ({ key, previous = [] }: IssuedKey): string[] => [
  key.keyHash,
  ...previous.map(({ keyHash }) => keyHash),
];

function reindex({ keysByHash }: TenancyState, before: TenantState, after: TenantState): void {
  for (const [keyId, was] of before.keys) {
    const is = after.keys.get(keyId);
    if (is === was) continue;
    const kept = is === undefined ? [] : hashesOf(is);
    for (const hash of hashesOf(was)) {
      const list = keysByHash.get(hash) ?? [];
      const next =
        is === undefined || !kept.includes(hash)
          ? list.filter((key) => key !== was)
          : list.map((key) => (key === was ? is : key));
      if (next.length === 0) keysByHash.delete(hash);
      else keysByHash.set(hash, next);
    }
  }
  for (const [keyId, is] of after.keys) {
    const was = before.keys.get(keyId);
    if (was === is) continue;
    const known = was === undefined ? [] : hashesOf(was);
    for (const hash of hashesOf(is)) {
      if (!known.includes(hash)) keysByHash.set(hash, [...(keysByHash.get(hash) ?? []), is]);
    }
  }
}

/** `rotated`: what it was before a rotation, and its overlap has ended. */
export type KeyStatus = 'good' | 'revoked' | 'expired' | 'rotated';

export interface FoundKey {
  readonly status: KeyStatus;
  readonly key: tenancy.KeyIssued;
}

function statusOf({ key, revoked, previous = [] }: IssuedKey, hash: string, nowMs: number): KeyStatus {
  if (revoked !== undefined) return 'revoked';
  if (key.expiresAtMs !== 0 && nowMs >= key.expiresAtMs) return 'expired';
  if (hash === key.keyHash) return 'good';
  const until = previous.find(({ keyHash }) => keyHash === hash)?.untilMs ?? 0;
  return nowMs < until ? 'good' : 'rotated';
}

/** The key with this hash: a good one where there is one, else why it is not; undefined for a hash never issued. */
export function findKey(state: TenancyState, keyHash: string, nowMs: number): FoundKey | undefined {
  const keys = state.keysByHash.get(keyHash);
  if (keys === undefined) return undefined;
  const found = keys.find((issued) => statusOf(issued, keyHash, nowMs) === 'good') ?? (keys[0] as IssuedKey);
  return { status: statusOf(found, keyHash, nowMs), key: found.key };
}

/** Whether a key may use a model; no list is all. */
export const keyAllows = (key: tenancy.KeyIssued, model: string): boolean =>
  key.models.length === 0 || key.models.includes(model);

/** Whether a key may call an endpoint of the gateway, by its path; no list is all. */
export const keyAllowsEndpoint = (key: tenancy.KeyIssued, path: string): boolean =>
  key.endpoints.length === 0 || inScope(key.endpoints, path);

/** Raised when evolveTenancy folds the same commits into something else: older snapshots are then thrown away. */
export const tenancyFoldVersion = 6;

/** Plain JSON of the state, for snapshots. */
export const tenancyStateToJson = (state: TenancyState): unknown => ({
  admin: adminKeysToJson(state.admin),
  priceBook: priceBookToJson(state.priceBook),
  budgets: budgetsToJson(state.budgets),
  tenants: [...state.tenants].map(([tenantId, { registration, keys, limits, projects, users }]) => ({
    registration: toJson(tenancy.TenantRegisteredSchema, registration as tenancy.TenantRegistered),
    keys: [...keys.values()].map(({ key, revoked, previous = [] }) => ({
      key: toJson(tenancy.KeyIssuedSchema, key),
      revoked,
      previous,
    })),
    limits: limits.map((limit) => toJson(tenancy.LimitSchema, limit)),
    limitsSeq: state.limits.get(tenantId)?.seq ?? 0,
    projects: [...projects.values()].map((project) => toJson(tenancy.ProjectRegisteredSchema, project)),
    users: [...users.values()].map((user) => toJson(tenancy.UserRegisteredSchema, user)),
  })),
});

interface TenantRow {
  registration: never;
  keys: { key: never; revoked?: string; previous: PreviousHash[] }[];
  limits: never[];
  limitsSeq: number;
  projects: never[];
  users: never[];
}

/** @throws where the JSON is not what tenancyStateToJson made: the snapshot is then thrown away */
export function tenancyStateFromJson(json: unknown): TenancyState {
  const state = emptyTenancyState();
  const { admin, priceBook, budgets, tenants } = json as {
    admin: unknown;
    priceBook: unknown;
    budgets: unknown;
    tenants: TenantRow[];
  };
  state.admin = adminKeysFromJson(admin);
  state.priceBook = priceBookFromJson(priceBook);
  state.budgets = budgetsFromJson(budgets);
  for (const row of tenants) {
    const registration = fromJson(tenancy.TenantRegisteredSchema, row.registration);
    const keys = new Map<string, IssuedKey>();
    for (const { key, revoked, previous } of row.keys) {
      const issued = fromJson(tenancy.KeyIssuedSchema, key);
      keys.set(issued.keyId, { key: issued, revoked, previous });
    }
    const limits = row.limits.map((limit) => fromJson(tenancy.LimitSchema, limit));
    const projects = row.projects.map((project) => fromJson(tenancy.ProjectRegisteredSchema, project));
    const users = row.users.map((user) => fromJson(tenancy.UserRegisteredSchema, user));
    const folded: TenantState = {
      registration,
      keys,
      limits,
      projects: new Map(projects.map((project) => [project.projectId, project])),
      users: new Map(users.map((user) => [user.userId, user])),
    };
    state.tenants.set(registration.tenantId, folded);
    if (limits.length > 0) state.limits.set(registration.tenantId, { seq: row.limitsSeq, limits });
    reindex(state, tenant.initial, folded);
  }
  return state;
}
