import type {
  AdminKeyAnswer,
  AdminKeyItem,
  KeyAnswer,
  KeyDetail,
  ListAnswer,
  OneAnswer,
  ProjectItem,
  ReceiptAnswer,
  TenantDetail,
  UserItem,
} from '#libs/domain/diag';
import { parseDuration } from '#libs/domain/diag';
import type { IssuedKey, TenancyState, TenantState } from '#libs/domain/tenancy';
import { hashApiKey, newApiKey } from '#libs/domain/tenancy';
import { CodedError } from '#libs/kernel';
import type { Core } from '../core.ts';
import type { Asked } from './commands.ts';
import { command, expiryOf } from './commands.ts';
import type { ListQuery } from './lists.ts';

/** What the API makes says so; what a document made stays the document's. */
const source = 'api';

const notFound = (what: string, id: string): CodedError =>
  new CodedError(`${what.toUpperCase().replace(' ', '_')}_NOT_FOUND`, `there is no ${what} ${id}`, {
    advice: 'The list beside it names those that there are.',
  });

/** Everything decided by now: who changes a thing must have seen the last change of it. */
async function newest(core: Core): Promise<TenancyState> {
  return (await core.fold.at(await core.broker.log.lastSeq())).state.tenancy;
}

async function folded<T>(
  core: Core,
  { minSeq, waitMs }: ListQuery,
  read: (state: TenancyState, nowMs: number) => T,
): Promise<{ durability: 'memory' | 'disk'; atSeq: number; found: T }> {
  const { state, seq } = await core.fold.at(minSeq, waitMs);
  const found = read(state.tenancy, core.environment.clock.nowMs());
  return { durability: core.broker.durability, atSeq: seq, found };
}

async function listed<T>(
  core: Core,
  query: ListQuery,
  read: (state: TenancyState, nowMs: number) => T[],
): Promise<ListAnswer<T>> {
  const { found: items, ...head } = await folded(core, query, read);
  return { ...head, items };
}

async function single<T>(
  core: Core,
  query: ListQuery,
  read: (state: TenancyState, nowMs: number) => T,
): Promise<OneAnswer<T>> {
  const { found: item, ...head } = await folded(core, query, read);
  return { ...head, item };
}

const tenantOf = (state: TenancyState, tenantId: string): TenantState => {
  const found = state.tenants.get(tenantId);
  if (found === undefined) throw notFound('tenant', tenantId);
  return found;
};

const found = <T>(value: T | undefined, what: string, id: string): T => {
  if (value === undefined) throw notFound(what, id);
  return value;
};

const projectItems = ({ projects }: TenantState): ProjectItem[] =>
  [...projects.values()].map(({ tenantId, projectId, displayName, source }) => ({
    tenantId,
    projectId,
    displayName,
    source,
  }));

const userItems = ({ users }: TenantState): UserItem[] =>
  [...users.values()].map(({ tenantId, userId, projectId, displayName, source }) => ({
    tenantId,
    userId,
    projectId,
    displayName,
    source,
  }));

function keyDetail({ key, revoked, previous = [] }: IssuedKey, nowMs: number): KeyDetail {
  const { tenantId, keyId, displayName, models, expiresAtMs, projectId, userId, endpoints, priority, source } = key;
  return {
    tenantId,
    keyId,
    displayName,
    projectId,
    userId,
    models,
    endpoints,
    priority: priority ?? null,
    expiresAtMs: expiresAtMs === 0 ? null : expiresAtMs,
    revoked: revoked !== undefined,
    revokeReason: revoked ?? null,
    source,
    overlaps: revoked === undefined ? previous.filter(({ untilMs }) => untilMs > nowMs).length : 0,
  };
}

const keyDetails = ({ keys }: TenantState, nowMs: number): KeyDetail[] =>
  [...keys.values()].map((issued) => keyDetail(issued, nowMs));

// ---- Questions ------------------------------------------------------------------------------------------------------

