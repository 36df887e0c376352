import type { Broker, StoredAnchor } from '#libs/event-log';
import { errorText } from '#libs/kernel';
import type { Logger } from '#libs/observability';
import type { AnchorCopies } from '#libs/projections-postgres';

/** Copies each seal to Postgres as it is made, and what is missing there since the database was away. */
export class AnchorCopier {
  readonly #anchors: Broker['anchors'];
  readonly #logger: Pick<Logger, 'warn'>;
  #copies: AnchorCopies | undefined;
  #whole = false;
  #working: Promise<void> = Promise.resolve();

  constructor(anchors: Broker['anchors'], logger: Pick<Logger, 'warn'>) {
    this.#anchors = anchors;
    this.#logger = logger;
  }

  /** The database has its tables: copies what stands in the stream. */
  begin(copies: AnchorCopies): void {
    this.#copies = copies;
    this.#next(undefined);
  }

  sealed(anchor: StoredAnchor): void {
    this.#next(anchor);
  }

  /** Resolves when what was begun is done. */
  async settled(): Promise<void> {
    await this.#working;
  }

  #next(anchor: StoredAnchor | undefined): void {
    this.#working = this.#working.then(() => this.#copy(anchor));
  }

  async #copy(anchor: StoredAnchor | undefined): Promise<void> {
    const copies = this.#copies;
    if (copies === undefined) return; // the database is not ready: `begin` copies everything
    try {
      if (this.#whole && anchor !== undefined && (await copies.lastSeq()) === anchor.seq - 1) {
        await copies.store([anchor]);
        return;
      }
      const from = await copies.lastSeq();
      await copies.store((await this.#anchors.readAll()).filter(({ seq }) => seq > from));
      this.#whole = true;
    } catch (thrown) {
      this.#whole = false;
      this.#logger.warn(`seals were not copied to the database: ${errorText(thrown)}; the next one brings them along`);
    }
  }
}
