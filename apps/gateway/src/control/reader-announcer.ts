import type { EventRegistry } from '#libs/contracts';
import type { ReaderRegistry } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import { controlLimits } from './limits.ts';

/** Says that this gateway reads the log and up to which schema level, for as long as it does. */
export class ReaderAnnouncer {
  lastError = '';
  #timer: Timer | undefined;

  constructor(
    private readonly readers: ReaderRegistry,
    private readonly reader: string,
    private readonly registry: EventRegistry,
    private readonly environment: Environment,
  ) {}

  /** The first announcement is made before the log is read. @throws READERS_UNAVAILABLE; renewing goes on all the same */
  async start(): Promise<void> {
    this.#timer ??= this.environment.timers.every(controlLimits.announcePeriodMs, () => void this.#renew());
    await this.readers.announce(this.reader, this.registry.levels());
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.readers.withdraw(this.reader);
  }

  async #renew(): Promise<void> {
    try {
      await this.readers.announce(this.reader, this.registry.levels());
      this.lastError = '';
    } catch (thrown) {
      this.lastError = errorText(thrown);
    }
  }
}
