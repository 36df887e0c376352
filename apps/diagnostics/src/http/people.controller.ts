import { endpointProblem } from '#libs/contracts';
import type {
  AdminKeyAnswer,
  AdminKeyItem,
  KeyAnswer,
  KeyDetail,
  ListAnswer,
  OneAnswer,
  ProjectItem,
  ReceiptAnswer,
  TenantDetail,
  UserItem,
} from '#libs/domain/diag';
import { keyLimits } from '#libs/domain/tenancy';
import {
  Body,
  Controller,
  Delete,
  Get,
  Headers,
  HttpCode,
  Inject,
  Param,
  Patch,
  Post,
  Put,
  Query,
  UseGuards,
} from '@nestjs/common';
import { z } from 'zod';
import { command } from '../answers/commands.ts';
import * as people from '../answers/people.ts';
import type { Core } from '../core.ts';
import * as answers from '../openapi/answers.ts';
import { Described } from '../openapi/described.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';
import { askedBy, headersGiven as headers } from './asked.ts';
import { given, listGiven, reasonGiven, subjectId, text } from './given.ts';

const displayName = z.string().max(256);
const tenantParams = z.object({ tenantId: subjectId });
const projectParams = z.object({ tenantId: subjectId, projectId: subjectId });
const userParams = z.object({ tenantId: subjectId, userId: subjectId });
const keyParams = z.object({ tenantId: subjectId, keyId: subjectId });
const adminKeyParams = z.object({ keyId: subjectId });

const named = z.strictObject({ name: displayName.default('') });
const userGiven = z.strictObject({
  name: displayName.default(''),
  project: z.union([subjectId, z.literal('')]).default(''),
});
const endpoint = text(128).superRefine((pattern, context) => {
  const problem = endpointProblem(pattern);
  if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
});
const scope = {
  name: displayName.optional(),
  project: z.union([subjectId, z.literal('')]).optional(),
  user: z.union([subjectId, z.literal('')]).optional(),
  models: z.array(text(256)).max(256).optional(),
  endpoints: z.array(endpoint).max(keyLimits.endpointsMax).optional(),
  priority: z.number().int().min(keyLimits.priorityMin).max(keyLimits.priorityMax).nullable().optional(),
};
const issueGiven = z.strictObject({ keyId: subjectId, ...scope, expiresAt: text(64).optional() });
const changeGiven = z.strictObject({ ...scope, expiresAt: text(64).nullable().optional() });
const rotateGiven = z.strictObject({ overlap: text(64).default('24h') });
const adminKeyGiven = z.strictObject({
  keyId: subjectId,
  name: displayName.default(''),
  expiresAt: text(64).optional(),
});

