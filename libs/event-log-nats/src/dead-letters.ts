import { fromJsonString, toJson } from '@bufbuild/protobuf';
import { log, streams, subjects } from '#libs/contracts';
import type { DeadLetters, StoredDeadLetter } from '#libs/event-log';
import { busLimits } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import { NatsRequester } from './bus.ts';
import type { NatsLink } from './connection.ts';
import { apiCode, apiCodes, refused } from './errors.ts';
import { natsLimits } from './limits.ts';
import { StreamReader } from './stream-reader.ts';

/** Where the reactor of a consumer takes a message again. */
export const redriveSubject = (consumer: string): string => subjects.command('redrive', consumer);

/** Parked messages in LINTEL_DEAD. Driving one again asks the reactor over the bus, and needs the diagnostics user. */
export class NatsDeadLetters implements DeadLetters {
  readonly #reader: StreamReader;
  readonly #requester: NatsRequester;

  constructor(private readonly link: NatsLink) {
    this.#reader = new StreamReader({ link, stream: streams.dead, prefix: 'DEAD_LETTERS', whole: false });
    this.#requester = new NatsRequester(link);
  }

  async park(letter: log.DeadLetter): Promise<void> {
    const { consumer, stream, seq, atMs } = letter;
    try {
      await this.link.js.publish(subjects.dead(consumer), JSON.stringify(toJson(log.DeadLetterSchema, letter)), {
        // Parked again after a lost acknowledgement it is the same letter; driven again and parked anew it is another.
        msgID: `${stream}:${seq}:${consumer}:${atMs}`,
        timeout: natsLimits.ackTimeoutMs,
        retries: 1,
      });
    } catch (cause) {
      throw refused('DEAD_LETTERS', `letter of ${consumer} for ${seq} was not parked`, cause);
    }
  }

  async list(options: { consumer?: string; afterId?: number; limit?: number } = {}): Promise<StoredDeadLetter[]> {
    const { consumer, afterId = 0, limit = 100 } = options;
    const found: StoredDeadLetter[] = [];
    const filter = consumer === undefined ? undefined : [subjects.dead(consumer)];
    for await (const { seq, data } of this.#reader.read(afterId + 1, undefined, filter)) {
      found.push({ id: seq, letter: parse(seq, data) });
      if (found.length >= limit) break;
    }
    return found;
  }

  async show(id: number): Promise<StoredDeadLetter> {
    try {
      const message = await this.link.jsm.streams.getMessage(streams.dead, { seq: id });
      if (message === null) throw unknown(id);
      return { id, letter: parse(id, message.data) };
    } catch (cause) {
      if (apiCode(cause) === apiCodes.noMessage) throw unknown(id);
      throw refused('DEAD_LETTERS', `letter ${id} cannot be read`, cause);
    }
  }

  async redrive(id: number): Promise<void> {
    const { letter } = await this.show(id);
    try {
      await this.#requester.request(redriveSubject(letter.consumer), Buffer.from(JSON.stringify({ seq: letter.seq })), {
        deadlineMs: busLimits.deadlineMsMax,
      });
    } catch (thrown) {
      if ((thrown as CodedError).code !== 'BUS_NO_RESPONDER') throw thrown;
      throw new CodedError('DEAD_LETTER_NO_REACTOR', `${letter.consumer} is not running`, {
        advice: 'Start the app that owns the reactor, then drive the letter again.',
      });
    }
    try {
      await this.link.jsm.streams.deleteMessage(streams.dead, id);
    } catch (cause) {
      throw refused('DEAD_LETTERS', `letter ${id} was handled, but not taken out`, cause);
    }
  }
}

function unknown(id: number): CodedError {
  return new CodedError('DEAD_LETTER_UNKNOWN', `no dead letter ${id}`, {
    advice: 'lintel dead list shows which there are.',
  });
}

function parse(id: number, data: Uint8Array): log.DeadLetter {
  try {
    return fromJsonString(log.DeadLetterSchema, Buffer.from(data).toString(), { ignoreUnknownFields: true });
  } catch (cause) {
    throw new CodedError('DEAD_LETTER_INVALID', `letter ${id}: ${errorText(cause)}`, { cause });
  }
}
