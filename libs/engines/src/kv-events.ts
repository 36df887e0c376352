import { engineLimits } from './limits.ts';
import type { Unusable } from './models.ts';
import { msgpackProblem } from './msgpack-bounds.ts';
import { expectTexts, Misshapen, MsgpackReader } from './msgpack-reader.ts';

/**
 * Engines' hashes of blocks, two words for each: the low one, then the high one, of the last 64 bits (an engine that sends bytes
 * sends 256). Seeded per process: good for resolving removals of the same engine and for nothing else.
 */
export type BlockHashWords = Uint32Array;

/** Hashes in hex, as people and HTTP APIs write them, in words; the last 16 digits count. */
export function hashWords(hexes: readonly string[]): BlockHashWords {
  const words = new Uint32Array(hexes.length * 2);
  for (const [i, hex] of hexes.entries()) {
    words[i * 2] = Number.parseInt(hex.slice(-8), 16);
    if (hex.length > 8) words[i * 2 + 1] = Number.parseInt(hex.slice(-16, -8), 16);
  }
  return words;
}

/** What else than tokens makes a block another block: adapter name, multimodal identifiers, cache salt. */
export type ExtraKey = string | number | boolean | null | readonly ExtraKey[];

export interface BlockStored {
  readonly type: 'BlockStored';
  readonly blockHashes: BlockHashWords;
  /** Null for a prompt's first block. */
  readonly parentBlockHash: BlockHashWords | null;
  readonly tokenIds: Uint32Array;
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
  readonly blockHashes: BlockHashWords;
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
  try {
    return readBatch(new MsgpackReader(bytes));
  } catch (thrown) {
    if (thrown instanceof Misshapen) return { problem: thrown.message };
    throw thrown;
  }
}

function readBatch(reader: MsgpackReader): KvBatch {
  const notABatch = 'the batch is not [time, events, rank]';
  const items = reader.array();
  if (items < 2) throw new Misshapen(notABatch);
  const atSeconds = reader.value();
  const count = reader.array();
  if (typeof atSeconds !== 'number' || !Number.isFinite(atSeconds) || count < 0) throw new Misshapen(notABatch);
  if (count > engineLimits.kvEventsPerBatchMax) throw new Misshapen(`${count} events in a batch`);
  const events: KvEvent[] = [];
  const unknownTypes: string[] = [];
  for (let index = 0; index < count; index++) {
    const event = readEvent(reader, index);
    if (typeof event === 'string') unknownTypes.push(event.slice(0, 64));
    else events.push(event);
  }
  return { atSeconds, events, unknownTypes, dataParallelRank: items > 2 ? countOrNull(reader, 'rank') : null };
}

