import { CodedError } from '#libs/kernel';

/** Who speaks: one process that follows engines, in one life of it. */
interface Said {
  readonly writer: string;
}

interface OfRank extends Said {
  readonly rank: number;
  /** One life of the engine, as far as it could be followed without a hole. */
  readonly life: string;
}

export interface RankPlace {
  readonly rank: number;
  readonly life: string;
  /** The engine's sequence expected next; undefined before the first. */
  readonly next: number | undefined;
  readonly exact: boolean;
}

export interface EngineBatch {
  /** The engine's own. */
  readonly seq: number;
  /** The engine's msgpack, untouched. */
  readonly payload: Uint8Array;
}

/** One message of LINTEL_KV. */
export type KvFrame =
  /** From here on the writer is who follows the replica: what others say of it counts no more. */
  | ({ readonly kind: 'claim' } & Said)
  | ({ readonly kind: 'beat'; readonly ranks: readonly RankPlace[] } & Said)
  /** What was known of this cache is void; `exact`: all of this life follows. */
  | ({ readonly kind: 'reset'; readonly exact: boolean; readonly why: string } & OfRank)
  | ({ readonly kind: 'batches'; readonly batches: readonly EngineBatch[] } & OfRank)
  /** One part of all that a cache holds before `next`; the parts follow one another, nothing of the replica between them. */
  | ({
      readonly kind: 'holdings';
      readonly part: number;
      readonly parts: number;
      readonly next: number | undefined;
      readonly lastAtSeconds: number;
      readonly chunk: Uint8Array;
    } & OfRank)
  /** The replica was removed. */
  | ({ readonly kind: 'gone' } & Said);

const version = 1;

function framed(head: object, bodyBytes: number): { bytes: Buffer; at: number } {
  const text = Buffer.from(JSON.stringify(head));
  const bytes = Buffer.allocUnsafe(3 + text.length + bodyBytes);
  bytes.writeUInt8(version, 0);
  bytes.writeUInt16BE(text.length, 1);
  text.copy(bytes, 3);
  return { bytes, at: 3 + text.length };
}

/** A version, the length of a head of JSON, the head, and what is too large for it. */
export function encodeKvFrame(frame: KvFrame): Uint8Array {
  if (frame.kind === 'batches') {
    const { batches, ...head } = frame;
    let size = 0;
    for (const { payload } of batches) size += 12 + payload.byteLength;
    const { bytes, at } = framed(head, size);
    let place = at;
    for (const { seq, payload } of batches) {
      bytes.writeDoubleBE(seq, place);
      bytes.writeUInt32BE(payload.byteLength, place + 8);
      bytes.set(payload, place + 12);
      place += 12 + payload.byteLength;
    }
    return bytes;
  }
  if (frame.kind === 'holdings') {
    const { chunk, ...head } = frame;
    const { bytes, at } = framed(head, chunk.byteLength);
    bytes.set(chunk, at);
    return bytes;
  }
  return framed(frame, 0).bytes;
}

const kinds: ReadonlySet<unknown> = new Set<KvFrame['kind']>(['claim', 'beat', 'reset', 'batches', 'holdings', 'gone']);

/** @throws KV_FRAME_INVALID */
export function decodeKvFrame(message: Uint8Array): KvFrame {
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  if (bytes.length < 3 || bytes.readUInt8(0) !== version) throw invalid(`version ${bytes[0] ?? 'none'}`);
  const from = 3 + bytes.readUInt16BE(1);
  if (from > bytes.length) throw invalid('its head is cut');
  let head: KvFrame;
  try {
    head = JSON.parse(bytes.toString('utf8', 3, from)) as KvFrame;
  } catch {
    throw invalid('its head is no JSON');
  }
  if (typeof head !== 'object' || head === null || typeof head.writer !== 'string' || !kinds.has(head.kind)) {
    throw invalid('its head says nothing known');
  }
  if (head.kind === 'holdings') return { ...head, chunk: bytes.subarray(from) };
  if (head.kind !== 'batches') return head;
  const batches: EngineBatch[] = [];
  for (let at = from; at < bytes.length;) {
    if (at + 12 > bytes.length) throw invalid('a batch is cut');
    const end = at + 12 + bytes.readUInt32BE(at + 8);
    if (end > bytes.length) throw invalid('a batch is cut');
    batches.push({ seq: bytes.readDoubleBE(at), payload: bytes.subarray(at + 12, end) });
    at = end;
  }
  return { ...head, batches };
}

const invalid = (why: string): CodedError =>
  new CodedError('KV_FRAME_INVALID', `a frame of KV events cannot be read: ${why}`, {
    advice: 'Another version of kv-index wrote it: bring gateways and kv-index to one version.',
  });
