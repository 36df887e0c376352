import type { ApplyAnswer, ReceiptAnswer } from '#libs/domain/diag';
import { CodedError } from '#libs/kernel';
import { Body, Controller, Delete, Headers, HttpCode, Inject, Param, Post, Query, UseGuards } from '@nestjs/common';
import { z } from 'zod';
import { apply } from '../answers/apply.ts';
import { command } from '../answers/commands.ts';
import type { Core } from '../core.ts';
import * as answers from '../openapi/answers.ts';
import { Described } from '../openapi/described.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';
import { askedBy, headersGiven } from './asked.ts';
import { flag, given, reasonGiven, subjectId, text } from './given.ts';

const replicaGiven = z.object({ id: subjectId });
const applyGiven = z.object({ dryRun: flag, prune: flag, file: text(256).default('lintel.yaml') });
/** Wishes, passed on to who decides. */
@Controller('api/v1')
@UseGuards(AdminGuard)
export class CommandsController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Post('apply')
  @HttpCode(200)
  @Described({
    summary: 'Make a configuration true',
    query: applyGiven,
    headers: headersGiven,
    body: 'application/yaml',
    answer: answers.applyAnswer,
  })
  async apply(@Body() body: unknown, @Query() query: unknown, @Headers() headers: unknown): Promise<ApplyAnswer> {
    if (typeof body !== 'string') {
      throw new CodedError('BAD_REQUEST', 'the body is not a document', {
        advice: 'Send the YAML text with content-type: application/yaml.',
      });
    }
    return await apply(this.core, { text: body, ...given(applyGiven, query), asked: askedBy(headers) });
  }

  @Post('replicas/:id/drain')
  @HttpCode(200)
  @Described({
    summary: 'Take a replica out of routing',
    params: replicaGiven,
    headers: headersGiven,
    body: reasonGiven,
    answer: answers.receiptAnswer,
  })
  async drain(@Param() params: unknown, @Body() body: unknown, @Headers() headers: unknown): Promise<ReceiptAnswer> {
    const request = { replicaId: given(replicaGiven, params).id, reason: given(reasonGiven, body).reason };
    return await command(this.core, 'route.DrainReplica', request, askedBy(headers));
  }

  @Post('replicas/:id/resume')
  @HttpCode(200)
  @Described({
    summary: 'Take it back in',
    params: replicaGiven,
    headers: headersGiven,
    body: reasonGiven,
    answer: answers.receiptAnswer,
  })
  async resume(@Param() params: unknown, @Body() body: unknown, @Headers() headers: unknown): Promise<ReceiptAnswer> {
    const request = { replicaId: given(replicaGiven, params).id, reason: given(reasonGiven, body).reason };
    return await command(this.core, 'route.ResumeReplica', request, askedBy(headers));
  }

  @Delete('replicas/:id')
  @Described({
    summary: 'Take it away',
    params: replicaGiven,
    headers: headersGiven,
    body: reasonGiven,
    answer: answers.receiptAnswer,
  })
  async remove(@Param() params: unknown, @Body() body: unknown, @Headers() headers: unknown): Promise<ReceiptAnswer> {
    const request = { replicaId: given(replicaGiven, params).id, reason: given(reasonGiven, body).reason };
    return await command(this.core, 'route.RemoveReplica', request, askedBy(headers));
  }
}
