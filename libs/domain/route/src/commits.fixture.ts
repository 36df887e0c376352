import { EventRegistry } from '#libs/contracts';
import type { DecodedCommit, DomainEvent } from '#libs/event-log';
import { decodeCommit, prepareCommit } from '#libs/event-log';

const registry = new EventRegistry();

/** A commit as a fold gets it: through the codec, so that events are messages. */
export function commitOf(aggregate: string, id: string, version: number, ...events: DomainEvent[]): DecodedCommit {
  const prepared = prepareCommit({
    registry,
    subject: { context: 'route', aggregate, id },
    commitId: `${id}-${version}`,
    head: { version: version - 1, hash: '' },
    events,
    context: { atMs: 1, actor: 'test' },
  });
  return decodeCommit({ ...prepared, seq: 100 + version, storedAtMs: 1 }, registry);
}
