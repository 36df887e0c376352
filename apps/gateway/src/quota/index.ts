export { Charge, QuotaGate } from './charge.ts';
export { costOf, priceNow } from './cost.ts';
export { exposeQuotas } from './quota-metrics.ts';
export { Quotas } from './quotas.ts';
export { quotasOf } from './start.ts';
