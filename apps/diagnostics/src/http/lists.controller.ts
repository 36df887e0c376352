import type {
  DeadLetterAnswer,
  DeadLetterItem,
  ListAnswer,
  PolicyItem,
  PriceItem,
  ProjectionState,
  RedriveAnswer,
  ReplicaItem,
  RequestItem,
  TenantItem,
} from '#libs/domain/diag';
import { parseTime, stateJson } from '#libs/domain/diag';
import { CodedError } from '#libs/kernel';
import { Controller, Get, HttpCode, Inject, Param, Post, Query, Res, UseGuards } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { listDeadLetters, redriveDeadLetter, showDeadLetter } from '../answers/dead-letters.ts';
import { listPolicies, listReplicas, listRequests, listTenants } from '../answers/lists.ts';
import { listPrices } from '../answers/prices.ts';
import { listProjections, rebuildProjection, retryProjection } from '../answers/projections.ts';
import type { Core } from '../core.ts';
import { limits } from '../limits.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';
import { given, limitUpTo, moment, sequence, text } from './given.ts';
import { answerLines } from './lines.ts';

const listGiven = z.object({
  minSeq: sequence.default(0),
  waitMs: limitUpTo(limits.minSeqWaitMsMax).default(limits.minSeqWaitMsMax),
});
const requestsGiven = z.object({
  limit: limitUpTo(limits.listRowsMax).default(50),
  model: text(256).optional(),
  tenant: text(256).optional(),
  outcome: text(64).optional(),
  replica: text(64).optional(),
  since: moment.optional(),
  until: moment.optional(),
  after: text(limits.idLengthMax).optional(),
});
const lettersGiven = z.object({
  consumer: text(64).optional(),
  after: sequence.default(0),
  limit: limitUpTo(limits.listRowsMax).default(100),
});
const letterGiven = z.object({ id: sequence });
const projectionGiven = z.object({ name: text(80) });

/** What there is now. */
@Controller('api/v1')
@UseGuards(AdminGuard)
export class ListsController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Get('replicas')
  async replicas(@Query() query: unknown): Promise<ListAnswer<ReplicaItem>> {
    return await listReplicas(this.core, given(listGiven, query));
  }

  @Get('policies')
  async policies(@Query() query: unknown): Promise<ListAnswer<PolicyItem>> {
    return await listPolicies(this.core, given(listGiven, query));
  }

  @Get('tenants')
  async tenants(@Query() query: unknown): Promise<ListAnswer<TenantItem>> {
    return await listTenants(this.core, given(listGiven, query));
  }

  @Get('prices')
  async prices(@Query() query: unknown): Promise<ListAnswer<PriceItem>> {
    return await listPrices(this.core, given(listGiven, query));
  }

  @Get('requests')
  async requests(@Query() query: unknown): Promise<ListAnswer<RequestItem>> {
    const { since, until, after, ...filter } = given(requestsGiven, query);
    const nowMs = this.core.environment.clock.nowMs();
    return await listRequests(this.core, {
      ...filter,
      sinceMs: since === undefined ? undefined : parseTime(since, nowMs),
      untilMs: until === undefined ? undefined : parseTime(until, nowMs),
      afterId: after,
    });
  }

  @Get('projections')
  async projections(): Promise<ListAnswer<ProjectionState>> {
    return await listProjections(this.core);
  }

  @Post('projections/:name/rebuild')
  async rebuild(@Param() params: unknown, @Res() reply: FastifyReply): Promise<void> {
    const { name } = given(projectionGiven, params);
    const { longAnswers, stopping } = this.core;
    await longAnswers.run(() => answerLines(reply, stopping, (lines) => rebuildProjection(this.core, name, lines)));
  }

  @Post('projections/:name/retry')
  @HttpCode(200)
  async retry(@Param() params: unknown): Promise<ListAnswer<ProjectionState>> {
    return await retryProjection(this.core, given(projectionGiven, params).name);
  }

  @Get('dead-letters')
  async deadLetters(@Query() query: unknown): Promise<ListAnswer<DeadLetterItem>> {
    return await listDeadLetters(this.core, given(lettersGiven, query));
  }

  @Get('dead-letters/:id')
  async deadLetter(@Param() params: unknown): Promise<DeadLetterAnswer> {
    return await showDeadLetter(this.core, given(letterGiven, params).id);
  }

  @Post('dead-letters/:id/redrive')
  @HttpCode(200)
  async redrive(@Param() params: unknown): Promise<RedriveAnswer> {
    return await redriveDeadLetter(this.core, given(letterGiven, params).id);
  }

  /** Names only, for a shell that completes them. */
  @Get('completion/:kind')
  async completion(@Param('kind') kind: string): Promise<string[]> {
    const names = ['replicas', 'policies', 'tenants'] as const;
    const found = names.find((name) => name === kind);
    if (found === undefined) throw new CodedError('BAD_REQUEST', `${kind}: one of ${names.join(', ')}`);
    const { state } = await this.core.fold.at();
    return stateJson(state.fleet)[found].map(({ id }) => id);
  }
}
