import type { MessageInitShape } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import { fnv1a32 } from '#libs/kernel';
import type { LimitConfig, TenantConfig } from './schema.ts';
import { limitMetrics } from './schema.ts';

const { LimitMetric } = tenancy;

export type DesiredLimit = MessageInitShape<typeof tenancy.LimitSchema>;

const windowsMs = { second: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000, month: 31 * 86_400_000 } as const;
const metrics: Record<(typeof limitMetrics)[number], tenancy.LimitMetric> = {
  requests: LimitMetric.REQUESTS,
  inputTokens: LimitMetric.INPUT_TOKENS,
  outputTokens: LimitMetric.OUTPUT_TOKENS,
  tokens: LimitMetric.TOKENS,
  cost: LimitMetric.COST,
};
const idLengthMax = 128;

/** One limit of the document as so many limits as it has amounts. Their ids say what they are: a client reads them. */
function limitsOf(
  { id, per, project = '', models, concurrent, maxTokens, ...rest }: LimitConfig,
  keyId: string,
): DesiredLimit[] {
  const parts = {
    perKey: per.includes('key'),
    perUser: per.includes('user'),
    perModel: per.includes('model'),
    perProject: per.includes('project'),
    projectId: project,
  };
  const { alerts, hard } = rest;
  const made: DesiredLimit[] = [];
  const add = (name: string, metric: tenancy.LimitMetric, amount: number, windowMs = 0): void => {
    const words = [
      ...(id === undefined ? [] : [id]),
      ...(keyId === '' ? [] : [`key ${keyId}`]),
      ...(project === '' ? [] : [`project ${project}`]),
      name,
      ...[...per].sort().map((part) => `per ${part}`),
      ...(models.length === 0 ? [] : [`of ${[...models].sort().join(',')}`]),
    ].join(' ');
    const budget =
      alerts === undefined || metric !== LimitMetric.COST ? {} : { alertPercents: alerts, soft: hard !== true };
    made.push({ limitId: shortened(words), keyId, models, ...parts, metric, windowMs, amount, ...budget });
  };
  for (const name of limitMetrics) {
    for (const [window, amount] of Object.entries(rest[name] ?? {})) {
      if (amount !== undefined)
        add(`${name}/${window}`, metrics[name], amount, windowsMs[window as keyof typeof windowsMs]);
    }
  }
  if (concurrent !== undefined) add('concurrent', LimitMetric.CONCURRENT, concurrent);
  if (maxTokens !== undefined) add('maxTokens', LimitMetric.MAX_TOKENS, maxTokens);
  return made;
}

const shortened = (words: string): string =>
  words.length <= idLengthMax
    ? words
    : `${words.slice(0, idLengthMax - 9)}-${fnv1a32(words).toString(16).padStart(8, '0')}`;

/** All limits of a tenant, with where in it each stands. */
export function tenantLimits(tenant: TenantConfig): { readonly limit: DesiredLimit; readonly path: PropertyKey[] }[] {
  const placed = (limits: readonly LimitConfig[], keyId: string, path: PropertyKey[]) =>
    limits.flatMap((given, index) => limitsOf(given, keyId).map((limit) => ({ limit, path: [...path, index] })));
  return [
    ...placed(tenant.limits, '', ['limits']),
    ...tenant.keys.flatMap((key, index) => placed(key.limits, key.id, ['keys', index, 'limits'])),
  ];
}
