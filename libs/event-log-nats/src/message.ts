import type { Msg } from '@nats-io/transport-node';
import type { StoredCommit, StoredFrame } from '#libs/event-log';

/** Answers the first header of a name, as it is spelled. */
export interface Headers {
  get(name: string): string | undefined;
}

/** A message of a stream with its place there. */
export interface StreamMessage {
  readonly seq: number;
  readonly storedAtMs: number;
  readonly subject: string;
  readonly headers: Headers | undefined;
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
  const reply = msg.reply ?? '';
  let dots = 0;
  for (let at = reply.indexOf('.'); at >= 0; at = reply.indexOf('.', at + 1)) dots++;
  const seqAt = after(reply, 0, dots === 8 ? 5 : 7);
  const deliveryAt = after(reply, seqAt, 1);
  const nanosAt = after(reply, deliveryAt, 1);
  const pendingAt = after(reply, nanosAt, 1);
  return {
    seq: digits(reply, seqAt),
    deliverySeq: digits(reply, deliveryAt),
    // Without the last six digits: as a number of nanoseconds it would be rounded, at times up.
    storedAtMs: digits(reply, nanosAt, pendingAt - 7),
    pending: digits(reply, pendingAt),
    subject: msg.subject,
    headers: headersOf(msg),
    data: msg.data,
  };
}

/** What the client keeps of a message before anybody asks for its headers. */
interface Undecoded {
  readonly _rdata?: Uint8Array;
  readonly _msg?: { readonly hdr?: number };
}

/**
 * The client makes a checked map of all headers, which costs as much as all else of reading a commit. Where its messages hold the bytes as
 * they did when this was written, only those that are asked for are looked up in them.
 */
export function headersOf(msg: Msg): Headers | undefined {
  const { _rdata: bytes, _msg: place } = msg as unknown as Undecoded;
  const length = place?.hdr;
  if (!(bytes instanceof Uint8Array) || typeof length !== 'number') return msg.headers;
  return length > 0 ? new HeaderText(Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('utf8')) : undefined;
}

class HeaderText implements Headers {
  constructor(readonly text: string) {}

  get(name: string): string | undefined {
    const at = this.text.indexOf(`\r\n${name}:`);
    if (at < 0) return undefined;
    const from = at + name.length + 3;
    const end = this.text.indexOf('\r\n', from);
    return this.text.slice(from, end < 0 ? undefined : end).trim();
  }
}

/** Position behind the `count`th dot from `at` on; NaN where there are fewer. */
function after(text: string, at: number, count: number): number {
  let position = at;
  for (let dot = 0; dot < count; dot++) {
    position = text.indexOf('.', position) + 1;
    if (position === 0) return Number.NaN;
  }
  return position;
}

/** The number that stands there, up to a dot or `end`; NaN where none does. */
function digits(text: string, from: number, end: number = text.length): number {
  let value = 0;
  let at = from;
  for (; at < end; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  return at > from ? value : Number.NaN;
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
