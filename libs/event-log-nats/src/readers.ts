import type { KV } from '@nats-io/kv';
import { Kvm } from '@nats-io/kv';
import type { ReaderLevels, ReaderRegistry } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import type { NatsLink } from './connection.ts';
import { buckets } from './permissions.ts';

const keyOf = (reader: string): string => Buffer.from(reader).toString('hex');

/** Announcements in a bucket whose values die after its time to live: who does not renew no longer counts. */
export class NatsReaderRegistry implements ReaderRegistry {
  #kv: KV | undefined;

  constructor(private readonly link: NatsLink) {}

  async announce(reader: string, levels: ReaderLevels): Promise<void> {
    await this.#with(async (kv) => {
      await kv.put(keyOf(reader), JSON.stringify({ reader, levels }));
    });
  }

  async withdraw(reader: string): Promise<void> {
    await this.#with(async (kv) => {
      await kv.delete(keyOf(reader));
    });
  }

  async levels(): Promise<ReadonlyMap<string, ReaderLevels>> {
    return await this.#with(async (kv) => {
      const live = new Map<string, ReaderLevels>();
      for await (const entry of await kv.history({ key: '>' })) {
        if (entry.operation !== 'PUT') continue;
        const { reader, levels } = entry.json<{ reader: string; levels: ReaderLevels }>();
        live.set(reader, levels);
      }
      return live;
    });
  }

  async #with<T>(work: (kv: KV) => Promise<T>): Promise<T> {
    try {
      if (!this.link.connected) throw new Error('nats-server is away');
      this.#kv ??= await new Kvm(this.link.js).open(buckets.readers);
      return await work(this.#kv);
    } catch (cause) {
      throw new CodedError('READERS_UNAVAILABLE', `the registry of readers: ${errorText(cause)}`, {
        advice: 'Is nats-server running, and were its buckets set up?',
        cause,
      });
    }
  }
}
