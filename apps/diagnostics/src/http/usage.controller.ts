import type { UsageAnswer } from '#libs/domain/diag';
import { parseTime } from '#libs/domain/diag';
import { usageDimensions } from '#libs/projections-postgres';
import { Controller, Get, Inject, Query, UseGuards } from '@nestjs/common';
import { z } from 'zod';
import { tellUsage } from '../answers/usage.ts';
import type { Core } from '../core.ts';
import * as answers from '../openapi/answers.ts';
import { Described } from '../openapi/described.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';
import { given, moment, text } from './given.ts';

const dayMs = 86_400_000;
const usageDaysDefault = 30;

const by = z
  .string()
  .default('tenant,model,day')
  .transform((list) => list.split(',').map((name) => name.trim()))
  .pipe(z.array(z.enum(usageDimensions)).min(1).max(usageDimensions.length))
  .refine((names) => new Set(names).size === names.length, 'names something twice');

const usageGiven = z.object({
  by,
  since: moment.optional(),
  until: moment.optional(),
  tenant: text(256).optional(),
  project: text(256).optional(),
  key: text(256).optional(),
  user: text(256).optional(),
  'end-user': text(256).optional(),
  model: text(256).optional(),
});

/** What was used. */
@Controller('api/v1')
@UseGuards(AdminGuard)
export class UsageController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Get('usage')
  @Described({ summary: 'What was used, and what it cost', query: usageGiven, answer: answers.usageAnswer })
  async usage(@Query() query: unknown): Promise<UsageAnswer> {
    const { by: dimensions, since, until, ...named } = given(usageGiven, query);
    const nowMs = this.core.environment.clock.nowMs();
    const only = Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined));
    return await tellUsage(this.core, {
      by: dimensions,
      sinceMs: since === undefined ? nowMs - usageDaysDefault * dayMs : parseTime(since, nowMs),
      untilMs: until === undefined ? nowMs : parseTime(until, nowMs),
      only,
    });
  }
}
