import type { JsonObject, JsonValue, MessageInitShape, MessageShape, DescMessage } from '@bufbuild/protobuf';
import { create, fromJson, toJson } from '@bufbuild/protobuf';
import type { EventRegistry, EventSubject } from '#libs/contracts';
import { log, parseEventSubject, subjects } from '#libs/contracts';
import { CodedError, errorText } from '#libs/kernel';
import { commitHash } from './chain.ts';
import type { EventRecord, Head, PreparedCommit, StoredCommit } from './commit.ts';
import type { DomainEvent } from './decider.ts';
import { limits } from './limits.ts';

/** Why a command decided as it did; see lintel.log.v1.Reason. */
export type ReasonInit = MessageInitShape<typeof log.ReasonSchema>;

/** Who, when and why: what stands beside the events in a commit's payload. */
export interface CommitContext {
  readonly atMs: number;
  readonly actor: string;
  readonly causeId?: string | undefined;
  readonly correlationId?: string | undefined;
  readonly traceparent?: string | undefined;
  readonly reason?: ReasonInit | undefined;
}

/** lintel.log.v1.CommitPayload as read back, with the events still in ProtoJSON. Absent texts are empty. */
export interface CommitPayload {
  readonly atMs: number;
  readonly actor: string;
  readonly causeId: string;
  readonly correlationId: string;
  readonly traceparent: string;
  readonly events: readonly EventRecord[];
  readonly reason?: log.Reason;
}

/** An event of a decoded commit: `data` is the protobuf-es message. */
export interface DecodedEvent {
  readonly type: string;
  readonly data: MessageShape<DescMessage>;
}

