import type { DescMessage } from '@bufbuild/protobuf';
import * as diag from './gen/lintel/diag/v1/queries_pb.ts';
import * as route from './gen/lintel/route/v1/commands_pb.ts';
import * as tenancy from './gen/lintel/tenancy/v1/commands_pb.ts';
import { subjects } from './subjects.ts';

/** A command or a query that one service asks of another: its context, its name, what goes in and what comes back. */
export interface MessageType<
  Name extends string = string,
  Q extends DescMessage = DescMessage,
  A extends DescMessage = DescMessage,
> {
  readonly kind: 'command' | 'query';
  readonly context: string;
  /** `<context>.<name>`: how handlers and callers write it. */
  readonly pattern: Name;
  readonly request: Q;
  readonly response: A;
}

function command<C extends string, Q extends DescMessage, N extends string>(
  context: C,
  name: N,
  request: Q,
): MessageType<`${C}.${N}`, Q, typeof route.CommandReceiptSchema> {
  return { kind: 'command', context, pattern: `${context}.${name}`, request, response: route.CommandReceiptSchema };
}

function query<C extends string, N extends string, Q extends DescMessage, A extends DescMessage>(
  context: C,
  name: N,
  request: Q,
  response: A,
): MessageType<`${C}.${N}`, Q, A> {
  return { kind: 'query', context, pattern: `${context}.${name}`, request, response };
}

/** Every command. Answered with the receipt of its commit. */
export const commandTypes = [
  command('route', 'RegisterReplica', route.RegisterReplicaSchema),
  command('route', 'DrainReplica', route.DrainReplicaSchema),
  command('route', 'ResumeReplica', route.ResumeReplicaSchema),
  command('route', 'RemoveReplica', route.RemoveReplicaSchema),
  command('route', 'EjectReplica', route.EjectReplicaSchema),
  command('route', 'ReadmitReplica', route.ReadmitReplicaSchema),
  command('route', 'AdoptPolicy', route.AdoptPolicySchema),
  command('route', 'RetirePolicy', route.RetirePolicySchema),
  command('route', 'SetModelRoute', route.SetModelRouteSchema),
  command('route', 'RemoveModelRoute', route.RemoveModelRouteSchema),
  command('route', 'RecordConfiguration', route.RecordConfigurationSchema),
  command('tenancy', 'RegisterTenant', tenancy.RegisterTenantSchema),
  command('tenancy', 'RemoveTenant', tenancy.RemoveTenantSchema),
  command('tenancy', 'IssueKey', tenancy.IssueKeySchema),
  command('tenancy', 'RevokeKey', tenancy.RevokeKeySchema),
  command('tenancy', 'SetLimits', tenancy.SetLimitsSchema),
  command('tenancy', 'SetPrices', tenancy.SetPricesSchema),
  command('tenancy', 'ChangeKey', tenancy.ChangeKeySchema),
  command('tenancy', 'RotateKey', tenancy.RotateKeySchema),
  command('tenancy', 'RegisterProject', tenancy.RegisterProjectSchema),
  command('tenancy', 'RemoveProject', tenancy.RemoveProjectSchema),
  command('tenancy', 'RegisterUser', tenancy.RegisterUserSchema),
  command('tenancy', 'RemoveUser', tenancy.RemoveUserSchema),
  command('tenancy', 'IssueAdminKey', tenancy.IssueAdminKeySchema),
  command('tenancy', 'RevokeAdminKey', tenancy.RevokeAdminKeySchema),
] as const;

/** Every query. */
export const queryTypes = [
  query('route', 'ListReplicas', route.ListReplicasSchema, route.ListReplicasResultSchema),
  query('diag', 'GetNotaryStatus', diag.GetNotaryStatusSchema, diag.GetNotaryStatusResultSchema),
] as const;

export type KnownMessageType = (typeof commandTypes)[number] | (typeof queryTypes)[number];
export type MessagePatternName = KnownMessageType['pattern'];
export type MessageTypeOf<Name extends MessagePatternName> = Extract<KnownMessageType, { pattern: Name }>;

const byPattern = new Map<string, MessageType>([...commandTypes, ...queryTypes].map((type) => [type.pattern, type]));

export function findMessageType(pattern: string): MessageType | undefined {
  return byPattern.get(pattern);
}

/** Patterns of all messages, for suggestions. */
export function messagePatterns(): string[] {
  return [...byPattern.keys()];
}

/** Where a message travels: `lintel.cmd.<context>.<name>` or `lintel.q.<context>.<name>`. */
export function messageSubject({ kind, context, pattern }: MessageType): string {
  const name = pattern.slice(context.length + 1);
  return kind === 'command' ? subjects.command(context, name) : subjects.query(context, name);
}