export const showTenant = (core: Core, tenantId: string, query: ListQuery): Promise<OneAnswer<TenantDetail>> =>
  single(core, query, (state, nowMs) => {
    const tenant = tenantOf(state, tenantId);
    const { displayName = '', source = '' } = tenant.registration ?? {};
    const parts = { projects: projectItems(tenant), users: userItems(tenant), keys: keyDetails(tenant, nowMs) };
    return { tenantId, displayName, source, ...parts };
  });

export const listProjects = (core: Core, tenantId: string, query: ListQuery): Promise<ListAnswer<ProjectItem>> =>
  listed(core, query, (state) => projectItems(tenantOf(state, tenantId)));

export const listUsers = (core: Core, tenantId: string, query: ListQuery): Promise<ListAnswer<UserItem>> =>
  listed(core, query, (state) => userItems(tenantOf(state, tenantId)));

export const listKeys = (core: Core, tenantId: string, query: ListQuery): Promise<ListAnswer<KeyDetail>> =>
  listed(core, query, (state, nowMs) => keyDetails(tenantOf(state, tenantId), nowMs));

export const showProject = (
  core: Core,
  tenantId: string,
  id: string,
  query: ListQuery,
): Promise<OneAnswer<ProjectItem>> =>
  single(core, query, (state) =>
    found(
      projectItems(tenantOf(state, tenantId)).find(({ projectId }) => projectId === id),
      'project',
      id,
    ),
  );

export const showUser = (core: Core, tenantId: string, id: string, query: ListQuery): Promise<OneAnswer<UserItem>> =>
  single(core, query, (state) =>
    found(
      userItems(tenantOf(state, tenantId)).find(({ userId }) => userId === id),
      'user',
      id,
    ),
  );

export const showKey = (core: Core, tenantId: string, id: string, query: ListQuery): Promise<OneAnswer<KeyDetail>> =>
  single(core, query, (state, nowMs) => keyDetail(found(tenantOf(state, tenantId).keys.get(id), 'key', id), nowMs));

export const listAdminKeys = (core: Core, query: ListQuery): Promise<ListAnswer<AdminKeyItem>> =>
  listed(core, query, ({ admin }) =>
    [...admin.values()].map(({ key: { keyId, displayName, expiresAtMs }, revoked }) => ({
      keyId,
      displayName,
      expiresAtMs: expiresAtMs === 0 ? null : expiresAtMs,
      revoked: revoked !== undefined,
    })),
  );

// ---- Wishes ---------------------------------------------------------------------------------------------------------

export async function putTenant(core: Core, tenantId: string, name: string, asked: Asked): Promise<ReceiptAnswer> {
  const before = (await newest(core)).tenants.get(tenantId)?.registration;
  const request = { tenantId, displayName: name, source: before?.source ?? source };
  return await command(core, 'tenancy.RegisterTenant', request, asked);
}

export async function putProject(
  core: Core,
  { tenantId, projectId, name }: { readonly tenantId: string; readonly projectId: string; readonly name: string },
  asked: Asked,
): Promise<ReceiptAnswer> {
  const before = (await newest(core)).tenants.get(tenantId)?.projects.get(projectId);
  const request = { tenantId, projectId, displayName: name, source: before?.source ?? source };
  return await command(core, 'tenancy.RegisterProject', request, asked);
}

export async function putUser(
  core: Core,
  wanted: { readonly tenantId: string; readonly userId: string; readonly name: string; readonly project: string },
  asked: Asked,
): Promise<ReceiptAnswer> {
  const { tenantId, userId, name, project: projectId } = wanted;
  const before = (await newest(core)).tenants.get(tenantId)?.users.get(userId);
  const request = { tenantId, userId, projectId, displayName: name, source: before?.source ?? source };
  return await command(core, 'tenancy.RegisterUser', request, asked);
}

export interface KeyWanted {
  readonly tenantId: string;
  readonly keyId: string;
  readonly name?: string | undefined;
  readonly project?: string | undefined;
  readonly user?: string | undefined;
  readonly models?: readonly string[] | undefined;
  readonly endpoints?: readonly string[] | undefined;
  /** Null is as the profile says. */
  readonly priority?: number | null | undefined;
  /** RFC 3339, or how long from now ("30d"); null is never. */
  readonly expiresAt?: string | null | undefined;
}

