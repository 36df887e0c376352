const Opcode = { Continuation: 0, Text: 1, Close: 8 } as const;

/** Of a text message so much is looked at to know whether it is kept. */
const peekBytesMax = 256;
/** A longer message is passed over. */
export const textBytesMax = 1024 * 1024;

/**
 * Follows the frames of one direction of a WebSocket (RFC 6455) as its bytes pass, split anywhere: counts messages, knows where one ends,
 * reads the code of a close. Of unmasked text messages those that `wanted` likes by their beginning are handed over whole. Never throws:
 * what is no frame is the endpoints' business.
 */
export class FrameScanner {
  messages = 0;
  /** Of the close frame; 0 as long as none came, 1005 where it names none. */
  closeCode = 0;
  readonly #header = Buffer.alloc(14);
  #headerBytes = 0;
  #headerNeeds = 2;
  #payloadLeft = 0;
  #opcode = 0;
  #final = false;
  /** Of a text message under way; undefined while it is not looked at. */
  #text: Buffer[] | undefined;
  #textBytes = 0;
  #chosen = false;
  readonly #close = Buffer.alloc(2);
  #closeBytes = 0;

  constructor(
    private readonly wanted: (beginning: string) => boolean = () => false,
    private readonly onText: (text: string) => void = () => {},
  ) {}

  /** Nothing of a frame is under way: another one may be put here. */
  get atBoundary(): boolean {
    return this.#headerBytes === 0 && this.#payloadLeft === 0;
  }

  feed(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#payloadLeft > 0) {
        const bytes = Math.min(this.#payloadLeft, chunk.length - at);
        this.#payload(chunk.subarray(at, at + bytes));
        at += bytes;
        this.#payloadLeft -= bytes;
        if (this.#payloadLeft === 0) this.#frameEnd();
        continue;
      }
      this.#header[this.#headerBytes++] = chunk[at++] as number;
      if (this.#headerBytes === 2) this.#headerNeeds = headerBytesOf(this.#header[1] as number);
      if (this.#headerBytes >= 2 && this.#headerBytes === this.#headerNeeds) this.#frameStart();
    }
  }

  get #masked(): boolean {
    return ((this.#header[1] as number) & 0x80) !== 0;
  }

  #frameStart(): void {
    const first = this.#header[0] as number;
    const short = (this.#header[1] as number) & 0x7f;
    this.#headerBytes = 0;
    this.#headerNeeds = 2;
    this.#final = (first & 0x80) !== 0;
    this.#opcode = first & 0x0f;
    this.#closeBytes = 0;
    this.#payloadLeft =
      short < 126 ? short : short === 126 ? this.#header.readUInt16BE(2) : Number(this.#header.readBigUInt64BE(2));
    if (this.#opcode === Opcode.Text) {
      // Compressed text (RSV1) says nothing here; none is negotiated.
      this.#text = this.#masked || (first & 0x70) !== 0 ? undefined : [];
      this.#textBytes = 0;
      this.#chosen = false;
    } else if (this.#opcode > Opcode.Text && this.#opcode < Opcode.Close) this.#text = undefined;
    if (this.#payloadLeft === 0) this.#frameEnd();
  }

  #payload(bytes: Buffer): void {
    if (this.#opcode === Opcode.Close) {
      for (let index = 0; index < bytes.length && this.#closeBytes < 2; index++) {
        const mask = this.#masked ? (this.#header[this.#maskAt() + this.#closeBytes] as number) : 0;
        this.#close[this.#closeBytes++] = (bytes[index] as number) ^ mask;
      }
      return;
    }
    if (this.#opcode > Opcode.Text || this.#text === undefined) return;
    this.#textBytes += bytes.length;
    if (this.#textBytes > textBytesMax) {
      this.#text = undefined;
      return;
    }
    // A copy, since the chunk's memory may be reused.
    this.#text.push(Buffer.from(bytes));
    if (!this.#chosen && this.#textBytes >= peekBytesMax) this.#choose();
  }

  #choose(): void {
    this.#chosen = true;
    const beginning = Buffer.concat(this.#text ?? []).toString('latin1', 0, peekBytesMax);
    if (!this.wanted(beginning)) this.#text = undefined;
  }

  #maskAt(): number {
    const short = (this.#header[1] as number) & 0x7f;
    return short < 126 ? 2 : short === 126 ? 4 : 10;
  }

  #frameEnd(): void {
    if (this.#opcode === Opcode.Close) {
      this.closeCode = this.#closeBytes === 2 ? this.#close.readUInt16BE(0) : 1005;
      return;
    }
    if (this.#opcode > Opcode.Close || !this.#final) return;
    this.messages++;
    if (this.#text !== undefined && !this.#chosen) this.#choose();
    const text = this.#text;
    this.#text = undefined;
    if (text !== undefined) this.onText(Buffer.concat(text).toString('utf8'));
  }
}

function headerBytesOf(second: number): number {
  const short = second & 0x7f;
  const mask = (second & 0x80) === 0 ? 0 : 4;
  return 2 + mask + (short < 126 ? 0 : short === 126 ? 2 : 8);
}

/** A close frame. An endpoint that is a client masks: `mask` is then its key. */
export function closeFrame(code: number, reason: string, mask?: number): Buffer {
  const said = Buffer.from(reason, 'utf8').subarray(0, 120);
  const payload = Buffer.concat([Buffer.from([code >> 8, code & 0xff]), said]);
  if (mask === undefined) return Buffer.concat([Buffer.from([0x88, payload.length]), payload]);
  const key = Buffer.alloc(4);
  key.writeUInt32BE(mask >>> 0);
  for (let index = 0; index < payload.length; index++) {
    payload[index] = (payload[index] as number) ^ (key[index % 4] as number);
  }
  return Buffer.concat([Buffer.from([0x88, 0x80 | payload.length]), key, payload]);
}
