import { createHash } from 'node:crypto';
import { tenancy } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { windowsMs } from './limits.ts';
import type { LimitInit, TenantCommand, TenantEvent, TenantState } from './tenant.decider.ts';
import { tenant } from './tenant.decider.ts';

/** A user as AIBrix has them: whoever the `user` header names, with so much a minute. */
export interface AibrixUser {
  readonly name: string;
  readonly rpm: number;
  readonly tpm: number;
}

const source = 'aibrix';
/** AIBrix's own defaults where 0 is given. */
const rpmDefault = 100;
const tpmPerRequest = 1_000;

/** Each of these users is a tenant of its own, named by a hash, since its name may be any text. */
export const aibrixTenantId = (name: string): string =>
  `aibrix-${createHash('sha256').update(name).digest('hex').slice(0, 32)}`;

export const withDefaults = ({ name, rpm, tpm }: AibrixUser): AibrixUser => {
  const requests = rpm === 0 ? rpmDefault : rpm;
  return { name, rpm: requests, tpm: tpm === 0 ? requests * tpmPerRequest : tpm };
};

/** Its tokens are limited by what goes with its requests, not by an amount of their own. */
export const usesDefaultTokens = ({ rpm, tpm }: AibrixUser): boolean => tpm === rpm * tpmPerRequest;

/** The user that this tenant is; undefined where there is none. */
export function aibrixUserOf(state: TenantState | undefined): AibrixUser | undefined {
  if (state?.registration === undefined || state.registration.source !== source) return undefined;
  const amount = (limitId: string): number => state.limits.find((limit) => limit.limitId === limitId)?.amount ?? 0;
  return { name: state.registration.displayName, rpm: amount('rpm'), tpm: amount('tpm') };
}

/** Who they are and how much they may, in one commit: nobody is ever there without their limits. */
export function putAibrixUser(user: AibrixUser): readonly TenantCommand[] {
  const { name, rpm, tpm } = withDefaults(user);
  const tenantId = aibrixTenantId(name);
  const windowMs = windowsMs.minute;
  const limits: LimitInit[] = [
    { limitId: 'rpm', metric: tenancy.LimitMetric.REQUESTS, windowMs, amount: rpm },
    { limitId: 'tpm', metric: tenancy.LimitMetric.TOKENS, windowMs, amount: tpm },
  ];
  return [
    { type: 'RegisterTenant', tenantId, displayName: name, source },
    { type: 'SetLimits', tenantId, limits },
  ];
}

/** Several commands to one tenant as one: all of their events in one commit, or none. */
export const tenantSteps: Decider<TenantState, readonly TenantCommand[], TenantEvent> = {
  ...tenant,
  decide(state, commands) {
    let at = state;
    return commands.flatMap((command) => {
      const events = tenant.decide(at, command);
      for (const event of events) at = tenant.evolve(at, event);
      return [...events];
    });
  },
};
