export { Charge, QuotaGate } from './charge.ts';
export { Quotas } from './quotas.ts';
export { quotasOf } from './start.ts';
