import type { ApplyAnswer } from '#libs/domain/diag';
import type { PlannedRouting } from '#libs/domain/route';
import { planConfiguration } from '#libs/domain/route';
import type { PlannedPrices, PlannedTenancy } from '#libs/domain/tenancy';
import { planPrices, planTenants } from '#libs/domain/tenancy';
import { subjects } from '#libs/contracts';
import { sha256Hex } from '#libs/event-log';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { DesiredConfiguration } from '#libs/nest-kit';
import { changedSettings, contentHash, desiredOf, parseConfig } from '#libs/nest-kit';
import type { Core } from '../core.ts';
import type { Asked } from './commands.ts';
import { command } from './commands.ts';

export interface ApplyOptions {
  readonly text: string;
  /** Named in mistakes. */
  readonly file: string;
  readonly dryRun: boolean;
  /** Takes away what an earlier `apply` brought and this document does not name. */
  readonly prune: boolean;
  readonly asked: Pick<Asked, 'actor' | 'traceparent'>;
}

type Planned = PlannedRouting | PlannedTenancy | PlannedPrices;

const source = 'apply';

/**
 * Makes the fleet what the document says, by commands to the gateway. The whole plan is made first: a document that is invalid, or
 * whose plan is refused, changes nothing. @throws CONFIG_INVALID with the lines · what a decider refuses with · BUS_NO_RESPONDER
 */
export async function apply(core: Core, options: ApplyOptions): Promise<ApplyAnswer> {
  const config = parseConfig(options.text, options.file);
  const desired = desiredOf(config, source);
  const hash = contentHash(options.text);
  // Planned on everything that is decided by now.
  const { state } = await core.fold.at(await core.broker.log.lastSeq());
  const owns = (from: string): boolean => options.prune && from === source;
  const plan: Planned[] = [
    ...planConfiguration(desired, state.route, { source, owns }),
    ...planPrices(desired.prices, state.tenancy, { source, owns }),
    ...planTenants(desired.tenants, state.tenancy, { source, owns, nowMs: core.environment.clock.nowMs() }),
  ];
  const correlationId = `apply-${core.environment.ids.uuid()}`;
  const head = {
    durability: core.broker.durability,
    contentHash: hash,
    dryRun: options.dryRun,
    unchanged: wantedCount(desired) - plan.filter(({ change }) => !change.startsWith('-')).length,
    leftAlone: changedSettings(config, parseConfig('', options.file)),
    correlationId,
  };
  if (options.dryRun) {
    return { ...head, changes: plan.map(({ change }) => ({ what: change, seq: 0, commitId: '' })) };
  }
  // One id for the whole call would make one command of all its steps.
  const by = { actor: options.asked.actor, traceparent: options.asked.traceparent };
  const versions = plan.map((step) => core.fold.headOf(subjectOf(step))?.version ?? 0);
  const changes: { what: string; seq: number; commitId: string }[] = [];
  for (const [index, step] of plan.entries()) {
    const asked = { ...by, commandId: commandIdOf(hash, step, versions[index] ?? 0), correlationId };
    try {
      const { seq, commitId } = await send(core, step, asked);
      changes.push({ what: step.change, seq, commitId });
    } catch (thrown) {
      throw partly(thrown, step, changes.length, plan.length);
    }
  }
  if (plan.length > 0) await record(core, hash, plan, { ...by, correlationId });
  return { ...head, changes };
}

function wantedCount({ replicas, policies, modelRoutes = [], tenants, prices }: DesiredConfiguration): number {
  const parts = tenants.reduce((sum, { keys, projects = [], users = [], limits = [] }) => {
    return sum + keys.length + projects.length + users.length + (limits.length > 0 ? 1 : 0);
  }, 0);
  const wanted = replicas.length + policies.length + modelRoutes.length + tenants.length + parts;
  return wanted + (prices === undefined ? 0 : 1);
}

function subjectOf({ aggregate, id }: Planned): string {
  const context = aggregate === 'tenant' || aggregate === 'prices' ? 'tenancy' : 'route';
  return subjects.event(context, aggregate, id);
}

