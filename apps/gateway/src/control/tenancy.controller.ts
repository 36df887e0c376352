import { Controller, Inject } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import type { tenancy } from '#libs/contracts';
import { priceBookId, prices, tenant } from '#libs/domain/tenancy';
import type { MessageContext } from '#libs/nest-kit';
import { fromCommandHeaders } from '#libs/nest-kit';
import type { Receipt } from './commands.ts';
import { Commands } from './commands.ts';

/** lintel.cmd.tenancy.*: the gateway owns tenancy, since it is the one that checks keys. */
@Controller()
export class TenancyController {
  constructor(@Inject(Commands) private readonly commands: Commands) {}

  @MessagePattern('tenancy.RegisterTenant')
  async register(@Payload() message: tenancy.RegisterTenant, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId, displayName, source, cacheSalt, warm } = message;
    const command = { type: 'RegisterTenant', tenantId, displayName, source, cacheSalt, warm } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers));
  }

  @MessagePattern('tenancy.RemoveTenant')
  async remove(@Payload() message: tenancy.RemoveTenant, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId, reason } = message;
    const command = { type: 'RemoveTenant', tenantId, reason } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers), reason);
  }

  @MessagePattern('tenancy.IssueKey')
  async issue(@Payload() message: tenancy.IssueKey, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId } = message;
    const { $typeName: _, ...issue } = message;
    const command = { type: 'IssueKey', ...issue } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers));
  }

  @MessagePattern('tenancy.SetLimits')
  async setLimits(@Payload() message: tenancy.SetLimits, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId, limits } = message;
    const command = { type: 'SetLimits', tenantId, limits } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers));
  }

  @MessagePattern('tenancy.SetPrices')
  async setPrices(@Payload() message: tenancy.SetPrices, @Ctx() context: MessageContext): Promise<Receipt> {
    const { currency, prices: list, source } = message;
    const command = { type: 'SetPrices', currency, prices: list, source } as const;
    return await this.commands.answer(prices, priceBookId, command, fromCommandHeaders(context.headers));
  }

  @MessagePattern('tenancy.RevokeKey')
  async revoke(@Payload() message: tenancy.RevokeKey, @Ctx() context: MessageContext): Promise<Receipt> {
    const { tenantId, keyId, reason } = message;
    const command = { type: 'RevokeKey', tenantId, keyId, reason } as const;
    return await this.commands.answer(tenant, tenantId, command, fromCommandHeaders(context.headers), reason);
  }
}
