import type { ApplyAnswer, KeyAnswer, ReceiptAnswer } from '#libs/domain/diag';
import { CodedError } from '#libs/kernel';
import { Body, Controller, Delete, Headers, HttpCode, Inject, Param, Post, Query, UseGuards } from '@nestjs/common';
import { z } from 'zod';
import { apply } from '../answers/apply.ts';
import type { Asked } from '../answers/commands.ts';
import { command, issueKey } from '../answers/commands.ts';
import type { Core } from '../core.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';
import { flag, given, subjectId, text } from './given.ts';

const reasonGiven = z.strictObject({ reason: z.string().max(1024).default('') });
const replicaGiven = z.object({ id: subjectId });
const tenantGiven = z.object({ tenantId: subjectId });
const keyGiven = z.object({ tenantId: subjectId, keyId: subjectId });
const issueGiven = z.strictObject({
  keyId: subjectId,
  name: z.string().max(256).default(''),
  models: z.array(text(256)).max(256).default([]),
  expiresAt: text(64).optional(),
});
const applyGiven = z.object({ dryRun: flag, prune: flag, file: text(256).default('lintel.yaml') });
const headersGiven = z.object({
  'idempotency-key': text(100).optional(),
  traceparent: text(64).optional(),
  'x-lintel-actor': z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,31}:[\w.@-]{1,64}$/, 'must be like "cli:ann"')
    .optional(),
});

function asked(headers: unknown): Asked {
  const { 'idempotency-key': key, traceparent, 'x-lintel-actor': actor } = given(headersGiven, headers);
  return { commandId: key === undefined ? undefined : `api-${key}`, actor, traceparent };
}

/** Wishes, passed on to who decides. */
@Controller('api/v1')
@UseGuards(AdminGuard)
export class CommandsController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Post('apply')
  @HttpCode(200)
  async apply(@Body() body: unknown, @Query() query: unknown, @Headers() headers: unknown): Promise<ApplyAnswer> {
    if (typeof body !== 'string') {
      throw new CodedError('BAD_REQUEST', 'the body is not a document', {
        advice: 'Send the YAML text with content-type: application/yaml.',
      });
    }
    return await apply(this.core, { text: body, ...given(applyGiven, query), asked: asked(headers) });
  }

  @Post('replicas/:id/drain')
  @HttpCode(200)
  async drain(@Param() params: unknown, @Body() body: unknown, @Headers() headers: unknown): Promise<ReceiptAnswer> {
    const request = { replicaId: given(replicaGiven, params).id, reason: given(reasonGiven, body).reason };
    return await command(this.core, 'route.DrainReplica', request, asked(headers));
  }

  @Post('replicas/:id/resume')
  @HttpCode(200)
  async resume(@Param() params: unknown, @Body() body: unknown, @Headers() headers: unknown): Promise<ReceiptAnswer> {
    const request = { replicaId: given(replicaGiven, params).id, reason: given(reasonGiven, body).reason };
    return await command(this.core, 'route.ResumeReplica', request, asked(headers));
  }

  @Delete('replicas/:id')
  async remove(@Param() params: unknown, @Body() body: unknown, @Headers() headers: unknown): Promise<ReceiptAnswer> {
    const request = { replicaId: given(replicaGiven, params).id, reason: given(reasonGiven, body).reason };
    return await command(this.core, 'route.RemoveReplica', request, asked(headers));
  }

  @Post('tenants/:tenantId/keys')
  async issueKey(@Param() params: unknown, @Body() body: unknown, @Headers() headers: unknown): Promise<KeyAnswer> {
    const wanted = { ...given(tenantGiven, params), ...given(issueGiven, body) };
    return await issueKey(this.core, wanted, asked(headers));
  }

  @Delete('tenants/:tenantId/keys/:keyId')
  async revokeKey(
    @Param() params: unknown,
    @Body() body: unknown,
    @Headers() headers: unknown,
  ): Promise<ReceiptAnswer> {
    const request = { ...given(keyGiven, params), reason: given(reasonGiven, body).reason };
    return await command(this.core, 'tenancy.RevokeKey', request, asked(headers));
  }
}
