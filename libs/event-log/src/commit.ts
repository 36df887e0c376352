import type { JsonObject } from '@bufbuild/protobuf';

/** One event as it stands in a commit: `data` is the ProtoJSON of the message `type` of the subject's context. */
export interface EventRecord {
  readonly type: string;
  readonly data: JsonObject;
}

/** Where an aggregate stands: the last accepted commit, or `emptyHead`. */
export interface Head {
  /** Stream sequence of that commit; 0 when there is none. */
  readonly seq: number;
  /** Commits so far, 1 for the first. */
  readonly version: number;
  /** Hex sha256 link of the chain; empty when there is none. */
  readonly hash: string;
}

export const emptyHead: Head = { seq: 0, version: 0, hash: '' };

/** A commit ready to be appended. `payload` is the ProtoJSON bytes of lintel.log.v1.CommitPayload; `hash` covers them. */
export interface PreparedCommit {
  readonly subject: string;
  /** Derived from the command id, so that a retried command is the same commit. At most 128 characters. */
  readonly commitId: string;
  readonly version: number;
  readonly prevHash: string;
  readonly hash: string;
  /** Highest schema level among the events, of the subject's context. */
  readonly schemaLevel: number;
  readonly payload: Uint8Array;
}

/** A commit as it was read back, not yet judged by the acceptance rule and not yet decoded. */
export interface StoredCommit extends PreparedCommit {
  readonly seq: number;
  /** When the stream stored it, milliseconds since the Unix epoch. */
  readonly storedAtMs: number;
}
