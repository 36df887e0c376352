import 'reflect-metadata';
import type { route, tenancy } from '#libs/contracts';
import { EventRegistry } from '#libs/contracts';
import { configuration, policy, replica } from '#libs/domain/route';
import { adminKeys, adminKeysId, priceBookId, prices, tenant } from '#libs/domain/tenancy';
import type { Broker, Decider, DomainEvent, Handled } from '#libs/event-log';
import { CommandHandler } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import type { MessageContext } from '#libs/nest-kit';
import { CodedRpcFilter, fromCommandHeaders, LintelTransport } from '#libs/nest-kit';
import type { INestMicroservice } from '@nestjs/common';
import { Controller, Inject, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';

const HANDLER = Symbol('handler');

/** The deciders behind the bus, as the gateway serves them, and nothing else of it. */
@Controller()
class DecidersController {
  constructor(@Inject(HANDLER) private readonly handler: CommandHandler) {}

  private async run<S, C, E extends DomainEvent>(
    decider: Decider<S, C, E>,
    id: string,
    command: C,
    { headers }: MessageContext,
  ): Promise<Omit<Handled, 'events'>> {
    const origin = fromCommandHeaders(headers);
    const { events: _, ...receipt } = await this.handler.handle(decider, id, command, {
      ...origin,
      reason: undefined,
      commandId: origin.commandId ?? systemEnvironment.ids.uuid(),
    });
    return receipt;
  }

  @MessagePattern('route.RegisterReplica')
  register(@Payload() { replica: wanted }: route.RegisterReplica, @Ctx() context: MessageContext): Promise<object> {
    const given = wanted as route.ReplicaRegistered;
    return this.run(replica, given.replicaId, { type: 'RegisterReplica', replica: given }, context);
  }

  @MessagePattern('route.DrainReplica')
  drain(@Payload() { replicaId, reason }: route.DrainReplica, @Ctx() context: MessageContext): Promise<object> {
    return this.run(replica, replicaId, { type: 'DrainReplica', replicaId, reason }, context);
  }

  @MessagePattern('route.ResumeReplica')
  resume(@Payload() { replicaId, reason }: route.ResumeReplica, @Ctx() context: MessageContext): Promise<object> {
    return this.run(replica, replicaId, { type: 'ResumeReplica', replicaId, reason }, context);
  }

  @MessagePattern('route.RemoveReplica')
  remove(@Payload() { replicaId, reason }: route.RemoveReplica, @Ctx() context: MessageContext): Promise<object> {
    return this.run(replica, replicaId, { type: 'RemoveReplica', replicaId, reason }, context);
  }

  @MessagePattern('route.AdoptPolicy')
  adopt(@Payload() command: route.AdoptPolicy, @Ctx() context: MessageContext): Promise<object> {
    const wanted = command.policy as route.RoutingPolicy;
    return this.run(policy, wanted.policyId, { type: 'AdoptPolicy', policy: wanted, source: command.source }, context);
  }

  @MessagePattern('route.RetirePolicy')
  retire(@Payload() { policyId, reason }: route.RetirePolicy, @Ctx() context: MessageContext): Promise<object> {
    return this.run(policy, policyId, { type: 'RetirePolicy', policyId, reason }, context);
  }

  @MessagePattern('route.RecordConfiguration')
  record(@Payload() command: route.RecordConfiguration, @Ctx() context: MessageContext): Promise<object> {
    const applied = command.configuration as route.ConfigurationApplied;
    return this.run(configuration, 'main', { type: 'RecordConfiguration', configuration: applied }, context);
  }

  @MessagePattern('route.ListReplicas')
  list(): object {
    return {
      atSeq: 0,
      replicas: [{ registration: { replicaId: 'a' }, healthy: true, circuit: 'closed', values: { waiting: 2 } }],
    };
  }

  @MessagePattern('tenancy.RegisterTenant')
  tenant(@Payload() command: tenancy.RegisterTenant, @Ctx() context: MessageContext): Promise<object> {
    const { tenantId, displayName, source } = command;
    return this.run(tenant, tenantId, { type: 'RegisterTenant', tenantId, displayName, source }, context);
  }

  @MessagePattern('tenancy.RemoveTenant')
  removeTenant(@Payload() { tenantId, reason }: tenancy.RemoveTenant, @Ctx() context: MessageContext): Promise<object> {
    return this.run(tenant, tenantId, { type: 'RemoveTenant', tenantId, reason }, context);
  }

  @MessagePattern('tenancy.IssueKey')
  issue(@Payload() command: tenancy.IssueKey, @Ctx() context: MessageContext): Promise<object> {
    const { $typeName: _, ...issue } = command;
    return this.run(tenant, command.tenantId, { type: 'IssueKey', ...issue }, context);
  }

  @MessagePattern('tenancy.SetPrices')
  setPrices(@Payload() command: tenancy.SetPrices, @Ctx() context: MessageContext): Promise<object> {
    const { currency, prices: list, source } = command;
    return this.run(prices, priceBookId, { type: 'SetPrices', currency, prices: list, source }, context);
  }

  @MessagePattern('tenancy.RevokeKey')
  revoke(@Payload() command: tenancy.RevokeKey, @Ctx() context: MessageContext): Promise<object> {
    const { tenantId, keyId, reason } = command;
    return this.run(tenant, tenantId, { type: 'RevokeKey', tenantId, keyId, reason }, context);
  }

  @MessagePattern('tenancy.ChangeKey')
  changeKey(@Payload() given: tenancy.ChangeKey, @Ctx() context: MessageContext): Promise<object> {
    const { $typeName: _, ...rest } = given;
    return this.run(tenant, given.tenantId, { type: 'ChangeKey', ...rest }, context);
  }

  @MessagePattern('tenancy.RotateKey')
  rotateKey(@Payload() given: tenancy.RotateKey, @Ctx() context: MessageContext): Promise<object> {
    const { $typeName: _, ...rest } = given;
    return this.run(tenant, given.tenantId, { type: 'RotateKey', ...rest }, context);
  }

  @MessagePattern('tenancy.RegisterProject')
  registerProject(@Payload() given: tenancy.RegisterProject, @Ctx() context: MessageContext): Promise<object> {
    const { $typeName: _, ...rest } = given;
    return this.run(tenant, given.tenantId, { type: 'RegisterProject', ...rest }, context);
  }

  @MessagePattern('tenancy.RemoveProject')
  removeProject(@Payload() given: tenancy.RemoveProject, @Ctx() context: MessageContext): Promise<object> {
    const { $typeName: _, ...rest } = given;
    return this.run(tenant, given.tenantId, { type: 'RemoveProject', ...rest }, context);
  }

  @MessagePattern('tenancy.RegisterUser')
  registerUser(@Payload() given: tenancy.RegisterUser, @Ctx() context: MessageContext): Promise<object> {
    const { $typeName: _, ...rest } = given;
    return this.run(tenant, given.tenantId, { type: 'RegisterUser', ...rest }, context);
  }

  @MessagePattern('tenancy.RemoveUser')
  removeUser(@Payload() given: tenancy.RemoveUser, @Ctx() context: MessageContext): Promise<object> {
    const { $typeName: _, ...rest } = given;
    return this.run(tenant, given.tenantId, { type: 'RemoveUser', ...rest }, context);
  }

  @MessagePattern('tenancy.IssueAdminKey')
  issueAdminKey(@Payload() given: tenancy.IssueAdminKey, @Ctx() context: MessageContext): Promise<object> {
    const { $typeName: _, ...rest } = given;
    return this.run(adminKeys, adminKeysId, { type: 'IssueAdminKey', ...rest }, context);
  }

  @MessagePattern('tenancy.RevokeAdminKey')
  revokeAdminKey(@Payload() given: tenancy.RevokeAdminKey, @Ctx() context: MessageContext): Promise<object> {
    const { $typeName: _, ...rest } = given;
    return this.run(adminKeys, adminKeysId, { type: 'RevokeAdminKey', ...rest }, context);
  }
}

@Module({})
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module is its decorator
class DecidersModule {}

/** Stands in for the gateway's control side on this broker. */
export async function startDeciders(broker: Broker): Promise<INestMicroservice> {
  const handler = new CommandHandler({
    log: broker.log,
    registry: new EventRegistry(),
    environment: systemEnvironment,
    actor: 'gateway:test',
    readers: broker.readers,
  });
  const module = {
    module: DecidersModule,
    controllers: [DecidersController],
    providers: [{ provide: HANDLER, useValue: handler }],
  };
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(module, {
    strategy: new LintelTransport({ responder: broker.responder, queue: 'gateway' }),
    logger: false,
  });
  app.useGlobalFilters(new CodedRpcFilter());
  await app.listen();
  return app;
}