/** Order of an event's fields in the array form, after the tag. */
const arrayForm: Readonly<Record<KvEvent['type'], readonly string[]>> = {
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

expectTexts([
  'type',
  ...Object.keys(arrayForm),
  ...arrayForm.BlockStored,
  'kv_cache_spec_sliding_window',
  'full_attention',
  'sliding_window',
  'mamba',
  'GPU',
  'CPU',
]);

/** The event, or the name of a type that this version does not know. */
function readEvent(reader: MsgpackReader, index: number): KvEvent | string {
  const entries = reader.map();
  if (entries >= 0) return readMap(reader, entries, index);
  const values = reader.array();
  if (values < 0) throw new Misshapen(`event ${index} is no event`);
  const type = values > 0 ? reader.text() : undefined;
  if (type === undefined) throw new Misshapen(`event ${index} has no tag`);
  const fields = fieldsFor(type);
  const names = fields === undefined ? [] : arrayForm[fields.type];
  const told = Math.min(names.length, values - 1);
  if (fields !== undefined) for (let i = 0; i < told; i++) fields.read(reader, names[i] as string);
  reader.skip(values - 1 - told);
  return fields?.event() ?? type;
}

function readMap(reader: MsgpackReader, entries: number, index: number): KvEvent | string {
  const from = reader.at;
  // The tag comes first with every engine seen; the order in a map means nothing, though.
  let type: string | undefined;
  for (let i = 0; i < entries && type === undefined; i++) {
    if (reader.value() === 'type') type = reader.text();
    if (type === undefined) reader.skip();
  }
  if (type === undefined) throw new Misshapen(`event ${index} has no type`);
  reader.at = from;
  const fields = fieldsFor(type);
  for (let i = 0; i < entries; i++) {
    const name = reader.value();
    if (fields === undefined || typeof name !== 'string') reader.skip();
    else fields.read(reader, name);
  }
  return fields?.event() ?? type;
}

interface Fields {
  readonly type: KvEvent['type'];
  /** The value of a field; of one that is not known it is passed over. */
  read(reader: MsgpackReader, name: string): void;
  event(): KvEvent;
}

function fieldsFor(type: string): Fields | undefined {
  if (type === 'BlockStored') return new StoredFields();
  if (type === 'BlockRemoved') return new RemovedFields();
  return type === 'AllBlocksCleared' ? cleared : undefined;
}

const cleared: Fields = {
  type: 'AllBlocksCleared',
  read: (reader) => reader.skip(),
  event: () => ({ type: 'AllBlocksCleared' }),
};

class RemovedFields implements Fields {
  readonly type = 'BlockRemoved';
  #blockHashes: BlockHashWords | undefined;
  #medium: string | null = null;
  #groupIdx: number | null = null;

  read(reader: MsgpackReader, name: string): void {
    if (name === 'block_hashes') this.#blockHashes = reader.hashes(name);
    else if (name === 'medium') this.#medium = textOrNull(reader, name);
    else if (name === 'group_idx') this.#groupIdx = countOrNull(reader, name);
    else reader.skip();
  }

  event(): BlockRemoved {
    const { type } = this;
    return {
      type,
      blockHashes: told(this.#blockHashes, 'block_hashes'),
      medium: this.#medium,
      groupIdx: this.#groupIdx,
    };
  }
}

class StoredFields implements Fields {
  readonly type = 'BlockStored';
  #blockHashes: BlockHashWords | undefined;
  #parentBlockHash: BlockHashWords | null = null;
  #tokenIds: Uint32Array | undefined;
  #blockSize = 0;
  #loraId: number | null = null;
  #loraName: string | null = null;
  #medium: string | null = null;
  #extraKeys: readonly (readonly ExtraKey[] | null)[] | null = null;
  #groupIdx: number | null = null;
  #cacheSpecKind: string | null = null;
  #slidingWindow: number | null = null;

  read(reader: MsgpackReader, name: string): void {
    switch (name) {
      case 'block_hashes':
        this.#blockHashes = reader.hashes(name);
        break;
      case 'parent_block_hash':
        this.#parentBlockHash = hashOrNull(reader);
        break;
      case 'token_ids':
        this.#tokenIds = reader.counts(name);
        break;
      case 'block_size':
        this.#blockSize = reader.count(name);
        break;
      case 'lora_id':
        this.#loraId = countOrNull(reader, name);
        break;
      case 'lora_name':
        this.#loraName = textOrNull(reader, name);
        break;
      case 'medium':
        this.#medium = textOrNull(reader, name);
        break;
      case 'extra_keys':
        this.#extraKeys = extraKeys(reader.value());
        break;
      case 'group_idx':
        this.#groupIdx = countOrNull(reader, name);
        break;
      case 'kv_cache_spec_kind':
        this.#cacheSpecKind = textOrNull(reader, name);
        break;
      case 'kv_cache_spec_sliding_window':
        this.#slidingWindow = countOrNull(reader, name);
        break;
      default:
        reader.skip();
    }
  }

  event(): BlockStored {
    const { type } = this;
    const blockHashes = told(this.#blockHashes, 'block_hashes');
    const tokenIds = told(this.#tokenIds, 'token_ids');
    if (this.#blockSize === 0) throw new Misshapen('block_size is 0 or not told');
    return {
      type,
      blockHashes,
      parentBlockHash: this.#parentBlockHash,
      tokenIds,
      blockSize: this.#blockSize,
      loraId: this.#loraId,
      loraName: this.#loraName,
      medium: this.#medium,
      extraKeys: this.#extraKeys,
      groupIdx: this.#groupIdx,
      cacheSpecKind: this.#cacheSpecKind,
      slidingWindow: this.#slidingWindow,
    };
  }
}

function told<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Misshapen(`${name} is no list`);
  return value;
}

/** True where nothing stands; it is passed over. */
function nil(reader: MsgpackReader): boolean {
  if (!reader.isNil) return false;
  reader.skip();
  return true;
}

const countOrNull = (reader: MsgpackReader, name: string): number | null => (nil(reader) ? null : reader.count(name));

function textOrNull(reader: MsgpackReader, name: string): string | null {
  if (nil(reader)) return null;
  const text = reader.text();
  if (text === undefined) throw new Misshapen(`${name} is no text`);
  return text;
}

function hashOrNull(reader: MsgpackReader): BlockHashWords | null {
  if (nil(reader)) return null;
  const words = new Uint32Array(2);
  reader.hash(words, 0);
  return words;
}

function list(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  throw new Misshapen(`${name} is no list`);
}

function extraKeys(value: unknown): readonly (readonly ExtraKey[] | null)[] | null {
  if (value === null) return null;
  return list(value, 'extra_keys').map((keys) => (keys === null ? null : list(keys, 'extra_keys').map(extraKey)));
}

function extraKey(value: unknown): ExtraKey {
  if (value === null) return null;
  if (Array.isArray(value)) return value.map(extraKey);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  throw new Misshapen('extra_keys holds what is no key');
}
