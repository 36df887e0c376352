import { create } from '@bufbuild/protobuf';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { CodedError } from '#libs/kernel';
import { isPrivateHost } from './private-address.ts';

export const providerUses = ['replica', 'overflow', 'fallback'] as const;
const namesMax = 256;
const nameOk = /^[^\p{Cc}]{1,256}$/u;

const invalid = (problem: string, advice: string): CodedError =>
  new CodedError('ROUTE_PROVIDER_INVALID', problem, { advice });

/** Somebody else's service gets requests and a key: where that is comes from configuration alone. @throws ROUTE_PROVIDER_INVALID */
export function checkProvider({
  replicaId = '',
  url = '',
  provider,
}: MessageInitShape<typeof route.ReplicaRegisteredSchema>): void {
  if (provider === undefined) return;
  const { basePath, names, use, allowPrivate, allowHttp } = create(route.ProviderUseSchema, provider);
  const { protocol, hostname } = new URL(url);
  if (protocol !== 'https:' && !allowHttp)
    throw invalid(`provider ${replicaId} is not behind https`, 'Give an https URL, or say allow: [http].');
  if (isPrivateHost(hostname) && !allowPrivate)
    throw invalid(`provider ${replicaId} is at a private address`, 'Give a public one, or say allow: [private].');
  if (!/^(?:\/[A-Za-z0-9._~-]{1,64}){0,8}$/.test(basePath) || basePath.includes('/..') || basePath.includes('/./'))
    throw invalid(
      `provider ${replicaId} has the path ${JSON.stringify(basePath.slice(0, 80))}`,
      'Write /v1 or the like.',
    );
  if (!(providerUses as readonly string[]).includes(use))
    throw invalid(
      `provider ${replicaId} is used as ${JSON.stringify(use.slice(0, 40))}`,
      `Use: ${providerUses.join(', ')}.`,
    );
  const entries = Object.entries(names);
  if (entries.length === 0) throw invalid(`provider ${replicaId} has no models`, 'Name those that it is to serve.');
  if (entries.length > namesMax || entries.some((pair) => pair.some((name) => !nameOk.test(name))))
    throw invalid(`provider ${replicaId} has models without a name, or over ${namesMax}`, 'Name at most so many.');
}
