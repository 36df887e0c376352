import { create } from '@bufbuild/protobuf';
import { tenancy } from '#libs/contracts';
import type { LimitInit } from './tenant.decider.ts';
import { windowsMs } from './limits.ts';

/** A limit of cost per month, but for what is given. */
export const limitOf = (given: LimitInit): tenancy.Limit =>
  create(tenancy.LimitSchema, {
    limitId: 'b',
    metric: tenancy.LimitMetric.COST,
    windowMs: windowsMs.month,
    amount: 1_000,
    ...given,
  });
