import type { Msg } from '@nats-io/transport-node';
import { headers } from '@nats-io/transport-node';
import type { StreamName } from '#libs/contracts';
import { streams } from '#libs/contracts';
import type { Following, FrameStream, StoredFrame } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import type { NatsLink } from './connection.ts';
import { refused } from './errors.ts';
import { natsLimits } from './limits.ts';
import { commitHeaders, storedFrame } from './message.ts';
import { StreamReader } from './stream-reader.ts';
import { Window } from './window.ts';

/** A stream of frames, by default that of records, on JetStream. The server tells a frame sent again by its id. */
export class NatsFrameStream implements FrameStream {
  readonly durability = 'disk';
  readonly #reader: StreamReader;
  readonly #window = new Window(natsLimits.inFlightMax, natsLimits.waitingMax, 'FRAMES_UNAVAILABLE');
  #closed = false;

  /** The connection stays its owner's: `close` ends followers only. */
  constructor(
    private readonly link: NatsLink,
    {
      stream = streams.requests,
      ...options
    }: { readonly log?: (line: string) => void; readonly stream?: StreamName } = {},
  ) {
    this.#reader = new StreamReader({ link, stream, prefix: 'FRAMES', whole: false, ...options });
  }

  async publish(subject: string, msgId: string, bytes: Uint8Array): Promise<{ seq: number; duplicate: boolean }> {
    this.#open();
    if (!this.link.connected) throw this.#reader.away();
    const bytesMax = this.link.nc.info?.max_payload ?? 1024 * 1024;
    if (bytes.byteLength + 256 > bytesMax) {
      throw new CodedError('FRAMES_TOO_LARGE', `a frame of ${bytes.byteLength} bytes, the server takes ${bytesMax}`);
    }
    const room = this.#window.enter();
    if (room !== undefined) await room;
    let reply: Msg;
    try {
      const head = headers();
      head.set(commitHeaders.commitId, msgId);
      reply = await this.link.nc.request(subject, bytes, { headers: head, timeout: natsLimits.ackTimeoutMs });
    } catch (cause) {
      throw refused('FRAMES', `frame ${msgId} was not acknowledged: ${errorText(cause)}`, cause);
    } finally {
      this.#window.leave();
    }
    const ack = reply.json<{
      seq?: number;
      duplicate?: boolean;
      error?: { description?: string; err_code?: number };
    }>();
    if (ack.error !== undefined || ack.seq === undefined) {
      const why = `${ack.error?.description ?? 'no sequence'} (${ack.error?.err_code ?? 0})`;
      throw new CodedError('FRAMES_UNAVAILABLE', `frame ${msgId}: ${why}`, {
        advice: 'The frame stays with the sender; publish it again with the same id.',
      });
    }
    return { seq: ack.seq, duplicate: ack.duplicate === true };
  }

  async follow(
    options: { fromSeq: number; subjects?: readonly string[] },
    handler: (frame: StoredFrame) => void | Promise<void>,
  ): Promise<Following> {
    this.#open();
    return await this.#reader.follow(options.fromSeq, options.subjects, (message) => handler(storedFrame(message)));
  }

  async *read(range: { fromSeq: number; toSeq?: number; subjects?: readonly string[] }): AsyncIterable<StoredFrame> {
    this.#open();
    for await (const message of this.#reader.read(range.fromSeq, range.toSeq, range.subjects))
      yield storedFrame(message);
  }

  async lastSeq(): Promise<number> {
    this.#open();
    return (await this.#reader.state()).lastSeq;
  }

  async firstSeq(): Promise<number> {
    this.#open();
    return (await this.#reader.state()).firstSeq;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#reader.stop();
  }

  #open(): void {
    if (this.#closed) throw new CodedError('FRAMES_UNAVAILABLE', 'the frame stream is closed');
  }
}
