import { Controller, Inject } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import type { tenancy } from '#libs/contracts';
import { isSubjectId } from '#libs/contracts';
import { adminKeys, adminKeysId, tenant } from '#libs/domain/tenancy';
import { CodedError } from '#libs/kernel';
import type { MessageContext } from '#libs/nest-kit';
import { fromCommandHeaders } from '#libs/nest-kit';
import type { Receipt } from './commands.ts';
import { Commands } from './commands.ts';

/** The commands of lintel.cmd.tenancy.* about projects, users, changes of keys, and admin keys. */
@Controller()
export class PeopleController {
  constructor(@Inject(Commands) private readonly commands: Commands) {}

  @MessagePattern('tenancy.ChangeKey')
  async change(@Payload() message: tenancy.ChangeKey, @Ctx() context: MessageContext): Promise<Receipt> {
    const { $typeName: _, ...change } = message;
    const command = { type: 'ChangeKey', ...change } as const;
    return await this.commands.answer(tenant, message.tenantId, command, fromCommandHeaders(context.headers));
  }

  @MessagePattern('tenancy.RotateKey')
  async rotate(@Payload() message: tenancy.RotateKey, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId, keyId, keyHash, previousUntilMs, atMs } = message;
    const command = { type: 'RotateKey', tenantId, keyId, keyHash, previousUntilMs, atMs } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers));
  }

  @MessagePattern('tenancy.RegisterProject')
  async registerProject(@Payload() message: tenancy.RegisterProject, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId, projectId, displayName, source } = message;
    const command = { type: 'RegisterProject', tenantId, projectId: named(projectId), displayName, source } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers));
  }

  @MessagePattern('tenancy.RemoveProject')
  async removeProject(@Payload() message: tenancy.RemoveProject, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId, projectId, reason } = message;
    const command = { type: 'RemoveProject', tenantId, projectId, reason } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers), reason);
  }

  @MessagePattern('tenancy.RegisterUser')
  async registerUser(@Payload() message: tenancy.RegisterUser, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId, userId, projectId, displayName, source } = message;
    const command = { type: 'RegisterUser', tenantId, userId: named(userId), projectId, displayName, source } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers));
  }

  @MessagePattern('tenancy.RemoveUser')
  async removeUser(@Payload() message: tenancy.RemoveUser, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId, userId, reason } = message;
    const command = { type: 'RemoveUser', tenantId, userId, reason } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers), reason);
  }

  @MessagePattern('tenancy.IssueAdminKey')
  async issueAdminKey(@Payload() message: tenancy.IssueAdminKey, @Ctx() context: MessageContext): Promise<Receipt> {
    const { keyId, keyHash, displayName, expiresAtMs } = message;
    const command = { type: 'IssueAdminKey', keyId: named(keyId), keyHash, displayName, expiresAtMs } as const;
    return await this.commands.answer(adminKeys, adminKeysId, command, fromCommandHeaders(context.headers));
  }

  @MessagePattern('tenancy.RevokeAdminKey')
  async revokeAdminKey(@Payload() message: tenancy.RevokeAdminKey, @Ctx() context: MessageContext): Promise<Receipt> {
    const { keyId, reason } = message;
    const command = { type: 'RevokeAdminKey', keyId, reason } as const;
    return await this.commands.answer(adminKeys, adminKeysId, command, fromCommandHeaders(context.headers), reason);
  }
}

/** Ids stand in documents and paths, and a reader should be able to type them. @throws COMMAND_ID_INVALID */
function named(id: string): string {
  if (isSubjectId(id)) return id;
  throw new CodedError('COMMAND_ID_INVALID', `"${id.slice(0, 80)}" is no id`, {
    advice: 'Use 1 to 64 letters, digits, "_" or "-".',
  });
}
