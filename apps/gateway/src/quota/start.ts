import type { EventRegistry } from '#libs/contracts';
import { budget, quota } from '#libs/domain/tenancy';
import type { Broker } from '#libs/event-log';
import { CommandHandler } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import type { GatewayFolds } from '../control/folds.ts';
import { Quotas } from './quotas.ts';

export interface QuotaPartOptions {
  readonly broker: Broker;
  readonly registry: EventRegistry;
  readonly environment: Environment;
  readonly instance: string;
  readonly bootId: string;
  readonly folds: Pick<GatewayFolds, 'state'>;
  readonly say: (line: string) => void;
}

/** The quotas of a gateway on its broker. Its own command handler: the folds do not follow leases. */
export function quotasOf({ broker, registry, environment, instance, bootId, folds, say }: QuotaPartOptions): Quotas {
  const { log, readers } = broker;
  const handler = new CommandHandler({ log, registry, environment, actor: `gateway:${instance}`, readers });
  return new Quotas({
    environment,
    holder: `${instance}:${bootId}`,
    give: async (id, command, commandId) => await handler.handle(quota, id, command, { commandId }),
    giveBudget: async (id, command, commandId) => await handler.handle(budget, id, command, { commandId }),
    currency: () => folds.state().tenancy.priceBook.currency,
    limitsOf: (tenantId) => folds.state().tenancy.limits.get(tenantId),
    say,
  });
}