export interface DecodedCommit {
  readonly stored: StoredCommit;
  /** The subject's parts. */
  readonly subject: EventSubject;
  readonly payload: CommitPayload;
  readonly events: readonly DecodedEvent[];
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** The ProtoJSON bytes of a CommitPayload. */
export function encodePayload(context: CommitContext, events: readonly EventRecord[]): Uint8Array {
  const json: Record<string, JsonValue | readonly EventRecord[]> = { atMs: context.atMs, actor: context.actor };
  if (context.causeId) json['causeId'] = context.causeId;
  if (context.correlationId) json['correlationId'] = context.correlationId;
  if (context.traceparent) json['traceparent'] = context.traceparent;
  json['events'] = events;
  if (context.reason !== undefined) json['reason'] = toJson(log.ReasonSchema, create(log.ReasonSchema, context.reason));
  return encoder.encode(JSON.stringify(json));
}

const invalid = (why: string, cause?: unknown): CodedError =>
  new CodedError('COMMIT_PAYLOAD_INVALID', `commit payload: ${why}`, {
    advice: 'The message was not written by Lintel or was changed since: run lintel verify.',
    cause,
  });

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function text(json: JsonObject, field: string): string {
  const value = json[field];
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw invalid(`${field} is not a text`);
  return value;
}

function record(value: JsonValue, index: number): EventRecord {
  if (!isObject(value)) throw invalid(`events[${index}] is not an object`);
  const { type, data } = value;
  if (typeof type !== 'string' || type === '') throw invalid(`events[${index}].type is not a name`);
  if (data !== undefined && !isObject(data)) throw invalid(`events[${index}].data is not an object`);
  return { type, data: data ?? {} };
}

/** @throws COMMIT_PAYLOAD_INVALID for anything that no writer writes; never anything else. */
export function decodePayload(bytes: Uint8Array): CommitPayload {
  let json: JsonValue;
  try {
    json = JSON.parse(decoder.decode(bytes)) as JsonValue;
  } catch (cause) {
    throw invalid(`not JSON: ${errorText(cause)}`, cause);
  }
  if (!isObject(json)) throw invalid('not an object');
  const atMs = json['atMs'] ?? 0;
  if (typeof atMs !== 'number') throw invalid('atMs is not a number');
  const events = json['events'] ?? [];
  if (!Array.isArray(events) || events.length === 0) throw invalid('events is not a list with at least one event');
  if (events.length > limits.eventsPerCommitMax) throw invalid(`more than ${limits.eventsPerCommitMax} events`);
  const payload = {
    atMs,
    actor: text(json, 'actor'),
    causeId: text(json, 'causeId'),
    correlationId: text(json, 'correlationId'),
    traceparent: text(json, 'traceparent'),
    events: events.map(record),
  };
  const reason = json['reason'];
  if (reason === undefined || reason === null) return payload;
  try {
    const read = fromJson(log.ReasonSchema, reason, { ignoreUnknownFields: true });
    return { ...payload, reason: read };
  } catch (cause) {
    throw invalid(`reason: ${errorText(cause)}`, cause);
  }
}

/**
 * Events of one decision become a commit that extends `head`.
 * @throws EVENT_TYPE_UNKNOWN, EVENT_DATA_INVALID, COMMIT_EMPTY, LOG_TOO_LARGE, SUBJECT_ID_INVALID
 */
export function prepareCommit(options: {
  readonly registry: EventRegistry;
  readonly subject: EventSubject;
  readonly commitId: string;
  readonly head: Pick<Head, 'version' | 'hash'>;
  readonly events: readonly DomainEvent[];
  readonly context: CommitContext;
}): PreparedCommit {
  const { registry, commitId, head, events } = options;
  const { context, aggregate, id } = options.subject;
  const subject = subjects.event(context, aggregate, id);
  if (events.length === 0) throw new CodedError('COMMIT_EMPTY', `a commit of ${subject} has no events`);
  if (events.length > limits.eventsPerCommitMax) throw tooLarge(subject, `${events.length} events`);
  if (commitId.length === 0 || commitId.length > limits.commitIdLengthMax) {
    throw new CodedError('COMMIT_ID_INVALID', `commit id of ${commitId.length} characters`, {
      advice: `Use 1 to ${limits.commitIdLengthMax} characters.`,
    });
  }
  let schemaLevel = 0;
  const records = events.map(({ type, data }): EventRecord => {
    schemaLevel = Math.max(schemaLevel, registry.find(context, type)?.sinceLevel ?? 0);
    return { type, data: registry.encode(context, type, data) };
  });
  const payload = encodePayload(options.context, records);
  if (payload.byteLength > limits.payloadBytesMax) throw tooLarge(subject, `${payload.byteLength} bytes`);
  const version = head.version + 1;
  const link = { subject, commitId, version, prevHash: head.hash, payload };
  return { ...link, hash: commitHash(link), schemaLevel };
}

function tooLarge(subject: string, what: string): CodedError {
  return new CodedError('LOG_TOO_LARGE', `a commit of ${subject} has ${what}`, {
    advice: `Split the command: at most ${limits.eventsPerCommitMax} events and ${limits.payloadBytesMax} bytes.`,
  });
}

/**
 * Turns a stored commit into messages.
 * @throws COMMIT_SUBJECT_INVALID, COMMIT_PAYLOAD_INVALID, EVENT_TYPE_UNKNOWN, EVENT_DATA_INVALID; nothing else
 */
export function decodeCommit(stored: StoredCommit, registry: EventRegistry): DecodedCommit {
  const subject = parseEventSubject(stored.subject);
  if (subject === undefined) {
    throw new CodedError('COMMIT_SUBJECT_INVALID', `"${stored.subject}" names no aggregate`);
  }
  const payload = decodePayload(stored.payload);
  const events = payload.events.map(({ type, data }) => ({ type, data: registry.decode(subject.context, type, data) }));
  return { stored, subject, payload, events };
}

/** Decodes each stored commit once, however many folds of this process read it. */
export class CommitDecoder {
  readonly #decoded = new WeakMap<StoredCommit, DecodedCommit>();

  constructor(readonly registry: EventRegistry) {}

  decode(stored: StoredCommit): DecodedCommit {
    let decoded = this.#decoded.get(stored);
    if (decoded === undefined) this.#decoded.set(stored, (decoded = decodeCommit(stored, this.registry)));
    return decoded;
  }
}
