import type pg from 'pg';
import type { Statement } from './move-statement.ts';

/** Rows that go by COPY: the statement, and its messages as `copyMessages` makes them. */
export interface Copy {
  readonly text: string;
  readonly messages: Buffer;
}

/** What of the driver's connection is used: its types know less. */
interface Wire {
  readonly stream: import('node:stream').Duplex;
  readonly parsedStatements: Readonly<Record<string, string>>;
  parse(query: { name?: string; text: string }): void;
  bind(config: { statement?: string; values?: readonly (string | Buffer)[] }): void;
  execute(): void;
  sync(): void;
}

/**
 * A statement and the copies behind it, sent in one go and answered once. What stands before a Sync is one transaction: the statement fails
 * where it may not move the checkpoint, and then nothing that comes behind it counts.
 */
export class MoveQuery implements pg.Submittable {
  /** Resolves when all is committed; rejects with the error of the server or the connection. */
  readonly done: Promise<void>;
  readonly #ended = Promise.withResolvers<void>();

  constructor(
    readonly statement: Statement,
    readonly copies: readonly Copy[],
  ) {
    this.done = this.#ended.promise;
  }

  /** The driver remembers by these what a connection has prepared. */
  get name(): string {
    return this.statement.name;
  }

  get text(): string {
    return this.statement.text;
  }

  submit(connection: pg.Connection): null {
    const wire = connection as unknown as Wire;
    const { name, text, values } = this.statement;
    wire.stream.cork();
    if (wire.parsedStatements[name] === undefined) wire.parse({ name, text });
    wire.bind({ statement: name, values: values.map((value) => (Buffer.isBuffer(value) ? value : String(value))) });
    wire.execute();
    for (const copy of this.copies) {
      wire.parse({ text: copy.text });
      wire.bind({});
      wire.execute();
      if (wire.stream.writable) wire.stream.write(copy.messages);
    }
    wire.sync();
    wire.stream.uncork();
    return null;
  }

  handleError(error: Error): void {
    this.#ended.reject(error);
  }

  handleReadyForQuery(): void {
    this.#ended.resolve();
  }

  /** The server asks for what is on its way already. */
  handleCopyInResponse(): void {}
  handleDataRow(): void {}
  handleCommandComplete(): void {}
}
