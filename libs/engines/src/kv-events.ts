import { Unpackr } from 'msgpackr';
import { errorText } from '#libs/kernel';
import { engineLimits } from './limits.ts';
import type { Unusable } from './models.ts';
import { msgpackProblem } from './msgpack-bounds.ts';

/**
 * A block's hash in hex: 16 digits of an engine that sends integers, 64 of one that sends bytes. Seeded per process: good for
 * resolving removals of the same engine and for nothing else.
 */
export type BlockHash = string;

/** What else than tokens makes a block another block: adapter name, multimodal identifiers, cache salt. */
export type ExtraKey = string | number | boolean | null | readonly ExtraKey[];

export interface BlockStored {
  readonly type: 'BlockStored';
  readonly blockHashes: readonly BlockHash[];
  /** Null for a prompt's first block. */
  readonly parentBlockHash: BlockHash | null;
  readonly tokenIds: readonly number[];
  readonly blockSize: number;
  readonly loraId: number | null;
  readonly loraName: string | null;
  /** "GPU", "CPU" …; null where the engine does not say. */
  readonly medium: string | null;
  /** One for each block; null where there are none for any. */
  readonly extraKeys: readonly (readonly ExtraKey[] | null)[] | null;
  readonly groupIdx: number | null;
  readonly cacheSpecKind: string | null;
  /** Tokens that the group's attention looks back; null where it sees all or the engine does not say. */
  readonly slidingWindow: number | null;
}

export interface BlockRemoved {
  readonly type: 'BlockRemoved';
  readonly blockHashes: readonly BlockHash[];
  readonly medium: string | null;
  readonly groupIdx: number | null;
}

export interface AllBlocksCleared {
  readonly type: 'AllBlocksCleared';
}

export type KvEvent = BlockStored | BlockRemoved | AllBlocksCleared;

export interface KvBatch {
  /** Seconds since the epoch on the engine's clock. */
  readonly atSeconds: number;
  readonly events: readonly KvEvent[];
  /** Event types of a newer engine, which were passed over. */
  readonly unknownTypes: readonly string[];
  readonly dataParallelRank: number | null;
}

/** One message of the PUB socket or one answer of the replay socket. `end` is the replay's last. */
export type KvMessage =
  | { readonly topic: string; readonly seq: number; readonly batch: KvBatch }
  | { readonly end: true };

const unpackr = new Unpackr({ int64AsType: 'bigint', useRecords: false, mapsAsObjects: true });

/**
 * Frames `[topic, seq, payload]` of PUB; `["", topic, seq, payload]` of replay, without the topic up to vLLM 0.22. Pure, and it never
 * throws: what no engine sends is a problem of that engine.
 */
export function decodeKvMessage(frames: readonly Uint8Array[]): KvMessage | Unusable {
  const payload = frames.at(-1);
  const seqFrame = frames.at(-2);
  if (frames.length < 3 || frames.length > 4 || payload === undefined || seqFrame === undefined) {
    return { problem: `${frames.length} frames` };
  }
  if (seqFrame.byteLength !== 8) return { problem: `a sequence of ${seqFrame.byteLength} bytes` };
  const seq = new DataView(seqFrame.buffer, seqFrame.byteOffset, 8).getBigInt64(0);
  if (seq === -1n && payload.byteLength === 0) return { end: true };
  if (seq < 0n || seq > BigInt(Number.MAX_SAFE_INTEGER)) return { problem: `sequence ${seq}` };
  const batch = decodeKvPayload(payload);
  if ('problem' in batch) return batch;
  const topic = Buffer.from(frames.at(-3) as Uint8Array).toString('utf8');
  return { topic, seq: Number(seq), batch };
}

/** The msgpack batch `[ts, [events], data_parallel_rank]`; each event a map (vLLM from 0.25) or an array with its tag first. */
export function decodeKvPayload(bytes: Uint8Array): KvBatch | Unusable {
  const problem = msgpackProblem(bytes);
  if (problem !== undefined) return { problem: `no msgpack batch: ${problem}` };
  let value: unknown;
  try {
    value = unpackr.unpack(bytes);
  } catch (thrown) {
    return { problem: `no msgpack batch: ${errorText(thrown).slice(0, 200)}` };
  }
  if (!Array.isArray(value) || value.length < 2) return { problem: 'the batch is not [time, events, rank]' };
  const [ts, list, rank] = value as unknown[];
  if (typeof ts !== 'number' || !Number.isFinite(ts) || !Array.isArray(list)) {
    return { problem: 'the batch is not [time, events, rank]' };
  }
  if (list.length > engineLimits.kvEventsPerBatchMax) return { problem: `${list.length} events in a batch` };
  const events: KvEvent[] = [];
  const unknownTypes: string[] = [];
  try {
    for (const [index, raw] of list.entries()) {
      const event = decodeEvent(fieldsOf(raw, index), index);
      if (typeof event === 'string') unknownTypes.push(event.slice(0, 64));
      else events.push(event);
    }
    return { atSeconds: ts, events, unknownTypes, dataParallelRank: intOr(rank, null, 'rank') };
  } catch (thrown) {
    if (thrown instanceof Misshapen) return { problem: thrown.message };
    throw thrown;
  }
}

