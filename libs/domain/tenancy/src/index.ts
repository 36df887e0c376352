export { hashApiKey, newApiKey } from './api-key.ts';
export type { DesiredTenant, PlannedTenancy } from './plan.ts';
export { planTenants } from './plan.ts';
export type { FoundKey, TenancyState } from './state.ts';
export {
  emptyTenancyState,
  evolveTenancy,
  findKey,
  keyAllows,
  tenancyFoldVersion,
  tenancyStateFromJson,
  tenancyStateToJson,
} from './state.ts';
export type { IssuedKey, TenantCommand, TenantEvent, TenantState } from './tenant.decider.ts';
export { tenant, tenantLimits } from './tenant.decider.ts';
