import type { Charge } from '../quota/index.ts';
import { costOf, priceNow } from '../quota/index.ts';
import type { Refusal } from './errors.ts';
import type { Plane } from './plane.ts';
import type { Account } from './record.ts';

/** Operations whose answers are generated text. */
const generating = new Set(['chat', 'text_completion']);

/** What a request may spend of its limits; undefined where none applies. */
export function chargeOf(
  plane: Plane,
  { tenantId, projectId, keyId, endUser, model, features }: Account,
  operation: string,
  receivedAtMs: number,
): Charge | Refusal | undefined {
  const { promptTokens = 0, maxTokens = 0 } = features ?? {};
  const generates = generating.has(operation);
  const price = priceNow(plane.state().tenancy.priceBook, model, receivedAtMs);
  const asked = { tenantId, projectId, keyId, endUser, model, promptTokens, maxTokens, generates, price };
  return plane.quotas?.chargeOf(asked);
}

/** Says what the request has cost, and settles what it reserved. */
export function settleCost(plane: Plane, account: Account, charge: Charge | undefined, receivedAtMs: number): void {
  const { outcome, usage, model } = account;
  account.cost = costOf(plane.state().tenancy.priceBook, model, receivedAtMs, usage);
  charge?.close({ outcome, usage, costNano: account.cost?.nano, reached: account.attempts.length > 0 });
}
