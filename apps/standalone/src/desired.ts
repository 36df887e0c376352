import type { route } from '#libs/contracts';
import type { DesiredConfiguration, LintelConfig } from '#libs/nest-kit';
import { desiredOf } from '#libs/nest-kit';
import { defaultStrategy } from '#libs/domain/route';
import { hashApiKey } from '#libs/domain/tenancy';

/** A replica that did not come from the configuration file: simulated, `--engine`, `--real`. */
export interface ExtraReplica {
  readonly id: string;
  readonly url: string;
  readonly engine: route.EngineKind;
  readonly source: string;
}

/**
 * What the gateway should make true: the file's replicas, tenants and policies; the extra replicas; and where the file says nothing
 * of them, one policy for every model and one tenant that holds the generated key.
 */
export function desiredConfiguration(
  config: LintelConfig | undefined,
  file: string | undefined,
  extra: readonly ExtraReplica[],
  apiKey: string | undefined,
): DesiredConfiguration {
  const given: DesiredConfiguration =
    config === undefined ? { replicas: [], policies: [], tenants: [] } : desiredOf(config, `config:${file ?? ''}`);
  const hash = apiKey === undefined ? '' : hashApiKey(apiKey);
  return {
    ...given,
    replicas: [
      ...given.replicas,
      ...extra.map(({ id, url, engine, source }) => ({ replicaId: id, url, engine, source, role: 1 })),
    ],
    policies: given.policies.some(({ models }) => models?.includes('*'))
      ? given.policies
      : [
          ...given.policies,
          {
            policyId: 'default',
            models: ['*'],
            defaultProfile: 'default',
            profiles: [{ name: 'default', strategy: defaultStrategy }],
          },
        ],
    tenants:
      given.tenants.length > 0 || apiKey === undefined
        ? given.tenants
        : [
            {
              tenantId: 'local',
              displayName: 'Local',
              // Named by its hash: a home that lost its key file gets another key, and the lost one is revoked.
              keys: [{ keyId: `local-${hash.slice(0, 8)}`, keyHash: hash, displayName: 'made by npm start' }],
            },
          ],
  };
}
