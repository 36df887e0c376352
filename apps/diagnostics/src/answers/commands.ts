import type { MessageInitShape } from '@bufbuild/protobuf';
import type { MessagePatternName, MessageTypeOf, route } from '#libs/contracts';
import type { ReceiptAnswer } from '#libs/domain/diag';
import { parseDuration } from '#libs/domain/diag';
import { CodedError } from '#libs/kernel';
import { toCommandHeaders } from '#libs/nest-kit';
import type { Core } from '../core.ts';
import { limits } from '../limits.ts';

/** Who asks, and by which id the command is known. */
export interface Asked {
  /** Given by the client, so that a call repeated after a lost answer takes effect once. */
  readonly commandId?: string | undefined;
  /** "cli:<user>": stands in the commit; default this instance. */
  readonly actor?: string | undefined;
  readonly correlationId?: string | undefined;
  readonly traceparent?: string | undefined;
}

type CommandName = Exclude<MessagePatternName, 'route.ListReplicas' | 'diag.GetNotaryStatus'>;

/** One command to its owner over the bus. @throws BUS_NO_RESPONDER · BUS_DEADLINE · what the decider refuses with */
export async function command<Name extends CommandName>(
  core: Core,
  name: Name,
  request: MessageInitShape<MessageTypeOf<Name>['request']>,
  asked: Asked,
): Promise<ReceiptAnswer> {
  const headers = toCommandHeaders({
    actor: asked.actor ?? `diagnostics:${core.instance}`,
    commandId: asked.commandId ?? core.environment.ids.uuid(),
    ...(asked.correlationId === undefined ? {} : { correlationId: asked.correlationId }),
    ...(asked.traceparent === undefined ? {} : { traceparent: asked.traceparent }),
  });
  const answer = await core.client.send(name, request, { deadlineMs: limits.commandDeadlineMs, headers });
  const { seq, version, commitId, changed } = answer as unknown as route.CommandReceipt;
  return { durability: core.broker.durability, seq, version, commitId, changed };
}

/** RFC 3339, or how long from now. @throws BAD_REQUEST */
export function expiryOf(text: string | undefined, nowMs: number): number {
  if (text === undefined) return 0;
  const forMs = parseDuration(text);
  const atMs = forMs === undefined ? Date.parse(text) : nowMs + forMs;
  if (Number.isFinite(atMs) && atMs > nowMs) return atMs;
  throw new CodedError('BAD_REQUEST', `expiresAt: ${JSON.stringify(text)} is no time to come`, {
    advice: 'Write a time (2027-01-31T00:00:00Z), or how long from now (30d).',
  });
}
