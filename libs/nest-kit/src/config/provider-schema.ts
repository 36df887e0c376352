import type { MessageInitShape } from '@bufbuild/protobuf';
import { isSubjectId, route } from '#libs/contracts';
import { z } from 'zod';

const modelName = z.string().min(1).max(256);

/** External services that speak the OpenAI API. */
export const providerSchema = z.strictObject({
  id: z.string().refine(isSubjectId, 'must be 1 to 64 letters, digits, "_" or "-"'),
  /** As clients of it are given it: "https://api.openai.com/v1". */
  url: z.string().refine((text) => {
    const url = URL.parse(text);
    const { protocol = '', search = '', hash = '', username = '' } = url ?? {};
    return (protocol === 'https:' || protocol === 'http:') && search + hash + username === '';
  }, 'must be a base URL such as "https://api.openai.com/v1", without user, query or fragment'),
  /** Its key: `env:NAME` or `file:/path`. */
  credential: z
    .string()
    .regex(/^(env:[A-Za-z_][A-Za-z0-9_]*|file:\/.+)$/, 'must be "env:NAME" or "file:/absolute/path"')
    .optional(),
  /** Names there by names here; a list where they are the same. */
  models: z.union([
    z.array(modelName).min(1),
    z.record(modelName, modelName).refine((names) => Object.keys(names).length > 0, 'must name a model'),
  ]),
  use: z.enum(['replica', 'overflow', 'fallback']).default('replica'),
  allow: z.array(z.enum(['private', 'http'])).default([]),
  labels: z.record(z.string(), z.string()).default({}),
});

export type ProviderConfig = z.output<typeof providerSchema>;

export function providerReplica(
  given: ProviderConfig,
  source: string,
): MessageInitShape<typeof route.ReplicaRegisteredSchema> {
  const { origin, pathname } = new URL(given.url);
  const names = Array.isArray(given.models)
    ? Object.fromEntries(given.models.map((name) => [name, name]))
    : given.models;
  return {
    replicaId: given.id,
    url: origin,
    engine: route.EngineKind.OPENAI,
    models: Object.keys(names),
    role: route.ReplicaRole.COMBINED,
    // What it is paid for is counted by its own word.
    labels: { 'lintel.stream-usage': 'on', ...given.labels },
    source,
    credentialRef: given.credential ?? '',
    provider: {
      basePath: pathname.replace(/\/+$/, ''),
      names,
      use: given.use,
      allowPrivate: given.allow.includes('private'),
      allowHttp: given.allow.includes('http'),
    },
  };
}
