import { CodedError } from '#libs/kernel';

/** An anchor as stored: the ProtoJSON text of lintel.log.v1.Anchor. */
export interface StoredAnchor {
  /** Sequence in the stream of anchors, 1 for the first. */
  readonly seq: number;
  readonly json: string;
}

/** Where the notary puts its seals. Append only; two notaries cannot both extend the same anchor. */
export interface AnchorStream {
  /** @throws ANCHORS_CONFLICT the stream stands elsewhere · ANCHORS_UNAVAILABLE */
  append(anchorJson: string, expectedLastSeq: number): Promise<{ seq: number }>;
  /** All anchors in order. */
  readAll(): Promise<StoredAnchor[]>;
}

export class MemoryAnchorStream implements AnchorStream {
  readonly #anchors: StoredAnchor[] = [];

  async append(anchorJson: string, expectedLastSeq: number): Promise<{ seq: number }> {
    if (this.#anchors.length !== expectedLastSeq) {
      throw new CodedError(
        'ANCHORS_CONFLICT',
        `anchors stand at ${this.#anchors.length}, expected ${expectedLastSeq}`,
        {
          advice: 'Another notary sealed first: read the anchors again.',
        },
      );
    }
    const seq = this.#anchors.length + 1;
    this.#anchors.push({ seq, json: anchorJson });
    return { seq };
  }

  async readAll(): Promise<StoredAnchor[]> {
    return [...this.#anchors];
  }
}
