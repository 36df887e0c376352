import type { Dealer, Subscriber } from 'zeromq';
import type { Environment, Timer } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import type { KvBatch } from '../kv-events.ts';
import { decodeKvMessage } from '../kv-events.ts';
import { engineLimits } from '../limits.ts';
import type { SequenceEffect } from './sequencer.ts';
import { KvSequencer } from './sequencer.ts';

/** A batch with the bytes that it came as, for whoever passes it on. */
export interface FollowedBatch extends KvBatch {
  readonly payload: Uint8Array;
}

export interface KvFollowerOptions {
  /** `tcp://HOST:PORT` of the PUB socket. */
  readonly endpoint: string;
  /** Of the ROUTER that sends again; undefined where the engine has none: then a gap cannot be filled. */
  readonly replayEndpoint: string | undefined;
  readonly environment: Environment;
  readonly onEffect: (effect: Exclude<SequenceEffect<FollowedBatch>, { type: 'ask' }>) => void;
  /** Something that no engine sends, or a question that failed. It is counted, and following goes on. */
  readonly onProblem?: (problem: string) => void;
  /** Where somebody else who followed this engine had come to. */
  readonly resume?: { readonly next: number; readonly lastAtSeconds: number } | undefined;
  readonly tuning?: Partial<typeof kvFollowerTuning>;
  /** In place of ZeroMQ's: for simulation. */
  readonly sockets?: KvSockets | undefined;
}

export type KvSockets = Pick<typeof import('zeromq'), 'Subscriber' | 'Dealer'>;

export const kvFollowerTuning = {
  reconnectMsMin: 100,
  reconnectMsMax: 5_000,
  /** Messages that wait in the socket; an engine drops what is beyond, which makes a gap. */
  receiveMessagesMax: 10_000,
  /** Without an answer for so long a question has failed. */
  replayMsMax: 5_000,
  replayWaitMs: 250,
  /** So often the engine is asked whether what is known is its last. */
  verifyMs: 5_000,
};

/** Follows the KV events of one engine, or of one data-parallel rank of it, over ZeroMQ. It ends when it is closed, and never by itself. */
export class KvFollower {
  readonly #options: KvFollowerOptions;
  readonly #tuning: typeof kvFollowerTuning;
  readonly #sequencer: KvSequencer<FollowedBatch>;
  readonly #subscriber: Subscriber;
  #dealer: Dealer | undefined;
  #verifier: Timer | undefined;
  #wait: Timer | undefined;
  #closed = false;
  problems = 0;
  /** Asked of the replay socket. */
  questions = 0;
  messages = 0;
  readonly #ended: Promise<void>;

  /** Begins. ZeroMQ is native code, loaded with the first follower and not by who only decodes. */
  static async open(options: KvFollowerOptions): Promise<KvFollower> {
    return new KvFollower(options, options.sockets ?? (await import('zeromq')));
  }

  private constructor(
    options: KvFollowerOptions,
    private readonly zmq: KvSockets,
  ) {
    this.#options = options;
    this.#tuning = { ...kvFollowerTuning, ...options.tuning };
    this.#sequencer = new KvSequencer((effect) => {
      if (this.#closed) return;
      if (effect.type === 'ask') this.#ask(effect.from);
      else options.onEffect(effect);
    });
    if (options.resume !== undefined) this.#sequencer.resume(options.resume.next, options.resume.lastAtSeconds);
    this.#subscriber = new zmq.Subscriber({
      linger: 0,
      reconnectInterval: this.#tuning.reconnectMsMin,
      reconnectMaxInterval: this.#tuning.reconnectMsMax,
      receiveHighWaterMark: this.#tuning.receiveMessagesMax,
      maxMessageSize: engineLimits.kvMessageBytesMax,
    });
    this.#subscriber.subscribe();
    this.#subscriber.connect(options.endpoint);
    this.#verifier = options.environment.timers.every(this.#tuning.verifyMs, () => this.#tick());
    this.#ended = this.#listen();
    this.#sequencer.verify('connected');
  }

  get sequencer(): Pick<KvSequencer<FollowedBatch>, 'next' | 'filling' | 'held' | 'duplicates' | 'dropped'> {
    return this.#sequencer;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#verifier?.cancel();
    this.#wait?.cancel();
    this.#dealer?.close();
    this.#subscriber.close();
    await this.#ended;
  }

  /** A connection that came back says nothing of itself: whether it is still the same life, and all of it, is asked now and again. */
  #tick(): void {
    if (this.#options.replayEndpoint !== undefined) this.#sequencer.verify('connected');
  }

  async #listen(): Promise<void> {
    try {
      for await (const frames of this.#subscriber) {
        this.messages++;
        const message = decodeKvMessage(frames);
        if ('batch' in message) this.#sequencer.live(message.seq, followed(message.batch, frames));
        // Its number is lost with it: the next one shows the gap.
        else this.#problem('problem' in message ? message.problem : 'the end of a replay came live');
        if (this.#closed) return;
      }
    } catch (thrown) {
      if (!this.#closed) this.#problem(`following ended: ${errorText(thrown)}`);
    }
  }

  #ask(from: number): void {
    const question = ++this.questions;
    // The sequencer may ask anew while answers still come: those of the question before count no more.
    const current = (): boolean => !this.#closed && question === this.questions;
    void this.#replay(from, current).then((failure) => {
      if (!current()) return;
      if (failure === undefined) return this.#sequencer.replayEnded();
      this.#problem(failure);
      const { replayWaitMs } = this.#tuning;
      this.#wait = this.#options.environment.timers.after(replayWaitMs, () => {
        if (current()) this.#sequencer.replayFailed();
      });
    });
  }

  /** A socket of its own for each question, so that no late answer of another one is taken for this one's. */
  async #replay(from: number, current: () => boolean): Promise<string | undefined> {
    const { replayEndpoint } = this.#options;
    if (replayEndpoint === undefined) return 'the engine has no replay socket';
    const dealer = new this.zmq.Dealer({
      linger: 0,
      receiveTimeout: this.#tuning.replayMsMax,
      sendTimeout: this.#tuning.replayMsMax,
      maxMessageSize: engineLimits.kvMessageBytesMax,
    });
    this.#dealer = dealer;
    try {
      dealer.connect(replayEndpoint);
      const start = Buffer.alloc(8);
      start.writeBigUInt64BE(BigInt(from));
      await dealer.send(['', start]);
      for (;;) {
        const frames = await dealer.receive();
        const message = decodeKvMessage(frames);
        if ('end' in message) return undefined;
        // A hole in the answers is seen by the next one's number.
        if ('problem' in message) this.#problem(message.problem);
        else this.#sequencer.replayed(message.seq, followed(message.batch, frames));
        if (!current()) return undefined;
      }
    } catch (thrown) {
      return `replay from ${from}: ${errorText(thrown)}`;
    } finally {
      dealer.close();
      if (this.#dealer === dealer) this.#dealer = undefined;
    }
  }

  #problem(problem: string): void {
    this.problems++;
    this.#options.onProblem?.(problem);
  }
}

const followed = (batch: KvBatch, frames: readonly Uint8Array[]): FollowedBatch => ({
  ...batch,
  payload: frames.at(-1) as Uint8Array,
});
