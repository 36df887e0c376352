const nothing: Buffer = Buffer.alloc(0);
const choicesKey = Buffer.from('"choices":');
/** An event that says more is none of usage. */
const heldBytesMax = 16 * 1024;
const colon = 0x3a;

/**
 * Takes the event of usage, which the client did not ask for, out of a stream of chat or completion chunks. Everything else passes byte
 * for byte, and at once as soon as it cannot be that event; only its own beginning is held back.
 */
export class UsageFilter {
  /** The beginning of an event that may be the one of usage. */
  #held = nothing;
  /** The event under way is passing already. */
  #passing = false;
  /** Of the line under way nothing came but carriage returns. */
  #lineEmpty = true;

  /** What of the chunk goes on, perhaps nothing; a view of it, or new bytes. */
  feed(chunk: Buffer): Buffer {
    const before = this.#held.length;
    const bytes = before === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = nothing;
    const kept: Buffer[] = [];
    let from = 0;
    let event = 0;
    let at = before;
    for (;;) {
      const newline = bytes.indexOf(0x0a, at);
      const end = newline < 0 ? bytes.length : newline;
      for (let each = at; each < end && this.#lineEmpty; each++) this.#lineEmpty = bytes[each] === 0x0d;
      if (newline < 0) break;
      at = newline + 1;
      const blank = this.#lineEmpty;
      this.#lineEmpty = true;
      if (!blank) continue;
      if (!this.#passing && tellsUsage(bytes.subarray(event, at))) {
        kept.push(bytes.subarray(from, event));
        from = at;
      }
      this.#passing = false;
      event = at;
    }
    let to = bytes.length;
    if (event < to && !this.#passing) {
      const rest = bytes.subarray(event);
      if (rest.length > heldBytesMax || rest[0] === colon || findsChoices(rest, 0x7b)) {
        this.#passing = true;
      } else {
        // A copy, since the chunk's memory may be reused.
        this.#held = Buffer.from(rest);
        to = event;
      }
    }
    const last = bytes.subarray(from, to);
    return kept.length === 0 ? last : Buffer.concat([...kept, last]);
  }

  /** The stream is over: what was held back is part of it. */
  rest(): Buffer {
    const held = this.#held;
    this.#held = nothing;
    return held;
  }
}

/** Whether some `"choices": [` is followed by this byte: its end, or a first choice. Inside a string the quotes would be escaped. */
function findsChoices(event: Buffer, next: number): boolean {
  for (let key = event.indexOf(choicesKey); key >= 0; key = event.indexOf(choicesKey, key + 1)) {
    let at = key + choicesKey.length;
    while (event[at] === 0x20) at++;
    if (event[at] !== 0x5b) continue;
    at++;
    while (event[at] === 0x20) at++;
    if (event[at] === next) return true;
  }
  return false;
}

function tellsUsage(event: Buffer): boolean {
  if (!findsChoices(event, 0x5d)) return false;
  const data = event
    .toString('utf8')
    .split(/\r?\n/)
    .flatMap((line) => (line.startsWith('data:') ? [line.slice(5)] : []))
    .join('\n');
  try {
    const chunk = JSON.parse(data) as { choices?: unknown; usage?: unknown };
    return Array.isArray(chunk.choices) && chunk.choices.length === 0 && typeof (chunk.usage ?? undefined) === 'object';
  } catch {
    // Nothing that we know: it is the client's.
    return false;
  }
}
