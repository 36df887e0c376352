import type { CommitPayload, StoredCommit } from '#libs/event-log';
import { decodePayload } from '#libs/event-log';
import { commitProjection } from './commit-fold.ts';
import type { Projection } from './projection.ts';
import type { Table } from './table.ts';

export const commitTable: Table = {
  name: 'commit',
  view: 'commits_view',
  appendOnly: true,
  columns: {
    seq: 'int',
    subject: 'text',
    version: 'int',
    commit_id: 'text',
    /** Event type names in order. */
    types: 'json',
    actor: 'text',
    cause_id: 'text',
    correlation_id: 'text',
    traceparent: 'text',
    at: 'time',
    stored_at: 'time',
    /** lintel.log.v1.CommitPayload as ProtoJSON, byte for byte as in the log: the hash can be checked against it. */
    payload: 'bytes',
    hash: 'text',
    prev_hash: 'text',
    /** False for a forked commit: it has no effect anywhere. */
    accepted: 'bool',
  },
  key: ['seq'],
  indexes: [['commit_id hash'], ['subject', 'seq'], ['correlation_id'], ['stored_at']],
};

const nothing: CommitPayload = { atMs: NaN, actor: '', causeId: '', correlationId: '', traceparent: '', events: [] };

/** A forked commit has no effect, so that one which cannot be read does not make the rows wrong. */
function wholeOrNothing(stored: StoredCommit): CommitPayload {
  try {
    return decodePayload(stored.payload);
  } catch {
    return nothing;
  }
}

/** The searchable timeline of decisions. Reads no event's data, so that it also shows what a newer writer wrote. */
export const commits: Projection<StoredCommit> = commitProjection({
  name: 'commits',
  version: 2,
  tables: [commitTable],
  on: ({ stored, accepted }, changes) => {
    const payload = accepted ? decodePayload(stored.payload) : wholeOrNothing(stored);
    changes.put(commitTable, {
      seq: stored.seq,
      subject: stored.subject,
      version: stored.version,
      commit_id: stored.commitId,
      types: payload.events.map(({ type }) => type),
      actor: payload.actor,
      cause_id: payload.causeId,
      correlation_id: payload.correlationId,
      traceparent: payload.traceparent,
      at: payload.atMs,
      stored_at: stored.storedAtMs,
      payload: stored.payload,
      hash: stored.hash,
      prev_hash: stored.prevHash,
      accepted,
    });
  },
});
