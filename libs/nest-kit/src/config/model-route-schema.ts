import { isSubjectId } from '#libs/contracts';
import { fnv1a32 } from '#libs/kernel';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { route } from '#libs/contracts';
import { z } from 'zod';

const id = z.string().refine(isSubjectId, 'must be 1 to 64 letters, digits, "_" or "-"');
const modelName = z.string().min(1).max(256);
const headerName = z.string().regex(/^[A-Za-z0-9-]{1,64}$/, 'must be the name of a header');

const share = z.strictObject({
  /** The model of the name asked for where it is not given. */
  model: modelName.optional(),
  /** Label selector over its replicas. */
  replicas: z.string().max(1_024).default(''),
  weight: z.number().positive().max(1_000_000).optional(),
  header: z.strictObject({ name: headerName, value: z.string().min(1).max(256).optional() }).optional(),
});

const fallback = z.strictObject({
  model: modelName.optional(),
  replicas: z.string().max(1_024).default(''),
  on: z
    .array(z.enum(['saturated', 'gone']))
    .min(1)
    .default(['saturated', 'gone']),
});

/** What names that clients use lead to. */
export const modelRouteSchema = z.strictObject({
  id: id.optional(),
  models: z.array(modelName).min(1),
  /** Everybody where none is named. */
  tenants: z.array(id).default([]),
  /** A model, or shares of several. */
  to: z.union([modelName, z.array(share).min(1)]).optional(),
  fallbacks: z.array(fallback).default([]),
  /** From which load on a replica counts as full; by its slots and the engine's own queue where it is not given. */
  saturated: z
    .strictObject({
      inflight: z.number().positive().optional(),
      waiting: z.number().positive().optional(),
      kvUse: z.number().positive().max(1).optional(),
    })
    .refine((given) => Object.keys(given).length > 0, 'must name a bound: inflight, waiting or kvUse')
    .optional(),
  /** What keeps a conversation on one side of a canary. */
  by: z.enum(['session', 'key', 'request']).default('session'),
});

export type ModelRouteConfig = z.output<typeof modelRouteSchema>;

/** A name that stays the same for the same names and tenants. */
export function modelRouteId({ id: given, models, tenants }: ModelRouteConfig): string {
  if (given !== undefined) return given;
  const readable = (models[0] as string).replace(/[^A-Za-z0-9_-]+/g, '-').slice(0, 48);
  if (models.length === 1 && tenants.length === 0 && readable === models[0]) return readable;
  return `${readable}-${fnv1a32(JSON.stringify([models, tenants]))
    .toString(16)
    .padStart(8, '0')}`;
}

const bounds = ({
  inflight = 0,
  waiting = 0,
  kvUse = 0,
}: NonNullable<ModelRouteConfig['saturated']>): { inflight: number; waiting: number; kvUse: number } => ({
  inflight,
  waiting,
  kvUse,
});

export function modelRoute(given: ModelRouteConfig): MessageInitShape<typeof route.ModelRouteSchema> {
  const { models, tenants, to, fallbacks, saturated, by } = given;
  const shares = to === undefined ? [] : typeof to === 'string' ? [{ model: to, replicas: '', weight: 1 }] : to;
  return {
    routeId: modelRouteId(given),
    models,
    tenants,
    shares: shares.map((one) => {
      const header = 'header' in one ? one.header : undefined;
      return {
        model: one.model ?? '',
        replicas: one.replicas,
        // A share with a header is reached by it alone unless it has a weight, too.
        weight: one.weight ?? (header === undefined ? 1 : 0),
        headerName: header?.name.toLowerCase() ?? '',
        headerValue: header?.value ?? '',
      };
    }),
    fallbacks: fallbacks.map(({ model = '', replicas, on }) => ({
      model,
      replicas,
      saturated: on.includes('saturated'),
      gone: on.includes('gone'),
    })),
    ...(saturated === undefined ? {} : { saturated: bounds(saturated) }),
    by,
  };
}

/** What one value cannot say of itself. */
export function modelRouteChecks(
  routes: readonly ModelRouteConfig[],
  tenantIds: readonly string[],
): { path: PropertyKey[]; message: string }[] {
  const problems: { path: PropertyKey[]; message: string }[] = [];
  const ids = new Set<string>();
  const governed = new Set<string>();
  for (const [index, given] of routes.entries()) {
    const at = ['modelRoutes', index];
    const own = modelRouteId(given);
    if (ids.has(own)) problems.push({ path: [...at, 'models'], message: `model route "${own}" stands twice` });
    ids.add(own);
    for (const tenant of given.tenants) {
      if (tenantIds.length > 0 && !tenantIds.includes(tenant))
        problems.push({ path: [...at, 'tenants'], message: `there is no tenant "${tenant}"` });
    }
    for (const name of given.models) {
      for (const tenant of given.tenants.length === 0 ? [''] : given.tenants) {
        const key = `${tenant}\0${name}`;
        const whose = tenant === '' ? '' : ` of tenant "${tenant}"`;
        if (governed.has(key))
          problems.push({ path: [...at, 'models'], message: `"${name}"${whose} has two model routes` });
        governed.add(key);
      }
    }
    if (Array.isArray(given.to) && !given.to.some(({ weight, header }) => weight !== undefined || header === undefined))
      problems.push({ path: [...at, 'to'], message: 'no share for those who send no header: give one a weight' });
  }
  return problems;
}
