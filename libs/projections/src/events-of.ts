import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { EventRegistry } from '#libs/contracts';
import { decodeCommit } from '#libs/event-log';
import type { JudgedCommit } from './commit-fold.ts';

const registry = new EventRegistry();

export interface TypedEvent {
  readonly type: string;
  readonly data: MessageShape<DescMessage>;
}

/**
 * The events of an accepted commit, none of a forked one.
 * @throws EVENT_TYPE_UNKNOWN, EVENT_DATA_INVALID, COMMIT_PAYLOAD_INVALID
 */
export function eventsOf(commit: JudgedCommit): { atMs: number; actor: string; events: readonly TypedEvent[] } {
  if (!commit.accepted) return { atMs: 0, actor: '', events: [] };
  const { payload, events } = decodeCommit(commit.stored, registry);
  return { atMs: payload.atMs, actor: payload.actor, events };
}
