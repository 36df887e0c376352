export { hashApiKey, newApiKey } from './api-key.ts';
export type { DesiredTenant, PlannedTenancy } from './plan.ts';
export { planTenants } from './plan.ts';
export type { LimitScope, WindowName } from './limits.ts';
export {
  epochMs,
  isFirstOfEpoch,
  isWindowed,
  limitApplies,
  quotaAggregateId,
  quotaKey,
  slotWindowMs,
  windowNameOf,
  windowsMs,
  windowStart,
} from './limits.ts';
export type { LeaseQuota, LeaseSlots, QuotaCommand, QuotaEvent, QuotaState, ReturnQuota } from './quota.decider.ts';
export { leasedOf, quota, QuotaExhausted, quotaLimits } from './quota.decider.ts';
export type { FoundKey, TenancyState, TenantLimits } from './state.ts';
export {
  emptyTenancyState,
  evolveTenancy,
  findKey,
  keyAllows,
  tenancyFoldVersion,
  tenancyStateFromJson,
  tenancyStateToJson,
} from './state.ts';
export type { IssuedKey, LimitInit, TenantCommand, TenantEvent, TenantState } from './tenant.decider.ts';
export { tenant, tenantLimits } from './tenant.decider.ts';
