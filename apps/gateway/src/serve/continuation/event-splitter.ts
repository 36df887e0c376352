const nothing: Buffer = Buffer.alloc(0);
const newline = 0x0a;
const carriageReturn = 0x0d;

/** Cuts a stream of server-sent events, split anywhere, into whole ones. What is not yet whole is held. */
export class EventSplitter {
  #held = nothing;
  /** Up to here the held bytes were looked through. */
  #at = 0;
  #lineStart = 0;

  constructor(private readonly heldBytesMax: number) {}

  /** An event was longer than may be held. */
  get overflown(): boolean {
    return this.#held.length > this.heldBytesMax;
  }

  /** Each event with its empty line, as a view of bytes that stay. */
  feed(chunk: Buffer): Buffer[] {
    // A copy, since the chunk's memory may be reused.
    const bytes = Buffer.concat([this.#held, chunk]);
    const events: Buffer[] = [];
    let from = 0;
    for (let end = bytes.indexOf(newline, this.#at); end >= 0; end = bytes.indexOf(newline, end + 1)) {
      const empty = end === this.#lineStart || (end === this.#lineStart + 1 && bytes[end - 1] === carriageReturn);
      this.#lineStart = end + 1;
      if (!empty) continue;
      events.push(bytes.subarray(from, end + 1));
      from = end + 1;
    }
    this.#held = from === 0 ? bytes : bytes.subarray(from);
    this.#at = this.#held.length;
    this.#lineStart -= from;
    return events;
  }

  /** What is held, which from now on is somebody else's. */
  rest(): Buffer {
    const held = this.#held;
    this.clear();
    return held;
  }

  clear(): void {
    this.#held = nothing;
    this.#at = this.#lineStart = 0;
  }
}

/** The data of an event, its lines joined; '' where it has none. */
export function dataOf(event: Buffer): string {
  const lines = event.toString('utf8').split(/\r?\n/);
  return lines.flatMap((line) => (line.startsWith('data:') ? [line.slice(line[5] === ' ' ? 6 : 5)] : [])).join('\n');
}