/** Tenants, their projects, users and keys, and the keys of this API. */
@Controller('api/v1')
@UseGuards(AdminGuard)
export class PeopleController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Get('tenants/:tenantId')
  @Described({
    summary: 'A tenant, with all that is in it',
    params: tenantParams,
    query: listGiven,
    answer: answers.one(answers.tenantDetail),
  })
  async tenant(@Param() params: unknown, @Query() query: unknown): Promise<OneAnswer<TenantDetail>> {
    return await people.showTenant(this.core, given(tenantParams, params).tenantId, given(listGiven, query));
  }

  @Put('tenants/:tenantId')
  @Described({
    summary: 'Make a tenant, or name it anew',
    params: tenantParams,
    headers,
    body: named,
    answer: answers.receiptAnswer,
  })
  async putTenant(@Param() params: unknown, @Body() body: unknown, @Headers() head: unknown): Promise<ReceiptAnswer> {
    const { tenantId } = given(tenantParams, params);
    return await people.putTenant(this.core, tenantId, given(named, body).name, askedBy(head));
  }

  @Delete('tenants/:tenantId')
  @Described({
    summary: 'Remove a tenant; its keys open nothing from then on',
    params: tenantParams,
    headers,
    body: reasonGiven,
    answer: answers.receiptAnswer,
  })
  async removeTenant(
    @Param() params: unknown,
    @Body() body: unknown,
    @Headers() head: unknown,
  ): Promise<ReceiptAnswer> {
    const request = { ...given(tenantParams, params), reason: given(reasonGiven, body).reason };
    return await command(this.core, 'tenancy.RemoveTenant', request, askedBy(head));
  }

  @Get('tenants/:tenantId/projects')
  @Described({
    summary: 'Projects of a tenant',
    params: tenantParams,
    query: listGiven,
    answer: answers.listOf(answers.projectItem),
  })
  async projects(@Param() params: unknown, @Query() query: unknown): Promise<ListAnswer<ProjectItem>> {
    return await people.listProjects(this.core, given(tenantParams, params).tenantId, given(listGiven, query));
  }

  @Get('tenants/:tenantId/projects/:projectId')
  @Described({
    summary: 'A project',
    params: projectParams,
    query: listGiven,
    answer: answers.one(answers.projectItem),
  })
  async project(@Param() params: unknown, @Query() query: unknown): Promise<OneAnswer<ProjectItem>> {
    const { tenantId, projectId } = given(projectParams, params);
    return await people.showProject(this.core, tenantId, projectId, given(listGiven, query));
  }

  @Put('tenants/:tenantId/projects/:projectId')
  @Described({
    summary: 'Make a project, or name it anew',
    params: projectParams,
    headers,
    body: named,
    answer: answers.receiptAnswer,
  })
  async putProject(@Param() params: unknown, @Body() body: unknown, @Headers() head: unknown): Promise<ReceiptAnswer> {
    const wanted = { ...given(projectParams, params), name: given(named, body).name };
    return await people.putProject(this.core, wanted, askedBy(head));
  }

  @Delete('tenants/:tenantId/projects/:projectId')
  @Described({
    summary: 'Remove a project, its users and their keys',
    params: projectParams,
    headers,
    body: reasonGiven,
    answer: answers.receiptAnswer,
  })
  async removeProject(
    @Param() params: unknown,
    @Body() body: unknown,
    @Headers() head: unknown,
  ): Promise<ReceiptAnswer> {
    const request = { ...given(projectParams, params), reason: given(reasonGiven, body).reason };
    return await command(this.core, 'tenancy.RemoveProject', request, askedBy(head));
  }

  @Get('tenants/:tenantId/users')
  @Described({
    summary: 'Users of a tenant',
    params: tenantParams,
    query: listGiven,
    answer: answers.listOf(answers.userItem),
  })
  async users(@Param() params: unknown, @Query() query: unknown): Promise<ListAnswer<UserItem>> {
    return await people.listUsers(this.core, given(tenantParams, params).tenantId, given(listGiven, query));
  }

  @Get('tenants/:tenantId/users/:userId')
  @Described({ summary: 'A user', params: userParams, query: listGiven, answer: answers.one(answers.userItem) })
  async user(@Param() params: unknown, @Query() query: unknown): Promise<OneAnswer<UserItem>> {
    const { tenantId, userId } = given(userParams, params);
    return await people.showUser(this.core, tenantId, userId, given(listGiven, query));
  }

  @Put('tenants/:tenantId/users/:userId')
  @Described({
    summary: 'Make a user, or change it',
    params: userParams,
    headers,
    body: userGiven,
    answer: answers.receiptAnswer,
  })
  async putUser(@Param() params: unknown, @Body() body: unknown, @Headers() head: unknown): Promise<ReceiptAnswer> {
    return await people.putUser(this.core, { ...given(userParams, params), ...given(userGiven, body) }, askedBy(head));
  }

  @Delete('tenants/:tenantId/users/:userId')
  @Described({
    summary: 'Remove a user and its keys',
    params: userParams,
    headers,
    body: reasonGiven,
    answer: answers.receiptAnswer,
  })
  async removeUser(@Param() params: unknown, @Body() body: unknown, @Headers() head: unknown): Promise<ReceiptAnswer> {
    const request = { ...given(userParams, params), reason: given(reasonGiven, body).reason };
    return await command(this.core, 'tenancy.RemoveUser', request, askedBy(head));
  }

  @Get('tenants/:tenantId/keys')
  @Described({
    summary: 'Keys of a tenant; of none more than its name and scope',
    params: tenantParams,
    query: listGiven,
    answer: answers.listOf(answers.keyDetail),
  })
  async keys(@Param() params: unknown, @Query() query: unknown): Promise<ListAnswer<KeyDetail>> {
    return await people.listKeys(this.core, given(tenantParams, params).tenantId, given(listGiven, query));
  }

  @Get('tenants/:tenantId/keys/:keyId')
  @Described({ summary: 'A key', params: keyParams, query: listGiven, answer: answers.one(answers.keyDetail) })
  async key(@Param() params: unknown, @Query() query: unknown): Promise<OneAnswer<KeyDetail>> {
    const { tenantId, keyId } = given(keyParams, params);
    return await people.showKey(this.core, tenantId, keyId, given(listGiven, query));
  }

  @Post('tenants/:tenantId/keys')
  @Described({
    summary: 'Make a key; it is shown once',
    params: tenantParams,
    headers,
    body: issueGiven,
    answer: answers.keyAnswer,
  })
  async issueKey(@Param() params: unknown, @Body() body: unknown, @Headers() head: unknown): Promise<KeyAnswer> {
    const wanted = { ...given(tenantParams, params), ...given(issueGiven, body) };
    return await people.issueKey(this.core, wanted, askedBy(head));
  }

  @Patch('tenants/:tenantId/keys/:keyId')
  @Described({
    summary: 'Change what a key may do; what is not given stays',
    params: keyParams,
    headers,
    body: changeGiven,
    answer: answers.receiptAnswer,
  })
  async changeKey(@Param() params: unknown, @Body() body: unknown, @Headers() head: unknown): Promise<ReceiptAnswer> {
    const wanted = { ...given(keyParams, params), ...given(changeGiven, body) };
    return await people.changeKey(this.core, wanted, askedBy(head));
  }

  @Post('tenants/:tenantId/keys/:keyId/rotate')
  @HttpCode(200)
  @Described({
    summary: 'Another key in place of this one, which works until the overlap ends',
    params: keyParams,
    headers,
    body: rotateGiven,
    answer: answers.keyAnswer,
  })
  async rotateKey(@Param() params: unknown, @Body() body: unknown, @Headers() head: unknown): Promise<KeyAnswer> {
    const wanted = { ...given(keyParams, params), ...given(rotateGiven, body) };
    return await people.rotateKey(this.core, wanted, askedBy(head));
  }

  @Delete('tenants/:tenantId/keys/:keyId')
  @Described({ summary: 'Revoke a key', params: keyParams, headers, body: reasonGiven, answer: answers.receiptAnswer })
  async revokeKey(@Param() params: unknown, @Body() body: unknown, @Headers() head: unknown): Promise<ReceiptAnswer> {
    const request = { ...given(keyParams, params), reason: given(reasonGiven, body).reason };
    return await command(this.core, 'tenancy.RevokeKey', request, askedBy(head));
  }

  @Get('admin-keys')
  @Described({
    summary: 'Keys of this API, but for the one of the start',
    query: listGiven,
    answer: answers.listOf(answers.adminKeyItem),
  })
  async adminKeys(@Query() query: unknown): Promise<ListAnswer<AdminKeyItem>> {
    return await people.listAdminKeys(this.core, given(listGiven, query));
  }

  @Post('admin-keys')
  @Described({
    summary: 'Make a key of this API; it is shown once',
    headers,
    body: adminKeyGiven,
    answer: answers.adminKeyAnswer,
  })
  async issueAdminKey(@Body() body: unknown, @Headers() head: unknown): Promise<AdminKeyAnswer> {
    return await people.issueAdminKey(this.core, given(adminKeyGiven, body), askedBy(head));
  }

  @Delete('admin-keys/:keyId')
  @Described({
    summary: 'Revoke a key of this API',
    params: adminKeyParams,
    headers,
    body: reasonGiven,
    answer: answers.receiptAnswer,
  })
  async revokeAdminKey(
    @Param() params: unknown,
    @Body() body: unknown,
    @Headers() head: unknown,
  ): Promise<ReceiptAnswer> {
    const request = { ...given(adminKeyParams, params), reason: given(reasonGiven, body).reason };
    return await command(this.core, 'tenancy.RevokeAdminKey', request, askedBy(head));
  }
}
