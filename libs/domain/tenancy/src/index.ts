export type { AdminKeyCommand, AdminKeyEvent, AdminKeyState } from './admin-key.decider.ts';
export { adminKeys, adminKeysId, goodAdminKeys } from './admin-key.decider.ts';
export type { BudgetEvent, BudgetState, BudgetWindow, ReportSpend } from './budget.decider.ts';
export { budget } from './budget.decider.ts';
export type { AibrixUser } from './aibrix-user.ts';
export { aibrixTenantId, aibrixUserOf, putAibrixUser, tenantSteps, usesDefaultTokens } from './aibrix-user.ts';
export { hashApiKey, newApiKey } from './api-key.ts';
export type { DesiredPrices, PlannedPrices } from './plan-prices.ts';
export { planPrices } from './plan-prices.ts';
export type { DesiredTenant, PlannedTenancy } from './plan-tenants.ts';
export { byApi, planTenants } from './plan-tenants.ts';
export { nanoText } from './money.ts';
export type { CountedTokens, PriceBook } from './price-book.ts';
export { costMaxNanoOf, costNanoOf, emptyPriceBook, priceOf } from './price-book.ts';
export type { PriceInit, PricesSet, PricesState, SetPrices } from './prices.decider.ts';
export { priceBookId, priceLimits, prices } from './prices.decider.ts';
export type { LimitScope, WindowName } from './limits.ts';
export {
  epochMs,
  isBudget,
  isFirstOfEpoch,
  isWindowed,
  limitApplies,
  quotaAggregateId,
  quotaKey,
  slotWindowMs,
  windowEnd,
  windowNameOf,
  windowsMs,
  windowStart,
} from './limits.ts';
export type { LeaseQuota, LeaseSlots, QuotaCommand, QuotaEvent, QuotaState, ReturnQuota } from './quota.decider.ts';
export { leasedOf, quota, QuotaExhausted, quotaLimits } from './quota.decider.ts';
export { keyLimits } from './keys.ts';
export { peopleLimits } from './people.ts';
export type { FoundKey, KeyStatus, TenancyState, TenantLimits } from './state.ts';
export {
  emptyTenancyState,
  evolveTenancy,
  findKey,
  keyAllows,
  keyAllowsEndpoint,
  tenancyFoldVersion,
  tenancyStateFromJson,
  tenancyStateToJson,
} from './state.ts';
export type { IssuedKey, LimitInit, PreviousHash, TenantCommand, TenantEvent, TenantState } from './tenant.decider.ts';
export { tenant, tenantLimits } from './tenant.decider.ts';
