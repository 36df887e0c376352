import type { MessageInitShape } from '@bufbuild/protobuf';
import type { tenancy } from '#libs/contracts';
import type { PriceInit, SetPrices } from './prices.decider.ts';
import { priceBookId, prices } from './prices.decider.ts';
import type { TenancyState } from './state.ts';
import type { LimitInit, TenantCommand, TenantState } from './tenant.decider.ts';
import { tenant } from './tenant.decider.ts';

export interface DesiredTenant {
  readonly tenantId: string;
  readonly displayName: string;
  readonly keys: readonly Omit<MessageInitShape<typeof tenancy.KeyIssuedSchema>, 'tenantId' | '$typeName'>[];
  /** None where it is not given. */
  readonly limits?: readonly LimitInit[] | undefined;
}

/** One command for one tenant, with a line that tells a person what it changes. */
export interface PlannedTenancy {
  readonly aggregate: 'tenant';
  readonly id: string;
  readonly command: TenantCommand;
  readonly change: string;
}

export interface DesiredPrices {
  readonly currency: string;
  readonly prices: readonly PriceInit[];
}

export interface PlannedPrices {
  readonly aggregate: 'prices';
  readonly id: string;
  readonly command: SetPrices;
  readonly change: string;
}

const notNamed = 'configuration: not named any more';

const isApplied = (source: string): boolean => source === 'apply';

/**
 * The command that makes the price book what a document asks for. One that names no prices leaves those that others brought.
 * @throws the refusal of the decider
 */
export function planPrices(
  desired: DesiredPrices | undefined,
  { priceBook }: TenancyState,
  options: { readonly source: string; readonly owns?: (source: string) => boolean },
): PlannedPrices[] {
  const owns = options.owns ?? ((source) => !isApplied(source));
  if (desired === undefined && (priceBook.prices.length === 0 || !owns(priceBook.source))) return [];
  const wanted = desired ?? { currency: priceBook.currency, prices: [] };
  const command: SetPrices = { type: 'SetPrices', ...wanted, source: options.source };
  if (prices.decide(priceBook, command).length === 0) return [];
  const sign = wanted.prices.length === 0 ? '-' : priceBook.prices.length === 0 ? '+' : '~';
  return [
    { aggregate: 'prices', id: priceBookId, command, change: `${sign} prices of ${modelsOf(wanted, priceBook)}` },
  ];
}

function modelsOf(wanted: DesiredPrices, { prices: before }: TenancyState['priceBook']): string {
  const list = wanted.prices.length === 0 ? before : wanted.prices;
  const models = [...new Set(list.map(({ model = '' }) => model))];
  return models.length <= 4 ? models.join(', ') : `${models.length} models`;
}

/**
 * The commands that turn `state` into what a document asks for, in order; tenants that others brought (`owns` false) stay.
 * A key that someone revoked stays revoked although the document still names it; one that only an earlier document left out
 * comes back. @throws the refusal of the first command that the decider refuses, so nothing is applied in part
 */
export function planTenants(
  desired: readonly DesiredTenant[],
  state: TenancyState,
  options: { readonly source: string; readonly owns?: (source: string) => boolean },
): PlannedTenancy[] {
  const owns = options.owns ?? ((source) => !isApplied(source));
  const wanted = new Set(desired.map(({ tenantId }) => tenantId));
  const plan = desired.flatMap((one) =>
    planTenant(one, state.tenants.get(one.tenantId) ?? tenant.initial, options.source),
  );
  for (const [id, { registration }] of state.tenants) {
    if (wanted.has(id) || !owns(registration?.source ?? '')) continue;
    plan.push({
      aggregate: 'tenant',
      id,
      command: { type: 'RemoveTenant', tenantId: id, reason: notNamed },
      change: `- tenant ${id}`,
    });
  }
  return plan;
}

function planTenant(
  { tenantId: id, displayName, keys, limits = [] }: DesiredTenant,
  before: TenantState,
  source: string,
): PlannedTenancy[] {
  const plan: PlannedTenancy[] = [];
  let state = before;
  const propose = (command: TenantCommand, change: string): void => {
    const events = tenant.decide(state, command);
    for (const event of events) state = tenant.evolve(state, event);
    if (events.length > 0) plan.push({ aggregate: 'tenant', id, command, change });
  };
  const sign = before.registration === undefined ? '+' : '~';
  propose({ type: 'RegisterTenant', tenantId: id, displayName, source }, `${sign} tenant ${id}`);
  for (const key of keys) {
    const { keyId = '' } = key;
    const revoked = before.keys.get(keyId)?.revoked;
    if (revoked !== undefined && revoked !== notNamed) continue;
    propose(
      { type: 'IssueKey', tenantId: id, ...key },
      `${before.keys.has(keyId) ? '~' : '+'} key ${keyId} of tenant ${id}`,
    );
  }
  for (const keyId of before.keys.keys()) {
    if (keys.some((key) => key.keyId === keyId)) continue;
    propose({ type: 'RevokeKey', tenantId: id, keyId, reason: notNamed }, `- key ${keyId} of tenant ${id}`);
  }
  const limitsSign = before.limits.length === 0 ? '+' : limits.length === 0 ? '-' : '~';
  propose({ type: 'SetLimits', tenantId: id, limits }, `${limitsSign} limits of tenant ${id}`);
  return plan;
}
