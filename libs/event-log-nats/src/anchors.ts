import { streams, subjects } from '#libs/contracts';
import type { AnchorStream, StoredAnchor } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { NatsLink } from './connection.ts';
import { apiCode, apiCodes, isAway, refused } from './errors.ts';
import { natsLimits } from './limits.ts';
import { StreamReader } from './stream-reader.ts';

/** The notary's seals on JetStream. A lost answer is settled by reading what stands behind the expected anchor. */
export class NatsAnchorStream implements AnchorStream {
  readonly #reader: StreamReader;

  constructor(private readonly link: NatsLink) {
    this.#reader = new StreamReader({ link, stream: streams.anchors, prefix: 'ANCHORS', whole: true });
  }

  async append(anchorJson: string, expectedLastSeq: number): Promise<{ seq: number }> {
    if (!this.link.connected) throw this.#reader.away();
    try {
      const { seq } = await this.link.js.publish(subjects.anchor(streams.events), anchorJson, {
        expect: { lastSequence: expectedLastSeq },
        timeout: natsLimits.ackTimeoutMs,
        retries: 1,
      });
      return { seq };
    } catch (thrown) {
      const code = apiCode(thrown);
      const wrongSequence = code === apiCodes.wrongLastSequence || code === 10060 || code === 10070;
      if (!wrongSequence && !isAway(thrown)) throw refused('ANCHORS', 'the anchor was not stored', thrown);
      for await (const message of this.#reader.read(expectedLastSeq + 1, expectedLastSeq + 1, undefined)) {
        if (Buffer.from(message.data).toString() === anchorJson) return { seq: message.seq };
        throw conflict(expectedLastSeq, message.seq);
      }
      if (wrongSequence) throw conflict(expectedLastSeq, (await this.#reader.state()).lastSeq);
      throw refused('ANCHORS', 'the anchor was not stored', thrown);
    }
  }

  async readAll(): Promise<StoredAnchor[]> {
    const all: StoredAnchor[] = [];
    for await (const { seq, data } of this.#reader.read(1, undefined, undefined)) {
      all.push({ seq, json: Buffer.from(data).toString() });
    }
    return all;
  }
}

function conflict(expectedSeq: number, foundSeq: number): CodedError {
  return new CodedError('ANCHORS_CONFLICT', `anchors stand at ${foundSeq}, expected ${expectedSeq}`, {
    advice: 'Another notary sealed first: read the anchors again.',
  });
}
