import type { RecordedUsage } from '#libs/recording';
import { latin1 } from '../http/syntax.ts';
import { plainUsage } from './plain-usage.ts';

const count = (value: unknown): number =>
  typeof value === 'number' && value >= 0 && Number.isFinite(value) ? Math.min(Math.trunc(value), 0xffffffff) : 0;

const detail = (value: unknown, name: string): number =>
  typeof value === 'object' && value !== null ? count((value as Record<string, unknown>)[name]) : 0;

/**
 * Reads an engine's `usage` object, as chat, responses, messages, pooling or audio tell it; undefined where it counts no tokens.
 * Anthropic's `input_tokens` leaves out what the cache gave and took; here it is all that was read.
 */
export function usageOf(value: unknown): RecordedUsage | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const usage = value as Record<string, unknown>;
  if (typeof usage['prompt_tokens'] === 'number' || typeof usage['completion_tokens'] === 'number') {
    return {
      promptTokens: count(usage['prompt_tokens']),
      completionTokens: count(usage['completion_tokens']),
      cachedTokens: detail(usage['prompt_tokens_details'], 'cached_tokens'),
      fromEngine: true,
    };
  }
  if (typeof usage['input_tokens'] === 'number' || typeof usage['output_tokens'] === 'number') {
    const read = count(usage['cache_read_input_tokens']);
    return {
      promptTokens: count(usage['input_tokens']) + read + count(usage['cache_creation_input_tokens']),
      completionTokens: count(usage['output_tokens']),
      cachedTokens:
        read +
        // Responses say "tokens", realtime and audio "token".
        detail(usage['input_tokens_details'] ?? usage['input_token_details'], 'cached_tokens'),
      fromEngine: true,
    };
  }
  if (typeof usage['total_tokens'] !== 'number') return undefined;
  return { promptTokens: count(usage['total_tokens']), completionTokens: 0, cachedTokens: 0, fromEngine: true };
}

const quote = 0x22;

/** Position of the last `"usage"`, or -1. */
function lastUsage(tail: Buffer): number {
  for (let at = tail.length - 7; at >= 0; at--) {
    if (tail[at] !== quote || tail[at + 1] !== 0x75 || tail[at + 6] !== quote) continue;
    if (tail[at + 2] === 0x73 && tail[at + 3] === 0x61 && tail[at + 4] === 0x67 && tail[at + 5] === 0x65) return at;
  }
  return -1;
}

/** The last `"usage": {…}` in the end of a JSON body. Inside a string the quotes would be escaped, so it is a key. */
export function usageInTail(tail: Buffer): RecordedUsage | undefined {
  const key = lastUsage(tail);
  if (key < 0) return undefined;
  const start = tail.indexOf(0x7b, key);
  if (start < 0) return undefined;
  const plain = plainUsage(tail, start);
  if (plain !== undefined) return plain;
  let depth = 0;
  for (let at = start; at < tail.length; at++) {
    const byte = tail[at];
    if (byte === 0x7b) depth++;
    // Of its texts, if it has any, nothing is read.
    else if (byte === 0x7d && --depth === 0) return parsed(latin1(tail, start, at + 1));
  }
  return undefined;
}

function parsed(json: string): RecordedUsage | undefined {
  try {
    return usageOf(JSON.parse(json));
  } catch {
    // The engine's own mistake: its usage is then unknown.
    return undefined;
  }
}

const tailBytesMax = 8 * 1024;

/** The last bytes of an answer that goes by. */
export class BodyTail {
  #last: Buffer | undefined;

  /** Copies what it keeps: the chunk's memory may be reused. */
  feed(chunk: Buffer): void {
    const last = this.#last;
    if (last === undefined || chunk.length >= tailBytesMax) {
      this.#last = Buffer.from(chunk.length > tailBytesMax ? chunk.subarray(chunk.length - tailBytesMax) : chunk);
      return;
    }
    const kept = Math.min(last.length, tailBytesMax - chunk.length);
    this.#last = Buffer.concat([last.subarray(last.length - kept), chunk]);
  }

  usage(): RecordedUsage | undefined {
    return this.#last === undefined ? undefined : usageInTail(this.#last);
  }
}
