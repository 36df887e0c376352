import { create } from '@bufbuild/protobuf';
import { EventRegistry, tenancy } from '#libs/contracts';
import { budget, hashApiKey, quota } from '#libs/domain/tenancy';
import { CommandHandler, MemoryEventLog } from '#libs/event-log';
import { CodedError, systemEnvironment } from '#libs/kernel';
import { Quotas } from '../quota/index.ts';
import type { DataPlaneOptions } from './data-plane.ts';
import type { TestGateway } from './serve.fixture.ts';
import { afterwards, chat, gateway, post } from './serve.fixture.ts';

const key = { authorization: 'Bearer good' };

export interface Limited extends TestGateway {
  readonly quotas: Quotas;
  readonly log: MemoryEventLog;
  /** Set: the log answers nothing. */
  away: boolean;
  ask(body?: Record<string, unknown>, headers?: Record<string, string>): Promise<Response>;
}

/** A gateway whose tenant has these limits, over a log in memory. */
export async function limited(
  limits: tenancy.Limit[],
  origin: string,
  options: Partial<DataPlaneOptions> = {},
): Promise<Limited> {
  const environment = systemEnvironment;
  const log = new MemoryEventLog({ clock: environment.clock });
  const handler = new CommandHandler({ log, registry: new EventRegistry(), environment, actor: 'test:1' });
  const quotas = new Quotas({
    environment,
    holder: 'g:1',
    give: async (id, command, commandId) => {
      if (made.away) throw new CodedError('LOG_UNAVAILABLE', 'away');
      return await handler.handle(quota, id, command, { commandId });
    },
    giveBudget: async (id, command, commandId) => await handler.handle(budget, id, command, { commandId }),
    currency: () => 'USD',
    limitsOf: () => ({ seq: 1, limits }),
    say: () => {},
  });
  quotas.start();
  afterwards(() => quotas.stop());
  const lintel = await gateway([origin], { open: false, quotas, ...options });
  const keyHash = hashApiKey('good');
  const issued = create(tenancy.KeyIssuedSchema, { tenantId: 'acme', keyId: 'k', keyHash });
  lintel.state.tenancy.keysByHash.set(keyHash, [{ key: issued, revoked: undefined }]);
  const made: Limited = {
    ...lintel,
    quotas,
    log,
    away: false,
    ask: (body = {}, headers = {}) => post(lintel, chat(body), { ...key, ...headers }),
  };
  return made;
}
