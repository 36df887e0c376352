import type { KV } from '@nats-io/kv';
import { Kvm } from '@nats-io/kv';
import { nuid } from '@nats-io/transport-node';
import type { Snapshot, SnapshotStore } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import type { NatsLink } from './connection.ts';
import { natsLimits } from './limits.ts';
import { buckets } from './permissions.ts';

interface Entry {
  readonly foldVersion: string;
  readonly seq: number;
  readonly hash: string;
  /** Names the chunks `<key>.<save>.<n>`. */
  readonly save: string;
  readonly chunks: number;
}

const keyOf = (name: string): string => Buffer.from(name).toString('hex');

/**
 * Snapshots in a bucket, cut into chunks. The entry that names the chunks is written after them, so that a reader finds
 * the old snapshot or the new one; the chunks of the one before are dropped afterwards.
 */
export class NatsSnapshotStore implements SnapshotStore {
  #kv: KV | undefined;

  constructor(private readonly link: NatsLink) {}

  async load(name: string, foldVersion: string): Promise<Snapshot | undefined> {
    return await this.#with(async (kv) => {
      const key = keyOf(name);
      const entry = await entryOf(kv, key);
      if (entry === undefined || entry.foldVersion !== foldVersion) return undefined;
      const parts: Uint8Array[] = [];
      for (let index = 0; index < entry.chunks; index++) {
        const chunk = await kv.get(`${key}.${entry.save}.${index}`);
        // Dropped under us by a newer save, whose snapshot the next load finds.
        if (chunk === null || chunk.operation !== 'PUT') return undefined;
        parts.push(chunk.value);
      }
      const { seq, hash } = entry;
      return { name, foldVersion, seq, hash, bytes: new Uint8Array(Buffer.concat(parts)) };
    });
  }

  async save(snapshot: Snapshot): Promise<void> {
    const { name, foldVersion, seq, hash, bytes } = snapshot;
    if (bytes.byteLength > natsLimits.snapshotBytesMax) {
      throw new CodedError(
        'SNAPSHOT_TOO_LARGE',
        `${name}: ${bytes.byteLength} bytes, bound ${natsLimits.snapshotBytesMax}`,
      );
    }
    await this.#with(async (kv) => {
      const key = keyOf(name);
      const before = await entryOf(kv, key);
      const save = nuid.next();
      const { snapshotChunkBytes: size } = natsLimits;
      const chunks = Math.ceil(bytes.byteLength / size);
      for (let index = 0; index < chunks; index++) {
        await kv.put(`${key}.${save}.${index}`, bytes.subarray(index * size, (index + 1) * size));
      }
      await kv.put(key, JSON.stringify({ foldVersion, seq, hash, save, chunks } satisfies Entry));
      for (let index = 0; index < (before?.chunks ?? 0); index++) await kv.purge(`${key}.${before?.save}.${index}`);
    });
  }

  async #with<T>(work: (kv: KV) => Promise<T>): Promise<T> {
    try {
      if (!this.link.connected) throw new Error('nats-server is away');
      this.#kv ??= await new Kvm(this.link.js).open(buckets.snapshots);
      return await work(this.#kv);
    } catch (cause) {
      if (cause instanceof CodedError) throw cause;
      throw new CodedError('SNAPSHOTS_UNAVAILABLE', `the bucket of snapshots: ${errorText(cause)}`, {
        advice: 'Folds begin at the first commit meanwhile: slower, and right.',
        cause,
      });
    }
  }
}

async function entryOf(kv: KV, key: string): Promise<Entry | undefined> {
  const entry = await kv.get(key);
  return entry === null || entry.operation !== 'PUT' ? undefined : entry.json<Entry>();
}
