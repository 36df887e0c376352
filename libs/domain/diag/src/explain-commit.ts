import type { CommitPayload, StoredCommit } from '#libs/event-log';
import { decodePayload } from '#libs/event-log';
import { errorText } from '#libs/kernel';
import type { Json } from './json.ts';
import { known } from './json.ts';

export interface EventExplanation {
  readonly type: string;
  readonly data: Json;
}

export interface ReasonExplanation {
  readonly text: string;
  readonly policyName: string;
  readonly policyVersion: number;
  readonly inputs: readonly { name: string; seq: number; value: number | null; ageMs: number | null }[];
  readonly alternatives: readonly { name: string; score: number | null; note: string }[];
}

/** One commit as people read it: the timeline's entry and the answer to `why <commit id>`. */
export interface CommitExplanation {
  readonly seq: number;
  readonly subject: string;
  readonly version: number;
  readonly commitId: string;
  readonly storedAtMs: number;
  readonly atMs: number | null;
  readonly actor: string;
  readonly causeId: string;
  readonly correlationId: string;
  readonly traceparent: string;
  readonly events: readonly EventExplanation[];
  readonly reason: ReasonExplanation | null;
  readonly hash: string;
  readonly prevHash: string;
  /** Why it could not be read; empty where it could. */
  readonly unreadable: string;
}

function reasonOf({ reason }: CommitPayload): ReasonExplanation | null {
  if (reason === undefined) return null;
  const { text, policyName, policyVersion } = reason;
  return {
    text,
    policyName,
    policyVersion,
    inputs: reason.inputs.map(({ name, seq, value, ageMs }) => ({
      name,
      seq,
      value: known(value),
      ageMs: known(ageMs),
    })),
    alternatives: reason.alternatives.map(({ name, score, note }) => ({ name, score: known(score), note })),
  };
}

/** Never throws: what cannot be read is said. */
export function explainCommit(stored: StoredCommit): CommitExplanation {
  const { seq, subject, version, commitId, storedAtMs, hash, prevHash } = stored;
  const place = { seq, subject, version, commitId, storedAtMs, hash, prevHash };
  try {
    const payload = decodePayload(stored.payload);
    const { atMs, actor, causeId, correlationId, traceparent } = payload;
    const events = payload.events.map(({ type, data }) => ({ type, data: data as Json }));
    return {
      ...place,
      atMs,
      actor,
      causeId,
      correlationId,
      traceparent,
      events,
      reason: reasonOf(payload),
      unreadable: '',
    };
  } catch (thrown) {
    const nothing = {
      atMs: null,
      actor: '',
      causeId: '',
      correlationId: '',
      traceparent: '',
      events: [],
      reason: null,
    };
    return { ...place, ...nothing, unreadable: errorText(thrown) };
  }
}
