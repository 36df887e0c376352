import { CodedError } from '#libs/kernel';
import type { Holder } from './holder.ts';
import { groupOf, mediumOf } from './holder.ts';
import type { KvIndex } from './kv-index.ts';

/** Holdings of one chunk: 22 bytes each, so that a chunk fits a message of 1 MiB. */
const holdingsPerChunk = 32_768;
const headBytesMax = 4096;
const holdingBytes = 22;
/** Raised when local hashes are made another way, too: they would stand for other blocks. */
const version = 2;

interface ChunkHead {
  readonly replicaId: string;
  readonly rank: number;
  readonly exact: boolean;
  readonly blockSize: number;
  readonly windows: readonly number[];
  /** What the writer wants to come back with it, such as the engine's next sequence. */
  readonly note: unknown;
}

/**
 * All that holders hold, as events without tokens: each chunk is applied by itself, in any order, to an index that need not be
 * empty of other holders. What was routed and not told is not in it.
 */
export function* encodeHoldings(
  index: KvIndex,
  holders: Iterable<Holder>,
  noteOf: (holder: Holder) => unknown,
): Generator<Uint8Array> {
  for (const holder of holders) {
    let chunk = newChunk(holder, noteOf(holder));
    const full: Uint8Array[] = [];
    holder.holdings.forEachByRow((low, high, tag, row, count) => {
      if (chunk.count === holdingsPerChunk) {
        full.push(closed(chunk));
        chunk = newChunk(holder, noteOf(holder));
      }
      const { view } = chunk;
      const at = chunk.at;
      view.setUint32(at, low);
      view.setUint32(at + 4, high);
      view.setFloat64(at + 8, index.hashAt(row));
      view.setUint16(at + 16, count);
      view.setUint8(at + 18, mediumOf(tag));
      view.setUint8(at + 19, groupOf(tag));
      chunk.at += holdingBytes;
      chunk.count++;
    });
    full.push(closed(chunk));
    yield* full;
  }
}

interface Chunk {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  at: number;
  count: number;
}

function newChunk(holder: Holder, note: unknown): Chunk {
  const { replicaId, rank, exact, blockSize, windows } = holder;
  const head = Buffer.from(JSON.stringify({ replicaId, rank, exact, blockSize, windows, note } satisfies ChunkHead));
  if (head.length > headBytesMax) throw new CodedError('KV_SNAPSHOT_INVALID', `a head of ${head.length} bytes`);
  const bytes = new Uint8Array(4 + head.length + Math.min(holder.holdings.size, holdingsPerChunk) * holdingBytes);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, version);
  view.setUint16(2, head.length);
  bytes.set(head, 4);
  return { bytes, view, at: 4 + head.length, count: 0 };
}

const closed = ({ bytes, at }: Chunk): Uint8Array => bytes.subarray(0, at);

/**
 * Adds what a chunk says to its holder, and answers the holder and the writer's note.
 * @throws KV_SNAPSHOT_INVALID
 */
export function applyHoldings(index: KvIndex, chunk: Uint8Array): { holder: Holder; note: unknown } {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const headLength = chunk.byteLength < 4 ? 0 : view.getUint16(2);
  const from = 4 + headLength;
  if (chunk.byteLength < 4 || view.getUint16(0) !== version || (chunk.byteLength - from) % holdingBytes !== 0) {
    throw new CodedError('KV_SNAPSHOT_INVALID', `a chunk of ${chunk.byteLength} bytes`, {
      advice: 'Another version wrote it: let it be, the events that come make the index anew.',
    });
  }
  const head = JSON.parse(Buffer.from(chunk.buffer, chunk.byteOffset + 4, headLength).toString()) as ChunkHead;
  const holder = index.holder(head.replicaId, head.rank);
  for (const [group, window] of head.windows.entries()) index.setGroup(holder, group, window);
  holder.exact = head.exact;
  holder.blockSize = head.blockSize;
  for (let at = from; at < chunk.byteLength; at += holdingBytes) {
    const [low, high, hash] = [view.getUint32(at), view.getUint32(at + 4), view.getFloat64(at + 8)];
    const count = view.getUint16(at + 16);
    const medium = view.getUint8(at + 18);
    if (medium > 2) throw new CodedError('KV_SNAPSHOT_INVALID', `medium ${medium}`);
    for (let n = 0; n < count; n++) {
      if (index.store(holder, low, high, medium as 0 | 1 | 2, view.getUint8(at + 19), hash) < 0) {
        holder.exact = false;
        break;
      }
    }
  }
  return { holder, note: head.note };
}
