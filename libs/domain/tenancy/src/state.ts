import { fromJson, toJson } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { DecodedCommit } from '#libs/event-log';
import type { PriceBook } from './price-book.ts';
import { emptyPriceBook, evolvePriceBook, priceBookFromJson, priceBookToJson } from './price-book.ts';
import type { IssuedKey, TenantEvent, TenantState } from './tenant.decider.ts';
import { tenant } from './tenant.decider.ts';

/** Tenants and their keys by hash, as the fold of `lintel.ev.tenancy.>`. Owned and changed by its fold alone. */
export interface TenancyState {
  readonly tenants: Map<string, TenantState>;
  /** Key hash → keys with that hash, in the order of their issue: one, unless two tenants were given the same key. */
  readonly keysByHash: Map<string, readonly IssuedKey[]>;
  /** Of tenants that have any. */
  readonly limits: Map<string, TenantLimits>;
  priceBook: PriceBook;
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
});

/** Folds one accepted commit into `state` and returns it. Commits of other contexts change nothing. */
export function evolveTenancy(state: TenancyState, { subject, events, stored }: DecodedCommit): TenancyState {
  if (subject.context !== 'tenancy') return state;
  if (subject.aggregate === 'prices') state.priceBook = evolvePriceBook(state.priceBook, events, stored.seq);
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

function reindex({ keysByHash }: TenancyState, before: TenantState, after: TenantState): void {
  for (const [keyId, was] of before.keys) {
    const is = after.keys.get(keyId);
    if (is === was) continue;
    const list = keysByHash.get(was.key.keyHash) ?? [];
    const next = is === undefined ? list.filter((key) => key !== was) : list.map((key) => (key === was ? is : key));
    if (next.length === 0) keysByHash.delete(was.key.keyHash);
    else keysByHash.set(was.key.keyHash, next);
  }
  for (const [keyId, is] of after.keys) {
    if (before.keys.has(keyId)) continue;
    keysByHash.set(is.key.keyHash, [...(keysByHash.get(is.key.keyHash) ?? []), is]);
  }
}

export type FoundKey =
  | { readonly status: 'good'; readonly key: tenancy.KeyIssued }
  | { readonly status: 'revoked' | 'expired'; readonly key: tenancy.KeyIssued };

function statusOf({ key, revoked }: IssuedKey, nowMs: number): FoundKey['status'] {
  if (revoked !== undefined) return 'revoked';
  return key.expiresAtMs !== 0 && nowMs >= key.expiresAtMs ? 'expired' : 'good';
}

/** The key with this hash: a good one where there is one, else why it is not; undefined for a hash never issued. */
export function findKey(state: TenancyState, keyHash: string, nowMs: number): FoundKey | undefined {
  const keys = state.keysByHash.get(keyHash);
  if (keys === undefined) return undefined;
  const found = keys.find((issued) => statusOf(issued, nowMs) === 'good') ?? (keys[0] as IssuedKey);
  return { status: statusOf(found, nowMs), key: found.key };
}

/** Whether a key may use a model; no list is all. */
export const keyAllows = (key: tenancy.KeyIssued, model: string): boolean =>
  key.models.length === 0 || key.models.includes(model);

/** Raised when evolveTenancy folds the same commits into something else: older snapshots are then thrown away. */
export const tenancyFoldVersion = 4;

/** Plain JSON of the state, for snapshots. */
export const tenancyStateToJson = (state: TenancyState): unknown => ({
  priceBook: priceBookToJson(state.priceBook),
  tenants: [...state.tenants].map(([tenantId, { registration, keys, limits }]) => ({
    registration: toJson(tenancy.TenantRegisteredSchema, registration as tenancy.TenantRegistered),
    keys: [...keys.values()].map(({ key, revoked }) => ({ key: toJson(tenancy.KeyIssuedSchema, key), revoked })),
    limits: limits.map((limit) => toJson(tenancy.LimitSchema, limit)),
    limitsSeq: state.limits.get(tenantId)?.seq ?? 0,
  })),
});

/** @throws where the JSON is not what tenancyStateToJson made: the snapshot is then thrown away */
export function tenancyStateFromJson(json: unknown): TenancyState {
  const state = emptyTenancyState();
  interface Row {
    registration: never;
    keys: { key: never; revoked?: string }[];
    limits: never[];
    limitsSeq: number;
  }
  const { priceBook, tenants } = json as { priceBook: unknown; tenants: Row[] };
  state.priceBook = priceBookFromJson(priceBook);
  for (const row of tenants) {
    const registration = fromJson(tenancy.TenantRegisteredSchema, row.registration);
    const keys = new Map<string, IssuedKey>();
    for (const { key, revoked } of row.keys) {
      const issued = fromJson(tenancy.KeyIssuedSchema, key);
      keys.set(issued.keyId, { key: issued, revoked });
    }
    const limits = row.limits.map((limit) => fromJson(tenancy.LimitSchema, limit));
    const folded: TenantState = { registration, keys, limits };
    state.tenants.set(registration.tenantId, folded);
    if (limits.length > 0) state.limits.set(registration.tenantId, { seq: row.limitsSeq, limits });
    reindex(state, tenant.initial, folded);
  }
  return state;
}