/** A new key of a tenant. The key itself is in this answer and nowhere else. */
export async function issueKey(core: Core, wanted: KeyWanted, asked: Asked): Promise<KeyAnswer> {
  const { tenantId, keyId, name = '', user = '', models = [], endpoints = [], priority } = wanted;
  const key = newApiKey(core.environment.rng);
  const nowMs = core.environment.clock.nowMs();
  const ofUser = user === '' ? undefined : (await newest(core)).tenants.get(tenantId)?.users.get(user);
  const issue = {
    tenantId,
    keyId,
    keyHash: hashApiKey(key),
    displayName: name,
    models: [...models],
    expiresAtMs: expiryOf(wanted.expiresAt ?? undefined, nowMs),
    projectId: wanted.project ?? ofUser?.projectId ?? '',
    userId: user,
    endpoints: [...endpoints],
    ...(priority === undefined || priority === null ? {} : { priority }),
    source,
  };
  // A key is drawn anew each time, so that the same call given twice is another command.
  const receipt = await command(core, 'tenancy.IssueKey', issue, { ...asked, commandId: undefined });
  return { ...receipt, tenantId, keyId, key };
}

/** What is not given stays. */
export async function changeKey(core: Core, wanted: KeyWanted, asked: Asked): Promise<ReceiptAnswer> {
  const { tenantId, keyId } = wanted;
  const { key } = found(tenantOf(await newest(core), tenantId).keys.get(keyId), 'key', keyId);
  const priority = wanted.priority === undefined ? key.priority : (wanted.priority ?? undefined);
  const expires = wanted.expiresAt;
  const request = {
    tenantId,
    keyId,
    displayName: wanted.name ?? key.displayName,
    models: [...(wanted.models ?? key.models)],
    expiresAtMs:
      expires === undefined
        ? key.expiresAtMs
        : expires === null
          ? 0
          : expiryOf(expires, core.environment.clock.nowMs()),
    projectId: wanted.project ?? key.projectId,
    userId: wanted.user ?? key.userId,
    endpoints: [...(wanted.endpoints ?? key.endpoints)],
    ...(priority === undefined ? {} : { priority }),
  };
  return await command(core, 'tenancy.ChangeKey', request, asked);
}

/** Another key in place of this one, which works until the overlap ends. */
export async function rotateKey(
  core: Core,
  { tenantId, keyId, overlap }: { readonly tenantId: string; readonly keyId: string; readonly overlap: string },
  asked: Asked,
): Promise<KeyAnswer> {
  const overlapMs = overlap === '0' ? 0 : parseDuration(overlap);
  if (overlapMs === undefined || overlapMs > overlapMsMax) {
    throw new CodedError('BAD_REQUEST', `overlap: ${JSON.stringify(overlap)} is no duration of at most 366d`, {
      advice: 'Write how long the old key goes on working: 24h, 7d, or 0 for not at all.',
    });
  }
  const key = newApiKey(core.environment.rng);
  const atMs = core.environment.clock.nowMs();
  const rotation = { tenantId, keyId, keyHash: hashApiKey(key), previousUntilMs: atMs + overlapMs, atMs };
  const receipt = await command(core, 'tenancy.RotateKey', rotation, { ...asked, commandId: undefined });
  return { ...receipt, tenantId, keyId, key };
}

const overlapMsMax = 366 * 86_400_000;

export async function issueAdminKey(
  core: Core,
  {
    keyId,
    name,
    expiresAt,
  }: { readonly keyId: string; readonly name: string; readonly expiresAt?: string | undefined },
  asked: Asked,
): Promise<AdminKeyAnswer> {
  const key = newApiKey(core.environment.rng).replace(/^lk-/, 'la-');
  const expiresAtMs = expiryOf(expiresAt, core.environment.clock.nowMs());
  const issue = { keyId, keyHash: hashApiKey(key), displayName: name, expiresAtMs };
  const receipt = await command(core, 'tenancy.IssueAdminKey', issue, { ...asked, commandId: undefined });
  return { ...receipt, keyId, key };
}
