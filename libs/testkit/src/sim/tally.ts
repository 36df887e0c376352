import type { route } from '#libs/contracts';
import { EventRegistry } from '#libs/contracts';
import type { Decider, DecodedCommit, DecodedEvent } from '#libs/event-log';
import { CommitDecoder } from '#libs/event-log';
import { mix32 } from '#libs/kernel';
import type { Table } from '#libs/projections';
import { commitProjection } from '#libs/projections';

export const simRegistry = new EventRegistry();
/** One for all processes of a run: decoding is pure, and each commit is decoded once. */
export const simDecoder = new CommitDecoder(simRegistry);

interface Added {
  readonly type: 'ReplicaDrained';
  readonly data: { readonly replicaId: string; readonly reason: string };
}

/**
 * The aggregate of the simulated workload, on a real event type: each command adds one, and the event says which command it
 * was and which number it saw, so that a command that took effect twice and a decision on an old state both show.
 */
export const tally: Decider<{ readonly count: number }, { readonly commandId: string; readonly id: string }, Added> = {
  context: 'route',
  aggregate: 'replica',
  initial: { count: 0 },
  decide: (state, { commandId, id }) => [
    { type: 'ReplicaDrained', data: { replicaId: id, reason: `${commandId}#${state.count + 1}` } },
  ],
  evolve: (state) => ({ count: state.count + 1 }),
};

export function commandOf(commit: DecodedCommit): { commandId: string; number: number } {
  const { reason } = (commit.events[0] as DecodedEvent).data as route.ReplicaDrained;
  const mark = reason.indexOf('#');
  return { commandId: reason.slice(0, mark), number: Number(reason.slice(mark + 1)) };
}

/** A fold whose state tells any difference in which commits were folded, and in which order. */
export interface Digest {
  readonly count: number;
  readonly digest: number;
}

export const emptyDigest: Digest = { count: 0, digest: 0 };

export function addToDigest(state: Digest, hash: string): Digest {
  return { count: state.count + 1, digest: mix32(state.digest ^ Number.parseInt(hash.slice(0, 8), 16)) };
}

export const tallyTable: Table = {
  name: 'tally',
  columns: { id: 'text', count: 'int', commit_id: 'text', seq: 'int' },
  key: ['id'],
};

/** One row for each aggregate: how often it was added to, and by which commit last. */
export const tallyProjection = commitProjection({
  name: 'tally',
  version: 1,
  tables: [tallyTable],
  on({ stored, subject, accepted }, changes) {
    if (!accepted) return;
    changes.put(tallyTable, { id: subject.id, count: stored.version, commit_id: stored.commitId, seq: stored.seq });
  },
});