class Misshapen extends Error {}

type Fields = Readonly<Record<string, unknown>>;

/** Order of an event's fields in the array form, after the tag. */
const arrayForm: Readonly<Record<string, readonly string[]>> = {
  BlockStored: [
    'block_hashes',
    'parent_block_hash',
    'token_ids',
    'block_size',
    'lora_id',
    'medium',
    'lora_name',
    'extra_keys',
    'group_idx',
    'kv_cache_spec_kind',
  ],
  BlockRemoved: ['block_hashes', 'medium', 'group_idx'],
  AllBlocksCleared: [],
};

function fieldsOf(raw: unknown, index: number): Fields {
  if (Array.isArray(raw)) {
    const [type, ...values] = raw as unknown[];
    if (typeof type !== 'string') throw new Misshapen(`event ${index} has no tag`);
    const names = Object.hasOwn(arrayForm, type) ? (arrayForm[type] as readonly string[]) : [];
    return { type, ...Object.fromEntries(names.map((name, place) => [name, values[place]])) };
  }
  if (typeof raw === 'object' && raw !== null) return raw as Fields;
  throw new Misshapen(`event ${index} is no event`);
}

/** The event, or the name of a type that this version does not know. */
function decodeEvent(fields: Fields, index: number): KvEvent | string {
  const { type } = fields;
  switch (type) {
    case 'BlockStored': {
      const stored = {
        type,
        blockHashes: list(fields['block_hashes'], 'block_hashes').map(hash),
        parentBlockHash: fields['parent_block_hash'] == null ? null : hash(fields['parent_block_hash']),
        tokenIds: list(fields['token_ids'], 'token_ids').map((token) => int(token, 'token_ids')),
        blockSize: int(fields['block_size'], 'block_size'),
        loraId: intOr(fields['lora_id'], null, 'lora_id'),
        loraName: textOr(fields['lora_name'], 'lora_name'),
        medium: textOr(fields['medium'], 'medium'),
        extraKeys: extraKeys(fields['extra_keys']),
        groupIdx: intOr(fields['group_idx'], null, 'group_idx'),
        cacheSpecKind: textOr(fields['kv_cache_spec_kind'], 'kv_cache_spec_kind'),
        slidingWindow: intOr(fields['kv_cache_spec_sliding_window'], null, 'kv_cache_spec_sliding_window'),
      } as const;
      if (stored.blockSize === 0) throw new Misshapen('block_size is 0');
      return stored;
    }
    case 'BlockRemoved':
      return {
        type,
        blockHashes: list(fields['block_hashes'], 'block_hashes').map(hash),
        medium: textOr(fields['medium'], 'medium'),
        groupIdx: intOr(fields['group_idx'], null, 'group_idx'),
      };
    case 'AllBlocksCleared':
      return { type };
    default:
      if (typeof type === 'string') return type;
      throw new Misshapen(`event ${index} has no type`);
  }
}

function list(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  throw new Misshapen(`${name} is no list`);
}

function int(value: unknown, name: string): number {
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number;
  throw new Misshapen(`${name} holds what is no count`);
}

const intOr = <T>(value: unknown, absent: T, name: string): number | T => (value == null ? absent : int(value, name));

function textOr(value: unknown, name: string): string | null {
  if (value == null) return null;
  if (typeof value === 'string') return value;
  throw new Misshapen(`${name} is no text`);
}

const u64Mask = (1n << 64n) - 1n;

/** An integer may come signed: the 64 bits count. */
function hash(value: unknown): BlockHash {
  if (value instanceof Uint8Array) {
    if (value.byteLength === 0 || value.byteLength > 64) throw new Misshapen(`a hash of ${value.byteLength} bytes`);
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex');
  }
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value))) {
    return (BigInt(value) & u64Mask).toString(16).padStart(16, '0');
  }
  throw new Misshapen('a hash is neither integer nor bytes');
}

function extraKeys(value: unknown): readonly (readonly ExtraKey[] | null)[] | null {
  if (value == null) return null;
  return list(value, 'extra_keys').map((keys) => (keys == null ? null : list(keys, 'extra_keys').map(extraKey)));
}

function extraKey(value: unknown): ExtraKey {
  if (value == null) return null;
  if (Array.isArray(value)) return value.map(extraKey);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  throw new Misshapen('extra_keys holds what is no key');
}
