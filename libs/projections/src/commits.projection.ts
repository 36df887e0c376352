import type { CommitPayload, StoredCommit } from '#libs/event-log';
import { decodePayloadJson } from '#libs/event-log';
import { commitProjection } from './commit-fold.ts';
import type { Projection } from './projection.ts';
import type { JsonValue, Table } from './table.ts';

export const commitTable: Table = {
  name: 'commit',
  view: 'commits_view',
  appendOnly: true,
  columns: {
    seq: 'int',
    subject: 'text',
    context: 'text',
    aggregate: 'text',
    aggregate_id: 'text',
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
    /** lintel.log.v1.CommitPayload as it stands in the log. */
    payload: 'json',
    hash: 'text',
    prev_hash: 'text',
    /** False for a forked commit: it has no effect anywhere. */
    accepted: 'bool',
  },
  key: ['seq'],
  indexes: [['commit_id'], ['subject', 'seq'], ['correlation_id'], ['stored_at']],
};

const nothing: CommitPayload = { atMs: NaN, actor: '', causeId: '', correlationId: '', traceparent: '', events: [] };

/** A forked commit has no effect, so that one which cannot be read does not make the rows wrong. */
function wholeOrNothing(stored: StoredCommit): { payload: CommitPayload; json: JsonValue } {
  try {
    return decodePayloadJson(stored.payload);
  } catch {
    return { payload: nothing, json: null };
  }
}

/** The searchable timeline of decisions. Reads no event's data, so that it also shows what a newer writer wrote. */
export const commits: Projection<StoredCommit> = commitProjection({
  name: 'commits',
  version: 1,
  tables: [commitTable],
  on: ({ stored, subject, accepted }, changes) => {
    const decoded = accepted ? decodePayloadJson(stored.payload) : wholeOrNothing(stored);
    const { payload } = decoded;
    changes.put(commitTable, {
      seq: stored.seq,
      subject: stored.subject,
      context: subject.context,
      aggregate: subject.aggregate,
      aggregate_id: subject.id,
      version: stored.version,
      commit_id: stored.commitId,
      types: payload.events.map(({ type }) => type),
      actor: payload.actor,
      cause_id: payload.causeId,
      correlation_id: payload.correlationId,
      traceparent: payload.traceparent,
      at: payload.atMs,
      stored_at: stored.storedAtMs,
      payload: decoded.json,
      hash: stored.hash,
      prev_hash: stored.prevHash,
      accepted,
    });
  },
});
