import type { Clock } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import { limits } from './limits.ts';

/** Schema level by context that a reader can decode. A context that it does not name it does not read. */
export type ReaderLevels = Readonly<Record<string, number>>;

/**
 * Who reads the log now and what each can decode. An announcement lives `limits.announcementTtlMs` unless renewed;
 * readers renew at a third of that.
 */
export interface ReaderRegistry {
  announce(reader: string, levels: ReaderLevels): Promise<void>;
  /** A reader that stops says so and no longer holds writers back. */
  withdraw(reader: string): Promise<void>;
  /** Live readers by name. @throws READERS_UNAVAILABLE */
  levels(): Promise<ReadonlyMap<string, ReaderLevels>>;
}

export class MemoryReaderRegistry implements ReaderRegistry {
  readonly #announced = new Map<string, { levels: ReaderLevels; atMs: number }>();

  constructor(
    private readonly clock: Clock,
    private readonly ttlMs: number = limits.announcementTtlMs,
  ) {}

  async announce(reader: string, levels: ReaderLevels): Promise<void> {
    this.#announced.set(reader, { levels: { ...levels }, atMs: this.clock.monotonicMs() });
  }

  async withdraw(reader: string): Promise<void> {
    this.#announced.delete(reader);
  }

  async levels(): Promise<ReadonlyMap<string, ReaderLevels>> {
    const oldest = this.clock.monotonicMs() - this.ttlMs;
    const live = new Map<string, ReaderLevels>();
    for (const [reader, { levels, atMs }] of this.#announced) {
      if (atMs >= oldest) live.set(reader, levels);
      else this.#announced.delete(reader);
    }
    return live;
  }
}

/** @throws SCHEMA_NOT_READY when a live reader of the context could not decode a commit of this level */
export function requireReaders(readers: ReadonlyMap<string, ReaderLevels>, context: string, level: number): void {
  for (const [reader, levels] of readers) {
    const known = levels[context];
    if (known === undefined || known >= level) continue;
    throw new CodedError(
      'SCHEMA_NOT_READY',
      `${reader} reads ${context} up to level ${known}, the event needs ${level}`,
      {
        advice: `Upgrade ${reader} first, then give the command again.`,
      },
    );
  }
}
