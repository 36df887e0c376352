import type { Environment, Timer } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import type { KvFollowerOptions } from '../kv-follow/follower.ts';
import { engineLimits } from '../limits.ts';
import { DrainedEvents } from './drained.ts';

export interface KvPollerOptions extends Pick<KvFollowerOptions, 'onEffect' | 'onProblem' | 'resume'> {
  /** `http://HOST:PORT/kv_cache_events` */
  readonly url: string;
  /** Tokens in a block, as the engine was started (`tokens_per_block`). */
  readonly blockTokens: number;
  readonly environment: Environment;
  readonly tuning?: Partial<typeof kvPollerTuning> | undefined;
}

export const kvPollerTuning = {
  /** After an answer with events, and doubled after each without, up to the second. */
  pollMsMin: 5,
  pollMsMax: 100,
  /** After a failure, doubled up to the second. */
  retryMsMin: 200,
  retryMsMax: 5_000,
  /** The engine itself waits for events for up to two seconds. */
  answerMsMax: 10_000,
  /** An answer that is under way when it is closed is waited for: its events come to nobody else. */
  closeMsMax: 3_000,
};

/**
 * Follows the KV events of an engine that hands them out over HTTP, each once: what was taken and not passed on is lost, so that only
 * one may ask. It ends when it is closed, and never by itself.
 */
export class KvPoller {
  readonly #options: KvPollerOptions;
  readonly #tuning: typeof kvPollerTuning;
  readonly #drained: DrainedEvents;
  readonly #ended: Promise<void>;
  readonly #abort = new AbortController();
  #closing = false;
  #pause: { timer: Timer; over: () => void } | undefined;
  problems = 0;
  polls = 0;

  constructor(options: KvPollerOptions) {
    this.#options = options;
    this.#tuning = { ...kvPollerTuning, ...options.tuning };
    this.#drained = new DrainedEvents(options.blockTokens, options.onEffect, (problem) => this.#problem(problem));
    if (options.resume !== undefined) this.#drained.resume(options.resume.next);
    this.#ended = this.#run();
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#pause?.timer.cancel();
    this.#pause?.over();
    const { timers } = this.#options.environment;
    const late = timers.after(this.#tuning.closeMsMax, () => this.#abort.abort());
    await this.#ended;
    late.cancel();
  }

  async #run(): Promise<void> {
    const { pollMsMin, pollMsMax, retryMsMin, retryMsMax } = this.#tuning;
    let idleMs = pollMsMin;
    let retryMs = retryMsMin;
    let failing = '';
    while (!this.#closing) {
      try {
        const answer = await this.#ask();
        const some = !Array.isArray(answer) || answer.length > 0;
        if (some) this.#drained.read(answer, this.#options.environment.clock.nowMs() / 1000);
        idleMs = some ? pollMsMin : Math.min(pollMsMax, idleMs * 2);
        retryMs = retryMsMin;
        failing = '';
        await this.#sleep(idleMs);
      } catch (thrown) {
        if (this.#abort.signal.aborted) return;
        const why = errorText(thrown);
        // Once for as long as it lasts.
        if (why !== failing) this.#problem(`${this.#options.url}: ${why}`);
        failing = why;
        await this.#sleep(retryMs);
        retryMs = Math.min(retryMsMax, retryMs * 2);
      }
    }
  }

  async #ask(): Promise<unknown> {
    this.polls++;
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(this.#tuning.answerMsMax)]);
    const response = await fetch(this.#options.url, { method: 'POST', redirect: 'error', signal });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`answered ${response.status}`);
    }
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of response.body ?? []) {
      bytes += part.byteLength;
      // Leaving the loop ends the connection; what was in the answer shows as a gap.
      if (bytes > engineLimits.kvPollBytesMax) throw new Error(`more than ${engineLimits.kvPollBytesMax} bytes`);
      parts.push(part);
    }
    return JSON.parse(Buffer.concat(parts).toString()) as unknown;
  }

  async #sleep(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#closing) return;
    this.#pause = { timer: this.#options.environment.timers.after(ms, resolve), over: resolve };
    await promise;
    this.#pause = undefined;
  }

  #problem(problem: string): void {
    this.problems++;
    this.#options.onProblem?.(problem);
  }
}
