import { EventRegistry } from '#libs/contracts';
import type { Head, PreparedCommit, StoredCommit } from '#libs/event-log';
import { emptyHead, prepareCommit } from '#libs/event-log';

export const sampleRegistry = new EventRegistry();

/** The n-th commit on a replica's subject, a real one that decodes. */
export function sampleCommit(options: {
  readonly id: string;
  readonly commitId: string;
  readonly head?: Pick<Head, 'version' | 'hash'>;
  readonly context?: 'route' | 'tenancy';
  readonly reason?: string;
}): PreparedCommit {
  const { id, commitId, head = emptyHead, reason = 'test' } = options;
  const inRoute = (options.context ?? 'route') === 'route';
  return prepareCommit({
    registry: sampleRegistry,
    subject: inRoute ? { context: 'route', aggregate: 'replica', id } : { context: 'tenancy', aggregate: 'tenant', id },
    commitId,
    head,
    events: inRoute
      ? [{ type: 'ReplicaDrained', data: { replicaId: id, reason } }]
      : [{ type: 'TenantRegistered', data: { tenantId: id, displayName: reason } }],
    context: { atMs: 1_700_000_000_000, actor: 'test:contract' },
  });
}

export function headAfter(commit: PreparedCommit, seq: number): Head {
  return { seq, version: commit.version, hash: commit.hash };
}

/** A commit as a log would answer it. */
export function stored(commit: PreparedCommit, seq: number): StoredCommit {
  return { ...commit, seq, storedAtMs: 1_700_000_000_000 + seq };
}

/** A chain of `count` stored commits over `aggregates` replicas in turn, sequences from 1. */
export function sampleLog(count: number, aggregates = 3): StoredCommit[] {
  const heads = new Map<string, Head>();
  return Array.from({ length: count }, (_, index) => {
    const id = `r${index % aggregates}`;
    const commit = sampleCommit({ id, commitId: `c${index + 1}:${id}`, head: heads.get(id) ?? emptyHead });
    heads.set(id, headAfter(commit, index + 1));
    return stored(commit, index + 1);
  });
}
