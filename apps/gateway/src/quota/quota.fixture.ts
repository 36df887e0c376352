import { create } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';

export const limitOf = (
  limitId: string,
  metric: tenancy.LimitMetric,
  windowMs: number,
  amount: number,
  more: { readonly perUser?: boolean } = {},
): tenancy.Limit => create(tenancy.LimitSchema, { limitId, metric, windowMs, amount, ...more });
