import { create, equals } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import { CodedError } from '#libs/kernel';
import type { TenantCommand, TenantEvent, TenantState } from './tenant.decider.ts';

/** Bounds of one tenant. */
export const peopleLimits = { projectsMax: 1024, usersMax: 8192 } as const;

type PeopleCommand = Extract<
  TenantCommand,
  { type: 'RegisterProject' | 'RemoveProject' | 'RegisterUser' | 'RemoveUser' }
>;

export const tenantUnknown = (tenantId: string): CodedError =>
  new CodedError('TENANCY_TENANT_NOT_FOUND', `there is no tenant ${tenantId}`, { advice: 'Create it first.' });

export const projectUnknown = (tenantId: string, projectId: string): CodedError =>
  new CodedError('TENANCY_PROJECT_NOT_FOUND', `tenant ${tenantId} has no project ${projectId}`, {
    advice: 'Create it first, or name one that is there.',
  });

export const userUnknown = (tenantId: string, userId: string): CodedError =>
  new CodedError('TENANCY_USER_NOT_FOUND', `tenant ${tenantId} has no user ${userId}`, {
    advice: 'Create it first, or name one that is there.',
  });

const tooMany = (what: string, tenantId: string, most: number): CodedError =>
  new CodedError(`TENANCY_${what.toUpperCase()}_TOO_MANY`, `tenant ${tenantId} has ${most} ${what}`, {
    advice: 'Remove some that are not needed, or use another tenant.',
  });

/** Projects and users of a tenant. What is removed takes its good keys with it, in the same commit. */
export function decidePeople(state: TenantState, command: PeopleCommand): readonly TenantEvent[] {
  const { tenantId } = command;
  if (state.registration === undefined) throw tenantUnknown(tenantId);
  switch (command.type) {
    case 'RegisterProject': {
      const { projectId, displayName, source } = command;
      const before = state.projects.get(projectId);
      if (before === undefined && state.projects.size >= peopleLimits.projectsMax)
        throw tooMany('projects', tenantId, peopleLimits.projectsMax);
      const data = { tenantId, projectId, displayName, source };
      const same =
        before !== undefined &&
        equals(tenancy.ProjectRegisteredSchema, before, create(tenancy.ProjectRegisteredSchema, data));
      return same ? [] : [{ type: 'ProjectRegistered', data }];
    }
    case 'RemoveProject': {
      const { projectId, reason } = command;
      if (!state.projects.has(projectId)) throw projectUnknown(tenantId, projectId);
      const users = [...state.users.values()].filter((user) => user.projectId === projectId);
      const gone = new Set(users.map(({ userId }) => userId));
      return [
        ...revokedWith(
          state,
          `project ${projectId} removed`,
          (key) => key.projectId === projectId || gone.has(key.userId),
        ),
        ...users.map(({ userId }): TenantEvent => ({
          type: 'UserRemoved',
          data: { tenantId, userId, reason: `project ${projectId} removed` },
        })),
        { type: 'ProjectRemoved', data: { tenantId, projectId, reason } },
      ];
    }
    case 'RegisterUser': {
      const { userId, projectId, displayName, source } = command;
      if (projectId !== '' && !state.projects.has(projectId)) throw projectUnknown(tenantId, projectId);
      const before = state.users.get(userId);
      if (before === undefined && state.users.size >= peopleLimits.usersMax)
        throw tooMany('users', tenantId, peopleLimits.usersMax);
      const data = { tenantId, userId, projectId, displayName, source };
      const same =
        before !== undefined &&
        equals(tenancy.UserRegisteredSchema, before, create(tenancy.UserRegisteredSchema, data));
      return same ? [] : [{ type: 'UserRegistered', data }];
    }
    case 'RemoveUser': {
      const { userId, reason } = command;
      if (!state.users.has(userId)) throw userUnknown(tenantId, userId);
      return [
        ...revokedWith(state, `user ${userId} removed`, (key) => key.userId === userId),
        { type: 'UserRemoved', data: { tenantId, userId, reason } },
      ];
    }
  }
}

function revokedWith(
  { keys }: TenantState,
  reason: string,
  which: (key: tenancy.KeyIssued) => boolean,
): readonly TenantEvent[] {
  return [...keys.values()]
    .filter(({ key, revoked }) => revoked === undefined && which(key))
    .map(({ key: { tenantId, keyId } }) => ({ type: 'KeyRevoked', data: { tenantId, keyId, reason } }));
}
