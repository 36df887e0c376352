import { hash } from 'node:crypto';

/** A whole answer as it can be given again. */
export interface KeptAnswer {
  readonly status: number;
  /** As the engine sent them, without those that end at one hop. */
  readonly headers: readonly string[];
  readonly body: Buffer;
}

/** A request that waits for the answer of one before it. */
export interface Waiter {
  answered(answer: KeptAnswer): void;
  /** The one before it came to nothing that could be kept: now it is this one's turn. */
  promoted(): void;
}

export interface IdempotencyLimits {
  /** Keys remembered, and requests that wait behind one of them. */
  readonly idempotencyKeysMax: number;
  readonly idempotencyWaitersMax: number;
  readonly idempotencyKeptMs: number;
  readonly idempotencyAnswerBytesMax: number;
  readonly idempotencyBytesMax: number;
}

interface Entry {
  readonly fingerprint: string;
  readonly waiting: Waiter[];
  answer: KeptAnswer | undefined;
  answeredAtMs: number;
}

/** What a request with a key is to do: go ahead and tell its end, wait, take the answer, or hear that it cannot. */
export type Turn = 'first' | 'waits' | 'conflict' | 'full' | KeptAnswer;

const keyForm = /^[\x21-\x7e]{1,255}$/;
export const soundKey = (key: string): boolean => keyForm.test(key);
export const fingerprintOf = (target: string, body: Buffer): string =>
  `${hash('sha256', target, 'base64')}${hash('sha256', body, 'base64')}`;

/** Answers that the engine would give again. */
const repeatable = (status: number): boolean => status < 500 && status !== 408 && status !== 409 && status !== 429;

/**
 * Requests that a client may send again without having them done again. One with the same key waits for the one under way, or gets its
 * answer for a while. In memory of one gateway, bounded in keys, bytes and time; the oldest answers go first.
 */
export class Idempotency {
  readonly #entries = new Map<string, Entry>();
  readonly #limits: IdempotencyLimits;
  #bytes = 0;

  constructor(limits: IdempotencyLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  begin(key: string, fingerprint: string, waiter: Waiter, nowMs: number): Turn {
    const entry = this.#entries.get(key);
    const old = entry?.answer !== undefined && nowMs - entry.answeredAtMs > this.#limits.idempotencyKeptMs;
    if (old) this.#drop(key, entry);
    if (entry === undefined || old) {
      if (this.#entries.size >= this.#limits.idempotencyKeysMax && !this.#makeRoom()) return 'full';
      this.#entries.set(key, { fingerprint, waiting: [], answer: undefined, answeredAtMs: 0 });
      return 'first';
    }
    if (entry.fingerprint !== fingerprint) return 'conflict';
    if (entry.answer !== undefined) return entry.answer;
    if (entry.waiting.length >= this.#limits.idempotencyWaitersMax) return 'full';
    entry.waiting.push(waiter);
    return 'waits';
  }

  /** The first one is done. Without an answer that can be given again, the next one has its turn. */
  end(key: string, answer: KeptAnswer | undefined, nowMs: number): void {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.answer !== undefined) return;
    if (
      answer === undefined ||
      !repeatable(answer.status) ||
      answer.body.length > this.#limits.idempotencyAnswerBytesMax
    ) {
      const next = entry.waiting.shift();
      if (next === undefined) this.#entries.delete(key);
      else next.promoted();
      return;
    }
    entry.answer = answer;
    entry.answeredAtMs = nowMs;
    this.#bytes += answer.body.length;
    // Behind those that still run, so that the oldest answer stands first.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    for (const waiter of entry.waiting.splice(0)) waiter.answered(answer);
    while (this.#bytes > this.#limits.idempotencyBytesMax && this.#makeRoom());
  }

  /** A client that waited has left. */
  leave(key: string, waiter: Waiter): void {
    const waiting = this.#entries.get(key)?.waiting;
    const at = waiting?.indexOf(waiter) ?? -1;
    if (at >= 0) waiting?.splice(at, 1);
  }

  /** Forgets answers that were kept long enough. */
  sweep(nowMs: number): void {
    for (const [key, entry] of this.#entries) {
      if (entry.answer === undefined) continue;
      if (nowMs - entry.answeredAtMs <= this.#limits.idempotencyKeptMs) return;
      this.#drop(key, entry);
    }
  }

  #makeRoom(): boolean {
    for (const [key, entry] of this.#entries) {
      if (entry.answer === undefined) continue;
      this.#drop(key, entry);
      return true;
    }
    return false;
  }

  #drop(key: string, entry: Entry): void {
    this.#bytes -= entry.answer?.body.length ?? 0;
    this.#entries.delete(key);
  }
}
