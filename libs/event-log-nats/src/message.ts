import type { Msg, MsgHdrs } from '@nats-io/transport-node';
import type { StoredCommit, StoredFrame } from '#libs/event-log';

/** A message of a stream with its place there. */
export interface StreamMessage {
  readonly seq: number;
  readonly storedAtMs: number;
  readonly subject: string;
  readonly headers: MsgHdrs | undefined;
  readonly data: Uint8Array;
}

/** A message that a consumer delivered. */
export interface Delivered extends StreamMessage {
  /** Counts from 1 in the consumer's life, without a gap. */
  readonly deliverySeq: number;
  /** Messages that match and come after this one. */
  readonly pending: number;
}

/** Reads `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<count>.<seq>.<delivery>.<nanos>.<pending>[.<random>]`. */
export function delivered(msg: Msg): Delivered {
  const parts = (msg.reply ?? '').split('.');
  const at = parts.length === 9 ? 5 : 7;
  return {
    seq: Number(parts[at]),
    deliverySeq: Number(parts[at + 1]),
    storedAtMs: Math.floor(Number(parts[at + 2]) / 1e6),
    pending: Number(parts[at + 3]),
    subject: msg.subject,
    headers: msg.headers,
    data: msg.data,
  };
}

export const commitHeaders = {
  commitId: 'Nats-Msg-Id',
  version: 'Lintel-Version',
  prevHash: 'Lintel-Prev-Hash',
  hash: 'Lintel-Hash',
  schema: 'Lintel-Schema',
} as const;

/**
 * A message as a commit. What was not written by Lintel gives one that no reader accepts: version 0 and no hash.
 */
export function storedCommit(message: StreamMessage): StoredCommit {
  const { headers } = message;
  return {
    subject: message.subject,
    commitId: headers?.get(commitHeaders.commitId) ?? '',
    version: Number(headers?.get(commitHeaders.version) ?? 0) || 0,
    prevHash: headers?.get(commitHeaders.prevHash) ?? '',
    hash: headers?.get(commitHeaders.hash) ?? '',
    schemaLevel: Number(headers?.get(commitHeaders.schema) ?? 0) || 0,
    payload: message.data,
    seq: message.seq,
    storedAtMs: message.storedAtMs,
  };
}

export function storedFrame(message: StreamMessage): StoredFrame {
  return {
    seq: message.seq,
    subject: message.subject,
    msgId: message.headers?.get(commitHeaders.commitId) ?? '',
    bytes: message.data,
    storedAtMs: message.storedAtMs,
  };
}
