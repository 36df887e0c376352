import type {
  BudgetItem,
  DeadLetterAnswer,
  DeadLetterItem,
  ListAnswer,
  PriceItem,
  ProjectionState,
  RedriveAnswer,
  ReplicaItem,
  RequestItem,
  TenantItem,
} from '#libs/domain/diag';
import { parseTime, stateJson } from '#libs/domain/diag';
import { Controller, Get, HttpCode, Inject, Param, Post, Query, Res, UseGuards } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { listDeadLetters, redriveDeadLetter, showDeadLetter } from '../answers/dead-letters.ts';
import type { PoliciesAnswer } from '../answers/lists.ts';
import { listPolicies, listReplicas, listRequests, listTenants } from '../answers/lists.ts';
import { listBudgets } from '../answers/budgets.ts';
import { listPrices } from '../answers/prices.ts';
import { listProjections, rebuildProjection, retryProjection } from '../answers/projections.ts';
import type { Core } from '../core.ts';
import { limits } from '../limits.ts';
import * as answers from '../openapi/answers.ts';
import { Described } from '../openapi/described.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';
import { given, limitUpTo, listGiven, moment, sequence, subjectId, text } from './given.ts';
import { answerLines } from './lines.ts';

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

const completionKinds = ['replicas', 'policies', 'tenants', 'projects', 'users', 'keys', 'adminKeys'] as const;
const ofTenants: ReadonlySet<string> = new Set(['projects', 'users', 'keys']);
const completionGiven = z.object({ kind: z.enum(completionKinds) });
const completionQuery = z.object({ tenant: subjectId.optional() });

/** What there is now. */
@Controller('api/v1')
@UseGuards(AdminGuard)
export class ListsController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Get('replicas')
  @Described({
    summary: 'Replicas, with what the gateway last saw of each',
    query: listGiven,
    answer: answers.listOf(answers.replicaItem),
  })
  async replicas(@Query() query: unknown): Promise<ListAnswer<ReplicaItem>> {
    return await listReplicas(this.core, given(listGiven, query));
  }

  @Get('policies')
  @Described({ summary: 'Policies in force', query: listGiven, answer: answers.listOf(answers.policyItem) })
  async policies(@Query() query: unknown): Promise<PoliciesAnswer> {
    return await listPolicies(this.core, given(listGiven, query));
  }

  @Get('tenants')
  @Described({
    summary: 'Tenants with their keys and limits',
    query: listGiven,
    answer: answers.listOf(answers.tenantItem),
  })
  async tenants(@Query() query: unknown): Promise<ListAnswer<TenantItem>> {
    return await listTenants(this.core, given(listGiven, query));
  }

  @Get('budgets')
  @Described({
    summary: 'Budgets, and what was spent of them',
    query: listGiven,
    answer: answers.listOf(answers.budgetItem),
  })
  async budgets(@Query() query: unknown): Promise<ListAnswer<BudgetItem>> {
    return await listBudgets(this.core, given(listGiven, query));
  }

  @Get('prices')
  @Described({ summary: 'Prices in force', query: listGiven, answer: answers.listOf(answers.anything) })
  async prices(@Query() query: unknown): Promise<ListAnswer<PriceItem>> {
    return await listPrices(this.core, given(listGiven, query));
  }

  @Get('requests')
  @Described({ summary: 'Requests, newest first', query: requestsGiven, answer: answers.listOf(answers.requestItem) })
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
  @Described({ summary: 'Where each read model stands', answer: answers.listOf(answers.projectionState) })
  async projections(): Promise<ListAnswer<ProjectionState>> {
    return await listProjections(this.core);
  }

  @Post('projections/:name/rebuild')
  @Described({
    summary: 'Fold the log anew beside the live rows, then swap',
    params: projectionGiven,
    as: 'lines',
    answer: answers.lineOf('progress', 'done'),
  })
  async rebuild(@Param() params: unknown, @Res() reply: FastifyReply): Promise<void> {
    const { name } = given(projectionGiven, params);
    const { longAnswers, stopping } = this.core;
    await longAnswers.run(() => answerLines(reply, stopping, (lines) => rebuildProjection(this.core, name, lines)));
  }

  @Post('projections/:name/retry')
  @HttpCode(200)
  @Described({
    summary: 'Let a halted read model try again',
    params: projectionGiven,
    answer: answers.listOf(answers.projectionState),
  })
  async retry(@Param() params: unknown): Promise<ListAnswer<ProjectionState>> {
    return await retryProjection(this.core, given(projectionGiven, params).name);
  }

  @Get('dead-letters')
  @Described({
    summary: 'Messages that a reactor could not handle',
    query: lettersGiven,
    answer: answers.listOf(answers.letterItem),
  })
  async deadLetters(@Query() query: unknown): Promise<ListAnswer<DeadLetterItem>> {
    return await listDeadLetters(this.core, given(lettersGiven, query));
  }

  @Get('dead-letters/:id')
  @Described({ summary: 'One of them, whole', params: letterGiven, answer: answers.letterAnswer })
  async deadLetter(@Param() params: unknown): Promise<DeadLetterAnswer> {
    return await showDeadLetter(this.core, given(letterGiven, params).id);
  }

  @Post('dead-letters/:id/redrive')
  @HttpCode(200)
  @Described({ summary: 'Give it to its reactor again', params: letterGiven, answer: answers.redriveAnswer })
  async redrive(@Param() params: unknown): Promise<RedriveAnswer> {
    return await redriveDeadLetter(this.core, given(letterGiven, params).id);
  }

  /** Names only, for a shell that completes them. */
  @Get('completion/:kind')
  @Described({
    summary: 'Names only, for a shell that completes them',
    params: completionGiven,
    query: completionQuery,
    answer: answers.names,
  })
  async completion(@Param() params: unknown, @Query() query: unknown): Promise<string[]> {
    const { kind } = given(completionGiven, params);
    const { tenant } = given(completionQuery, query);
    const { state } = await this.core.fold.at();
    const ids = stateJson(state.fleet)[kind].map(({ id }) => id);
    if (!ofTenants.has(kind)) return ids;
    // Those of tenants are named `<tenant>/<id>` in the state.
    return [...new Set(ids.filter((id) => tenant === undefined || id.startsWith(`${tenant}/`)))].map((id) =>
      id.slice(id.indexOf('/') + 1),
    );
  }
}