/**
 * The same step of the same document on the same state is the same command, however often it is sent; after the state moved on it is
 * another.
 */
function commandIdOf(hash: string, step: Planned, version: number): string {
  const words = JSON.stringify([hash, step.aggregate, step.id, step.command.type, step.change, version]);
  return `apply-${sha256Hex(words).slice(0, 32)}`;
}

async function send(core: Core, step: Planned, asked: Asked): Promise<{ seq: number; commitId: string }> {
  const { command: wanted } = step;
  switch (wanted.type) {
    case 'RegisterReplica':
      return await command(core, 'route.RegisterReplica', { replica: wanted.replica }, asked);
    case 'RemoveReplica':
      return await command(core, 'route.RemoveReplica', { replicaId: wanted.replicaId, reason: wanted.reason }, asked);
    case 'AdoptPolicy':
      return await command(core, 'route.AdoptPolicy', { policy: wanted.policy, source: wanted.source }, asked);
    case 'RetirePolicy':
      return await command(core, 'route.RetirePolicy', { policyId: wanted.policyId, reason: wanted.reason }, asked);
    case 'SetModelRoute':
      return await command(core, 'route.SetModelRoute', { route: wanted.route, source: wanted.source }, asked);
    case 'RemoveModelRoute':
      return await command(core, 'route.RemoveModelRoute', { routeId: wanted.routeId, reason: wanted.reason }, asked);
    case 'RegisterTenant': {
      const { tenantId, displayName, source, cacheSalt = false } = wanted;
      return await command(core, 'tenancy.RegisterTenant', { tenantId, displayName, source, cacheSalt }, asked);
    }
    case 'RemoveTenant':
      return await command(core, 'tenancy.RemoveTenant', { tenantId: wanted.tenantId, reason: wanted.reason }, asked);
    case 'IssueKey': {
      const { type: _, ...issue } = wanted;
      return await command(core, 'tenancy.IssueKey', issue, asked);
    }
    case 'RotateKey': {
      const { type: _, ...rotation } = wanted;
      return await command(core, 'tenancy.RotateKey', rotation, asked);
    }
    case 'RegisterProject':
    case 'RemoveProject':
    case 'RegisterUser':
    case 'RemoveUser': {
      const { type, ...request } = wanted;
      return await command(core, `tenancy.${type}`, request, asked);
    }
    case 'RevokeKey': {
      const { tenantId, keyId, reason } = wanted;
      return await command(core, 'tenancy.RevokeKey', { tenantId, keyId, reason }, asked);
    }
    case 'SetLimits':
      return await command(core, 'tenancy.SetLimits', { tenantId: wanted.tenantId, limits: [...wanted.limits] }, asked);
    case 'SetPrices': {
      const { currency, prices, source: from } = wanted;
      return await command(core, 'tenancy.SetPrices', { currency, prices: [...prices], source: from }, asked);
    }
    default:
      throw new CodedError('APPLY_INVALID', `a plan never holds ${wanted.type}`);
  }
}

/** What was applied stays: it is in the log. */
function partly(thrown: unknown, step: Planned, done: number, all: number): CodedError {
  const { advice } = thrown as { advice?: string };
  return new CodedError(
    errorCode(thrown),
    `"${step.change}": ${errorText(thrown)} (${done} of ${all} changes were applied)`,
    {
      advice: `${advice === undefined ? '' : `${advice} `}Apply the same document again: it goes on from here.`,
      cause: thrown,
    },
  );
}

async function record(core: Core, hash: string, plan: readonly Planned[], asked: Asked): Promise<void> {
  const configuration = { contentHash: hash, source, changes: plan.map(({ change }) => change) };
  try {
    await command(core, 'route.RecordConfiguration', { configuration }, asked);
  } catch (thrown) {
    // Every change stands in the log already; this is the line above them.
    core.logger.warn(`the application of ${hash.slice(0, 12)} was not noted: ${errorText(thrown)}`);
  }
}
