import { Controller, Inject } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { configuration, modelRoute, policy, replica } from '#libs/domain/route';
import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { MessageContext } from '#libs/nest-kit';
import { fromCommandHeaders } from '#libs/nest-kit';
import type { LiveFleet } from '../fleet/live-fleet.ts';
import { viewOf } from '../fleet/view.ts';
import type { Receipt } from './commands.ts';
import { Commands } from './commands.ts';
import { configurationId } from './configuration-id.ts';
import type { GatewayFolds } from './folds.ts';
import { controlLimits } from './limits.ts';
import { environmentToken, fleetToken, foldsToken } from './tokens.ts';

/** lintel.cmd.route.* and lintel.q.route.*: the gateway owns routing. */
@Controller()
export class RouteController {
  constructor(
    @Inject(Commands) private readonly commands: Commands,
    @Inject(foldsToken) private readonly folds: GatewayFolds,
    @Inject(fleetToken) private readonly fleet: LiveFleet,
    @Inject(environmentToken) private readonly environment: Environment,
  ) {}

  @MessagePattern('route.RegisterReplica')
  async register(
    @Payload() { replica: given }: route.RegisterReplica,
    @Ctx() context: MessageContext,
  ): Promise<Receipt> {
    const wanted = required(given, 'replica');
    const command = { type: 'RegisterReplica', replica: wanted } as const;
    return await this.commands.answer(replica, wanted.replicaId, command, originOf(context));
  }

  @MessagePattern('route.DrainReplica')
  async drain(@Payload() { replicaId, reason }: route.DrainReplica, @Ctx() context: MessageContext): Promise<Receipt> {
    const command = { type: 'DrainReplica', replicaId, reason } as const;
    return await this.commands.answer(replica, replicaId, command, originOf(context), reason);
  }

  @MessagePattern('route.ResumeReplica')
  async resume(
    @Payload() { replicaId, reason }: route.ResumeReplica,
    @Ctx() context: MessageContext,
  ): Promise<Receipt> {
    const command = { type: 'ResumeReplica', replicaId, reason } as const;
    return await this.commands.answer(replica, replicaId, command, originOf(context), reason);
  }

  @MessagePattern('route.RemoveReplica')
  async remove(
    @Payload() { replicaId, reason }: route.RemoveReplica,
    @Ctx() context: MessageContext,
  ): Promise<Receipt> {
    const command = { type: 'RemoveReplica', replicaId, reason } as const;
    return await this.commands.answer(replica, replicaId, command, originOf(context), reason);
  }

  @MessagePattern('route.EjectReplica')
  async eject(@Payload() { ejection: given }: route.EjectReplica, @Ctx() context: MessageContext): Promise<Receipt> {
    const ejection = required(given, 'ejection');
    const command = { type: 'EjectReplica', ejection } as const;
    return await this.commands.answer(replica, ejection.replicaId, command, originOf(context), ejection.reason);
  }

  @MessagePattern('route.ReadmitReplica')
  async readmit(
    @Payload() { readmission: given }: route.ReadmitReplica,
    @Ctx() context: MessageContext,
  ): Promise<Receipt> {
    const readmission = required(given, 'readmission');
    const command = { type: 'ReadmitReplica', readmission } as const;
    return await this.commands.answer(replica, readmission.replicaId, command, originOf(context), readmission.reason);
  }

  @MessagePattern('route.AdoptPolicy')
  async adopt(
    @Payload() { policy: given, source }: route.AdoptPolicy,
    @Ctx() context: MessageContext,
  ): Promise<Receipt> {
    const wanted = required(given, 'policy');
    const command = { type: 'AdoptPolicy', policy: wanted, source } as const;
    return await this.commands.answer(policy, wanted.policyId, command, originOf(context));
  }

  @MessagePattern('route.RetirePolicy')
  async retire(@Payload() { policyId, reason }: route.RetirePolicy, @Ctx() context: MessageContext): Promise<Receipt> {
    const command = { type: 'RetirePolicy', policyId, reason } as const;
    return await this.commands.answer(policy, policyId, command, originOf(context), reason);
  }

  @MessagePattern('route.SetModelRoute')
  async setModelRoute(
    @Payload() { route: given, source }: route.SetModelRoute,
    @Ctx() context: MessageContext,
  ): Promise<Receipt> {
    const wanted = required(given, 'route');
    const command = { type: 'SetModelRoute', route: wanted, source } as const;
    return await this.commands.answer(modelRoute, wanted.routeId, command, originOf(context));
  }

  @MessagePattern('route.RemoveModelRoute')
  async removeModelRoute(
    @Payload() { routeId, reason }: route.RemoveModelRoute,
    @Ctx() context: MessageContext,
  ): Promise<Receipt> {
    const command = { type: 'RemoveModelRoute', routeId, reason } as const;
    return await this.commands.answer(modelRoute, routeId, command, originOf(context), reason);
  }

  @MessagePattern('route.RecordConfiguration')
  async record(@Payload() message: route.RecordConfiguration, @Ctx() context: MessageContext): Promise<Receipt> {
    const applied = required(message.configuration, 'configuration');
    const command = { type: 'RecordConfiguration', configuration: applied } as const;
    return await this.commands.answer(configuration, configurationId(applied.source), command, originOf(context));
  }

  @MessagePattern('route.ListReplicas')
  async list(
    @Payload() { minSeq }: route.ListReplicas,
    @Ctx() context: MessageContext,
  ): Promise<MessageInitShape<typeof route.ListReplicasResultSchema>> {
    await this.folds.route.waitFor(minSeq, Math.min(controlLimits.minSeqWaitMsMax, context.deadlineMs));
    const nowMs = this.environment.clock.monotonicMs();
    return {
      atSeq: this.folds.route.seq,
      replicas: this.fleet.replicas.map((each) => create(route.ReplicaViewSchema, viewOf(each, nowMs))),
    };
  }
}

const originOf = (context: MessageContext): ReturnType<typeof fromCommandHeaders> =>
  fromCommandHeaders(context.headers);

function required<T>(value: T | undefined, name: string): T {
  if (value !== undefined) return value;
  throw new CodedError('BAD_REQUEST', `the command has no ${name}`);
}
